"""What serves every paper: its tasks, their findings, and the command, with a made-up paper."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from made_up_paper import FAULT, PAPER
from PIL import Image

from cutlayer import papers
from cutlayer.cli import main
from cutlayer.config import parse
from cutlayer.papers import PAPERS
from cutlayer.papers.findings import Findings, finding, is_done
from cutlayer.papers.measure import by_class, spread
from cutlayer.papers.paper import Options, Paper
from cutlayer.papers.task import Task

CLASSIFIERS = ["digits/classifier/seed-0", "digits/classifier/seed-1"]
EVERY = [*CLASSIFIERS, "digits/attack/undefended", "digits/count/epochs"]
Command = Callable[..., int]


@pytest.fixture
def reproduce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``cutlayer reproduce made-up`` in a folder of its own; the findings go to ``found``."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PAPERS, PAPER.name, PAPER)
    return lambda *flags: main(["reproduce", "made-up", "--results", "found", *flags])


def kept(results: Path = Path("found")) -> dict[str, tuple[str, int]]:
    """What each file of a finding says, and when it was written."""
    paths = sorted(results.glob("*/*/*.json"))
    return {
        str(p.relative_to(results).with_suffix("")): (p.read_text(), p.stat().st_mtime_ns)
        for p in paths
    }


def test_a_failed_task_is_told_and_the_same_command_does_the_rest(
    reproduce: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("found").mkdir()
    Path("found", FAULT).touch()
    Path("README.md").touch()
    assert reproduce("--summary", "README.md") == 1
    said = capsys.readouterr().out
    assert "failed: digits/count/epochs: made to fail" in said
    assert "3 tasks finished" in said
    before = kept()
    assert sorted(before) == sorted(EVERY[:3])
    assert Path("README.md").read_text() == "3"
    Path("found", FAULT).unlink()
    assert reproduce() == 0
    assert "4 tasks finished" in capsys.readouterr().out
    after = kept()
    assert {k: after[k] for k in before} == before  # nothing was done twice
    assert Path("report/index.html").read_text().split() == sorted(EVERY)
    assert Findings(Path("found")).get(EVERY[3]) == {"key": EVERY[3], "count": 4}
    assert [cpu for key, _, cpu in Findings(Path("found")).seconds() if key == EVERY[3]] == [7.0]
    with Image.open(f"found/{EVERY[2]}.png") as strip:
        assert strip.size[0] == 5 * strip.size[1]  # ten pictures above ten others


def test_only_what_is_asked_for_and_what_it_needs_is_run(reproduce: Command) -> None:
    assert reproduce("--only", "*/count/*") == 0
    assert sorted(kept()) == sorted([*CLASSIFIERS, EVERY[3]])


def test_only_says_which_keys_there_are(
    reproduce: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce("--only", "mnist/*") == 2
    assert "keys begin with digits/attack, digits/classifier" in capsys.readouterr().err


def test_a_dry_run_counts_and_writes_nothing(
    reproduce: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    reproduce("--only", CLASSIFIERS[0])
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert reproduce("--dry-run") == 0
    lines = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines()]
    assert [[cell.strip() for cell in line] for line in lines if line] == [
        ["digits", "classifier", "2", "1", "0"],
        ["digits", "attack", "1", "0", "not known yet"],
        ["digits", "count", "1", "0", "not known yet"],
    ]
    assert sorted(Path().rglob("*")) == before


def test_minutes_left_are_those_of_training_and_not_of_finding_trained(
    reproduce: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    took = {
        "found": {"wall": 9.0, "cpu": 8.0, "train": 900.0, "train_cpu": 232.0},
        "found-by-an-older-release": {"wall": 9.0, "cpu": 8.0, "train": 900.0},
        "trained": {"wall": 900.0, "cpu": 360.0, "train": 890.0, "train_cpu": 350.0},
        "nothing-to-train": {"wall": 9.0, "cpu": 300.0},
    }
    folder = Path("found", "digits", "classifier")
    folder.mkdir(parents=True)
    for name, seconds in took.items():
        key = f"digits/classifier/{name}"
        content = {"schema_version": 1, "key": key, "address": "", "found": {}, "seconds": seconds}
        Path(folder, f"{name}.json").write_text(json.dumps(content))
    costs = [cpu for _, cpu in Findings(Path("found")).costs()]
    assert costs == [240.0, 300.0, 360.0]
    assert reproduce("--dry-run") == 0
    assert "│ 2      │ 0        │ 10 " in capsys.readouterr().out  # two tasks of 300 s


def test_findings_of_another_length_lie_apart(
    reproduce: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = []

    def tasks(settings: object, options: Options) -> list[Task]:
        given.append(options.full)
        return []

    monkeypatch.setitem(PAPERS, PAPER.name, replace(PAPER, tasks=tasks, full="for days"))
    assert main(["reproduce", "made-up", "--full", "--dry-run"]) == 0
    assert main(["reproduce", "made-up", "--dry-run"]) == 0
    assert given == [True, False]
    said = capsys.readouterr().out
    assert "into results/made-up-full" in said.replace("\n", " ")
    assert main(["reproduce", "made-up", "--full", "--quick"]) == 2
    assert "not allowed with argument --full" in capsys.readouterr().err


def test_a_paper_that_is_no_shorter_by_default_has_no_full_run(
    reproduce: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce("--full") == 2
    assert "--full: made-up is as long as its paper without it" in capsys.readouterr().err


def test_a_page_is_written_without_a_run(reproduce: Command) -> None:
    assert reproduce("--page-only", "--out", "page") == 0
    assert Path("page/index.html").read_text() == ""
    assert not Path("found").exists()


def test_findings_of_a_smoke_run_lie_apart(reproduce: Command) -> None:
    only = ("--only", CLASSIFIERS[0])
    assert main(["reproduce", "made-up", "--quick", *only]) == 0
    assert list(kept(Path("runs/quick-made-up"))) == [CLASSIFIERS[0]]
    assert main(["reproduce", "made-up", *only]) == 0
    assert list(kept(Path("results/made-up"))) == [CLASSIFIERS[0]]


@pytest.mark.parametrize(
    ("name", "settings", "wanted"),
    [
        ("paper", (), "made-up has one setting only; leave it out"),
        ("both", (), "made-up has one setting only; leave it out"),
        ("paper", ("authors-code", "text"), "made-up has authors-code, text, or both"),
    ],
)
def test_a_setting_that_the_paper_does_not_have_is_refused(
    reproduce: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    settings: tuple[str, ...],
    wanted: str,
) -> None:
    monkeypatch.setitem(PAPERS, PAPER.name, replace(PAPER, settings=settings))
    assert reproduce("--setting", name) == 2
    assert capsys.readouterr().err == f"cutlayer: --setting {name}: {wanted}\n"


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [((), ("a", "b")), (("--setting", "both"), ("a", "b")), (("--setting", "b"), ("b",))],
)
def test_a_setting_is_chosen_by_name_and_all_without(
    reproduce: Command,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    wanted: tuple[str, ...],
) -> None:
    shown = []

    def write_page(results: Path, out: Path, settings: object) -> Path:
        shown.append(settings)
        return out

    other = replace(PAPER, settings=("a", "b"), write_page=write_page)
    monkeypatch.setitem(PAPERS, PAPER.name, other)
    assert reproduce("--page-only", *flags) == 0
    assert shown == [wanted]


def test_an_unknown_paper_is_told_what_it_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "titcombe2012"]) == 2
    assert "'titcombe2012': unknown, did you mean 'titcombe2021'?" in capsys.readouterr().err
    assert main(["reproduce", "x"]) == 2
    assert f"'x': unknown; known: {', '.join(sorted(PAPERS))}\n" in capsys.readouterr().err


@pytest.mark.parametrize("paper", [*PAPERS.values(), PAPER], ids=lambda p: p.name)
def test_every_paper_keeps_to_what_the_command_wants(paper: Paper) -> None:
    module, _, name = paper.perform.partition(":")
    assert callable(getattr(import_module(module), name))
    seen: set[str] = set()
    for task in paper.tasks(paper.settings, Options(quick=True)):
        assert task.key not in seen
        assert set(task.after) <= seen, task.key
        parse(task.experiment)
        seen.add(task.key)
    assert seen


def test_every_folder_with_a_paper_is_registered() -> None:
    folder = Path(papers.__file__).parent
    assert {p.parent.name for p in folder.glob("*/paper.py")} == PAPERS.keys()
    assert {name: p.name for name, p in PAPERS.items()} == {name: name for name in PAPERS}


def test_an_address_holds_what_decides_and_not_where_it_runs() -> None:
    raw = {"data": "digits", "data_root": "/a", "device": "cpu", "weights": "/a/w.safetensors"}
    task = Task("a/b/c", "run", raw, ("a/b/d",), {"n": 1}, revision=1)
    same = {"data_root": "/b", "device": "cuda", "weights": "/b/w.safetensors"}
    assert replace(task, key="a/b/e", after=(), experiment=raw | same).address == task.address
    others = [
        replace(task, run="other"),
        replace(task, revision=2),
        replace(task, options={"n": 2}),
        replace(task, experiment=raw | {"seed": 1}),
    ]
    assert len({t.address for t in [task, *others]}) == 5
    assert task.address == "c2c00df7f73c"  # another one, and all that was found is done anew


def test_a_key_has_three_parts() -> None:
    with pytest.raises(ValueError, match="place/kind/name: got 'classifier'"):
        Task("classifier", "run", {}, revision=1)


def test_a_finding_belongs_to_its_task_alone(tmp_path: Path) -> None:
    task = Task("a/b/c", "run", {}, revision=1)
    assert not is_done(task, tmp_path)
    path = tmp_path / "a" / "b" / "c.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schema_version": 1, "address": task.address, "found": {}}))
    assert is_done(task, tmp_path)
    assert not is_done(replace(task, revision=2), tmp_path)


def test_a_damaged_finding_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.json").write_text('{"schema_')
    with pytest.raises(ValueError, match="delete the file and run again"):
        finding("a/b", tmp_path)
    (tmp_path / "a" / "b.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(ValueError, match="written by another release"):
        finding("a/b", tmp_path)


def test_spread_counts_directions() -> None:
    line = torch.randn(500, 1) @ torch.ones(1, 20)
    assert spread(line)["effective_dimensions"] == pytest.approx(1.0, rel=1e-3)
    assert spread(torch.randn(5000, 20))["effective_dimensions"] > 19


def test_a_class_without_samples_has_no_mean() -> None:
    assert by_class(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2]), 3) == [2.0, None, 5.0]
