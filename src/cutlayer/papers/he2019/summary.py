"""The reproduction as Markdown, for the documentation."""

from pathlib import Path

from ..claims import verdict
from ..findings import Findings
from ..markdown import END, begin, claim_lines, put_between, table_lines
from .claims import claims
from .comparison import Found, Row, Table
from .tables import tables

BEGIN = begin("he2019")
_HEAD = (
    "| Data, cut | Case | Published PSNR / SSIM | Attack | Ten images: PSNR / SSIM "
    "(their SSIM) | All victims: PSNR / SSIM [95 %] | Best floor, SSIM | Accuracy |"
)


def summary(results: Path) -> str:
    """The claims and every table, between ``BEGIN`` and ``END``."""
    findings = Findings(Path(results))
    judged = claims(findings)
    parts = [BEGIN, verdict(judged), "", *claim_lines(judged), ""]
    for table in tables(findings):
        parts += [f"### {table.title}", "", table.about, "", *_lines(table), ""]
        for sheet in table.sheets:
            caption = [f"**{sheet.caption}**", ""] if sheet.caption else []
            parts += [*caption, *table_lines(sheet), ""]
    return "\n".join([*parts, END]) + "\n"


def _lines(table: Table) -> list[str]:
    """Its rows; what has not been run is counted."""
    rule = "|---" * (_HEAD.count(" | ") + 1) + "|"
    run = [line for r in table.rows for line in _row(r)]
    missing = sum(not r.ours for r in table.rows)
    left = [f"{missing} of {len(table.rows)} rows have not been run yet."] if missing else []
    return [*([_HEAD, rule, *run] if run else []), *(["", *left] if run else left)]


def _row(row: Row) -> list[str]:
    stated = "–" if row.published is None else "{:.2f} / {:.3f}".format(*row.published)
    first = f"| {row.data}, {row.cut} | {row.case} | {stated} |"
    return [f"{first} {label} | {cells(found)} |" for label, found in row.ours]


def cells(f: Found) -> str:
    """What we found, as the last columns of a row."""
    ten = f"{f.ten_psnr:.2f} / {f.ten_ssim:.3f} ({f.ten_published_ssim:.3f})"
    many = f"{f.psnr[0]:.2f} / {f.ssim[0]:.3f} [{f.ssim[1]:.3f}, {f.ssim[2]:.3f}], n = {f.victims}"
    return f"{ten} | {many} | {f.floor_ssim:.3f} | {100 * f.accuracy:.1f} %"


def write_summary(results: Path, page: Path) -> None:
    """Put the summary between the markers of a Markdown file.

    Raises:
        ValueError: it has no such markers.
        OSError: it cannot be read or written.
    """
    put_between(page, BEGIN, summary(results))
