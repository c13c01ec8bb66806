"""The reproduction as one HTML page, the papers beside ours, from the folder of findings alone."""

import base64
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...checks import FLAGS
from ...report.page import put_in_place
from ..findings import Findings
from .comparison import Found, Row, tables
from .published import ACCURACY, INCONSISTENCIES, UNRECOGNISABLE

PACKAGE = "cutlayer.papers.he2019"
COMMAND = "cutlayer reproduce he2019 --data-root DIR --workers 2"


def write_page(results: Path, out: Path) -> Path:
    """Write ``out/index.html``: one file that fetches nothing; what has not been run says so.

    Args:
        results: Folder of the findings; it is only read.

    Returns:
        The path of the page.

    Raises:
        ValueError: a finding was written by another release, or is damaged.
        OSError: the folder cannot be written, or a picture cannot be read.
    """
    put_in_place({"index.html": render(Path(results)).encode()}, Path(out))
    return Path(out) / "index.html"


def render(results: Path) -> str:
    """The page."""
    from jinja2 import Environment, StrictUndefined, select_autoescape

    environment = Environment(
        autoescape=select_autoescape(["html", "j2"]), undefined=StrictUndefined
    )
    template = environment.from_string((files(PACKAGE) / "page.html.j2").read_text("utf-8"))
    findings = Findings(results)
    every = tables(findings)
    return template.render(
        tables=every,
        networks=list(_networks(findings)),
        verdicts={t.name: [verdict(r) for r in t.rows] for t in every},
        strips=_strips(results, [f for t in every for r in t.rows for _, f in r.ours]),
        flags=FLAGS,
        inconsistencies=INCONSISTENCIES,
        unrecognisable=UNRECOGNISABLE,
        command=COMMAND,
    )


def verdict(row: Row) -> str:
    """Ours beside theirs in a few words; by the better of our attacks, on the ten images."""
    if not row.ours:
        return "not run yet"
    if row.published is None:
        return "not in the paper"
    best = max(f.ten_psnr for _, f in row.ours)
    gap = best - row.published[0]
    if best > 60:
        return "exact"
    if abs(gap) <= 1:
        return f"as published ({gap:+.1f} dB)"
    return f"{'stronger' if gap > 0 else 'weaker'} by {abs(gap):.1f} dB"


def _networks(findings: Findings) -> Iterator[dict[str, Any]]:
    for data, published in ACCURACY.items():
        kept = findings.get(f"{data}/classifier/seed-0")
        found = kept and kept["accuracy_on_test"]
        yield {"data": data, "published": published, "found": found}


def _strips(results: Path, found: list[Found]) -> dict[str, str]:
    """The pictures of every attack that has some, as data URLs by key."""
    paths = {f.key: results / f"{f.key}.png" for f in found}
    return {
        key: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
        for key, path in paths.items()
        if path.exists()
    }
