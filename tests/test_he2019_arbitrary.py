"""Is an arbitrary input recovered: what is run, what is kept, and what is made of it."""

from pathlib import Path
from typing import Any

import pytest
from he2019_findings import keep, spread
from PIL import Image

from cutlayer import experiment
from cutlayer.assembly import Assembly
from cutlayer.attacks import Reconstruction
from cutlayer.config import parse
from cutlayer.papers.claims import NotRun
from cutlayer.papers.findings import Findings
from cutlayer.papers.he2019 import arbitrary
from cutlayer.papers.he2019.arbitrary import (
    WHERE,
    arbitrary_inputs,
    arbitrary_key,
    arbitrary_table,
    attack_all_kinds,
    kinds,
    known_key,
    tasks_of,
)
from cutlayer.papers.he2019.maker import ALONG, Maker, classifier_key
from cutlayer.papers.he2019.settings import classifier
from cutlayer.papers.paper import Options
from cutlayer.papers.perform import Job
from cutlayer.papers.task import Task
from cutlayer.record import Store
from cutlayer.tensor_file import save_tensors

DRAWN = ["noise", "checkerboard", "text"]


def maker(data: Any = "mnist", **options: Any) -> Maker:
    chosen = Options(**options)
    network = Task(classifier_key(data), "classifier", classifier(data, chosen), revision=1)
    return Maker(data, chosen, network)


def test_each_attacker_is_a_task_and_tries_every_kind(tmp_path: Path) -> None:
    every = list(tasks_of(maker(data_root=str(tmp_path))))
    assert [t.key for t in every] == [
        arbitrary_key("mnist", cut, threat) for cut in WHERE["mnist"] for threat in ALONG
    ]
    assert len({t.address for t in every}) == len(every)
    for task in every:
        e = parse(task.experiment)
        assert (e.victims, e.victims_from) == (100, None)  # what it learns of is the known kind
        assert list(task.options["victims_from"]) == DRAWN
        for part in task.options["victims_from"].values():
            assert parse({"victims_from": part}).victims_from is not None
        assert task.after == (classifier_key("mnist"),)


def test_published_kinds_are_tried_where_they_are_there(tmp_path: Path) -> None:
    for folder in ("FashionMNIST", "femnist_digits"):
        (tmp_path / folder).mkdir()
    root = str(tmp_path)
    assert list(kinds(maker(data_root=root))) == ["fashion-mnist", "femnist-digits", *DRAWN]
    assert list(kinds(maker("cifar10", data_root=root))) == DRAWN
    assert kinds(maker("cifar10"))["text"]["args"]["shape"] == "3x32x32"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """An attack on an untrained network, in short."""
    folder = tmp_path_factory.mktemp("arbitrary")
    task = next(t for t in tasks_of(maker(quick=True)) if t.key.endswith("conv1-black-box"))
    short = {"attack": "inverse-network:epochs=1", "auxiliary_samples": 40}
    assembly = Assembly.of(parse({**task.experiment, **short}))
    return Job(task, (), assembly, Store(folder / "runs"), folder)


def test_one_attacker_reads_victims_of_every_kind(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, fitted = experiment.fitted_attack, []

    def counted(*given: Any) -> Reconstruction:
        fitted.append(1)
        return fit(*given)

    for module in (arbitrary, experiment):
        monkeypatch.setattr(module, "fitted_attack", counted)
    weights = job.results / "network.safetensors"
    segments = job.assembly.segments()
    save_tensors({k: v for s in segments for k, v in s.state_dict().items()}, weights)
    found = attack_all_kinds(job, weights)["kinds"]
    assert list(found) == DRAWN
    assert fitted == [1]
    for kind, kept in found.items():
        record = kept["record"]
        assert record["data"]["victims_from"]["name"] == kind
        assert record["leakage"]["ssim"]["n"] == 20
        assert record["threat"]["queries"] == record["attack"]["queries"] > 0
        assert record["utility"] == {}
        with Image.open(job.results / f"{job.task.key}-{kind}.png") as strip:
            assert strip.size == (280, 56)
    assert len({kept["record"]["id"] for kept in found.values()}) == 3


def made(ssim: float, floor: float, **more: float) -> dict[str, Any]:
    leakage = {"ssim": spread(ssim, 0.02), "psnr": spread(20.0)}
    floors = {"mean": {"ssim": spread(0.1)}, "nearest-auxiliary": {"ssim": spread(floor)}}
    record = {"leakage": leakage, "floors": floors | {"shuffled": {"dcor_x_z": spread(0.2)}}}
    return {"record": record, "ssim_as_published": more.get("published", ssim)}


def findings(folder: Path, data: str = "mnist", **changed: dict[str, Any]) -> Findings:
    found = {"text": made(0.8, 0.3), "noise": made(0.5, 0.2)} | changed
    for cut in WHERE[data]:  # type: ignore[index]
        for threat in ALONG:
            keep(folder, arbitrary_key(data, cut, threat), {"kinds": found})  # type: ignore[arg-type]
            keep(folder, known_key(data, cut, threat), made(0.9, 0.6))  # type: ignore[arg-type]
    return Findings(folder)


def test_the_table_has_the_known_kind_beside_the_others(tmp_path: Path) -> None:
    table = arbitrary_table(findings(tmp_path))
    at_conv1 = [[c.text for c in line.cells] for line in table.lines[:3]]
    assert [row[0] for row in at_conv1] == ["its own kind", "text", "noise"]
    assert at_conv1[1] == ["text", *["0.800", "20.0"] * 3, "0.300", ", ".join(ALONG)]
    assert table.lines[0].heading == "MNIST, cut after conv1"
    assert table.lines[1].cells[1].raw == pytest.approx((0.8, 0.78, 0.82))
    assert table.lines[1].cells[7].small == ("nearest-auxiliary",)
    assert table.missing == 1  # CIFAR-10
    assert table.csv().count("\n") == 8
    assert arbitrary_table(Findings(tmp_path / "none")).missing == 3


@pytest.mark.parametrize(
    ("noise", "verdict", "words"),
    [
        (made(0.5, 0.2), "reproduced", "2 of 2 kinds at conv1; 2 of 2 kinds at ReLU2. black-box"),
        (made(0.5, 0.49), "in part", "1 of 2 kinds at conv1, not noise (0.50); 1 of 2"),
        (made(0.5, 0.2, published=0.29), "in part", "not noise (0.29)"),
    ],
)
def test_the_verdict_goes_by_its_rule(
    tmp_path: Path, noise: dict[str, Any], verdict: str, words: str
) -> None:
    found, sentence = arbitrary_inputs(findings(tmp_path, noise=noise))
    assert found == verdict
    assert words in sentence
    assert sentence.endswith("Not run yet: ReLU22 of CIFAR-10.")


def test_the_verdict_waits_for_all_of_mnist(tmp_path: Path) -> None:
    every = findings(tmp_path)
    findings(tmp_path, "cifar10")
    assert arbitrary_inputs(every)[1].endswith("whole interval.)")
    (tmp_path / f"{arbitrary_key('mnist', 'ReLU2', 'query-free')}.json").unlink()
    with pytest.raises(NotRun, match="mnist/arbitrary/ReLU2-query-free"):
        arbitrary_inputs(every)
