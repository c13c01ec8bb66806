"""Classes and functions by name or import path, with arguments: any signature is a schema.

``laplace:scale=0.5`` is ``Laplace(scale=0.5)``; a class of the user's own is
``package.module:Class:argument=value``. Importing this module imports no torch.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from .errors import ConfigError, did_you_mean, said

Registry = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class Part:
    """A class or function by name or import path, and its arguments.

    >>> Part.parse("laplace:scale=0.5,active=serve")
    Part(kind='laplace', args={'scale': '0.5', 'active': 'serve'})
    >>> Part.parse("lenet:mean=[0.5],deviation=[0.4,0.5]").args
    {'mean': '[0.5]', 'deviation': '[0.4,0.5]'}
    >>> Part.parse("my.package:Net:width=64").kind
    'my.package:Net'
    """

    kind: str
    args: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, spec: "str | Mapping[str, Any] | Part") -> "Part":
        """From ``kind:name=value,name=value`` or a mapping with the key ``kind``.

        Commas in brackets belong to the value.

        Raises:
            ConfigError: it is neither, or a bracket stands alone.
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
        pairs = [pair.partition("=") for pair in _arguments(text, spec)] if text else []
        if bad := [k for k, equals, _ in pairs if not equals]:
            raise ConfigError(
                f"{kind}: argument=value wanted after ':': got {bad[0]!r} in {spec!r}"
            )
        return cls(kind, {k.strip(): v for k, _, v in pairs})

    def __str__(self) -> str:
        args = ",".join(f"{k}={_plain(v)}" for k, v in self.args.items())
        return f"{self.kind}:{args}" if args else self.kind


def _arguments(text: str, spec: str) -> list[str]:
    """The text between the commas that stand in no brackets."""
    found, depth = [""], 0
    for sign in text:
        depth += (sign == "[") - (sign == "]")
        if depth < 0:
            break
        if sign == "," and not depth:
            found.append("")
        else:
            found[-1] += sign
    if depth:
        lone = "a '[' without its ']'" if depth > 0 else "a ']' without its '['"
        raise ConfigError(f"values as argument=[1,2] wanted: {lone} in {spec!r}")
    return found


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_plain, value))}]"
    return repr(float(value)).removesuffix(".0") if isinstance(value, float) else str(value)


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
        hint = did_you_mean(name, [n for n in dir(sys.modules[module]) if n[0] != "_"])
        raise ConfigError(f"{field_name} {kind!r}: {module} has no {name!r}{hint}") from e
    except Exception as e:  # whatever a user's own code may raise
        known_kind = module in known or module.partition(".")[0] in known
        hint = f"; {module}:argument={name} meant?" if known_kind else ""
        hint = "; leave out '.py'" if module.endswith(".py") else hint
        raise ConfigError(
            f"{field_name} {kind!r}: cannot import {module!r}: {said(e)}{hint}"
        ) from e
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
        f"{at}{k}: missing, as in {part.kind}:{k}=..."
        for k, p in parameters.items()
        if p.default is p.empty and k not in part.args
    ]
    values, type_faults = _typed(
        target, {k: part.args[k] for k in part.args if k in parameters}, at
    )
    if faults + type_faults:
        raise ConfigError("\n".join(faults + type_faults))
    return Part(part.kind, {k: values.get(k, p.default) for k, p in parameters.items()})


def wanted(hint: Any) -> str:
    """A type, for people.

    >>> wanted(int | None), wanted(Literal["a", "b"])
    ('a whole number', 'one of a, b')
    >>> wanted(float | tuple[float, ...])
    'a number, or several in brackets,'
    """
    if any(get_origin(kind) in (list, tuple) for kind in get_args(hint)):
        return f"{wanted(get_args(hint)[0])}, or several in brackets,"
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    for kind in (hint, *get_args(hint)):
        if kind in names:
            return names[kind]
    return hint.__name__ if isinstance(hint, type) else str(hint)


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
            faults.append(f"{at}{name}: {wanted(hint)} wanted, got {value!r}")
    return values, faults


def constructed(part: Part, key: str = "defence") -> Part:
    """Canonical, and the constructor accepts it."""
    part = canonical(key, part)
    try:
        built = resolve(key, part.kind)(**part.args)
    except Exception as e:  # whatever a user's own code may raise
        raise ConfigError(f"{part.kind}: {said(e)}") from e
    if key == "defence" and built.site not in ("input", "cut", "output"):
        raise ConfigError(f"{part.kind}: site input, cut or output wanted, got {built.site!r}")
    return part


def each_constructed(specs: Iterable[str], key: str = "defence") -> tuple[Part, ...]:
    """Several as a person writes them, in order.

    Raises:
        ConfigError: one is unknown, or has arguments that are wrong.
    """
    return tuple(constructed(Part.parse(spec), key) for spec in specs)
