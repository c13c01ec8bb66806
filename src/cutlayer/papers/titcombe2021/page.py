"""The reproduction as one HTML page, the paper beside ours, from the folder of findings alone."""

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...checks import FLAGS
from ...report.page import put_in_place, script_hash
from ..claims import SIGNS, verdict
from ..findings import Findings
from ..gallery import Gallery
from ..page import definitions, style, template
from ..stills import chart_png, gallery_png
from ..tables import Table
from . import pictures, tables_leaks, tables_made, tables_published
from .charts import WORDS, every_chart
from .claims import claims
from .elsewhere import claims_elsewhere
from .leaks import domains, sizes
from .published import MISLABELLED
from .settings import Name
from .tasks import OTHER_DATA
from .words import COMMAND, headline, pairs

PACKAGE = "cutlayer.papers.titcombe2021"


def write_page(
    results: Path, out: Path, *, settings: Sequence[Name] = ("authors-code", "paper")
) -> Path:
    """Write ``out/index.html``, and a PNG or CSV file of each figure and table beside it.

    The page is one file that fetches nothing. What has not been run is said to be so, with the
    command that runs it; an empty folder makes a page, too.

    Args:
        results: Folder of the findings; it is only read.
        settings: Whose tables are shown.

    Returns:
        The path of the page.

    Raises:
        ValueError: a finding was written by another release, or is damaged.
        OSError: the folder cannot be written, or a picture cannot be read.
    """
    content = collect(Findings(Path(results)), settings)
    stills = {name: chart_png(c) for name, c in content["charts"].items()}
    written = {f"{name}.png": data for name, data in stills.items()}
    written |= {f"{g.name}.png": gallery_png(g) for g in _galleries(content)}
    written |= {f"{t.name}.csv": t.csv().encode() for t in _tables(content)}
    written |= {f"{c.name}.csv": c.csv().encode() for c in content["charts"].values()}
    written["index.html"] = render(content, stills).encode()
    put_in_place(written, Path(out))
    return Path(out) / "index.html"


def collect(findings: Findings, settings: Sequence[Name]) -> dict[str, Any]:
    """What the page shows: tables, charts, galleries and sentences, by name."""
    found = claims(findings)
    grid, other = tables_leaks.grid(findings), tables_leaks.other_data(findings)
    return {
        "command": COMMAND,
        "claims": found,
        "claims_table": tables_published.verdicts([(c.text, c.verdict, c.sentence) for c in found]),
        "verdict": verdict(found),
        "headline": pictures.headline(findings),
        "headline_words": headline(findings),
        "table_1": [(s, tables_published.table(findings, s)) for s in settings],
        "further": [tables_published.further(findings)] if "authors-code" in settings else [],
        "mislabelled": MISLABELLED,
        "limits": (tables_published.ACCURACY_LIMIT, tables_published.DEPENDENCE_LIMIT),
        "attacks": tables_published.attacks(findings),
        "individuals": tables_leaks.individuals(findings),
        "pairs": pairs(findings),
        "charts": every_chart(findings, settings),
        "figure_1": pictures.figure_1(findings),
        "figure_2a": pictures.figure_2a(findings),
        "figure_2a_trained": pictures.figure_2a(findings, trained=True),
        "figure_2b": pictures.figure_2b(findings),
        "figure_3": pictures.figure_3(findings),
        "sources": tables_leaks.by_source("attack-sources", "", domains(findings)),
        "sizes": tables_leaks.by_source(
            "attack-sizes", "", [(f"{n}", every) for n, every in sizes(findings)]
        ),
        "when": tables_leaks.when(findings),
        "tuned": tables_leaks.tuned(findings),
        "parties": tables_leaks.parties(findings),
        "laws": tables_leaks.laws(findings),
        "worst": tables_leaks.worst(findings),
        "grid": grid,
        "raised": _raised([grid, *other.values()]),
        "other": other,
        "elsewhere": claims_elsewhere(findings),
        "further_pictures": pictures.further_data(findings),
        "waiting_data": [name for name in OTHER_DATA if name not in other],
        "settings_table": tables_made.settings_table(),
        "attackers_table": tables_made.attackers_table(),
        "progress": tables_made.progress(findings, settings),
        "seconds": tables_made.seconds(findings),
        "environments": tables_made.environments(findings),
    }


def render(content: Mapping[str, Any], stills: Mapping[str, bytes]) -> str:
    """The page's text. Whatever comes from a finding is escaped by the template."""
    from plotly.offline import get_plotlyjs

    scripts = [get_plotlyjs(), files(PACKAGE).joinpath("page.js").read_text("utf-8")]
    return template("titcombe2021/page.html.j2").render(
        **content,
        stills={name: base64.b64encode(data).decode() for name, data in stills.items()},
        style=style(),
        scripts=scripts,
        hashes=[script_hash(s) for s in scripts],
        FLAGS=FLAGS,
        SIGNS=SIGNS,
        WORDS=WORDS,
        words=definitions(),
    )


def _raised(tables: Sequence[Table]) -> dict[str, str]:
    """Each flag that some row carries, and what it means."""
    cells = [c for t in tables for line in t.lines for c in line.cells]
    names = dict.fromkeys(f for c in cells for f in c.flags)
    return {f: FLAGS.get(f, "A flag this release does not know.") for f in names}


def _galleries(content: Mapping[str, Any]) -> list[Gallery]:
    several = ("figure_2a", "figure_2a_trained", "figure_2b", "figure_3")
    found = [content["headline"], content["figure_1"]]
    found += [g for name in several for g in content[name]]
    return [*found, *content["further_pictures"].values()]


def _tables(content: Mapping[str, Any]) -> list[Table]:
    names = (
        *("claims_table", "attacks", "individuals", "sources", "sizes", "when", "tuned"),
        *("parties", "laws", "worst", "grid", "settings_table", "attackers_table", "seconds"),
    )
    found = [content[name] for name in names]
    found += [t for _, t in content["table_1"]]
    return [*found, *content["further"], *content["other"].values(), content["progress"].table]
