"""One task of a paper: an experiment, what is done with it, and where the finding goes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..described import jsonable, without_folders
from ..record import address


@dataclass(frozen=True)
class Task:
    """One trial of the study.

    key: where its finding goes, as place/kind/name: a setting or data set; what tasks of about the
    same length share; the rest. run: which of the paper's functions carries it out. experiment:
    plain values. after: keys of tasks whose networks it needs. revision: of what the paper's tasks
    compute; raise it, and finished tasks are done anew.
    """

    key: str
    run: str
    experiment: Mapping[str, Any]
    after: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    revision: int = field(kw_only=True)

    def __post_init__(self) -> None:
        if self.key.count("/") != 2:
            raise ValueError(f"a task's key must be place/kind/name: got {self.key!r}")

    @property
    def address(self) -> str:
        """Equal for tasks that find the same, whatever folder or machine they run on."""
        kept = {k: v for k, v in self.experiment.items() if k not in ("data_root", "device")}
        return address(
            without_folders(
                jsonable(
                    {
                        "revision": self.revision,
                        "run": self.run,
                        "experiment": kept,
                        "options": self.options,
                    }
                )
            )
        )


def place_of(key: str) -> str:
    """The setting or data set of a task.

    >>> place_of("mnist/classifier/seed-1")
    'mnist'
    """
    return key.split("/")[0]


def kind_of(key: str) -> str:
    """What tasks of about the same length share.

    >>> kind_of("mnist/classifier/seed-1")
    'classifier'
    """
    return key.split("/")[1]
