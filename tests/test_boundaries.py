"""The architecture, as a test: which part may know which, and what nobody may do."""

import ast
from pathlib import Path

import cutlayer

ROOT = Path(cutlayer.__file__).parent
FREE = {
    "draws",
    "errors",
    "memory",
    "precision",
    "roles",
    "streams",
    "tensor_file",
}  # no part of the flow; anyone may use them
MAY_IMPORT = {  # anything not listed is forbidden
    "data": set(),
    "metrics": set(),
    "layers": set(),
    "models": {"layers"},
    "tracing": set(),
    "segment": {"tracing"},
    "split": {"segment", "tracing"},
    "defences": {"inversion_models", "metrics"},
    "plain": set(),
    "wire": set(),
    "augmentation": set(),
    "parties": {"augmentation", "defences", "wire"},
    "training": {"parties", "wire"},
    "threat": set(),
    "decoders": set(),
    "encoders": {"decoders"},
    "inversion_models": {"decoders"},
    # An attack meets its victim only through View.
    "attacks": {"decoders", "encoders", "inversion_models", "threat"},
    "record": set(),
    "checks": {"record"},
    "evaluation": {"metrics", "record"},  # the only place where x meets x_hat
    "judge": set(),
    "trial_log": set(),
    "study": {"trial_log"},  # knows nothing of what its trials do
    "parts": {"attacks", "data", "defences", "models"},
    "release": {"defences", "parts"},
    "policy": {"defences", "parts", "plain", "wire"},  # the federation knows it, not the audit
    "config": {"parts", "threat"},
    "adversary": {"defences", "threat"},
    "auxiliary": {"config", "data", "victims"},
    "victims": {"config", "data", "described"},
    "convert": set(),
    "report": {
        "checks",
        "config",
        "parts",
        "metrics",
        "models",
        "record",
        "threat",
    },  # rendering cannot compute
}


def imports(path: Path) -> set[str]:
    package = path.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            found |= {(*base, *(node.module or a.name).split("."))[0] for a in node.names}
    return found


def test_every_part_keeps_to_its_neighbours() -> None:
    seen: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        part = path.relative_to(ROOT).with_suffix("").parts[0]
        seen.setdefault(part, set()).update(imports(path) - FREE - {part})
    top = {"__init__", "__main__", "assembly", "cli", "commands", "console", "demo", "described"}
    top |= {
        "auditing",
        "experiment",
        "federation",
        "identity_command",
        "inferring",
        "network",
        "overhear",
        "papers",
        "placebo",
        "planning",
        "prediction_api",
        "trained",
        "wire_check",
    }
    assert seen.keys() - top - FREE == MAY_IMPORT.keys()
    assert {k: v - MAY_IMPORT[k] for k, v in seen.items() if k in MAY_IMPORT} == {
        k: set() for k in MAY_IMPORT
    }


def test_nothing_unpickles_but_the_one_door() -> None:
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        if path.name != "convert.py":
            assert "import pickle" not in text, path
            assert "allow_pickle=True" not in text, path
            assert "torch.load" not in text.replace("safetensors.torch.load", ""), path
    assert "weights_only=True" in (ROOT / "convert.py").read_text()


def test_no_grab_bags() -> None:
    banned = {"utils", "util", "common", "helpers", "misc", "manager"}
    assert not {p.stem for p in ROOT.rglob("*.py")} & banned


def test_public_names_are_pinned() -> None:
    assert cutlayer.__all__ == [
        *("Assembly", "Chain", "ClipNorm", "ConfigError", "Dataset", "Defence", "Defended"),
        *("Dropout", "Experiment", "Gaussian", "InverseNetwork", "Laplace"),
        *("MaximumLikelihood", "NoPeek", "Observed"),
        *("Record", "Release", "Shadow", "Shares", "Store", "StudentT", "Uniform", "View"),
        *("audit", "bias_corrected_distance_correlation", "cut", "cut_points"),
        *("distance_correlation", "parse", "run_attack", "run_training", "share_out"),
    ]
    assert all(getattr(cutlayer, name) is not None for name in cutlayer.__all__)


def test_every_public_module_has_an_api_page() -> None:
    internal = {"assembly", "cli", "commands", "convert", "demo", "planning", "segment"}
    internal |= {"console", "described", "memory", "overhear", "papers", "precision", "tensor_file"}
    internal |= {"adversary", "draws", "identity_command", "prediction_api", "roles"}
    internal |= {"federation", "network", "plain"}
    internal |= {"augmentation", "auxiliary", "tracing", "trained", "trial_log", "victims"}
    parts = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or p.is_dir()}
    parts = {p for p in parts if not p.startswith("_")} - internal
    pages = {p.stem for p in (ROOT.parents[1] / "docs" / "api").glob("*.md")}
    assert parts <= pages
