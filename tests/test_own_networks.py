"""Networks of the user's own: cut as they stand, attacked unchanged; and the table about them."""

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cutlayer import Assembly, Dataset, Record, Store, cut, cut_points, parse, run_attack

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
sys.path.append(str(EXAMPLES))

import own_networks as table  # noqa: E402
from resnet18_cifar import ResNet18  # noqa: E402

RESULTS, PAGE = ROOT / "results" / "own-networks", ROOT / "docs" / "own-networks.md"
SHAPES = {"resnet18_cifar:ResNet18": (3, 12, 12), "ecg": (1, 16), "mlp": (12,)}
QUICK = {
    "maximum-likelihood:steps=300": "maximum-likelihood:steps=20",
    "inverse-network": "inverse-network:epochs=1",
    "affine-inverse": "affine-inverse",
    "shadow": "shadow:epochs=1,steps=20",
    "shadow:structure=auto": "shadow:structure=auto,epochs=1,steps=20",
}


# The network in the example


def test_the_residual_network_has_a_cut_behind_every_block_and_none_inside() -> None:
    names = cut_points(ResNet18(width=2), torch.rand(2, 3, 8, 8)).names
    assert names[:3] == ("stem", "norm", "relu")
    assert [n for n in names if n.startswith("add")] == ["add", *(f"add_{k}" for k in range(1, 8))]
    assert not [n for n in names if "conv" in n or "shortcut" in n]


@pytest.mark.parametrize("after", ["stem", "relu", "add_2", "relu_8", "mean"])
@pytest.mark.parametrize("training", [False, True])
def test_its_halves_compose_to_it_bit_for_bit(after: str, training: bool) -> None:
    model, x = ResNet18(classes=3, width=4).train(training), torch.rand(4, 3, 8, 8)
    near, far = cut(model, after, x)
    assert torch.equal(far(near(x)), model(x))


def test_it_is_eighteen_layers_and_as_large_as_published() -> None:
    model = ResNet18(classes=1000, width=64)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len([m for m in layers if getattr(m, "kernel_size", 3) != (1, 1)]) == 18
    # torchvision's resnet18 has 11,689,512 with a stem of 7×7.
    stems = 64 * 3 * (7**2 - 3**2)
    assert sum(p.numel() for p in model.parameters()) == 11_689_512 - stems


# Every attack on every network


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("runs"))


def made_up(shape: tuple[int, ...]) -> Dataset:
    """Three prototypes and variations of each."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(3, (150,), generator=g)
    x = torch.rand(3, *shape, generator=g)[y] + 0.2 * torch.randn(150, *shape, generator=g)
    bounds = torch.tensor(0.0), torch.tensor(1.0)
    return Dataset(name="made up", x=x.clamp(0, 1), y=y, classes=("a", "b", "c"), bounds=bounds)


def attacked(store: Store, dataset: Dataset | None = None, **fields: Any) -> Record:
    fields = {"threads": 1, "device": "cpu", "epochs": 1} | fields
    return run_attack(Assembly.of(parse(fields), dataset), store)


@pytest.mark.parametrize(("threat", "attack"), table.ATTACKERS)
@pytest.mark.parametrize("model", SHAPES)
@pytest.mark.parametrize("behind", ["first layer", "first nonlinearity"])
def test_an_attack_runs_unchanged(
    model: str, behind: str, threat: str, attack: str, store: Store
) -> None:
    record = attacked(
        store,
        made_up(SHAPES[model]),
        model=f"{model}:width=4" if ":" in model else model,
        cut=table.CUTS[model][behind == "first nonlinearity"],
        shares={"owners": 40, "auxiliary": 60, "attacker_validation": 20, "victims": 20},
        threat=threat,
        attack=QUICK[attack],
    )
    assert record.leakage["mse"].n == 20
    assert "non-finite-reconstruction" not in record.flags
    assert record.attack["queries"] == 0 or threat != "query-free"
    images = len(SHAPES[model]) == 3
    assert (record.leakage["ssim"].value is not None) == images
    assert table.metric(record) == ("ssim" if images else "psnr")
    if attack.startswith("maximum-likelihood") and behind == "first layer":
        assert record.attack["solver"] == "least-squares"
        guesses = [record.floors[name]["mse"].value for name in table.FLOORS]
        assert record.leakage["mse"].value < 0.01 * min(guesses)


@pytest.mark.parametrize(("threat", "attack"), table.ATTACKERS[:3])
@pytest.mark.parametrize("after", table.CUTS["mlp"])
def test_on_a_real_table_who_may_ask_or_look_beats_every_guess(
    after: str, threat: str, attack: str, store: Store, tmp_path: Path
) -> None:
    path = runpy.run_path(str(EXAMPLES / "breast_cancer.py"))["write"](tmp_path / "table.npz")
    fields = {"model": "mlp", "cut": after, "threat": threat, "attack": attack, "epochs": 20}
    record = attacked(store, data=f"arrays:path={path}", **fields)
    guesses = [record.floors[name]["mse"].value for name in table.FLOORS]
    assert record.leakage["mse"].high < min(guesses)
    assert "attack-below-floor" not in record.flags


# The records and the table


def test_the_page_says_what_the_records_say() -> None:
    text = PAGE.read_text("utf-8")
    assert table.summary(RESULTS) in text


def test_the_records_are_whole() -> None:
    records = [table.from_json(p.read_text()) for p in RESULTS.glob("*.json")]
    attacks = [r for r in records if r.kind == "attack"]
    wanted = [(model, k, a) for model in table.CUTS for k in (0, 1) for a in range(5)]
    assert sorted((table.kind(r), *table.place(r)) for r in attacks) == sorted(wanted)
    known = {r.id for r in records}
    assert {r.victim for r in attacks} | {r.attack["judge"]["id"] for r in attacks} <= known


def test_every_network_and_attack_of_the_table_is_one_that_is_run() -> None:
    assert set(QUICK) == {attack for _, attack in table.ATTACKERS}
    assert set(SHAPES) == set(table.CUTS) == set(table.TITLES)
    heads = re.findall(r"^### (.+)$", table.summary(RESULTS), re.M)
    assert heads == list(table.TITLES.values())
