"""An experiment as a value: read from flags and YAML, checked whole before any tensor exists.

Importing this module imports no torch, so that help is quick.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from .errors import ConfigError, did_you_mean
from .parts import Part, canonical, constructed, resolve, wanted


def _help(text: str, **more: Any) -> dict[str, Any]:
    return {"help": text, **more}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One network: split, defended, trained, attacked. Every field is a flag and a YAML key."""

    data: Part = field(
        default=Part("digits"),
        metadata=_help(
            "data set, NAME or NAME:argument=value,...; 'help' lists them", metavar="NAME"
        ),
    )
    data_root: str | None = field(
        default=None,
        metadata=_help("folder that holds the data files, or gets them", metavar="DIR"),
    )
    shares: str | Mapping[str, int] = field(
        default="default",
        metadata=_help(
            "who holds what: a plan's name, or owners=600,victims=500,...", metavar="PLAN"
        ),
    )
    owners: int = field(default=1, metadata=_help("data owners who train together", least=1))
    schedule: Literal["hand-over", "average"] = field(
        default="hand-over",
        metadata=_help("several owners: hand the segment on, or average copies each epoch")
        | {"choices": ("hand-over", "average")},
    )
    model: Part = field(
        default=Part("titcombe"), metadata=_help("network; 'help' lists them", metavar="NAME")
    )
    cut: tuple[str, ...] = field(
        default=(),
        metadata=_help("cut after this layer, repeatable; default: the paper's", metavar="LAYER"),
    )
    weights: str | None = field(
        default=None,
        metadata=_help("safetensors file of a trained network; see 'convert'", metavar="FILE"),
    )
    defence: tuple[Part, ...] = field(
        default=(),
        metadata=_help(
            "what is done before anything is sent or released, repeatable; 'help' lists them",
            metavar="NAME",
        ),
    )
    epochs: int | None = field(
        default=None,
        metadata=_help("passes over the data; 10, or 0 with --weights", least=0),
    )
    batch_size: int = field(default=32, metadata=_help("samples a training step", least=1))
    optimiser: Literal["adam", "sgd", "amsgrad"] = field(
        default="adam",
        metadata=_help("each party's own; amsgrad: Adam with AMSGrad, eps 1e-3, as He et al. train")
        | {"choices": ("adam", "sgd", "amsgrad")},
    )
    learning_rate: float = field(default=1e-3, metadata=_help("of both optimisers", above=0))
    halve_every: int = field(
        default=0,
        metadata=_help(
            "epochs after which the learning rate of both optimisers is halved; 0: never", least=0
        ),
    )
    order: Literal["shuffled", "stored"] = field(
        default="shuffled",
        metadata=_help("of the samples in an epoch", choices=("shuffled", "stored")),
    )
    augment: Literal["none", "shift", "shift-and-flip"] = field(
        default="none",
        metadata=_help("of training images: moved by up to an eighth of a side, and mirrored")
        | {"choices": ("none", "shift", "shift-and-flip")},
    )
    keep: Literal["last", "best"] = field(
        default="last",
        metadata=_help("the network after which epoch; best: by accuracy on validation")
        | {"choices": ("last", "best")},
    )
    precision: Literal["float32", "bfloat16"] = field(
        default="float32",
        metadata=_help("of the segments' arithmetic in training; served in float32")
        | {"choices": ("float32", "bfloat16")},
    )
    threat: str = field(
        default="server-and-owner",
        metadata=_help("who attacks, and with what; 'help' lists them", metavar="NAME"),
    )
    adversaries: tuple[int, ...] = field(
        default=(),
        metadata=_help(
            "of a chain: a party that attacks, repeatable; 1 is the owner; default: all others",
            metavar="PARTY",
        ),
    )
    attack: Part = field(
        default=Part("inverse-network"),
        metadata=_help(
            "how messages or answers are turned back into inputs; 'help' lists them", metavar="NAME"
        ),
    )
    auxiliary: Part | None = field(
        default=None,
        metadata=_help(
            "another data set that the attacker's own samples come from", metavar="NAME"
        ),
    )
    auxiliary_share: Literal["auxiliary", "owners"] = field(
        default="auxiliary",
        metadata=_help("owners: the attacker has the very samples that were trained on")
        | {"choices": ("auxiliary", "owners")},
    )
    auxiliary_samples: int = field(
        default=0, metadata=_help("how many of them the attacker has; 0: all", least=0)
    )
    repeats: int = field(
        default=1, metadata=_help("messages or answers overheard of each victim's input", least=1)
    )
    victims_from: Part | None = field(
        default=None,
        metadata=_help(
            "another data set that the victims' inputs come from: nothing the network was "
            "trained for",
            metavar="NAME",
        ),
    )
    victims: int = field(default=0, metadata=_help("how many to attack; 0: all", least=0))
    gallery: int = field(
        default=0,
        metadata=_help(
            "re-identify among so many of the victims' share; 0: among those attacked", least=0
        ),
    )
    seed: int = field(default=0, metadata=_help("root of all random streams", least=0))
    attack_seed: int | None = field(
        default=None,
        metadata=_help(
            "root of the attacker's random streams, and of the noise it hears; default: the seed",
            least=0,
        ),
    )
    threads: int = field(
        default=0, metadata=_help("CPU threads; 0: as many as cores; changes last digits", least=0)
    )
    device: Literal["auto", "cpu", "cuda"] = field(
        default="auto", metadata=_help("where to compute", choices=("auto", "cpu", "cuda"))
    )

    @property
    def passes(self) -> int:
        """Epochs in effect."""
        return self.epochs if self.epochs is not None else (0 if self.weights else 10)

    @property
    def attack_root(self) -> int:
        """Seed of the attack in effect."""
        return self.seed if self.attack_seed is None else self.attack_seed


FIELDS = {f.name: f for f in fields(Experiment)}
PARTS = ("data", "model", "defence", "attack")
ATTACK_FIELDS = (  # no training depends on them
    *("threat", "adversaries", "attack", "auxiliary", "auxiliary_share", "auxiliary_samples"),
    *("repeats", "victims_from", "victims", "gallery", "attack_seed"),
)
OTHER_DATA = ("auxiliary", "victims_from")  # data sets beside the network's


def parse(raw: Mapping[str, Any]) -> Experiment:
    """An experiment from plain values; every fault is reported at once.

    Raises:
        ConfigError: one line for each thing that is wrong.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    every = {name: FIELDS[name].default for name in PARTS} | dict(raw)
    for key, value in every.items():
        if key not in FIELDS:
            faults.append(f"{key}: unknown{did_you_mean(key, FIELDS)}")
            continue
        try:
            values[key] = _field(key, value)
        except ConfigError as e:
            faults.append(str(e))
    if not faults:
        faults = _cross_checks(Experiment(**values))
    if faults:
        raise ConfigError("\n".join(faults))
    return Experiment(**values)


def _field(key: str, value: Any) -> Any:
    if key == "defence":
        many = value if isinstance(value, list | tuple) else [value]
        return tuple(_collect(constructed, [Part.parse(v) for v in many]))
    if key in OTHER_DATA:
        return None if value is None else canonical("data", Part.parse(value))
    if key in PARTS:
        part = canonical(key, Part.parse(value))
        return constructed(part, key) if key == "attack" else part
    if key == "adversaries":
        return _parties(value)
    if key == "cut":
        return tuple(value) if isinstance(value, list | tuple) else (str(value),)
    if key == "shares":
        return _shares(value)
    if key == "threat":
        from .threat import threat_model

        try:
            return threat_model(str(value)).name
        except ValueError as e:
            raise ConfigError(str(e)) from e
    return _scalar(key, value)


def _collect(check: Callable[[Part], Part], parts: Iterable[Part]) -> list[Part]:
    """All parts checked; the faults of all of them in one error."""
    found, faults = [], []
    for part in parts:
        try:
            found.append(check(part))
        except ConfigError as e:
            faults.append(str(e))
    if faults:
        raise ConfigError("\n".join(faults))
    return found


def _shares(value: Any) -> str | dict[str, int]:
    if isinstance(value, str) and "=" in value:
        value = {k: v for k, _, v in (pair.partition("=") for pair in value.split(","))}
    if isinstance(value, Mapping):
        try:
            return {str(k).strip(): int(v) for k, v in value.items()}
        except (ValueError, TypeError) as e:
            raise ConfigError(f"shares: whole numbers of samples wanted: got {dict(value)}") from e
    return str(value)


def _parties(value: Any) -> tuple[int, ...]:
    many = value if isinstance(value, list | tuple) else [value]
    try:
        found = tuple(sorted(int(v) for v in many))
    except (ValueError, TypeError):
        raise ConfigError(f"adversaries: numbers of parties wanted, got {value!r}") from None
    if len(set(found)) < len(found):
        raise ConfigError(f"adversaries: each party once wanted, got {list(found)}")
    return found


def _scalar(key: str, value: Any) -> Any:
    from jsonargparse import ArgumentError, ArgumentParser

    rules, hint = FIELDS[key].metadata, FIELDS[key].type
    if "choices" in rules and value not in rules["choices"]:
        raise ConfigError(f"{key} {value!r}: unknown{did_you_mean(value, rules['choices'])}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    try:
        value = parser.parse_object({"value": value}).value
    except (ArgumentError, ValueError, TypeError):
        raise ConfigError(f"{key}: {wanted(hint)} wanted, got {value!r}") from None
    if "least" in rules and value is not None and value < rules["least"]:
        raise ConfigError(f"{key}: at least {rules['least']} wanted, got {value}")
    if "above" in rules and not rules["above"] < value < float("inf"):
        raise ConfigError(f"{key}: more than {rules['above']} wanted, got {value}")
    return value


def _cross_checks(e: Experiment) -> list[str]:
    from .threat import CAPABILITIES, THREATS, threat_model

    found = []
    if e.batch_size == 1 and any(p.kind == "nopeek" for p in e.defence):
        found.append("batch_size: NoPeek compares the samples of a batch: at least 2 wanted, got 1")
    needs: frozenset[str] = resolve("attack", e.attack.kind)(**e.attack.args).needs
    has = threat_model(e.threat).has
    if lacking := sorted(needs - has):
        granting = sorted(m.name for m in THREATS.values() if needs <= m.has)
        what = ", ".join(CAPABILITIES.get(n, n) for n in lacking)
        found.append(
            f"attack {e.attack.kind} needs {what!r}, which "
            f"threat model {e.threat!r} withholds; granted by {', '.join(granting)}"
        )
    if "confidences" not in has:
        found += [
            f"defence {p.kind} acts on released confidences, which threat model {e.threat!r} does "
            "not go by: take threat prediction-api, or another defence"
            for p in e.defence
            if getattr(resolve("defence", p.kind), "site", None) == "output"
        ]
    if e.gallery and e.victims_from is not None:
        found.append("gallery: of the victims' share of the network's data: leave out victims_from")
    if e.auxiliary is not None and e.auxiliary_share == "owners":
        found.append("auxiliary_share: owners wanted, and another data set: leave one of them out")
    if e.keep == "best" and not e.passes:
        found.append("keep: best of no epochs: at least 1 epoch wanted, got 0")
    if e.passes == 0 and e.weights is None:
        found.append("epochs: at least 1 wanted, got 0; or give --weights FILE")
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of experiment fields.

    Raises:
        ConfigError: no such file, no YAML, or no mapping.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as e:
        raise ConfigError(f"config {path}: cannot read: {e.strerror}") from e
    except yaml.YAMLError as e:
        raise ConfigError(f"config {path}: YAML wanted: {e}") from e
    if not isinstance(raw, dict):
        raise ConfigError(f"config {path}: 'field: value' lines wanted: got {type(raw).__name__}")
    return {str(k).replace("-", "_"): v for k, v in raw.items()}


def settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were set, by the file under ``config`` and by flag; a flag wins.

    Raises:
        ConfigError: the file cannot be read.
    """
    raw = read_yaml(arguments["config"]) if arguments.get("config") else {}
    return raw | {name: arguments[name] for name in FIELDS if name in arguments}
