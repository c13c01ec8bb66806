"""An experiment as a value: read from flags and YAML, checked whole before any tensor exists.

Any class's signature is its schema: ``laplace:scale=0.5`` is ``Laplace(scale=0.5)``, and a class of
the user's own is ``package.module:Class``. Importing this module imports no torch, so that help is
quick.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from .errors import ConfigError, did_you_mean

Registry = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class Part:
    """A class or function by name or import path, and its arguments.

    >>> Part.parse("laplace:scale=0.5,active=serve")
    Part(kind='laplace', args={'scale': '0.5', 'active': 'serve'})
    >>> Part.parse("my.package:Net:width=64").kind
    'my.package:Net'
    """

    kind: str
    args: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, spec: "str | Mapping[str, Any] | Part") -> "Part":
        """From ``kind:name=value,name=value`` or a mapping with the key ``kind``.

        Raises:
            ConfigError: it is neither.
        """
        if isinstance(spec, Part):
            return spec
        if isinstance(spec, Mapping):
            given = spec["args"] if spec.keys() == {"kind", "args"} else spec
            if not isinstance(given, Mapping):
                raise ConfigError(f"'args' as name: value wanted in {dict(spec)!r}")
            args = {str(k): v for k, v in given.items() if k != "kind"}
            if not isinstance(spec.get("kind"), str):
                raise ConfigError(f"'kind: NAME' wanted in {dict(spec)!r}")
            return cls(spec["kind"], args)
        if not isinstance(spec, str) or not spec:
            raise ConfigError(f"NAME or NAME:argument=value,... wanted: got {spec!r}")
        kind, *rest = spec.split(":")
        if rest and "=" not in rest[0]:
            kind, rest = f"{kind}:{rest[0]}", rest[1:]
        text = ":".join(rest)
        pairs = [pair.partition("=") for pair in text.split(",")] if text else []
        if bad := [k for k, equals, _ in pairs if not equals]:
            raise ConfigError(
                f"{kind}: argument=value wanted after ':': got {bad[0]!r} in {spec!r}"
            )
        return cls(kind, {k.strip(): v for k, _, v in pairs})

    def __str__(self) -> str:
        args = ",".join(f"{k}={_plain(v)}" for k, v in self.args.items())
        return f"{self.kind}:{args}" if args else self.kind


def _plain(value: Any) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


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
            "what the owner does before it sends, repeatable, in order; 'help' lists them",
            metavar="NAME",
        ),
    )
    epochs: int | None = field(
        default=None,
        metadata=_help("passes over the data; 10, or 0 with --weights", least=0),
    )
    batch_size: int = field(default=32, metadata=_help("samples a training step", least=1))
    optimiser: Literal["adam", "sgd"] = field(
        default="adam", metadata=_help("each party's own", choices=("adam", "sgd"))
    )
    learning_rate: float = field(default=1e-3, metadata=_help("of both optimisers", above=0))
    threat: str = field(
        default="server-and-owner",
        metadata=_help("who attacks, and with what; 'help' lists them", metavar="NAME"),
    )
    attack: Part = field(
        default=Part("inverse-network"),
        metadata=_help(
            "how messages are turned back into inputs; 'help' lists them", metavar="NAME"
        ),
    )
    repeats: int = field(
        default=1, metadata=_help("messages overheard of each victim's input", least=1)
    )
    victims: int = field(default=0, metadata=_help("how many to attack; 0: all", least=0))
    seed: int = field(default=0, metadata=_help("root of all random streams", least=0))
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


FIELDS = {f.name: f for f in fields(Experiment)}
PARTS = ("data", "model", "defence", "attack")


def registry(name: str) -> Registry:
    """The built-in names that a field may take."""
    from .attacks import ATTACKS
    from .data import DATASETS
    from .defences import DEFENCES
    from .models import MODELS

    tables: dict[str, Registry] = {
        "data": DATASETS,
        "model": MODELS,
        "defence": DEFENCES,
        "attack": ATTACKS,
    }
    return tables[name]


GIVEN = {  # arguments that the experiment itself supplies
    "data": {"root"},
    "model": {"input_shape", "classes"},
    "defence": set[str](),
    "attack": set[str](),
}


def resolve(field_name: str, kind: str) -> Callable[..., Any]:
    """The class or function behind a name or an import path.

    Raises:
        ConfigError: there is none, or it cannot be imported.
    """
    known = registry(field_name)
    if kind in known:
        return known[kind]
    if ":" not in kind:
        raise ConfigError(f"{field_name} {kind!r}: unknown{did_you_mean(kind, known)}")
    module, _, name = kind.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except AttributeError as e:
        raise ConfigError(f"{field_name} {kind!r}: {module} has no {name!r}") from e
    except (ImportError, TypeError, ValueError, SyntaxError) as e:
        raise ConfigError(f"{field_name} {kind!r}: cannot import {module!r}: {e}") from e
    if wanted := _base(field_name):
        if not (isinstance(found, type) and issubclass(found, wanted)):
            raise ConfigError(f"{field_name} {kind!r}: a subclass of {wanted.__name__} wanted")
    elif not callable(found):
        raise ConfigError(f"{field_name} {kind!r}: a class or function wanted, got {found!r}")
    return found


def _base(field_name: str) -> type | None:
    """What a class of the user's own has to descend from."""
    from .attacks import Reconstruction
    from .defences import Defence

    return {"attack": Reconstruction, "defence": Defence}.get(field_name)


def canonical(field_name: str, part: Part) -> Part:
    """The part with typed arguments and defaults filled in: one spelling for one meaning.

    Raises:
        ConfigError: everything wrong with it, one line each.
    """
    target = resolve(field_name, part.kind)
    given = GIVEN[field_name]
    parameters = {
        k: p
        for k, p in inspect.signature(target).parameters.items()
        if k not in given and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    at = f"{part.kind}."
    faults = [
        f"{at}{k}: unknown{did_you_mean(k, parameters)}" for k in part.args if k not in parameters
    ]
    faults += [
        f"{at}{k}: missing"
        for k, p in parameters.items()
        if p.default is p.empty and k not in part.args
    ]
    values, type_faults = _typed(
        target, {k: part.args[k] for k in part.args if k in parameters}, at
    )
    if faults + type_faults:
        raise ConfigError("\n".join(faults + type_faults))
    return Part(part.kind, {k: values.get(k, p.default) for k, p in parameters.items()})


def _typed(
    target: Callable[..., Any], args: Mapping[str, Any], at: str
) -> tuple[dict[str, Any], list[str]]:
    """Arguments converted by the annotations of the signature, and what would not convert."""
    from jsonargparse import ArgumentError, ArgumentParser

    values: dict[str, Any] = {}
    faults: list[str] = []
    hints = inspect.signature(target, eval_str=True).parameters
    for name, value in args.items():
        hint = hints[name].annotation
        if hint is inspect.Parameter.empty:
            values[name] = yaml.safe_load(value) if isinstance(value, str) else value
            continue
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--value", type=hint)
        try:
            values[name] = parser.parse_object({"value": value}).value
        except (ArgumentError, ValueError, TypeError):
            wanted = getattr(hint, "__name__", None) if isinstance(hint, type) else str(hint)
            faults.append(f"{at}{name}: {wanted} wanted, got {value!r}")
    return values, faults


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
        return tuple(_collect(_constructed, [Part.parse(v) for v in many]))
    if key in PARTS:
        part = canonical(key, Part.parse(value))
        return _constructed(part, key) if key == "attack" else part
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


def _constructed(part: Part, key: str = "defence") -> Part:
    """Canonical, and the constructor accepts it."""
    part = canonical(key, part)
    try:
        built = resolve(key, part.kind)(**part.args)
    except (ValueError, TypeError) as e:
        raise ConfigError(f"{part.kind}: {e}") from e
    if key == "defence" and built.site not in ("input", "cut"):
        raise ConfigError(f"{part.kind}: site input or cut wanted, got {built.site!r}")
    return part


def _shares(value: Any) -> str | dict[str, int]:
    if isinstance(value, str) and "=" in value:
        value = {k: v for k, _, v in (pair.partition("=") for pair in value.split(","))}
    if isinstance(value, Mapping):
        try:
            return {str(k).strip(): int(v) for k, v in value.items()}
        except (ValueError, TypeError) as e:
            raise ConfigError(f"shares: whole numbers of samples wanted: got {dict(value)}") from e
    return str(value)


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
        wanted = {"int": "a whole number", "float": "a number"}.get(getattr(hint, "__name__", ""))
        raise ConfigError(f"{key}: {wanted or hint} wanted, got {value!r}") from None
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
    needs: frozenset[str] = getattr(resolve("attack", e.attack.kind), "needs", frozenset())
    has = threat_model(e.threat).has
    if lacking := sorted(needs - has):
        granting = sorted(m.name for m in THREATS.values() if needs <= m.has)
        what = ", ".join(CAPABILITIES.get(n, n) for n in lacking)
        found.append(
            f"attack {e.attack.kind} needs {what!r}, which "
            f"threat model {e.threat!r} withholds; granted by {', '.join(granting)}"
        )
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
