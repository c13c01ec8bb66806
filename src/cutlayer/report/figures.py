"""The figures as PNG files, for papers and slides."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..record import Estimate
from .pictures import Samples, class_name, line, pixels
from .reading import FRACTIONS, NONE, Setting, is_undefended, metric, victims_from
from .reading import classes as classes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED = "#1c2430", "#6b7688"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#9a6a00", "#56b4e9", "#555555")
_MARKERS = "os^XvP*"
_MOST_ROWS = 40
_SIDE = 0.92  # of a picture, in units of its cell


def figure_files(every: Sequence[Setting], samples: Samples) -> dict[str, bytes]:
    """File name to PNG; a figure without content is left out."""
    found = {"tradeoff.png": _tradeoff(every)} if every else {}
    for group, name in (
        ("typical", "reconstructions"),
        ("best", "leaks-most"),
        ("worst", "leaks-least"),
    ):
        if png := _reconstructions(every, samples, group):
            found[f"{name}.png"] = png
    return found


def literal(text: object) -> str:
    """Text as it is: a class name is no formula."""
    return str(text).replace("$", r"\$")


def as_png(figure: "Figure") -> bytes:
    """The figure as a PNG file on white."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # class names of any script
        figure.savefig(data, format="png", dpi=150, bbox_inches="tight", facecolor="white")
    return data.getvalue()


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure in inches, outside matplotlib's own list of open ones."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _tradeoff(every: Sequence[Setting]) -> bytes:
    figure = new_figure(7, 4.6 * len(every))
    for i, setting in enumerate(every):
        _scatter(figure.add_subplot(len(every), 1, i + 1), setting)
    return as_png(figure)


def _scatter(axes: "Axes", setting: Setting) -> None:
    name = setting.primary
    for i, r in enumerate(setting.runs):
        x, y = r.utility.get(setting.worth, NONE), r.leakage.get(name, NONE)
        if x.value is None or y.value is None:
            continue
        axes.errorbar(
            x.value,
            y.value,
            xerr=_error(x),
            yerr=_error(y),
            fmt="D" if is_undefended(r) else _MARKERS[i % len(_MARKERS)],
            color=INK if is_undefended(r) else PALETTE[i % len(PALETTE)],
            capsize=2,
            linewidth=1,
            label=literal(setting.labels[r.id]),
        )
    from matplotlib.transforms import blended_transform_factory

    for floor, scores in setting.common_floors().items():
        value = scores.get(name, NONE).value
        if value is not None:
            axes.axhline(value, color=MUTED, linewidth=1, linestyle="--")
            across = blended_transform_factory(axes.transAxes, axes.transData)
            axes.text(0.01, value, literal(floor), transform=across, va="bottom", color=MUTED)
    _floors_apart(axes, setting, name)
    _name_utility(axes, setting.worth)
    axes.set_ylabel(f"{metric(name).label} ({metric(name).leaks} leaks more)")
    axes.set_title(literal(setting.name), loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def _name_utility(axes: "Axes", name: str) -> None:
    """The useful end to the right."""
    axes.set_xlabel(metric(name).label)
    if name in FRACTIONS:
        axes.xaxis.set_major_formatter(lambda v, _: f"{v:.1%}")
    if metric(name).leaks == "high":
        axes.invert_xaxis()


def _floors_apart(axes: "Axes", setting: Setting, name: str) -> None:
    """The floors that differ by run, each at its run's utility."""
    common, worth = setting.common_floors(), setting.worth
    for floor in dict.fromkeys(f for r in setting.runs for f in r.floors if f not in common):
        pairs = [
            (r.utility.get(worth, NONE).value, r.floors.get(floor, {}).get(name, NONE).value)
            for r in setting.runs
        ]
        known = [(x, y) for x, y in pairs if x is not None and y is not None]
        if known:
            label = literal(f"floor of each run: {floor}")
            axes.plot(*zip(*known, strict=True), "_", color=MUTED, markersize=12, label=label)


def _error(e: Estimate) -> list[list[float]] | None:
    if e.value is None or e.low is None or e.high is None:
        return None
    return [[max(e.value - e.low, 0)], [max(e.high - e.value, 0)]]


def _reconstructions(every: Sequence[Setting], samples: Samples, group: str) -> bytes | None:
    """Rows: the originals, then each run; where the victims differ by run, both for each."""
    rows: list[tuple[str, Tensor, Tensor, list[str]]] = []
    for setting in every:
        shown: Tensor | None = None
        for r in setting.runs:
            held = samples.get(r.id, {})
            if f"{group}.x_hat" not in held or f"{group}.x" not in held:
                continue
            x, x_hat = held[f"{group}.x"], held[f"{group}.x_hat"]
            labels = [int(k) for k in held.get(f"{group}.label", ())]
            classes = [class_name(classes_of(r), k) for k in labels]
            if shown is None or not torch.equal(shown, x):
                rows.append((f"{victims_from(r) or setting.name}: originals", x, x, classes))
                shown = x
            rows.append((setting.labels[r.id], x_hat, x, []))
    rows = rows[:_MOST_ROWS]
    columns = max((len(x) for _, x, _, _ in rows), default=0)
    if not columns:
        return None
    tops = _tops(rows)
    figure = new_figure(1.8 + 0.75 * columns, 0.75 * tops[-1])
    axes = figure.add_subplot()  # one for all cells: sixty of them take seconds
    for top, (label, x_hat, x, classes) in zip(tops, rows, strict=False):
        axes.text(-0.1, top + 0.5, literal(label), ha="right", va="center", fontsize=8)
        for j in range(len(x)):
            _draw(axes, x_hat[j], x[j], left=j, top=top)
        for j, name in enumerate(classes):
            short = name if len(name) < 16 else f"{name[:14]}…"
            axes.text(j + 0.46, top - 0.06, literal(short), ha="center", fontsize=7, color=MUTED)
    axes.set(xlim=(0, columns), ylim=(tops[-1], 0), aspect="equal")
    axes.set_axis_off()
    return as_png(figure)


def _tops(rows: Sequence[tuple[str, Tensor, Tensor, list[str]]]) -> list[float]:
    """Where each row begins, with room above those with class names, and where the last ends."""
    tops, top = [], 0.0
    for _, _, _, classes in rows:
        top += 0.4 if classes else 0.0
        tops.append(top)
        top += 1.0
    return [*tops, top]


def _draw(axes: "Axes", x_hat: Tensor, x: Tensor, *, left: int, top: float) -> None:
    """One sample in the cell whose upper left corner is (left, top)."""
    if x.dim() == 3:
        tall, wide = x.shape[1:]
        height, width = (_SIDE * side / max(tall, wide) for side in (tall, wide))
        box = (left, left + width, top + height, top)
        image = pixels(x_hat).numpy()
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest", extent=box)
        return
    lines = [(x, "#9aa4b2", 1.4)]
    if not torch.equal(x, x_hat):
        lines.append((x_hat, PALETTE[0], 0.9))
    for t, colour, width in lines:
        values = line(t)
        across = [left + _SIDE * i / max(len(values) - 1, 1) for i in range(len(values))]
        down = [top + 0.96 - 0.84 * v for v in values]
        axes.plot(across, down, color=colour, linewidth=width)
