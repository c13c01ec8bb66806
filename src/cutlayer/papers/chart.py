"""A chart as plain data: drawn by a page's script, as SVG in a page, and as a PNG file."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..report.tables import as_csv

INK, MUTED = "ink", "muted"  # colours that follow the page's theme
Dash = Literal["solid", "dash", "dot"]


@dataclass(frozen=True)
class Series:
    """Points of one kind. ``low`` and ``high`` bound an interval, or are empty."""

    label: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    text: Sequence[str] = ()  # to read over a point
    near: Sequence[str] = ()  # beside a point
    line: Dash | None = "solid"  # None: points alone
    width: float = 2
    symbol: str = "circle"  # "" draws none
    listed: bool = True  # in the legend


@dataclass(frozen=True)
class View:
    """One drawing of a chart; the reader chooses among several by label, or sees all.

    x_names: in words what stands at 0, 1, … on a scale that counts nothing.
    """

    label: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    x_percent: bool = False
    y_percent: bool = False
    x_ticks: tuple[float, ...] = ()
    x_log: bool = False
    x_names: tuple[str, ...] = ()
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Chart:
    """name: of its PNG and CSV files. missing: what of ours has not been run, in words."""

    name: str
    title: str
    choice: str
    views: tuple[View, ...]
    missing: str = ""

    @property
    def empty(self) -> bool:
        return not any(s.x for v in self.views for s in v.series)

    @property
    def drawn(self) -> list[dict[str, Any]]:
        """The views as the page's script takes them."""
        return [asdict(v) for v in self.views]

    def csv(self) -> str:
        """Every point, every digit."""
        rows: list[tuple[Any, ...]] = []
        for v in self.views:
            for s in v.series:
                blank = [None] * len(s.x)
                cells = (s.x, s.y, s.low or blank, s.high or blank, s.text or blank)
                rows += [(v.label, s.label, *c) for c in zip(*cells, strict=True)]
        return as_csv(("view", "series", "x", "y", "low", "high", "point"), rows)
