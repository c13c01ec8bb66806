"""Titcombe et al. 2021 as ``cutlayer reproduce`` takes it: the way into this folder.

What needs torch or plotly is imported when it is called, so that help is quick.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..paper import Options, Paper
from .settings import NAMES, Name

if TYPE_CHECKING:
    from ..task import Task


def _tasks(settings: Sequence[str], options: Options) -> "list[Task]":
    from . import tasks

    return tasks.tasks(_names(settings), options)


def _write_page(results: Path, out: Path, settings: Sequence[str]) -> Path:
    from .page import write_page

    return write_page(results, out, settings=_names(settings))


def _write_summary(results: Path, page: Path) -> None:
    from .summary import write_summary

    write_summary(results, page)


def _names(settings: Sequence[str]) -> tuple[Name, ...]:
    return tuple(n for n in NAMES if n in settings)


PAPER = Paper(
    name="titcombe2021",
    title="Titcombe et al. 2021, noise and NoPeek at the cut",
    settings=NAMES,
    tasks=_tasks,
    perform="cutlayer.papers.titcombe2021.perform:perform",
    write_page=_write_page,
    write_summary=_write_summary,
)
