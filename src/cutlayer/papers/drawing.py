"""A view of a chart as SVG inside a page: it needs no script, follows the theme, and prints."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .chart import INK, MUTED, Chart, Series, View

_LEFT, _RIGHT, _TOP = 46.0, 12.0, 10.0
_DASHES = {"solid": "", "dash": "6 4", "dot": "2 3"}
_MARKERS = {  # paths around (0, 0)
    "circle": "M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0",
    "square": "M-3-3h6v6h-6z",
    "triangle-up": "M0-4l3.8 6.6h-7.6z",
    "diamond": "M0-4.2l4.2 4.2-4.2 4.2-4.2-4.2z",
    "x": "M-3-3l6 6M3-3l-6 6",
}


@dataclass(frozen=True)
class _Scale:
    """From values to places along one side."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        along = math.log if self.log else float
        share = (along(value) - along(self.low)) / (along(self.high) - along(self.low))
        return round(self.start + share * (self.end - self.start), 1)


def svg(view: View, *, width: int = 300, height: int = 200) -> Markup:
    """One view. Nothing in it is read as markup; each point says its ``text`` under the mouse."""
    bottom = 74.0 if view.x_names else 42.0
    x = _Scale(*_ends(view, "x"), _LEFT, width - _RIGHT, view.x_log)
    y = _Scale(*(view.y_range or _ends(view, "y")), height - bottom, _TOP)
    parts = [*_grid(view, x, y), *_titles(view, x, y, height)]
    for series in view.series:
        parts += _line(series, x, y)
    said = Markup('<svg class="drawn" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    label = f"{view.y_title} against {view.x_title}"
    return said.format(width, height, label, Markup("").join(parts))


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between two others.

    >>> ticks(0, 5), ticks(0, 1), ticks(6.3, 23.1)
    ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [10.0, 15.0, 20.0])
    """
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def powers(low: float, high: float) -> list[float]:
    """Powers of ten between two numbers.

    >>> powers(0.0005, 0.3)
    [0.001, 0.01, 0.1]
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [float(f"1e{i}") for i in range(first, last + 1)]


def _ends(view: View, side: str) -> tuple[float, float]:
    """The least and the greatest value, apart; nothing of a view without points."""
    if side == "x" and view.x_names:
        return -0.3, len(view.x_names) - 0.7
    values = [v for s in view.series for v in getattr(s, side)]
    if side == "y":
        values += [v for s in view.series for v in (*s.low, *s.high)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if side == "x" and view.x_log and low == high:
        return low / 2, high * 2
    room = 0.05 * (high - low) if side == "y" else 0.0
    return (low - room, high + room) if high > low else (low - 0.5, low + 0.5)


def _grid(view: View, x: _Scale, y: _Scale) -> Iterator[Markup]:
    for value in ticks(y.low, y.high):
        text = f"{value:.0%}" if view.y_percent else f"{value:g}"
        yield Markup('<path class="grid" d="M{} {}H{}"/>').format(x.start, y(value), x.end)
        yield Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
            x.start - 6, y(value) + 4, text
        )
    yield Markup('<path class="axis" d="M{} {}H{}"/>').format(x.start, y.start, x.end)
    for i, name in enumerate(view.x_names):
        turned = Markup(
            '<text transform="translate({} {}) rotate(-38)" text-anchor="end">{}</text>'
        )
        yield turned.format(x(i) + 4, y.start + 14, name)
    if view.x_names:
        return
    for value in view.x_ticks or (powers if view.x_log else ticks)(x.low, x.high):
        yield Markup('<text x="{}" y="{}" text-anchor="middle">{:g}</text>').format(
            x(value), y.start + 16, value
        )


def _titles(view: View, x: _Scale, y: _Scale, height: int) -> Iterator[Markup]:
    middle = (x.start + x.end) / 2
    title = Markup('<text class="title" x="{}" y="{}" text-anchor="middle">{}</text>')
    yield title.format(middle, height - 6, view.x_title)
    turned = Markup('<text class="title" transform="{}" text-anchor="middle">{}</text>')
    yield turned.format(f"translate(11 {(y.start + y.end) / 2}) rotate(-90)", view.y_title)


def _line(s: Series, x: _Scale, y: _Scale) -> Iterator[Markup]:
    """A series: its line, intervals and marks, in its colour."""
    places = [(x(a), y(min(max(b, y.low), y.high))) for a, b in zip(s.x, s.y, strict=True)]
    yield Markup('<g style="color:{}">').format(colour(s))
    if s.line and len(places) > 1:
        points = " ".join(f"{a},{b}" for a, b in places)
        line = Markup('<polyline points="{}" stroke-width="{}" stroke-dasharray="{}"/>')
        yield line.format(points, s.width, _DASHES[s.line])
    for (a, _), low, high in zip(places, s.low, s.high, strict=False):
        yield Markup('<path class="interval" d="M{} {}V{}"/>').format(a, y(low), y(high))
    yield from _marks(s, places)
    yield Markup("</g>")


def _marks(s: Series, places: Sequence[tuple[float, float]]) -> Iterator[Markup]:
    if not s.symbol:
        return
    texts = [*s.text, *[""] * (len(places) - len(s.text))]
    for (a, b), text in zip(places, texts, strict=True):
        mark = Markup('<path class="mark" d="{}" transform="translate({} {})">{}</path>')
        said = Markup("<title>{}</title>").format(text) if text else ""
        yield mark.format(_MARKERS[s.symbol], a, b, said)


def colour(s: Series) -> str:
    """As CSS takes it."""
    return {INK: "var(--ink)", MUTED: "var(--muted)"}.get(s.colour, s.colour)


def key(s: Series) -> Markup:
    """A short piece of the line with its mark, for a legend."""
    line = (
        f'<path d="M0 7H30" stroke-width="{s.width}" stroke-dasharray="{_DASHES[s.line]}"/>'
        if (s.line)
        else ""
    )
    mark = (
        f'<path class="mark" d="{_MARKERS[s.symbol]}" transform="translate(15 7)"/>'
        if (s.symbol)
        else ""
    )
    whole = Markup('<svg class="drawn key" viewBox="0 0 30 14" style="color:{}">{}</svg>')
    return whole.format(colour(s), Markup(line + mark))


def legend(charts: Sequence[Chart]) -> list[tuple[Markup, str]]:
    """What the lines of several charts mean, each once."""
    found: dict[str, Markup] = {}
    for s in (s for c in charts for v in c.views for s in v.series if s.listed):
        found.setdefault(s.label, key(s))
    return [(mark, label) for label, mark in found.items()]
