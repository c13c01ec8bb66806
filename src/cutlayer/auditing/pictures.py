"""Stolen inputs as pictures inside the page: images as PNG, signals as curves, tables as bars."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..report.pictures import line, pixels
from .result import Attacked, Audit, Configuration, Pictures
from .words import Verdict, number, title

_CRISP = 96  # below so many pixels a side, pixels are shown as squares
_LARGEST = 160  # pixels of the longer side in the page
_MOST = 8  # victims in a row


@dataclass(frozen=True)
class Drawn:
    """One sample: an image (``uri``), or what an SVG of 100 by 50 shows of it and its original."""

    alt: str
    kind: Literal["image", "curve", "bars"]
    uri: str = ""
    crisp: bool = False
    original: str = ""  # points of a polyline
    rebuilt: str = ""
    bars: tuple[tuple[float, float, float, float | None], ...] = ()  # left, width, value, original


@dataclass(frozen=True)
class Row:
    """What one attacker made of the victims."""

    label: str
    note: str
    drawn: tuple[Drawn, ...]


def rows(audit: Audit, verdict: Verdict) -> list[Row]:
    """The originals, what is stolen where nothing defends, and with the recommendation.

    Rows whose pictures were not kept are left out; without originals there is none.
    """
    originals = audit.pictures.get("originals")
    if originals is None or not originals.values:
        return []
    found = [Row("original", "", _drawn(originals, None, "original"))]
    undefended = _undefended(audit, verdict.chosen)
    for c, label in ((undefended, "stolen, undefended"), (verdict.chosen, _defended(verdict))):
        kept = _of(audit, c)
        if c is None or kept is None or (c is undefended and c is verdict.chosen):
            continue
        attacked, pictures = kept
        leaked = number(audit.protect, attacked.leakage[audit.protect].value)
        note = f"{title(c)}, {attacked.name}: {leaked}"
        found.append(Row(label, note, _drawn(pictures, originals, label)))
    return found


def _defended(verdict: Verdict) -> str:
    return "stolen, nearest setting" if verdict.answer == "no" else "stolen, as recommended"


def _undefended(audit: Audit, chosen: Configuration | None) -> Configuration | None:
    """At the same cut if that was kept, else at the one that leaks most."""
    bare = [c for c in audit.configurations if not c.defence and _of(audit, c)]
    same = [c for c in bare if chosen is not None and c.cut == chosen.cut]

    def leaks(c: Configuration) -> float:
        return c.leakage(audit.protect, audit.threats).value or 0.0

    return max(same or bare, key=leaks, default=None)


def _of(audit: Audit, c: Configuration | None) -> tuple[Attacked, Pictures] | None:
    """The worst attacker of whom pictures were kept, with these."""
    kept = [
        (a, audit.pictures[f"{c.key}|{a.run}"])
        for a in (c.attacks if c else ())
        if c and f"{c.key}|{a.run}" in audit.pictures and audit.protect in a.leakage
    ]
    return max(kept, key=lambda k: k[0].leakage[audit.protect].value or 0.0, default=None)


def _drawn(pictures: Pictures, originals: Pictures | None, what: str) -> tuple[Drawn, ...]:
    found = []
    before = _samples(originals) if originals is not None else []
    for i, t in enumerate(_samples(pictures)[:_MOST]):
        name = f"{what}, {_name(pictures, i)}"
        beside = before[i] if i < len(before) and before[i].shape == t.shape else None
        found.append(_one(t, beside, name))
    return tuple(found)


def _samples(pictures: Pictures) -> list[Tensor]:
    return [torch.tensor(v).reshape(pictures.shape) / 255 for v in pictures.values]


def _name(pictures: Pictures, i: int) -> str:
    if i < len(pictures.classes):
        return f"class {pictures.classes[i]}"
    return f"victim {pictures.victims[i]}" if i < len(pictures.victims) else f"number {i + 1}"


def names(audit: Audit) -> Sequence[str]:
    """What the columns of the pictures are called; empty where nothing is known."""
    originals = audit.pictures.get("originals")
    return () if originals is None else originals.classes[:_MOST]


def _one(t: Tensor, original: Tensor | None, alt: str) -> Drawn:
    if t.dim() == 3:
        return Drawn(alt, "image", _png(t), max(t.shape[1:]) < _CRISP)
    if t.dim() == 1:
        return Drawn(alt, "bars", bars=_bars(t, original))
    if original is None:
        return Drawn(alt, "curve", original=_points(t))
    return Drawn(alt, "curve", original=_points(original), rebuilt=_points(t))


def _png(t: Tensor) -> str:
    from PIL import Image

    image = Image.fromarray(pixels(t).numpy())
    image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BOX)
    data = io.BytesIO()
    image.save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _points(t: Tensor) -> str:
    values = line(t)
    step = 100 / max(len(values) - 1, 1)
    return " ".join(f"{i * step:.4g},{48 - 46 * v:.4g}" for i, v in enumerate(values))


def _bars(
    t: Tensor, original: Tensor | None
) -> tuple[tuple[float, float, float, float | None], ...]:
    values = line(t, 60)
    before = line(original, 60) if original is not None else [None] * len(values)
    wide = 100 / len(values)
    return tuple(
        (round(i * wide, 2), round(wide * 0.8, 2), round(46 * v, 2), None if b is None else 46 * b)
        for i, (v, b) in enumerate(zip(values, before, strict=True))
    )
