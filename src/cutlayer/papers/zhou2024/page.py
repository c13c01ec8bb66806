"""The reproduction as one HTML page, the paper's claims beside ours, from the findings alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...checks import FLAGS
from ..claims import SIGNS, verdict
from ..drawing import legend, svg
from ..findings import Findings
from ..page import definitions, put_page, style, template
from . import pictures
from .claims import claims, controls
from .comparison import every, undefended
from .settings import NAMES
from .tables import sections

COMMAND = "cutlayer reproduce zhou2024 --data-root DIR --workers 2"


def write_page(results: Path, out: Path) -> Path:
    """Write ``out/index.html``, and a PNG or CSV file of each figure and sheet beside it.

    The page is one file that fetches nothing and runs no script; what has not been run says so.

    Args:
        results: Folder of the findings; it is only read.

    Returns:
        The path of the page.

    Raises:
        ValueError: a finding was written by another release, or is damaged.
        OSError: the folder cannot be written, or a picture cannot be read.
    """
    content = collect(Findings(Path(results)))
    return put_page(
        Path(out),
        render(content),
        charts=[c for s in content["sections"] for c in s.charts],
        galleries=content["overview"],
        sheets=[t for s in content["sections"] for t in s.sheets],
    )


def collect(findings: Findings) -> dict[str, Any]:
    """What the page shows: claims, sections, galleries and sentences, by name."""
    parts, judged = sections(findings), claims(findings)
    overview, networks = pictures.overview(findings), list(_networks(findings))
    return {
        "command": COMMAND,
        "quick": any(n["data"] == "digits" for n in networks),
        "networks": networks,
        "claims": judged,
        "controls": controls(findings),
        "verdict": verdict(judged),
        "overview": overview,
        "waiting": [g.title for g in overview if g.missing or not g.count],
        "sections": parts,
        "legends": {s.name: legend(s.charts) for s in parts},
        "raised": _raised(findings),
    }


def render(content: dict[str, Any]) -> str:
    """The page's text. Whatever comes from a finding is escaped by the template."""
    return template("zhou2024/page.html.j2").render(
        **content, style=style(), svg=svg, words=definitions(), FLAGS=FLAGS, SIGNS=SIGNS
    )


def _networks(findings: Findings) -> Iterator[dict[str, Any]]:
    for data, name in NAMES.items():
        kept, base = findings.get(f"{data}/classifier/seed-0"), undefended(findings, data)
        known: dict[str, Any] = {"name": name, "found": None, "data": data, "ece": None}
        if kept is not None:
            known |= {"found": kept["accuracy_on_test"], "data": kept["record"]["data"]["name"]}
        yield known | {"ece": None if base is None else base.ece}


def _raised(findings: Findings) -> dict[str, str]:
    """Each flag that some attack carries, and what it means."""
    found = (m for data in NAMES for m in every(findings, data))
    names = dict.fromkeys(f for m in found for a in m.by.values() for f in a.flags)
    return {n: FLAGS.get(n, "A flag this release does not know.") for n in names}
