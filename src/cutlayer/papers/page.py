"""What every paper's page is made with: its templates, its style, its words."""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ..metrics import METRICS, UTILITY
from ..report.glossary import GLOSSARY
from ..report.page import put_in_place
from ..report.story import FLOOR_WORDS
from ..report.template import template as report_template
from .chart import Chart
from .gallery import Gallery
from .stills import chart_png, gallery_png
from .tables import Table

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str) -> "Template":
    """The template at ``name`` in this folder, such as ``titcombe2021/page.html.j2``.

    It escapes whatever comes from a finding, and may import ``page_parts.html.j2``.
    """
    return report_template("cutlayer.papers", name)


def put_page(
    out: Path,
    html: str,
    *,
    charts: Iterable[Chart],
    galleries: Iterable[Gallery],
    sheets: Iterable[Table],
) -> Path:
    """Write ``out/index.html``, and a PNG or CSV file of each figure and sheet beside it.

    Raises:
        OSError: the folder cannot be written.
    """
    drawn = [c for c in charts if c.views]
    written = {f"{c.name}.png": chart_png(c) for c in drawn}
    written |= {f"{c.name}.csv": c.csv().encode() for c in drawn}
    written |= {f"{g.name}.png": gallery_png(g) for g in galleries if g.count}
    written |= {f"{s.name}.csv": s.csv().encode() for s in sheets}
    written["index.html"] = html.encode()
    put_in_place(written, out)
    return out / "index.html"


def style() -> str:
    """The style of reports, and what papers' pages have beside it."""
    styles = [files("cutlayer.report"), files("cutlayer.papers")]
    return "\n".join(s.joinpath("page.css").read_text("utf-8") for s in styles)


def definitions() -> list[tuple[str, str]]:
    """Every measure and floor by name, in a sentence."""
    known = METRICS | UTILITY
    named = [(known[k].label if k in known else k, text) for k, text in GLOSSARY.items()]
    floors = [(f"floor: {k}", f"{text[0].upper()}{text[1:]}.") for k, text in FLOOR_WORDS.items()]
    return [*named, *floors]
