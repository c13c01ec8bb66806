"""A summary of findings between two marked lines of a Markdown file."""

from pathlib import Path

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
