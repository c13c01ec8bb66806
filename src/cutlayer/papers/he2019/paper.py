"""He et al. 2019 as ``cutlayer reproduce`` takes it: the way into this folder.

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
    from . import guidelines, summary

    asked = guidelines.BEGIN in page.read_text("utf-8")
    (guidelines if asked else summary).write_summary(results, page)


PAPER = Paper(
    name="he2019",
    title="He et al. 2019, inversion by white-box, black-box and query-free adversaries",
    settings=(),
    tasks=_tasks,
    perform="cutlayer.papers.he2019.perform:perform",
    write_page=_write_page,
    write_summary=_write_summary,
    full="as long as the authors train, 200 and 50 epochs, and 50 for attacks",
)
