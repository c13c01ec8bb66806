"""What README and docs/ say, held against the code: blocks run, commands parse, names exist."""

import re
import runpy
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cutlayer import Assembly, Store, config, run_attack
from cutlayer.attacks import ATTACKS, FLOORS
from cutlayer.checks import FLAGS
from cutlayer.cli import Parser, build_parser
from cutlayer.data import DATASETS
from cutlayer.decoders import DECODERS
from cutlayer.defences import DEFENCES, in_phase
from cutlayer.models import MODELS
from cutlayer.threat import THREATS

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
GUIDE = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *GUIDE]
SMALL = {  # what the page asks for, on few samples
    "shares": dict(owners=96, validation=32, auxiliary=64, attacker_validation=32, victims=32),
    "epochs": 1,
    "threads": 1,
    "attack": "inverse-network:epochs=1",
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def every(language: str, pages: Iterable[Path] = PAGES) -> list[Any]:
    found = [(p, i, text) for p in pages for i, text in enumerate(blocks(p, language))]
    return [pytest.param(text, id=f"{p.relative_to(ROOT)}-{i}") for p, i, text in found]


def prose(page: Path) -> str:
    """Without code blocks and drawings."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    return re.sub(r"<svg.*?</svg>", "", text, flags=re.S)


@pytest.mark.parametrize("text", every("python"))
def test_a_python_block_runs(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    full = config.parse
    monkeypatch.setattr(config, "parse", lambda raw: full(vars(full(raw)) | SMALL))
    with torch.random.fork_rng():
        exec(compile(text, "block", "exec"), {"__name__": "block"})


def commands(text: str) -> list[list[str]]:
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [w for w in words if w]


@pytest.mark.parametrize("text", every("sh", [*PAGES, ROOT / "CONTRIBUTING.md"]))
def test_a_command_block_means_something(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    yaml = blocks(ROOT / "docs" / "command-line.md", "yaml")[0]
    (tmp_path / "experiment.yaml").write_text(yaml)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    for program, *words in commands(text):
        if program == "make":
            assert set(words) <= set(targets)
        elif program == "cutlayer" and "--help" not in words:
            arguments = build_parser().parse(words)
            if arguments.command in ("train", "attack", "cuts"):
                config.parse(config.settings(vars(arguments)))
        else:
            assert program in ("cutlayer", "pip"), program


def test_a_command_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(ValueError, match="unknown"):
        build_parser().parse(["attack", "--defense", "laplace:scale=1"])


def flags(parser: Parser) -> set[str]:
    """Every long option of every command."""
    found: set[str] = set()
    for action in parser._actions:
        found |= {o for o in action.option_strings if o.startswith("--")}
        if isinstance(action.choices, dict):
            found |= {f for inner in action.choices.values() for f in flags(inner)}
    return found


def test_every_option_named_exists_and_every_option_is_explained() -> None:
    known, text = flags(build_parser()), (ROOT / "docs" / "command-line.md").read_text("utf-8")
    named = {
        (p.name, option)
        for p in PAGES
        for code in re.findall(r"`([^`\n]+)`", prose(p))
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", code)
    }
    assert not {(page, o) for page, o in named if o not in known}
    assert {o for o in known if o not in text} <= {"--help"}


def test_every_command_is_explained() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    for action in build_parser()._actions:
        for name, command in (action.choices or {}).items() if action.dest == "command" else ():
            inner = [a for a in command._actions if isinstance(a.choices, dict)]
            names = [f"{name} {n}" for a in inner for n in a.choices or ()] or [name]
            assert not [n for n in names if f"`cutlayer {n}" not in text]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("attacks", [*ATTACKS, *DECODERS]),
        ("cuts", MODELS),
        ("data", DATASETS),
        ("defences", DEFENCES),
        ("evaluation", [*FLAGS, *FLOORS]),
        ("threat-models", THREATS),
    ],
)
def test_every_name_stands_on_its_page(page: str, names: Iterable[str]) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    assert not [n for n in names if f"`{n}`" not in text and f"--attack {n}" not in text]


def test_the_table_of_flags_names_no_other() -> None:
    named = re.findall(r"^\| `([a-z-]+)` \|", prose(ROOT / "docs" / "evaluation.md"), re.M)
    assert set(named) == FLAGS.keys() | FLOORS.keys()


def slugs(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in heads}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in slugs(file), f"{page.name}: {target}"


@pytest.mark.parametrize("page", GUIDE)
def test_every_name_of_the_code_exists(page: Path) -> None:
    for name in re.findall(r"\]\[(cutlayer[\w.]*)\]", prose(page)):
        module, _, attribute = name.rpartition(".")
        try:
            __import__(name)
        except ImportError:
            assert hasattr(__import__(module, fromlist=["_"]), attribute), f"{page.name}: {name}"


def test_every_page_is_in_the_contents() -> None:
    contents = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = [p.relative_to(ROOT / "docs") for p in (ROOT / "docs").rglob("*.md")]
    assert not [p for p in pages if f": {p.as_posix()}\n" not in contents]


def attacked(raw: Mapping[str, object]) -> Any:
    return run_attack(Assembly.of(config.parse(raw)), Store("runs"), every=0)


def test_example_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "breast_cancer.py"), run_name="__main__")
    record = attacked({**SMALL, "data": "arrays:path=breast-cancer.npz", "model": "mlp"})
    assert record.data["classes"] == ["benign", "malignant"]
    assert record.data["shape"] == [30]


def test_example_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng, n = np.random.default_rng(0), 150
    beat = {"y": np.arange(n, dtype=np.uint8) % 5, "x": rng.integers(900, 1200, (n, 201), "i2")}
    beat |= {"lo": np.full(n, 900, "i2"), "hi": np.full(n, 1199, "i2")}
    convert = runpy.run_path(str(EXAMPLES / "ecg_beats.py"))["convert"]
    for part in ("train", "test"):
        np.savez(f"{part}.npz", **beat)
        convert(Path(f"{part}.npz"), Path(f"ecg-{part}.npz"))
    with np.load("ecg-train.npz") as made:
        assert made["x"].shape == (n, 128)
        # Resampling keeps the mean: the zeroth Fourier coefficient is carried over.
        scaled = (beat["x"][0] - 900) / 299
        assert made["x"][0].mean() == pytest.approx(scaled.mean(), abs=1e-6)
        assert made["y"][:5].tolist() == list("NLRAV")
    data = "arrays:path=ecg-train.npz,test=ecg-test.npz,signal=true,low=0,high=1"
    shares = {"owners": 60, "auxiliary": 40, "attacker_validation": 20, "victims": 20}
    record = attacked({**SMALL, "shares": shares, "data": data, "model": "ecg"})
    assert record.data["shape"] == [1, 128]


def test_example_defence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    Quantise = config.resolve("defence", "my_defence:Quantise")
    z = torch.linspace(-1.5, 1.5, 301).view(1, -1).requires_grad_()
    with in_phase(quantise := Quantise(levels=5), "serve"):
        sent = quantise(z)
    assert sent.unique().tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert (sent - z.clamp(-1, 1)).abs().max() <= 0.25 + 1e-6
    sent.sum().backward()
    assert z.grad is not None
    assert torch.equal(z.grad, torch.ones_like(z))  # straight through
    with pytest.raises(ValueError, match="levels must be at least 2: got 1"):
        Quantise(levels=1)
    record = attacked({**SMALL, "model": "mlp", "defence": "my_defence:Quantise:levels=5"})
    assert record.name == "my_defence:Quantise:levels=5"
