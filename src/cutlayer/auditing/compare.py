"""Two audits side by side: what became better or worse beyond noise."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..errors import ConfigError
from ..record import Estimate
from .deliver import RECORD
from .page import write
from .result import Audit, from_json
from .tables import changes


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
    found = changes(new, old)
    table = Table(title=f"{before} and {after}, by leakage of {new.protect}")
    for column in ("cut", "defence", "leakage before", "after", "given up before", "after"):
        table.add_column(column, overflow="fold")
    for change in found:
        leaks = [c.leakage(new.protect, new.threats) for c in (change.earlier, change.now)]
        lost = [c.given_up for c in (change.earlier, change.now)]
        table.add_row(
            change.now.cut,
            change.now.words,
            *_pair(leaks, change.leakage_better),
            *_pair(lost, change.given_up_better),
        )
    Console().print(table)
    print(f"page: {write(new, out, before=old)}")
    return failed(new, ceiling)


def _pair(both: list[Estimate], better: bool | None) -> tuple[str, str]:
    """Two numbers, the second with what is borne out by the intervals."""
    before, after = ("–" if e.value is None else f"{100 * e.value:.1f} %" for e in both)
    return before, after + {True: ", better", False: ", worse", None: ""}[better]


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
