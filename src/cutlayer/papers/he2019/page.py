"""The reproduction as one HTML page, the papers beside ours, from the folder of findings alone."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ...checks import FLAGS
from ..claims import SIGNS, verdict
from ..drawing import legend, svg
from ..findings import Findings
from ..page import definitions, put_page, style, template
from . import pictures
from .claims import NAMES, claims
from .comparison import Found, Row, Table, is_full
from .guidelines import SIGNS as GUIDELINE_SIGNS
from .guidelines import guidelines
from .maker import classifier_key
from .published import ACCURACY, INCONSISTENCIES, UNRECOGNISABLE
from .tables import tables

COMMAND = "cutlayer reproduce he2019 --data-root DIR --workers 2"


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
        charts=[c for t in content["tables"] for c in t.charts],
        galleries=content["overview"],
        sheets=[s for t in content["tables"] for s in t.sheets],
    )


def collect(findings: Findings) -> dict[str, Any]:
    """What the page shows: claims, tables, galleries and sentences, by name."""
    every = tables(findings)
    attacks = [f for t in every for r in t.rows for _, f in r.ours]
    networks = list(_networks(findings))
    judged, overview = claims(findings), pictures.overview(findings)
    return {
        "command": COMMAND + (" --full" if is_full(findings) else ""),
        "quick": any(n["data"] == "digits" for n in networks),
        "networks": networks,
        "claims": judged,
        "verdict": verdict(judged),
        "overview": overview,
        "waiting": [g.title for g in overview if g.missing or not g.count],
        "tables": every,
        "groups": {t.name: _groups(t) for t in every},
        "legends": {t.name: legend(t.charts) for t in every},
        "strips": pictures.uris(findings.folder, attacks),
        "raised": _raised(attacks),
        "guidelines": guidelines(findings),
        "inconsistencies": INCONSISTENCIES,
    }


def render(content: dict[str, Any]) -> str:
    """The page's text. Whatever comes from a finding is escaped by the template."""
    return template("he2019/page.html.j2").render(
        **content,
        style=style(),
        svg=svg,
        verdict_on=beside,
        victims=_victims,
        unrecognisable=UNRECOGNISABLE,
        words=definitions(),
        FLAGS=FLAGS,
        GUIDELINE_SIGNS=GUIDELINE_SIGNS,
        NAMES=NAMES,
        SIGNS=SIGNS,
    )


def beside(row: Row) -> str:
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


def _victims(table: Table) -> str:
    """How many were attacked, in words."""
    counts = sorted({f.victims for r in table.rows for _, f in r.ours})
    return f"{' or '.join(map(str, counts))} victims" if counts else "all victims"


def _groups(table: Table) -> list[tuple[str, list[Row]]]:
    """The rows by place, those of one cut together, in the order of their first."""
    places = list(dict.fromkeys((r.data, r.cut) for r in table.rows))
    rows = sorted(table.rows, key=lambda r: places.index((r.data, r.cut)))
    found = groupby(rows, key=lambda r: f"{NAMES[r.data]}, {r.cut}")
    return [(place, list(of)) for place, of in found]


def _networks(findings: Findings) -> Iterator[dict[str, Any]]:
    for data, published in ACCURACY.items():
        kept = findings.get(classifier_key(data))
        known: dict[str, Any] = {"name": NAMES[data], "published": published, "found": None}
        if kept is not None:
            record = kept["record"]
            known |= {
                "found": kept["accuracy_on_test"],
                "epochs": len(record["training"]["epochs"]),
            }
        yield known | {"data": data if kept is None else kept["record"]["data"]["name"]}


def _raised(found: Sequence[Found]) -> dict[str, str]:
    """Each flag that some attack carries, and what it means."""
    names = dict.fromkeys(flag for f in found for flag in f.flags)
    return {n: FLAGS.get(n, "A flag this release does not know.") for n in names}
