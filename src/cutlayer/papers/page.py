"""What every paper's page is made with: its templates, its style, its words."""

from importlib.resources import files
from typing import TYPE_CHECKING

from ..metrics import METRICS, UTILITY
from ..report.glossary import GLOSSARY
from ..report.story import FLOOR_WORDS

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str) -> "Template":
    """The template at ``name`` in this folder, such as ``titcombe2021/page.html.j2``.

    It escapes whatever comes from a finding, and may import ``page_parts.html.j2``.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cutlayer.papers", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


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
