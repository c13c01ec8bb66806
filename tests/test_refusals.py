"""Every attack under every threat model: refused by name before anything runs, or carried out."""

from pathlib import Path

import pytest
import torch

from cutlayer import Assembly, ConfigError, Dataset, Store, parse, run_attack
from cutlayer.attacks import ATTACKS
from cutlayer.parts import Part, resolve
from cutlayer.threat import CAPABILITIES, THREATS

VARIANTS = {  # as typed, and quick
    "inverse-network": "inverse-network:epochs=1",
    "affine-inverse": "affine-inverse",
    "maximum-likelihood": "maximum-likelihood:steps=5",
    "shadow": "shadow:epochs=1,steps=5",
    "shadow of unknown structure": "shadow:structure=auto,epochs=1,steps=5",
    "shadow by queries": "shadow:learn_from=queries,epochs=1,steps=5",
    "shadow by queries of unknown structure": (
        "shadow:learn_from=queries,structure=auto,epochs=1,steps=5"
    ),
    "confidence-inversion": "confidence-inversion:epochs=1",
}
NEEDS = {  # by hand, so that an attack cannot quietly ask for less or more
    "inverse-network": {"query"},
    "affine-inverse": {"query"},
    "maximum-likelihood": {"owner_segment"},
    "shadow": {"far_segment", "auxiliary_labels", "owner_structure"},
    "shadow of unknown structure": {"far_segment", "auxiliary_labels"},
    "shadow by queries": {"query", "owner_structure"},
    "shadow by queries of unknown structure": {"query"},
    "confidence-inversion": {"confidences"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def rows() -> Dataset:
    g = torch.Generator().manual_seed(0)
    y = torch.randint(2, (80,), generator=g)
    x = 0.5 * torch.rand(80, 6, generator=g) + 0.5 * y[:, None]
    bounds = torch.tensor(0.0), torch.tensor(1.0)
    return Dataset(name="rows", x=x, y=y, classes=("a", "b"), bounds=bounds)


def fields(threat: str, attack: str) -> dict[str, object]:
    shares = {"owners": 20, "auxiliary": 30, "attacker_validation": 10, "victims": 10}
    usual = {"model": "mlp", "cut": "act1", "epochs": 1, "threads": 1, "device": "cpu"}
    return {**usual, "shares": shares, "threat": threat, "attack": attack}


def test_every_attack_is_here() -> None:
    assert {Part.parse(v).kind for v in VARIANTS.values()} == set(ATTACKS)


@pytest.mark.parametrize("attack", VARIANTS)
@pytest.mark.parametrize("threat", sorted(THREATS))
def test_an_attack_is_refused_by_name_or_carried_out(
    threat: str, attack: str, store: Store, rows: Dataset
) -> None:
    wanted, kind = fields(threat, VARIANTS[attack]), Part.parse(VARIANTS[attack]).kind
    if lacking := NEEDS[attack] - THREATS[threat].has:
        with pytest.raises(ConfigError) as refusal:
            parse(wanted)
        assert f"attack {kind} needs" in str(refusal.value)
        assert f"threat model {threat!r} withholds" in str(refusal.value)
        assert all(CAPABILITIES[name] in str(refusal.value) for name in lacking)
        return
    # With what the model grants and nothing else it gets through, so it needs no more.
    record = run_attack(Assembly.of(parse(wanted), rows), store)
    assert record.threat["name"] == threat
    assert (record.attack["queries"] > 0) <= bool({"query", "confidences"} & THREATS[threat].has)
    assert record.leakage["mse"].n == 10


@pytest.mark.parametrize("attack", VARIANTS)
def test_what_it_says_it_needs_is_what_it_needs(attack: str) -> None:
    granting = next(name for name, m in THREATS.items() if NEEDS[attack] <= m.has)
    part = parse(fields(granting, VARIANTS[attack])).attack
    assert resolve("attack", part.kind)(**part.args).needs == NEEDS[attack]


@pytest.mark.parametrize("threat", sorted(THREATS))
def test_a_refusal_names_the_models_that_grant_it(threat: str) -> None:
    for attack, needs in NEEDS.items():
        if needs <= THREATS[threat].has:
            continue
        with pytest.raises(ConfigError) as refusal:
            parse(fields(threat, VARIANTS[attack]))
        granted = str(refusal.value).partition("granted by ")[2].split(", ")
        assert granted == sorted(m.name for m in THREATS.values() if needs <= m.has)


def test_the_command_line_says_so_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cutlayer.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["attack", "--threat", "black-box", "--attack", "maximum-likelihood"]) == 2
    said = capsys.readouterr().err
    assert "attack maximum-likelihood needs" in said
    assert "'black-box' withholds" in said
    assert not list(tmp_path.iterdir())
