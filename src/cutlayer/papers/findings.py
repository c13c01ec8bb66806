"""What each task found, kept as one JSON file that is put in place whole."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..trained import environment
from .task import Task

SCHEMA_VERSION = 1
Found = dict[str, Any]


def is_done(task: Task, results: Path) -> bool:
    """Whether the findings of exactly this task are there."""
    kept = finding(task.key, results)
    return kept is not None and kept["address"] == task.address


def finding(key: str, results: Path) -> Found | None:
    """What a task found, or ``None`` if it has not been carried out.

    Raises:
        ValueError: the file was written by another release, or is damaged.
    """
    path = results / f"{key}.json"
    try:
        kept: Found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as e:
        raise ValueError(f"{path}: JSON wanted: {e}; delete the file and run again") from e
    if kept.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: schema_version {SCHEMA_VERSION} wanted, got {kept.get('schema_version')!r}: "
            "written by another release; delete it and run again"
        )
    return kept


def write(task: Task, results: Path, found: Found, seconds: Mapping[str, float]) -> None:
    """Put the findings in their place, whole."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "key": task.key,
        "address": task.address,
        "found": found,
        "seconds": dict(seconds),
        "environment": environment(),
    }
    path = results / f"{task.key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    aside.replace(path)


@dataclass(frozen=True)
class Findings:
    """A folder of what tasks found."""

    folder: Path

    def get(self, key: str) -> dict[str, Any] | None:
        """What the task of that key found, with its key; ``None`` if it has not been run."""
        kept = finding(key, self.folder)
        return None if kept is None else {"key": key, **kept["found"]}

    def seconds(self) -> Iterator[tuple[str, float, float]]:
        """Key, wall and CPU seconds of every task there."""
        for kept in self._every():
            yield kept["key"], kept["seconds"]["wall"], kept["seconds"]["cpu"]

    def costs(self) -> Iterator[tuple[str, float]]:
        """Key and CPU seconds of every task there, had its network not been in the store before.

        A network that was found and not trained took longer, once, than the whole task now. Left
        out are those of releases that did not note the CPU seconds of that training.
        """
        for kept in self._every():
            took = kept["seconds"]
            if took.get("train", 0.0) <= took["wall"]:
                yield kept["key"], took["cpu"]
            elif "train_cpu" in took:
                yield kept["key"], took["cpu"] + took["train_cpu"]

    def _every(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.folder.glob("*/*/*.json")):
            kept = finding(str(path.relative_to(self.folder).with_suffix("")), self.folder)
            assert kept is not None
            yield kept
