"""The reproduction as Markdown, for the documentation."""

from pathlib import Path

from ..claims import verdict
from ..findings import Findings
from ..markdown import END, begin, claim_lines, put_between, table_lines
from .claims import claims, controls
from .tables import sections

BEGIN = begin("zhou2024")


def summary(results: Path) -> str:
    """The claims and every table, between ``BEGIN`` and ``END``."""
    findings = Findings(Path(results))
    judged = claims(findings)
    parts = [BEGIN, verdict(judged), "", *claim_lines(judged), ""]
    parts += ["And three things that the paper does not claim:", ""]
    parts += [*claim_lines(controls(findings)), ""]
    for section in sections(findings):
        parts += [f"### {section.title}", "", section.about, ""]
        for sheet in section.sheets:
            caption = [f"**{sheet.caption}**", ""] if sheet.caption else []
            parts += [*caption, *table_lines(sheet), ""]
    return "\n".join([*parts, END]) + "\n"


def write_summary(results: Path, page: Path) -> None:
    """Put the summary between the markers of a Markdown file.

    Raises:
        ValueError: it has no such markers.
        OSError: it cannot be read or written.
    """
    put_between(page, BEGIN, summary(results))
