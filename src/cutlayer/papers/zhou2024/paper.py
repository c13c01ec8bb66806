"""Zhou et al. 2024 as ``cutlayer reproduce`` takes it: the way into this folder.

What needs torch is imported when it is called, so that help is quick.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..paper import Options, Paper

if TYPE_CHECKING:
    from ..task import Task


def _tasks(settings: Sequence[str], options: Options) -> "list[Task]":
    from . import tasks

    return tasks.tasks(options)


def _write_page(results: Path, out: Path, settings: Sequence[str]) -> Path:
    from .page import write_page

    return write_page(results, out)


def _write_summary(results: Path, page: Path) -> None:
    from .summary import write_summary

    write_summary(results, page)


PAPER = Paper(
    name="zhou2024",
    title="Zhou et al. 2024, a prediction API that poisons its attackers' training data",
    settings=(),
    tasks=_tasks,
    perform="cutlayer.papers.zhou2024.perform:perform",
    write_page=_write_page,
    write_summary=_write_summary,
)
