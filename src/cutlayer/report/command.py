"""The command line that makes a run again, from its record."""

import shlex
from collections.abc import Mapping
from typing import Any

from ..config import ATTACK_FIELDS, FIELDS, OTHER_DATA, PARTS
from ..errors import ConfigError
from ..parts import GIVEN, Part, canonical, registry
from ..record import Record


def command_line(record: Record) -> str:
    """``cutlayer attack --data … --defence …``: what differs from the defaults, shell-quoted.

    A ``train`` record gives ``cutlayer train``. Names that are not built in are printed as they
    stand and never imported: a record may come from anywhere.
    """
    experiment = record.config.get("experiment")
    words = ["cutlayer", record.kind]
    for key, value in experiment.items() if isinstance(experiment, Mapping) else ():
        if record.kind == "train" and key in ATTACK_FIELDS:
            continue
        for text in _values(str(key), value):
            words += [f"--{str(key).replace('_', '-')}", text]
    return " ".join(map(shlex.quote, words))


def _values(key: str, value: Any) -> list[str]:
    """What stands behind each occurrence of a flag; empty where the default says it."""
    default = FIELDS[key].default if key in FIELDS else None
    if key in PARTS:
        if key == "defence":
            many = value if isinstance(value, list | tuple) else [value]
            return [_spec(key, part_of(v)) for v in many]
        spec = _spec(key, part_of(value))
        return [] if isinstance(default, Part) and spec == _spec(key, default) else [spec]
    if value is None or value == default:
        return []
    if key in OTHER_DATA:
        return [_spec("data", part_of(value))]
    if isinstance(value, Mapping):
        return [",".join(f"{k}={v}" for k, v in value.items())]
    if isinstance(value, list | tuple):
        return [str(v) for v in value]
    return [_plain(value)]


def part_of(value: Any) -> Part:
    """A part from any of the ways in which a record may hold it."""
    if isinstance(value, Mapping) and isinstance(value.get("args"), Mapping):
        return Part(str(value.get("kind")), value["args"])
    try:
        return Part.parse(value)
    except ConfigError:
        return Part(str(value))


def _spec(key: str, part: Part) -> str:
    """``kind:name=value,…`` with the arguments that differ from the defaults of a built-in."""
    kept = dict(part.args)
    if part.kind in registry(key):
        import inspect

        parameters = inspect.signature(registry(key)[part.kind]).parameters
        usual = {k: p.default for k, p in parameters.items() if k not in GIVEN[key]}
        try:
            typed = dict(canonical(key, part).args)
        except ConfigError:  # of another release: print what is there
            typed = kept
        typed = {k: typed[k] for k in sorted(typed, key=list(parameters).index)}
        kept = {k: v for k, v in typed.items() if k in part.args and v != usual.get(k)}
    args = ",".join(f"{k}={_plain(v)}" for k, v in kept.items())
    return f"{part.kind}:{args}" if args else part.kind


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_plain, value))}]"
    return repr(value) if isinstance(value, float) else str(value)  # every digit, to run again
