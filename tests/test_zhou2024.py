"""The reproduction of Zhou et al.: what is run, the page about it, and its verdicts."""

import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from he2019_findings import keep
from test_he2019_page import HOSTILE, Page
from zhou2024_findings import attack, clouds, folder, latency, proposition

from cutlayer.config import parse
from cutlayer.papers.claims import Claim
from cutlayer.papers.findings import Findings
from cutlayer.papers.paper import Options
from cutlayer.papers.zhou2024.claims import claims, controls
from cutlayer.papers.zhou2024.comparison import alike, factor, measured, undefended
from cutlayer.papers.zhou2024.defences import compared, flipping, further, named
from cutlayer.papers.zhou2024.front import candidates, front, recommended
from cutlayer.papers.zhou2024.page import collect, render, write_page
from cutlayer.papers.zhou2024.perform import perform
from cutlayer.papers.zhou2024.settings import NAMES
from cutlayer.papers.zhou2024.summary import BEGIN, summary, write_summary
from cutlayer.papers.zhou2024.tables import sections
from cutlayer.papers.zhou2024.tasks import TRANSFERRED, attack_key, tasks

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("data")
    for name in ("MNIST", "cifar-10-batches-bin", "FashionMNIST", "femnist_digits"):
        (root / name).mkdir()
    return str(root)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, data_root: str) -> Path:
    """Everything, made up."""
    return folder(tmp_path_factory.mktemp("results"), tasks(Options(data_root=data_root)))


@pytest.fixture(scope="module")
def page(results: Path) -> str:
    return render(collect(Findings(results)))


def judged(results: Path, beginning: str) -> Claim:
    every = [*claims(Findings(results)), *controls(Findings(results))]
    [found] = [c for c in every if c.text.startswith(beginning)]
    return found


# What is run


def test_every_task_is_an_experiment_and_comes_after_its_network(data_root: str) -> None:
    every = tasks(Options(data_root=data_root))
    before: set[str] = set()
    for task in every:
        e = parse(task.experiment)
        assert e.threads == 1
        assert task.run == "classifier" or e.threat == "prediction-api"
        assert set(task.after) <= before
        before.add(task.key)
    assert len({t.address for t in every}) == len({t.key for t in every}) == len(every)


def test_what_is_compared_is_tried_by_both_usual_attackers(data_root: str) -> None:
    keys = {t.key for t in tasks(Options(data_root=data_root))}
    for data in NAMES:
        for defence in compared(data):
            assert {attack_key(data, defence.name, by) for by in ("log", "adaptive")} <= keys
    assert {attack_key("mnist", d.name, "log") for d in (*flipping(), *further())} <= keys
    assert "mnist/transfer/lpa-0.02-residual-ssim" in keys
    assert "fashion-mnist/shifted/mnist-lpa-0.02" in keys
    assert len([k for k in keys if "/transfer/" in k]) == 17 * len(TRANSFERRED)


def test_a_budget_that_is_rounded_as_well_has_room_for_it() -> None:
    for data in NAMES:
        for defence in compared(data):
            if "rounded" in defence.name and defence.part is not None:
                assert defence.part["args"]["decimals"] == 3
    assert named("lpa-0.1-rounded-3", "digit-pairs").part is not None
    with pytest.raises(KeyError):
        named("lpa-0.1-rounded-3", "mnist")


def test_a_network_that_was_retrained_is_the_one_attacked(data_root: str) -> None:
    every = {t.key: t for t in tasks(Options(data_root=data_root))}
    mid = every["mnist/attack/mid-0.01-by-log"]
    assert mid.after == ("mnist/mid/0.01",)
    assert mid.experiment["cut"] == every["mnist/mid/0.01"].experiment["cut"] == ["fc2"]
    assert every["mnist/attack/mid-0.01-drawn-by-log"].after == ("mnist/mid/0.01-drawn",)
    assert every["mnist/attack/none-by-log"].after == ("mnist/classifier/seed-0",)


def test_what_is_not_there_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "MNIST").mkdir()
    keys = [t.key for t in tasks(Options(data_root=str(tmp_path)))]
    assert {k.split("/")[0] for k in keys} == {"mnist", "digit-pairs"}
    assert not [k for k in keys if "shifted" in k]


# The page


def test_every_section_is_there_and_the_contents_lead_to_it(page: str) -> None:
    found = Page(page)
    ids = [str(a["id"]) for a in found.all("section")]
    assert ids == [
        "what",
        "claims",
        "picture",
        *(s.name for s in sections(Findings(Path("none")))),
        "made",
    ]
    links = [str(a["href"])[1:] for a in found.all("a")]
    assert set(ids) <= set(links) <= {a.get("id") for _, a in found.tags}
    assert not found.all("script")
    assert "http" not in page.replace("http-equiv", "")


def test_with_every_finding_nothing_waits(page: str, results: Path) -> None:
    without_style = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    assert "ot run yet" not in without_style
    assert not [c for c in claims(Findings(results)) if c.verdict == "not run"]


def test_with_no_finding_everything_waits(tmp_path: Path) -> None:
    every = [*claims(Findings(tmp_path)), *controls(Findings(tmp_path))]
    assert {c.verdict for c in every} == {"not run"}
    assert render(collect(Findings(tmp_path))).count("ot run yet") > 30


def test_figures_lie_beside_the_page(results: Path, tmp_path: Path) -> None:
    names = {p.name for p in write_page(results, tmp_path).parent.iterdir()}
    assert {"index.html", "front.png", "front.csv", "compared-mnist.csv", "lfp.csv"} <= names
    assert {"vectors-lpa-0.02.png", "proposition-swap.csv"} <= names


def test_what_comes_from_a_finding_is_escaped(tmp_path: Path) -> None:
    found = attack(0.036)
    found["record"]["flags"] = [HOSTILE]
    for by in ("log", "adaptive"):
        keep(tmp_path, attack_key("mnist", "none", by), found)
    page = render(collect(Findings(tmp_path)))
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)" in page


# Numbers and verdicts


def test_the_strongest_attacker_counts_and_only_among_those_who_tried_both(tmp_path: Path) -> None:
    for name, log, adaptive in (("none", 0.036, 0.035), ("lpa-0.02", 0.046, 0.042)):
        keep(tmp_path, attack_key("mnist", name, "log"), attack(log))
        keep(tmp_path, attack_key("mnist", name, "adaptive"), attack(adaptive))
    keep(tmp_path, attack_key("mnist", "none", "transposed"), attack(0.030))
    findings = Findings(tmp_path)
    ours, base = (
        measured(findings, "mnist", named("lpa-0.02", "mnist")),
        undefended(findings, "mnist"),
    )
    assert ours is not None
    assert base is not None
    assert ours.worst[0] == "adaptive"
    assert base.worst[0] == "transposed"
    assert factor(ours, base) == pytest.approx(0.042 / 0.035)


def test_of_equal_defences_the_one_that_changes_least_is_recommended(tmp_path: Path) -> None:
    made = {
        "none": attack(0.036, l1_distortion=0.0, farthest=0.0),
        "lpa-0.02": attack(0.0450, l1_distortion=0.017),
        "rounding-3": attack(0.0449, l1_distortion=0.0005, farthest=0.005),
        "swap-0.1": attack(0.051, l1_distortion=0.05, farthest=0.1),
        "temperature-3": attack(0.051, l1_distortion=0.01, ece=0.2),
        "label-only": attack(0.052, l1_distortion=0.012, farthest=1.0),
    }
    for name, found in made.items():
        for by in ("log", "adaptive"):
            keep(tmp_path, attack_key("mnist", name, by), found)
    findings = Findings(tmp_path)
    found, base = candidates(findings, "mnist"), undefended(findings, "mnist")
    best = {b: recommended(found, base, b) for b in (0.02, 0.1, 2.0)}
    names = [c and c.measured.defence.name for c in best.values()]
    assert names == ["rounding-3", "swap-0.1", "swap-0.1"]
    assert [c.measured.defence.name for c in front(found)] == ["rounding-3", "temperature-3"]
    assert recommended([], base, 0.1) is None
    assert recommended(found, base, 0.001) is None


def test_defences_are_compared_by_the_attackers_who_tried_all(tmp_path: Path) -> None:
    for name, error in (("none", 0.036), ("lpa-0.02", 0.046)):
        for by in ("log", "adaptive"):
            keep(tmp_path, attack_key("mnist", name, by), attack(error))
        keep(tmp_path, f"mnist/transfer/{name}-residual-mse", attack(0.02))
    findings = Findings(tmp_path)
    ours, base = (measured(findings, "mnist", named(n, "mnist")) for n in ("lpa-0.02", "none"))
    assert ours is not None
    assert base is not None
    assert ours.worst[0] == "residual, mse"
    assert factor(ours, base) == pytest.approx(1)
    assert factor(alike(ours), alike(base)) == pytest.approx(0.046 / 0.036)


def test_accuracy_is_kept_only_if_every_label_is(results: Path, tmp_path: Path) -> None:
    assert judged(results, "LPA does not compromise").verdict == "reproduced"
    for by in ("log", "adaptive"):
        keep(tmp_path, attack_key("mnist", "none", by), attack(0.036))
        keep(tmp_path, attack_key("mnist", "lpa-0.02", by), attack(0.05, label_agreement=0.9995))
    assert judged(tmp_path, "LPA does not compromise").verdict == "refuted"


def test_where_too_little_leaks_no_defence_is_judged(tmp_path: Path) -> None:
    for data, limit in (("mnist", 0.0515), ("cifar10", 0.037)):
        made = {"none": 0.036, "lpa-0.02": 0.046, "lpa-0.1": 0.047, "label-only": limit}
        for name, error in made.items():
            for by in ("log", "adaptive"):
                keep(tmp_path, attack_key(data, name, by), attack(error))
    found = judged(tmp_path, "Minor perturbations")
    assert found.verdict == "reproduced"
    assert "Nothing can be seen on CIFAR-10" in found.sentence
    assert judged(tmp_path, "Undefended").verdict == "reproduced"


def test_poison_that_noise_equals_is_only_half_a_proof(tmp_path: Path) -> None:
    made = {"none": 0.036, "lpa-0.02": 0.046, "gaussian-0.02": 0.046, "label-only": 0.051}
    for name, error in made.items():
        for by in ("log", "adaptive"):
            keep(tmp_path, attack_key("mnist", name, by), attack(error))
    assert judged(tmp_path, "LPA contaminates").verdict == "in part"
    for by in ("log", "adaptive"):
        keep(tmp_path, attack_key("mnist", "lpa-0.02", by), attack(0.046, clean=0.07))
    assert judged(tmp_path, "LPA contaminates").verdict == "reproduced"


def test_what_looks_at_the_query_may_tell_of_it(results: Path, tmp_path: Path) -> None:
    beginning = "A defence that looks at the query"
    assert judged(results, beginning).verdict == "reproduced"
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    for by in ("log", "adaptive"):
        keep(tmp_path, f"cifar10/attack/lpa-0.1-by-{by}", attack(0.034))
    found = judged(tmp_path, beginning)
    assert found.verdict == "in part"
    assert "CIFAR-10: LPA 0.02 1.28×, LPA 0.1 0.94×" in found.sentence


def test_the_generator_must_be_fast_and_protect(results: Path, tmp_path: Path) -> None:
    assert judged(results, "A generator").verdict == "reproduced"
    for name, error in (("none", 0.036), ("lpa-0.02", 0.046), ("generator-0.02", 0.044)):
        for by in ("log", "adaptive"):
            keep(tmp_path, attack_key("mnist", name, by), attack(error))
    keep(tmp_path, "mnist/latency/all", latency())
    assert judged(tmp_path, "A generator").verdict == "in part"  # 80 % of what LPA adds
    keep(tmp_path, "mnist/latency/all", latency(generator=0.3))
    found = judged(tmp_path, "A generator")
    assert found.verdict == "in part"
    assert found.sentence.startswith("110× cheaper")
    keep(tmp_path, "mnist/latency/all", latency(generator=10))
    assert judged(tmp_path, "A generator").verdict == "refuted"


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ((0.3, 0.7, 0.99), "reproduced"),
        ((0.1, 0.2, 0.99), "in part"),
        ((0.0, 0.0, None), "refuted"),
        ((0.1, 0.01, 1.0), "refuted"),  # too few to tell
        ((0.3, 0.7, 0.5), "refuted"),
    ],
)
def test_the_proposition_is_a_bound_and_a_promise(
    tmp_path: Path, numbers: tuple[float, float, float | None], verdict: str
) -> None:
    for loss in ("swap", "negative"):
        keep(tmp_path, f"mnist/proposition/{loss}", proposition(*numbers))
    assert judged(tmp_path, "Proposition 1").verdict == verdict


def test_vectors_are_alike_only_if_nobody_can_tell(tmp_path: Path) -> None:
    for told, verdict in (
        ((0.5, 0.52), "reproduced"),
        ((0.55, 0.99), "in part"),
        ((1, 1), "refuted"),
    ):
        keep(tmp_path, "mnist/vectors/lpa-0.02", clouds(*told))
        assert judged(tmp_path, "Poisoned vectors").verdict == verdict


# Through the whole machinery


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("zhou2024")
    context = {
        "settings": [],
        "options": asdict(Options(quick=True)),
        "store": str(where / "runs"),
        "results": str(where / "results"),
    }
    keys = ("classifier/seed-0", "attack/none-by-log", "attack/rounding-3-by-log", "unaware/log")
    for key in (*keys, "vectors/rounding-3", "proposition/swap"):
        perform(f"mnist/{key}", context)
        perform(f"mnist/{key}", context)  # done: nothing is done again
    return where / "results"


def test_a_quick_run_measures_what_is_released(quick: Path) -> None:
    findings = Findings(quick)
    kept = findings.get("mnist/attack/rounding-3-by-log")
    assert kept is not None
    assert 0 < kept["farthest"] < 0.01
    utility = kept["record"]["utility"]
    assert utility["label_agreement"]["value"] == 1
    assert kept["clean"]["mse"]["value"] != kept["record"]["leakage"]["mse"]["value"]
    bare = findings.get("mnist/attack/none-by-log")
    assert bare is not None
    assert bare["farthest"] == 0
    assert bare["clean"]["mse"]["value"] == pytest.approx(bare["record"]["leakage"]["mse"]["value"])


def test_one_caught_unawares_is_the_same_on_clean_vectors(quick: Path) -> None:
    findings = Findings(quick)
    kept, bare = (findings.get(f"mnist/{k}") for k in ("unaware/log", "attack/none-by-log"))
    assert kept is not None
    assert bare is not None
    assert {"", "lpa-0.02", "label-only"} <= kept["by_defence"].keys()
    clean = kept["by_defence"][""]["mse"]["value"]
    assert clean == pytest.approx(bare["record"]["leakage"]["mse"]["value"])
    assert kept["by_defence"]["label-only"]["mse"]["value"] > clean


def test_rounded_vectors_are_told_apart_and_steps_are_counted(quick: Path) -> None:
    findings = Findings(quick)
    vectors, steps = (
        findings.get(f"mnist/{k}") for k in ("vectors/rounding-3", "proposition/swap")
    )
    assert vectors is not None
    assert steps is not None
    assert vectors["told_apart"]["vectors"] > 0.7
    places = vectors["points"]["t-sne"]["logarithms"]
    assert len(places["clean"]) == len(places["released"]) > 10
    for way in ("clean", "gaussian", "lpa"):
        assert 0 <= steps[way]["condition"] <= 1
        assert len(steps[way]["cosine"]) == len(steps[way]["error"]) - 1
        assert steps[way]["error"][-1] < steps[way]["error"][0]


def test_the_summary_in_the_docs_is_that_of_the_records(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    page = tmp_path / "zhou2024.md"
    page.write_text((root / "docs/zhou2024.md").read_text())
    assert BEGIN in page.read_text()
    write_summary(root / "results/zhou2024", page)
    assert page.read_text() == (root / "docs/zhou2024.md").read_text()
    assert "not run" in summary(tmp_path)
