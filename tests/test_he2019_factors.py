"""What is run to find out what makes a network leak, and what is concluded from it."""

from dataclasses import asdict
from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cutlayer.models import MODELS
from cutlayer.papers.findings import Findings
from cutlayer.papers.he2019.cuts import EVERY_CUT, cut_key
from cutlayer.papers.he2019.factors import FACTORS, Variant, factor_tasks, variants
from cutlayer.papers.he2019.maker import ALONG
from cutlayer.papers.he2019.perform import perform, weights_file
from cutlayer.papers.he2019.published import MODEL
from cutlayer.papers.he2019.tasks import tasks
from cutlayer.papers.paper import Options
from cutlayer.papers.task import Task
from cutlayer.split import cut_points


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    root = tmp_path_factory.mktemp("data")
    for folder in ("MNIST", "cifar-10-batches-bin"):
        (root / folder).mkdir()
    return {t.key: t for t in tasks(Options(data_root=str(root)))}


# What is run


def network(variant: Variant, every: dict[str, Task]) -> nn.Module:
    args = every[variant.network_key].experiment["model"]["args"]
    return MODELS["stack"]((1, 28, 28), 10, **args)


def message(variant: Variant, every: dict[str, Task]) -> tuple[int, ...]:
    points = cut_points(network(variant, every), torch.rand(1, 1, 28, 28))
    return {p.name: p.shape for p in points}[variant.cut]


def test_every_factor_has_values_and_every_value_its_attacks(every: dict[str, Task]) -> None:
    found = variants()
    assert list(dict.fromkeys(v.factor for v in found)) == list(FACTORS)
    for factor in FACTORS:
        values = [v.value for v in found if v.factor == factor]
        assert 2 <= len(values) == len(set(values))
    for v in found:
        for threat in ALONG:
            assert every[v.key(threat)].after == (v.network_key,)


@pytest.mark.parametrize("variant", variants(), ids=lambda v: f"{v.factor}-{v.value}")
def test_a_message_is_kept_where_it_is_said_to_be(variant: Variant, every: dict[str, Task]) -> None:
    size = prod(message(variant, every))
    kept = "message kept" in FACTORS[variant.factor] or variant.factor in (
        "activation",
        "kernel",
        "accuracy",
        "seed",
    )
    assert size == 392 or not kept


def test_messages_grow_with_what_is_said_to_grow(every: dict[str, Task]) -> None:
    for factor, wanted in (
        ("channels", [98, 196, 392, 784, 1568]),
        ("fully-connected", [392, 392, 128, 32, 8]),
        ("stride", [1568, 392, 72]),
        ("pooling", [1568, 392, 392, 392]),
    ):
        found = [prod(message(v, every)) for v in variants() if v.factor == factor]
        assert found == wanted


def test_comparisons_share_their_networks() -> None:
    found = variants()
    assert len({v.network for v in found}) < len(found) - 8
    by_network: dict[str, set[tuple[str, int, int]]] = {}
    for v in found:
        by_network.setdefault(v.network, set()).add((v.front, v.epochs, v.seed))
    assert {len(alike) for alike in by_network.values()} == {1}


def test_every_cut_is_attacked_three_times(every: dict[str, Task]) -> None:
    for data, shape in (("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))):
        model = MODELS[MODEL[data]](shape, 10)
        names = [p.name for p in cut_points(model, torch.rand(1, *shape))]
        assert list(EVERY_CUT[data]) == [n for n in names if n != "flatten"]
        for cut in EVERY_CUT[data]:
            for threat in ALONG:
                task = every[cut_key(data, cut, threat)]
                e = task.experiment
                assert (e["cut"], e["threat"]) == ([cut], threat)
                assert data == "cifar10" or e["attack"] == ALONG[threat]


# How it is run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("he2019")
    options = Options(quick=True)
    context = {
        "settings": [],
        "options": asdict(options),
        "store": str(folder / "runs"),
        "results": str(folder / "results"),
    }
    for task in factor_tasks(options):
        if task.run != "attack" or task.key.endswith("white-box"):
            perform(task.key, context)
    return folder / "results"


def test_an_attack_meets_the_network_it_comes_after(results: Path) -> None:
    attacks = [t for t in factor_tasks(Options(quick=True)) if t.key.endswith("white-box")]
    victims = set()
    for task in attacks:
        kept = Findings(results).get(task.key)
        assert kept is not None
        (network,) = task.after
        trained = Findings(results).get(network)
        assert trained is not None
        right = kept["record"]["utility"]["accuracy"]["value"]
        assert right == pytest.approx(trained["accuracy_on_test"]["value"], abs=0.35)
        victims.add(kept["record"]["victim"])
    assert len(victims) == len(attacks) == 2


def test_an_untrained_network_is_as_it_was_made(results: Path) -> None:
    found = {t.key: t for t in factor_tasks(Options(quick=True)) if t.run == "untrained"}
    (key,) = found
    weights = load_file(weights_file(results, key))
    bound = 1 / 5  # first weights of conv1 are uniform in ±1/sqrt(25)
    assert weights["conv1.weight"].abs().max() <= bound
    kept = Findings(results).get(key)
    assert kept is not None
    assert kept["accuracy_on_test"]["value"] < 0.35
    assert not (results / "mnist" / "network.safetensors").exists()
