"""Samples as pictures inside the page: PNG for images, line drawings for signals and tables."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .reading import Setting
from .reading import classes as classes_of

GROUPS = {
    "typical": "Same victims for every run",
    "best": "Leaks most",
    "worst": "Leaks least",
}
ROOM = 2_600_000  # bytes of pictures in a page, so that with plotly.js it stays under 8 MB
_STEPS = ((None, 10), (160, 10), (96, 10), (64, 8), (32, 5))  # longest side, victims shown
_CRISP = 96  # below so many pixels a side, pixels are shown as squares
Samples = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Picture:
    """One cell: an image (``uri``) or a drawing of two lines (``original``, ``rebuilt``)."""

    alt: str
    uri: str = ""
    crisp: bool = False
    original: str = ""  # points of an SVG polyline in a box of 100 by 50
    rebuilt: str = ""

    def __len__(self) -> int:
        return len(self.uri) + len(self.original) + len(self.rebuilt)


@dataclass(frozen=True)
class Strip:
    """One run's victims: the originals, where they are its own, and the reconstructions."""

    run: str
    originals: list[Picture]  # empty where the strip shares the heading's
    rebuilt: list[Picture]
    classes: list[str]


@dataclass(frozen=True)
class Panel:
    """One tab: the heading's originals, and a strip for each run."""

    group: str
    title: str
    originals: list[Picture]
    classes: list[str]
    strips: list[Strip]
    left_out: int = 0  # runs whose pictures found no room


def panels(setting: Setting, samples: Samples, room: int = ROOM) -> list[Panel]:
    """The tabs of a data set, within ``room`` bytes: smaller and fewer pictures where need be."""
    found: list[Panel] = []
    for side, show in _STEPS:
        found = [p for g in GROUPS if (p := _panel(setting, samples, g, side, show)).strips]
        if sum(map(_weight, found)) <= room:
            return found
    for panel in found:
        limit = room // len(found)
        while panel.strips and _weight(panel) > limit:
            panel.strips.pop()
    every = len(setting.runs)
    return [replace(p, left_out=every - len(p.strips)) for p in found]


def _weight(panel: Panel) -> int:
    strips = [p for s in panel.strips for p in (*s.originals, *s.rebuilt)]
    return sum(len(p) + 90 for p in (*panel.originals, *strips))


def _panel(setting: Setting, samples: Samples, group: str, side: int | None, show: int) -> Panel:
    panel = Panel(group, GROUPS[group], [], [], [])
    heading: Tensor | None = None
    for r in setting.runs:
        held = samples.get(r.id, {})
        if not {f"{group}.x", f"{group}.x_hat", f"{group}.label"} <= held.keys():
            continue
        x, x_hat = held[f"{group}.x"][:show], held[f"{group}.x_hat"][:show]
        if not len(x):
            continue
        labels = held[f"{group}.label"][:show]
        classes = [class_name(classes_of(r), int(k)) for k in labels]
        own = [_picture(t, None, side, f"original, class {c}") for t, c in _each(x, classes)]
        if group == "typical" and heading is None:
            heading = x
            panel.originals.extend(own)
            panel.classes.extend(classes)
        shared = group == "typical" and heading is not None and torch.equal(heading, x)
        rebuilt = [
            _picture(t, x[i], side, f"reconstruction, class {c}, {setting.labels[r.id]}")
            for i, (t, c) in enumerate(_each(x_hat, classes))
        ]
        panel.strips.append(Strip(r.id, [] if shared else own, rebuilt, classes))
    return panel


def _each(x: Tensor, classes: Sequence[str]) -> list[tuple[Tensor, str]]:
    return list(zip(x, classes, strict=True))


def class_name(classes: Sequence[Any], k: int) -> str:
    return str(classes[k]) if 0 <= k < len(classes) else str(k)


def _picture(t: Tensor, original: Tensor | None, side: int | None, alt: str) -> Picture:
    if t.dim() == 3:
        return Picture(alt, _png(t, side), crisp=max(t.shape[1:]) < _CRISP)
    if original is None:
        return Picture(alt, original=_points(t))
    return Picture(alt, original=_points(original), rebuilt=_points(t))


def pixels(t: Tensor) -> Tensor:
    """``(C, H, W)`` in [0, 1] to ``(H, W)`` or ``(H, W, 3)``, uint8; not a number is black."""
    t = t.detach().cpu().float().nan_to_num(0.0, 1.0, 0.0).clamp(0, 1)
    t = t if len(t) == 3 else t[:1]
    eight = (t * 255).round().to(torch.uint8).permute(1, 2, 0)
    return (eight if len(t) == 3 else eight[..., 0]).contiguous()


def _png(t: Tensor, side: int | None) -> str:
    from PIL import Image

    image = Image.fromarray(pixels(t).numpy())
    if side is not None:
        image.thumbnail((side, side), Image.Resampling.BOX)
    data = io.BytesIO()
    image.save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def line(t: Tensor, most: int = 400) -> list[float]:
    """The first channel of a signal, or the features of a row, at most ``most`` values."""
    values = (t[0] if t.dim() > 1 else t).detach().cpu().float().flatten()
    values = values.nan_to_num(0.0, 1.0, 0.0).clamp(0, 1)
    return [float(v) for v in values[:: -(-len(values) // most)]]


def _points(t: Tensor) -> str:
    values = line(t)
    step = 100 / max(len(values) - 1, 1)
    return " ".join(f"{i * step:.4g},{48 - 46 * v:.4g}" for i, v in enumerate(values))
