"""An experiment as JSON and in words: for records, labels and command lines."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .config import FIELDS, Experiment
from .parts import Part, canonical, resolve


def plain(experiment: Experiment) -> dict[str, Any]:
    """The fields as JSON values; folders of this machine, its own affair, are left out."""
    values: dict[str, Any] = {}
    for name in FIELDS:
        value = getattr(experiment, name)
        if isinstance(value, Part):
            value = asdict(value)
        elif isinstance(value, tuple):
            value = [asdict(v) if isinstance(v, Part) else v for v in value]
        values[name] = without_folders(jsonable(value))
    return values | {"data_root": None}


def jsonable(value: Any) -> Any:
    """The value with plain dictionaries, lists and text in it."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def without_folders(value: Any) -> Any:
    """File names instead of paths: a record may be published."""
    if isinstance(value, dict):
        return {without_folders(k): without_folders(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_folders(v) for v in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def defences_in_words(experiment: Experiment) -> tuple[str, ...]:
    """Each defence as a person would type it, defaults left out."""
    return tuple(str(without_defaults("defence", p)) for p in experiment.defence)


def without_defaults(field_name: str, part: Part) -> Part:
    """A canonical part with only the arguments that differ from their defaults."""
    required = {
        k
        for k, p in inspect.signature(resolve(field_name, part.kind)).parameters.items()
        if p.default is p.empty
    }
    bare = {k: v for k, v in part.args.items() if k in required}
    usual = canonical(field_name, Part(part.kind, bare)).args
    kept = {k: v for k, v in part.args.items() if k in required or v != usual[k]}
    return Part(part.kind, kept)


def name_of(experiment: Experiment) -> str:
    """A short label for tables."""
    return " + ".join(defences_in_words(experiment)) or "undefended"
