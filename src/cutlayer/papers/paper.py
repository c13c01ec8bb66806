"""What ``cutlayer reproduce`` wants of a paper. Importing this module imports no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .task import Task


@dataclass(frozen=True)
class Options:
    """What the user of ``cutlayer reproduce`` chose.

    data_root: Folder of the data files. quick: a smoke run on the embedded digits. full: as long
    as the paper trains. precision: Of the classifiers' training.
    """

    data_root: str | None = None
    quick: bool = False
    full: bool = False
    precision: str = "bfloat16"
    device: str = "cpu"


@dataclass(frozen=True)
class Paper:
    """A paper that can be reproduced. Help reads it, so its functions load torch when called.

    Args:
        name: On the command line, of the study, and of the folder of the findings.
        title: One line for help.
        settings: What ``--setting`` chooses from, in order; empty if there is but one.
        tasks: Everything that is run in these settings, in the order in which it is wanted.
        perform: "package.module:function", called in any process with the key of a task and a
            context: ``perform.perform_task`` with the paper's own functions.
        write_page: From the folder of the findings, into a folder, about these settings; returns
            the path of the page. What has not been run is said to be so.
        write_summary: From the folder of the findings, between the markers of a Markdown file.
        full: What ``--full`` makes longer, for help; empty if nothing is shorter without it.
    """

    name: str
    title: str
    settings: tuple[str, ...]
    tasks: "Callable[[Sequence[str], Options], list[Task]]"
    perform: str
    write_page: Callable[[Path, Path, Sequence[str]], Path]
    write_summary: Callable[[Path, Path], None]
    full: str = ""
