"""One HTML page that works from a mail attachment, and the files beside it."""

import base64
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..checks import APART, FLAGS
from ..record import Estimate, Record
from . import reading
from .chart import chart
from .command import command_line
from .figures import figure_files
from .glossary import glossary
from .pictures import ROOM, Samples, panels
from .reading import Setting, settings
from .story import attacked, came_out, floor_words, outcomes, threats
from .tables import csv_files
from .template import template

_WHERE = {"message": "at the cut", "answer": "from a prediction API"}  # by what is seen
_OPTIONAL = ("tradeoff.png", "reconstructions.png", "leaks-most.png", "leaks-least.png")


def write(
    records: Sequence[Record],
    samples: Samples,
    folder: Path,
    *,
    title: str = "cutlayer report",
    partial: bool = False,
) -> Path:
    """Write ``folder/index.html``, and a PNG or CSV file of each figure and table beside it.

    The page is one file: it fetches nothing, and its security policy forbids it to. Files of an
    earlier report are replaced one by one when all the new ones are written, the page last.

    Args:
        records: Runs; those with ``kind == "train"`` are listed as the networks behind.
        samples: By record id ``<group>.x`` and ``<group>.x_hat`` ``(K, ...)`` in [0, 1],
            ``<group>.victim`` and ``<group>.label`` ``(K,)``, group out of typical, best, worst
            (as the attacker sees it). Runs without samples are reported without pictures.
        partial: The run was stopped early: the page says so, and what is missing.

    Returns:
        The path of the page.

    Raises:
        ValueError: no records.
        OSError: the folder cannot be written.
    """
    if not records:
        raise ValueError("report: at least one record wanted: got none")
    every, trained = settings(records), [r for r in records if r.kind == "train"]
    content: dict[str, bytes] = {
        name: text.encode() for name, text in csv_files(every, trained).items()
    }
    figures = figure_files(every, samples)
    content |= figures
    page = render(
        every, trained, samples, title=title, partial=partial, still=figures.get("tradeoff.png")
    )
    content["index.html"] = page.encode()
    put_in_place(content, Path(folder))
    return Path(folder) / "index.html"


def put_in_place(
    content: Mapping[str, bytes], folder: Path, *, optional: Sequence[str] = _OPTIONAL
) -> None:
    """Write files by name, each moved in whole; figures left over from an earlier page go.

    Args:
        optional: Names of these figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".report.{os.getpid()}"
    try:
        aside.mkdir(exist_ok=True)
        for name, data in content.items():
            (aside / name).write_bytes(data)
        for name in content:
            os.replace(aside / name, folder / name)
        for name in optional:
            if name not in content:
                (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def render(
    every: Sequence[Setting],
    trained: Sequence[Record],
    samples: Samples,
    *,
    title: str,
    partial: bool,
    still: bytes | None = None,
) -> str:
    """The page's text. Whatever comes from a record is escaped by the template."""
    from plotly.offline import get_plotlyjs

    parts = files("cutlayer.report")
    kinds = list(dict.fromkeys(s.seen for s in every)) or ["message"]
    scripts = [get_plotlyjs(), parts.joinpath("page.js").read_text("utf-8")]
    return template("cutlayer.report", "page.html.j2").render(
        title=title,
        partial=partial,
        missing=_missing(every, trained, samples),
        trained=trained,
        sections=[_section(s, samples, ROOM // len(every)) for s in every],
        raised=_raised(every),
        FLAGS=FLAGS,
        APART=APART,
        FLOOR_WORDS=floor_words(" or ".join(kinds)),
        GLOSSARY=glossary(api="answer" in kinds),
        where=" and ".join(_WHERE[k] for k in kinds),
        read=reading,
        command_line=command_line,
        shares=_shares,
        versions=_versions,
        NONE=Estimate(value=None),
        style=parts.joinpath("page.css").read_text("utf-8"),
        scripts=scripts,
        hashes=[script_hash(s) for s in scripts],
        still=base64.b64encode(still).decode() if still else "",
    )


def script_hash(script: str) -> str:
    """How the page's security policy names the one script that it lets run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _section(setting: Setting, samples: Samples, room: int) -> dict[str, Any]:
    return {
        "setting": setting,
        "attacked": attacked(setting),
        "threats": threats(setting),
        "came_out": came_out(setting),
        "outcomes": outcomes(setting),
        "panels": panels(setting, samples, room),
        "chart": chart(setting),
        "common": setting.common_floors(),
        "floor_words": floor_words(setting.seen),
    }


def _raised(every: Sequence[Setting]) -> dict[str, list[str]]:
    """Flag to the labels of the runs that carry it, in the order of ``FLAGS``."""
    found: dict[str, list[str]] = {name: [] for name in FLAGS}
    labels = reading.full_labels(every)
    for s in every:
        for r in s.runs:
            for flag in s.flags[r.id]:
                found.setdefault(flag, []).append(labels[r.id])
    return {flag: runs for flag, runs in found.items() if runs}


def _missing(every: Sequence[Setting], trained: Sequence[Record], samples: Samples) -> list[str]:
    """What a stopped run did not get to, as far as the records show it."""
    labels, attacked = reading.full_labels(every), {r.victim for s in every for r in s.runs}
    lost = [f"the attack on {r.name} ({r.id})" for r in trained if r.id not in attacked]
    lost += [f"the pictures of {label}" for run, label in labels.items() if run not in samples]
    lost += [
        f"an undefended reference on {s.name}"
        for s in every
        if not any(map(reading.is_undefended, s.runs))
    ]
    shown = [*lost[:8], f"{len(lost) - 8} more"] if len(lost) > 9 else lost
    return shown or ["runs that had not begun when it was stopped"]


def _shares(records: Sequence[Record]) -> list[tuple[str, int, str]]:
    """Name, count and index ranges of each share, those of the first run that has it."""
    found: dict[str, tuple[str, int, str]] = {}
    for r in records:
        for name, raw in dict(r.data.get("shares") or {}).items():
            of = f" of {raw['of']}" if isinstance(raw, Mapping) and "of" in raw else ""
            found.setdefault(f"{name}{of}", _share(f"{name}{of}", raw))
    return list(found.values())


def _share(name: str, raw: Any, most: int = 4) -> tuple[str, int, str]:
    """One share; only the first few ranges."""
    pairs = _pairs(raw)
    count = raw.get("count") if isinstance(raw, Mapping) else None
    shown = ", ".join(f"{a}–{b - 1}" if b - a > 1 else str(a) for a, b in pairs[:most])
    more = f", … ({len(pairs)} ranges, all in the record)" if len(pairs) > most else ""
    total = count if isinstance(count, int) else sum(b - a for a, b in pairs)
    return name, total, shown + more


def _pairs(raw: Any) -> list[tuple[int, int]]:
    """Half-open ranges, however deep they are nested (owners, then ranges)."""
    if isinstance(raw, Mapping):
        return _pairs(raw.get("ranges", []))
    if not isinstance(raw, list | tuple):
        return []
    if len(raw) == 2 and all(isinstance(v, int) for v in raw):
        return [(raw[0], raw[1])]
    return [pair for part in raw for pair in _pairs(part)]


def _versions(every: Sequence[Record]) -> list[tuple[str, str]]:
    """Versions and machine facts of the runs, each distinct line once; no host names."""
    found: dict[tuple[str, str], None] = {}
    for r in every:
        machine = r.config.get("machine")
        facts = {"cutlayer": r.config.get("cutlayer"), **r.environment}
        facts |= machine if isinstance(machine, Mapping) else {}
        for key, value in facts.items():
            if value is not None and key not in ("host", "finished"):
                found[str(key), str(value)] = None
    return list(found)
