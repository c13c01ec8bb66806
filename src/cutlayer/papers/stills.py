"""Charts and picture figures as PNG files, for papers, slides, and readers without scripts."""

from typing import TYPE_CHECKING

from ..report import figures
from ..report.figures import as_png, literal, new_figure
from .chart import INK, MUTED, Chart, Series, View
from .gallery import Gallery

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = {"circle": "o", "square": "s", "triangle-up": "^", "x": "X", "diamond": "D", "": ""}
_DASHES = {"solid": "-", "dash": "--", "dot": ":", None: ""}


def chart_png(chart: Chart) -> bytes:
    """All views of a chart, one below the other."""
    figure = new_figure(7.4, 3.9 * len(chart.views))
    for i, view in enumerate(chart.views):
        axes = figure.add_subplot(len(chart.views), 1, i + 1)
        _draw(axes, view)
        title = chart.title if len(chart.views) == 1 else f"{chart.title}: {view.label}"
        axes.set_title(literal(title), loc="left", fontsize=10)
    return as_png(figure)


def _draw(axes: "Axes", view: View) -> None:
    for series in view.series:
        _series(axes, series)
    axes.set_xlabel(literal(view.x_title))
    axes.set_ylabel(literal(view.y_title))
    if view.x_log:
        axes.set_xscale("log")
    if view.y_range:
        axes.set_ylim(*view.y_range)
    if view.x_names:
        axes.set_xticks(range(len(view.x_names)), view.x_names, rotation=30, ha="right")
    if view.x_ticks:
        axes.set_xticks(view.x_ticks, [f"{v:,g}" for v in view.x_ticks], minor=False)
        axes.set_xticks([], minor=True)
    if view.x_percent:
        axes.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    if view.y_percent:
        axes.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e3e7ed", linewidth=0.6)
    if not view.series:
        axes.text(
            0.5, 0.5, "not run yet", transform=axes.transAxes, ha="center", color=figures.MUTED
        )
    elif any(s.listed for s in view.series):
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def _series(axes: "Axes", s: Series) -> None:
    colour = {INK: figures.INK, MUTED: figures.MUTED}.get(s.colour, s.colour)
    error = None
    if s.low and s.high:
        below = [max(y - a, 0) for y, a in zip(s.y, s.low, strict=True)]
        above = [max(b - y, 0) for y, b in zip(s.y, s.high, strict=True)]
        error = [below, above]
    axes.errorbar(
        s.x,
        s.y,
        yerr=error,
        color=colour,
        linestyle=_DASHES[s.line],
        linewidth=s.width * 0.8,
        elinewidth=1,
        capsize=2,
        marker=_MARKERS.get(s.symbol, "o"),
        markersize=5,
        label=literal(s.label) if s.listed else "_",
    )
    for x, y, near in zip(s.x, s.y, s.near, strict=False):
        axes.annotate(
            literal(near), (x, y), (6, 0), textcoords="offset points", va="center", fontsize=7
        )


def gallery_png(gallery: Gallery) -> bytes:
    """Rows of pictures with their labels, and what is missing in words."""
    heights = [1.0 if r.image is not None else 0.45 for r in gallery.rows]
    tops = [sum(heights[:i]) for i in range(len(heights) + 1)]
    images = [r.image for r in gallery.rows if r.image is not None]
    wide = max((i.width / i.height for i in images), default=10.0)
    right = wide + _COLUMN * len(gallery.columns)
    figure = new_figure(9.6, 0.62 * tops[-1] + 0.7)
    axes = figure.add_subplot()
    for row, top, height in zip(gallery.rows, tops, heights, strict=False):
        middle = top + 0.47 * height
        axes.text(-0.15, middle, literal(row.label), ha="right", va="center", fontsize=8)
        if row.image is None:
            axes.text(0, middle, literal(row.missing), va="center", fontsize=8, color=figures.MUTED)
        else:
            box = (0, 0.94 * row.image.width / row.image.height, top + 0.94, top)
            axes.imshow(
                row.image, cmap="gray", vmin=0, vmax=255, interpolation="nearest", extent=box
            )
        for j, (cell, _) in enumerate(zip(row.numbers, gallery.columns, strict=False)):
            across = wide + _COLUMN * (j + 0.5)
            axes.text(across, middle, literal(cell.text), ha="center", va="center", fontsize=8)
    for j, column in enumerate(gallery.columns):
        label, across = column.label.replace(" ", "\n", 1), wide + _COLUMN * (j + 0.5)
        axes.text(
            across, -0.1, literal(label), ha="center", va="bottom", fontsize=7, color=figures.MUTED
        )
    axes.text(
        0, -0.75 if gallery.columns else -0.15, literal(gallery.title), fontsize=9, va="bottom"
    )
    axes.set(xlim=(0, right), ylim=(tops[-1], 0), aspect="equal")
    axes.set_axis_off()
    return as_png(figure)


_COLUMN = 1.8  # width of a column of numbers, in heights of a picture
