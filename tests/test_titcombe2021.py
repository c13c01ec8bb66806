"""The reproduction of Titcombe et al. 2021: its tasks, its statistics, its attack, its findings."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cutlayer.assembly import Assembly
from cutlayer.attacks.floors import MeanSample
from cutlayer.config import parse
from cutlayer.experiment import fitted_attack, load_network, run_training, view_of
from cutlayer.metrics import distance_correlation, mse
from cutlayer.papers.findings import Findings, finding, is_done
from cutlayer.papers.measure import messages
from cutlayer.papers.paper import Options
from cutlayer.papers.task import Task
from cutlayer.papers.titcombe2021 import measure
from cutlayer.papers.titcombe2021.attack import PublishedAttack
from cutlayer.papers.titcombe2021.claims import claims
from cutlayer.papers.titcombe2021.comparison import attack_table, figure_4, table_1
from cutlayer.papers.titcombe2021.leaks import configuration, grid
from cutlayer.papers.titcombe2021.perform import perform
from cutlayer.papers.titcombe2021.published import FILES, MISLABELLED, TABLE_1
from cutlayer.papers.titcombe2021.rounds import kept_messages, victims
from cutlayer.papers.titcombe2021.settings import NAMES, classifier, law
from cutlayer.papers.titcombe2021.summary import write_summary
from cutlayer.papers.titcombe2021.tasks import classifier_key, published_key, tasks
from cutlayer.record import Store
from cutlayer.threat import Observed

QUICK = Options(quick=True, precision="float32")
SMALL = {"shares": {"owners": 200, "validation": 50, "auxiliary": 150, "attacker_validation": 40,
                    "judge": 100, "victims": 60}}  # fmt: skip


def every_task(tmp_path: Path) -> list[Task]:
    for folder in ("femnist_digits", "FashionMNIST", "EMNIST", "cifar-10-batches-bin", "mitbih"):
        (tmp_path / folder).mkdir()
    return tasks(NAMES, Options(data_root=str(tmp_path)))


def test_the_sound_rows_of_table_1_are_those_of_the_result_files() -> None:
    files = {(r.noise, r.weight): r for r in FILES}
    wrong = {id(m.printed) for m in MISLABELLED}
    sound = [r for r in TABLE_1 if id(r) not in wrong]
    assert (len(TABLE_1), len(sound)) == (12, 10)
    for r in sound:
        assert abs(r.accuracy - files[r.noise, r.weight].accuracy) < 0.011
        assert r.dependence == files[r.noise, r.weight].dependence
    for m in MISLABELLED:
        assert m.printed.accuracy == files[0.0, m.weight].accuracy
        assert (0.0, m.printed.weight) not in files or m.printed.weight == 0.5


def test_tasks_have_keys_of_their_own_and_come_after_what_they_need(tmp_path: Path) -> None:
    every = every_task(tmp_path)
    seen: set[str] = set()
    for t in every:
        assert t.key not in seen
        assert set(t.after) <= seen, t.key
        seen.add(t.key)
    first = [t.key for t in every].index("authors-code/published/noise-0-weight-0")
    assert {t.run for t in every[:first]} == {"classifier", "epochs"}  # table 1 comes first
    assert sum("emnist-letters" in k and "femnist" not in k for k in seen) == 2


def test_every_experiment_of_a_task_is_a_valid_one(tmp_path: Path) -> None:
    for t in every_task(tmp_path):
        parse(t.experiment)


def test_where_a_data_set_is_missing_its_tasks_are_left_out(tmp_path: Path) -> None:
    keys = " ".join(t.key for t in tasks(NAMES, Options(data_root=str(tmp_path))))
    assert "emnist" not in keys and "cifar10" not in keys and "1250-samples" in keys  # noqa: PT018


def test_what_decides_is_in_the_address() -> None:
    here = tasks(("paper",), Options())[0]
    assert here.address != tasks(("authors-code",), Options())[0].address
    assert here.address != tasks(("paper",), Options(precision="float32"))[0].address


def test_recorded_findings_are_those_of_the_tasks(tmp_path: Path) -> None:
    results = Path(__file__).parents[1] / "results" / "titcombe2021"
    there = [t for t in every_task(tmp_path) if finding(t.key, results)]
    assert len(there) > 50
    assert [t.key for t in there if not is_done(t, results)] == []


def test_the_two_settings_differ_where_text_and_code_do() -> None:
    theirs = classifier("authors-code", Options(), noise=0.5, weight=0.1)
    text = classifier("paper", Options(), noise=0.5, weight=0.1)
    assert (theirs["learning_rate"], text["learning_rate"]) == (1e-4, 1e-3)
    assert classifier("authors-code", Options())["batch_size"] == 128
    assert theirs["batch_size"] == classifier("paper", Options())["batch_size"] == 32
    assert theirs["defence"][0]["args"] == {"weight": 0.1, "exponent": 2.0, "on": "clean"}
    assert text["defence"][0]["args"] == {"weight": 0.1, "on": "sent"}
    assert (theirs["order"], theirs["keep"]) == ("stored", "best")


def test_laws_of_equal_variance_have_it() -> None:
    from cutlayer.parts import Part, resolve

    for name in ("laplace", "gaussian", "uniform", "student-t"):
        part = Part.parse(law(name, 0.7))
        noise = resolve("defence", part.kind)(**part.args)
        assert noise.noise_deviation() == pytest.approx(0.7 * 2**0.5)


def test_by_batches_is_their_statistic() -> None:
    x, z = torch.rand(70, 5), torch.rand(70, 3)
    found = measure.by_batches(x, z, 32)
    parts = [float(distance_correlation(x[i], z[i], exponent=2.0)) for i in
             (slice(0, 32), slice(32, 64), slice(64, 70))]  # fmt: skip
    assert found["mean"] == pytest.approx(sum(parts) / 3, rel=1e-5)
    assert found["error"] == pytest.approx(
        float(torch.tensor(parts).std(correction=0)) / 3**0.5, rel=1e-4
    )


def test_the_floor_of_dependent_rows_is_that_of_independent_ones() -> None:
    x = torch.randn(400, 6)
    found = measure.dependence(x, x[:, :3], 32)
    assert found["published"]["mean"] > 2 * found["floor"]["mean"]
    assert found["bias_corrected"] > 0.3 > 0.05 > abs(found["bias_corrected_floor"])


def stroke(slope: float, size: int = 28) -> Tensor:
    """A stroke through the middle, ``slope`` pixels to the right for each pixel up."""
    picture = torch.zeros(1, size, size)
    for row in range(6, 22):
        picture[0, row, round(size / 2 + slope * (size / 2 - row))] = 1.0
    return picture


def test_slant_is_pixels_to_the_right_for_each_up() -> None:
    found = measure.slant(torch.stack([stroke(0.5), stroke(0.0), stroke(-0.25)]))
    assert torch.allclose(found, torch.tensor([0.5, 0.0, -0.25]).double(), atol=0.03)
    assert measure.slant(torch.zeros(1, 1, 28, 28)).isnan().all()


def test_slants_say_how_much_is_kept_within_a_class() -> None:
    slopes = torch.linspace(-0.5, 0.5, 20)
    x = torch.stack([stroke(float(s)) for s in slopes])
    half = torch.stack([stroke(float(s) / 2) for s in slopes])
    y = torch.arange(20) % 2
    assert measure.slants(x, x, y)["kept"] == pytest.approx(1.0)
    assert measure.slants(x, half, y)["kept"] == pytest.approx(0.5, abs=0.05)
    upright = torch.stack([stroke(0.0)] * 20)
    assert measure.slants(x, upright, y)["kept"] == pytest.approx(0.0, abs=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Assembly, Store]:
    """A small undefended classifier on the embedded digits, in their setting."""
    torch.set_num_threads(1)
    raw = classifier("authors-code", QUICK) | SMALL | {"epochs": 4, "batch_size": 16}
    kind = f"{PublishedAttack.__module__}:{PublishedAttack.__name__}"
    attack = {"kind": kind, "args": {"epochs": 30, "batch_size": 32, "learning_rate": 1e-3}}
    return Assembly.of(parse(raw | {"attack": attack})), Store(tmp_path_factory.mktemp("store"))


def test_the_published_attack_succeeds_undefended_and_is_affine(
    trained: tuple[Assembly, Store],
) -> None:
    assembly, store = trained
    network = load_network(assembly, store, run_training(assembly, store).id)
    view = view_of(assembly, network)
    attack = fitted_attack(assembly, view, lambda *_: None)
    assert isinstance(attack, PublishedAttack)
    x, _ = assembly.take(assembly.victims)
    z = messages(network, x)
    error = mse(x, attack.reconstruct(Observed(z.unsqueeze(1)))).mean()
    floor = mse(x, MeanSample().fit(view).reconstruct(Observed(z.unsqueeze(1)))).mean()
    assert error < 0.7 * floor
    a, b = z[:10], z[10:20]
    middle = (attack.normalised(a) + attack.normalised(b)) / 2
    assert torch.allclose(attack.normalised((a + b) / 2), middle, atol=1e-5)
    assert view.counts["queries"] == 0  # it never asks: it has never seen what is sent


def test_kept_messages_are_those_of_the_very_training(trained: tuple[Assembly, Store]) -> None:
    assembly, store = trained
    kept = kept_messages(assembly, store)
    assert len(kept) == assembly.experiment.passes
    assert len(kept[0]["messages"]) == len(victims(assembly))
    record = run_training(assembly, store)
    best = max(range(4), key=lambda i: record.training["epochs"][i]["validation_accuracy"])
    weights = store.tensors(record.id, "owner")
    for name, value in weights.items():
        assert torch.equal(kept[best][f"segment.{name}"], value)
    again = kept_messages(assembly, store)  # from disk
    assert torch.equal(again[0]["messages"], kept[0]["messages"])
    shuffled = assembly.variant(order="shuffled")
    with pytest.raises(ValueError, match="order 'stored' wanted"):
        kept_messages(shuffled, store)


def context(tmp_path: Path) -> dict[str, object]:
    folders = {"store": str(tmp_path / "runs"), "results": str(tmp_path / "results")}
    return {"settings": ["authors-code"], "options": asdict(QUICK), **folders}


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """Quick tasks made quicker still."""
    every = [
        replace(t, experiment={**t.experiment, **SMALL, "epochs": 1})
        for t in tasks(("authors-code",), QUICK)
        if t.run != "round"
    ]
    monkeypatch.setattr("cutlayer.papers.titcombe2021.tasks.tasks", lambda *_: every)
    return every


def test_a_task_is_carried_out_once_and_found_again(
    tmp_path: Path, small_tasks: list[Task]
) -> None:
    task = small_tasks[0]
    perform(task.key, context(tmp_path))
    path = tmp_path / "results" / f"{task.key}.json"
    before = path.read_text()
    assert is_done(task, tmp_path / "results")
    perform(task.key, context(tmp_path))
    assert path.read_text() == before
    other = replace(task, experiment={**task.experiment, "seed": 7})
    assert not is_done(other, tmp_path / "results")
    found = finding(task.key, tmp_path / "results")
    assert found is not None
    assert found["found"]["dependence"]["floor"]["mean"] > 0
    points = found["found"]["accuracy_by_noise"]
    assert [p["scale"] for p in points][:3] == [0.0, 0.1, 0.2]
    assert points[0]["accuracy"] == pytest.approx(found["found"]["accuracy"]["value"])
    assert not list((tmp_path / "results").rglob("*.[0-9]*"))  # nothing half-written


def test_the_published_attack_trains_no_classifier_but_those_it_comes_after(
    tmp_path: Path, small_tasks: list[Task]
) -> None:
    """Victim and validator."""
    task = next(t for t in small_tasks if t.run == "published_attack")
    small_tasks[:] = [replace(t, options={"scales": []}) if t == task else t for t in small_tasks]
    needed = [parse(t.experiment) for t in small_tasks if t.key in task.after]
    perform(task.key, context(tmp_path))
    trained = {r.id for r in Store(tmp_path / "runs") if r.kind == "train"}
    assert trained == {Assembly.of(e).network_run for e in needed}


def test_an_empty_folder_compares_as_not_run(tmp_path: Path) -> None:
    findings = Findings(tmp_path)
    rows = table_1(findings, "authors-code")
    assert [(r.noise, r.weight) for r in rows[:4]] == [(0, 0), (0, 0.1), (0, 0.5), (0, 0.2)]
    assert all(r.accuracy.ours is None and r.accuracy.difference is None for r in rows)
    assert len(attack_table(findings)) == len(FILES)
    assert grid(findings) == []
    assert [c.ours for c in figure_4(findings)] == [(), (), ()]
    assert {c.verdict for c in claims(findings)} == {"not run"}


def test_published_and_ours_stand_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / f"{classifier_key('authors-code', 0.0, 0.5)}.json"
    path.parent.mkdir(parents=True)
    statistic = {"mean": 0.4, "error": 0.001}
    found = {
        "accuracy": {"value": 0.98},
        "accuracy_on_victims": 0.99,
        "dependence": {"published": statistic, "floor": {"mean": 0.37}, "bias_corrected": 0.06,
                       "bias_corrected_floor": 0.0, "n": 2000},
    }  # fmt: skip
    path.write_text(json.dumps({"schema_version": 1, "address": "", "found": found}))
    row = table_1(Findings(tmp_path), "authors-code")[2]
    assert row.accuracy.difference == pytest.approx(0.2)
    assert row.dependence.difference == pytest.approx(0.01)
    assert "printed as weight 0.2" in row.note


def test_the_summary_in_the_docs_is_that_of_the_records(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    page = root / "docs" / "titcombe2021.md"
    copy = tmp_path / "page.md"
    copy.write_text(page.read_text("utf-8"), "utf-8")
    write_summary(root / "results" / "titcombe2021", copy)
    again = "cutlayer reproduce titcombe2021 --page-only --summary docs/titcombe2021.md"
    assert copy.read_text("utf-8") == page.read_text("utf-8"), f"run {again}"
    copy.write_text("no markers", "utf-8")
    with pytest.raises(ValueError, match="got neither"):
        write_summary(root / "results" / "titcombe2021", copy)


def test_a_configuration_says_what_it_is(tmp_path: Path) -> None:
    findings = Findings(tmp_path)
    words = [
        configuration(findings, "authors-code", b, w, served).words
        for b, w, served in (
            (0.0, 0.0, "as-trained"),
            (0.5, 0.1, "as-trained"),
            (0.5, 0.0, "clean"),
            (0.0, 0.5, "uniform-1"),
        )
    ]
    assert words == [
        "undefended",
        "NoPeek 0.1 + noise 0.5 in training and after",
        "noise 0.5 in training only",
        "NoPeek 0.5 + noise 1 after training, uniform",
    ]
    assert published_key("paper", 0.5, 0.0) == "paper/published/noise-0.5-weight-0"
