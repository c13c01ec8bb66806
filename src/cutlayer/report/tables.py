"""The tables: CSV files, and the one that the command line prints."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..checks import FLAGS
from ..record import Estimate, Record
from .command import command_line
from .reading import (
    NONE,
    Setting,
    attacker,
    best_floor,
    full_labels,
    interval,
    metric,
    number,
    repeats,
    settings,
)

if TYPE_CHECKING:
    from rich.table import Table

_ESTIMATE = ("value", "low", "high", "n", "worst")


def csv_files(every: Sequence[Setting], trained: Sequence[Record]) -> dict[str, str]:
    """File name to content, every digit kept; an empty cell is null."""
    runs = [(s, r) for s in every for r in s.runs]
    about = ("run", "name", "data", "threat")

    def of(s: Setting, r: Record) -> tuple[Any, ...]:
        return (r.id, s.labels[r.id], s.data, r.threat.get("name"))

    return {
        "runs.csv": as_csv(
            (*about, "attack", "repeats", "queries", "flags", "command"),
            (
                (
                    *of(s, r),
                    attacker(r),
                    repeats(r),
                    r.threat.get("queries"),
                    " ".join(s.flags[r.id]),
                    command_line(r),
                )
                for s, r in runs
            ),
        ),
        "utility.csv": as_csv(
            (*about, "metric", *_ESTIMATE),
            ((*of(s, r), m, *_cells(e)) for s, r in runs for m, e in r.utility.items()),
        ),
        "leakage.csv": as_csv(
            (*about, "attack", "repeats", "metric", *_ESTIMATE, "advantage"),
            (
                (
                    *of(s, r),
                    attacker(r),
                    repeats(r),
                    m,
                    *_cells(e),
                    r.advantage.get(m),
                )
                for s, r in runs
                for m, e in r.leakage.items()
            ),
        ),
        "floors.csv": as_csv(
            (*about, "floor", "metric", *_ESTIMATE),
            (
                (*of(s, r), floor, m, *_cells(e))
                for s, r in runs
                for floor, scores in r.floors.items()
                for m, e in scores.items()
            ),
        ),
        "flags.csv": as_csv(
            (*about, "flag", "meaning"),
            ((*of(s, r), f, FLAGS.get(f, "")) for s, r in runs for f in s.flags[r.id]),
        ),
        "networks.csv": as_csv(
            ("run", "name", "data", "metric", *_ESTIMATE),
            (
                (r.id, r.name, r.data.get("name"), m, *_cells(e))
                for r in trained
                for m, e in r.utility.items()
            ),
        ),
    }


def _cells(e: Estimate) -> tuple[Any, ...]:
    return tuple(getattr(e, k) for k in _ESTIMATE)


def as_csv(head: Sequence[str], rows: Any) -> str:
    """The text of a CSV file that a spreadsheet may open; ``None`` is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_inert(cell) for cell in row] for row in rows)
    return text.getvalue()


def _inert(cell: Any) -> Any:
    """Text that a spreadsheet will not take for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in tuple("=+-@\t\r") else cell


def terminal_table(records: Sequence[Record]) -> "Table":
    """Attack runs as a ``rich`` table: name, utility, leakage [interval], floor, read, flags.

    The utility is the accuracy, and of a prediction API the distortion: a table of 80 columns has
    no room for more. The leakage is SSIM, and the MSE where there is no SSIM; the floor is the
    best one. Flags are numbered and explained under the table. Nothing in a record is read as
    markup.
    """
    from rich.table import Table
    from rich.text import Text

    every = settings(records)
    names = list(dict.fromkeys(s.primary for s in every)) or ["ssim"]
    raised = list(dict.fromkeys(f for s in every for r in s.runs for f in s.flags[r.id]))
    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    table.add_column("run", overflow="fold", min_width=12)
    worth = [n for n in ("accuracy", "l1_distortion") if any(n in s.utility for s in every)]
    labels = full_labels(every)
    for name in worth:
        table.add_column(metric(name).label.replace(" ", "\n"), justify="right", no_wrap=True)
    for name in names:
        table.add_column(f"{metric(name).label} [95 %]", justify="right", no_wrap=True)
    for column in ("floor", "read"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("flags", no_wrap=True)
    for setting in every:
        for r in setting.runs:
            cells = [labels[r.id], *(number(n, r.utility.get(n, NONE).value) for n in worth)]
            cells += [_bracketed(n, r.leakage) if n == setting.primary else "" for n in names]
            flags = sorted(raised.index(f) + 1 for f in setting.flags[r.id])
            cells += [*_floor_and_read(setting, r), " ".join(map(str, flags)) or "none"]
            table.add_row(*map(Text, cells))
    lines = [f"{i}  {f}: {FLAGS.get(f, '')}" for i, f in enumerate(raised, 1)]
    table.caption = Text("\n" + "\n".join(lines), style="not italic dim") if lines else None
    return table


def _floor_and_read(setting: Setting, r: Record) -> tuple[str, str]:
    floor = best_floor(setting.primary, r.floors)[1]
    read = r.leakage.get("read", NONE)
    return number(setting.primary, floor.value), number("read", read.value)


def _bracketed(name: str, scores: Mapping[str, Estimate]) -> str:
    e = scores.get(name, NONE)
    spread = interval(name, e).replace(" … ", ", ")
    return f"{number(name, e.value)} [{spread}]" if spread else number(name, e.value)
