"""Tables of a page: printed and written as CSV from the same cells."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from ..report.tables import as_csv

NOT_RUN = "not run yet"
DASH = "–"
Mark = Literal["", "off", "worst", "missing", "null"]


@dataclass(frozen=True)
class Shown:
    """One cell: what is printed, and ``raw``, what the CSV file keeps of it.

    small: lines under it. mark: "off" differs from the paper by more than its tolerance, "worst"
    leaks most, "missing" has not been run, "null" does not apply.
    """

    text: str
    raw: tuple[Any, ...]
    small: tuple[str, ...] = ()
    mark: Mark = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """keys: headings in the CSV file, one for each of ``Shown.raw``. hidden: in that file only."""

    label: str
    keys: tuple[str, ...]
    group: str = ""
    hint: str = ""
    text: bool = False  # left-aligned
    hidden: bool = False


@dataclass(frozen=True)
class Line:
    """A row; ``heading`` stands above it, ``note`` below."""

    cells: tuple[Shown, ...]
    heading: str = ""
    note: str = ""
    reference: bool = False


@dataclass(frozen=True)
class Table:
    """name: of the CSV file. The first column that is printed heads its row."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]

    @property
    def shown(self) -> list[Column]:
        return [c for c in self.columns if not c.hidden]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings over several columns, with how many; empty without any."""
        found = [(g, len(list(c))) for g, c in groupby(self.shown, key=lambda c: c.group)]
        return found if any(g for g, _ in found) else []

    def printed(self, line: Line) -> Iterator[tuple[Column, Shown]]:
        """The cells of a row that the page shows."""
        pairs = zip(self.columns, line.cells, strict=True)
        return ((c, s) for c, s in pairs if not c.hidden)

    @property
    def missing(self) -> int:
        """Rows with something that has not been run."""
        return sum(any(c.mark == "missing" for c in line.cells) for line in self.lines)

    def csv(self) -> str:
        """Every digit kept; an empty cell is null or has not been run."""
        head = [k for c in self.columns for k in c.keys]
        return as_csv(
            (*head, "note"),
            ([v for c in line.cells for v in c.raw] + [line.note] for line in self.lines),
        )


def words(text: str) -> Shown:
    return Shown(text, (text,))


def value(
    found: float | None, digits: int, *, ran: bool = True, small: Sequence[str] = ()
) -> Shown:
    """A number; ``ran`` tells one that does not exist from one that waits for a run."""
    if found is None:
        return Shown(DASH if ran else NOT_RUN, (None,), mark="null" if ran else "missing")
    return Shown(f"{found:.{digits}f}".replace("-", "−"), (found,), tuple(small))


def difference(found: float | None, digits: int, *, limit: float) -> Shown:
    """Ours less the paper's, with its sign; marked beyond the limit."""
    if found is None:
        return Shown(DASH, (None,), mark="null")
    text = f"{found:+.{digits}f}".replace("-", "−")
    return Shown(text, (found,), mark="off" if abs(found) > limit else "")


def with_error(mean: float | None, error: float | None, *, ran: bool = True) -> Shown:
    """A mean and its standard error, as table 1 prints them; two columns of the CSV file."""
    found = value(mean, 3, ran=ran)
    small = () if mean is None or error is None else (f"± {error:.3f}",)
    return Shown(found.text, (mean, error), small, found.mark)
