"""Two audits side by side: what became better or worse beyond noise."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..errors import ConfigError
from .deliver import RECORD
from .page import write
from .result import Audit, Configuration, from_json
from .tables import changes
from .words import given_up, number


def compared(before: Path, after: Path, *, out: Path, ceiling: float | None) -> int:
    """Print the changes and write the page of the later audit with them; the exit code.

    Raises:
        ConfigError: one of them is no audit, or they cannot be compared.
    """
    from .command import failed

    old, new = read(before), read(after)
    if old.protect != new.protect:
        raise ConfigError(
            f"compare: two audits that protect the same wanted: got {old.protect} and {new.protect}"
        )
    if old.of_answers != new.of_answers:
        one, other = ("what is released" if a.of_answers else "cuts" for a in (old, new))
        raise ConfigError(f"compare: two audits of the same wanted: got one of {one} and {other}")
    Console().print(_table(old, new, title=f"{before} and {after}, by leakage of {new.protect}"))
    if old.released is not None and new.released is not None:
        Console().print(_table(old.released, new.released, title="what is released"))
    for said, audit in (("before", old), ("after", new)):
        print(f"recommended {said}: {audit.recommendation.key or 'nothing'}")
    print(f"page: {write(new, out, before=old)}")
    return failed(new, ceiling)


def _table(old: Audit, new: Audit, *, title: str) -> Table:
    """What both have, row by row."""
    table = Table(title=title)
    for column in ("cut", "defence", "leakage before", "after", "given up before", "after"):
        table.add_column(column, overflow="fold")
    for change in changes(new, old):
        both = (change.earlier, change.now)
        table.add_row(
            change.now.cut,
            change.now.words,
            *_marked([_leaks(c, new) for c in both], change.leakage_better),
            *_marked([given_up(c) for c in both], change.given_up_better),
        )
    many = f"{table.row_count} of {len(old.configurations)} and {len(new.configurations)}"
    table.caption = f"in both: {many}; a leakage rises, too, where more attackers looked"
    return table


def _leaks(c: Configuration, audit: Audit) -> str:
    return number(audit.protect, c.leakage(audit.protect, audit.threats).value)


def _marked(both: list[str], better: bool | None) -> tuple[str, str]:
    """Two numbers, the second with what is borne out by the intervals."""
    return both[0], both[1] + {True: ", better", False: ", worse", None: ""}[better]


def read(path: Path) -> Audit:
    """An audit from its folder or its file.

    Raises:
        ConfigError: there is none.
    """
    file = path / RECORD if path.is_dir() else path
    try:
        return from_json(file.read_text(), source=str(file))
    except OSError as e:
        raise ConfigError(f"{file}: an audit wanted: {e.strerror or e}") from e
