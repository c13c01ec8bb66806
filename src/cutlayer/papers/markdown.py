"""A summary of findings between two marked lines of a Markdown file."""

from collections.abc import Sequence
from pathlib import Path

from .claims import SIGNS, Claim
from .tables import Table

END = "<!-- end of summary -->"


def begin(paper: str) -> str:
    """The line behind which a paper's summary stands."""
    return f"<!-- summary: written by cutlayer reproduce {paper} --summary -->"


def put_between(page: Path, first: str, text: str) -> None:
    """Replace everything from the line ``first`` to the line ``END``, both included, by ``text``.

    Raises:
        ValueError: the file has no such lines.
        OSError: it cannot be read or written.
    """
    whole = page.read_text("utf-8")
    before, found, rest = whole.partition(first + "\n")
    _, end, after = rest.partition(END + "\n")
    if not found or not end:
        raise ValueError(f"--summary {page}: a line {first!r} and one {END!r} wanted: got neither")
    page.write_text(before + text + after, "utf-8")


def claim_lines(found: Sequence[Claim]) -> list[str]:
    """Claims with their verdicts as a table."""
    rows = [
        f"| {inside(c.text)} | {SIGNS.get(c.verdict, '')} {c.verdict} | {inside(c.sentence)} |"
        for c in found
    ]
    return ["| Claim | Verdict | What we found |", "|---|---|---|", *rows]


def table_lines(table: Table) -> list[str]:
    """A table as the page prints it, without what stands small in a cell.

    Rows that still wait for a run are only counted.
    """
    head = [f"{c.group}: {c.label}" if c.group else c.label for c in table.shown]
    run = [n for n in table.lines if all(cell.mark != "missing" for cell in n.cells)]
    rows = [[cell.text for _, cell in table.printed(line)] for line in run]
    every = [head, ["---"] * len(head), *rows] if run else []
    found = [f"| {' | '.join(inside(cell) for cell in row)} |" for row in every]
    left = len(table.lines) - len(run)
    waits = [f"{left} of {len(table.lines)} rows have not been run yet."] if left else []
    return [*found, *([""] if found and waits else []), *waits]


def inside(text: str) -> str:
    """Text that stays within its cell."""
    return text.replace("\n", " ").replace("|", "\\|")
