"""An audit as one HTML page for three readers, and its numbers and its front as files beside it."""

import base64
from importlib.resources import files
from pathlib import Path

from ..report import reading
from ..report.page import put_in_place, script_hash
from ..report.template import template
from ..threat import THREATS
from . import pictures, tables, words
from .figure import front
from .result import PROTECTABLE, Audit

RELEASED = "released"  # folder of the page about what is released


def write(audit: Audit, folder: Path, *, before: Audit | None = None) -> Path:
    """Write ``folder/index.html``, CSV files of all numbers and ``front.png`` beside it.

    The page is one file: it fetches nothing, and its security policy forbids it to. It computes
    nothing: it picks the worst of the attackers that a reader fears, and draws.

    Args:
        before: An earlier audit of the same; the page says what became better or worse since.

    Returns:
        The path of the page.

    Raises:
        OSError: the folder cannot be written.
    """
    content = {name: text.encode() for name, text in tables.csv_files(audit).items()}
    still = front(audit)
    if still is not None:
        content["front.png"] = still
    content["index.html"] = render(audit, before=before, still=still).encode()
    put_in_place(content, Path(folder), optional=("front.png",))
    if audit.released is not None:
        write(audit.released, folder / RELEASED, before=before and before.released)
    else:  # that of an earlier audit would be taken for this one's
        (folder / RELEASED / "index.html").unlink(missing_ok=True)
    return Path(folder) / "index.html"


def render(audit: Audit, *, before: Audit | None = None, still: bytes | None = None) -> str:
    """The page's text. Whatever comes from an audit is escaped by the template."""
    from plotly.offline import get_plotlyjs

    here, there = files("cutlayer.auditing"), files("cutlayer.report")
    scripts = [get_plotlyjs(), here.joinpath("page.js").read_text("utf-8")]
    scripts = scripts if audit.configurations else []  # nothing to draw, nothing to filter
    styles = [part.joinpath("page.css").read_text("utf-8") for part in (there, here)]
    verdict = words.verdict(audit)
    return template("cutlayer.auditing", "page.html.j2").render(
        audit=audit,
        before=before,
        changes=tables.changes(audit, before) if before is not None else [],
        verdict=verdict,
        released=words.verdict(audit.released) if audit.released else None,
        rows=pictures.rows(audit, verdict),
        names=pictures.names(audit),
        at_places=tables.at_places(audit),
        on_front=tables.on_front(audit),
        protected=tables.protected(audit),
        feared=tables.feared(audit),
        data=tables.chart(audit),
        raised=_raised(audit),
        environment={k: v for k, v in audit.environment.items() if k != "host"},
        PROTECTABLE=PROTECTABLE,
        THREATS=THREATS,
        NONE=words.NONE,
        words=words,
        read=reading,
        style="\n".join(styles),
        scripts=scripts,
        hashes=[script_hash(s) for s in scripts],
        still=base64.b64encode(still).decode() if still else "",
    )


def _raised(audit: Audit) -> dict[str, list[str]]:
    """Flag to the configurations, or the attackers at them, that carry it."""
    found: dict[str, list[str]] = {}
    for c in audit.configurations:
        for f in c.flags:
            found.setdefault(f, []).append(c.key)
        for a in c.attacks:
            for f in a.flags:
                found.setdefault(f, []).append(f"{a.name} at {c.key}")
    return found
