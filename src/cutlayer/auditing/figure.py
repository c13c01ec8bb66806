"""The front as a PNG file, for papers and slides."""

from typing import TYPE_CHECKING

from ..record import Estimate
from ..report.figures import INK, MUTED, PALETTE, as_png, literal, new_figure
from .limits import ANSWERS
from .result import PROTECTABLE, Audit, Configuration

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def front(audit: Audit, *, width: float = 7, height: float = 4.6) -> bytes | None:
    """Accuracy given up against worst-case leakage, ``None`` where nothing was measured."""
    shown = [c for c in audit.configurations if _there(audit, c)]
    if not shown:
        return None
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    for i, cut in enumerate(dict.fromkeys(c.cut for c in shown)):
        for c in (c for c in shown if c.cut == cut):
            _point(axes, audit, c, PALETTE[i % len(PALETTE)])
        axes.plot([], [], "o", color=PALETTE[i % len(PALETTE)], label=_short(_place(cut)))
    _line(axes, audit, shown)
    _mark(axes, audit, shown)
    guess = audit.chance.get(audit.protect)
    if guess is not None:
        axes.axhline(guess, color=MUTED, linewidth=1, linestyle="--", label="guessing")
    given = "mean L1 distance of answers" if audit.of_answers else "accuracy given up (points)"
    axes.set_xlabel(given)
    axes.set_ylabel(f"worst case: {PROTECTABLE.get(audit.protect, audit.protect)}")
    if audit.protect != "pixels":
        axes.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return as_png(figure)


def _there(audit: Audit, c: Configuration) -> bool:
    leaked = c.leakage(audit.protect, audit.threats).value
    return leaked is not None and c.given_up.value is not None


def _at(audit: Audit, c: Configuration) -> tuple[float, float]:
    lost, leaked = c.given_up.value, c.leakage(audit.protect, audit.threats).value
    assert lost is not None
    assert leaked is not None
    return lost * _scale(c), leaked


def _scale(c: Configuration) -> float:
    """Of what is given up: percentage points, or a distance as it is."""
    return 100 if c.distortion is None else 1


def _place(cut: str) -> str:
    return cut if cut == ANSWERS else f"cut after {cut}"


def _point(axes: "Axes", audit: Audit, c: Configuration, colour: str) -> None:
    x, y = _at(audit, c)
    axes.errorbar(
        x,
        y,
        xerr=_error(c.given_up, _scale(c)),
        yerr=_error(c.leakage(audit.protect, audit.threats), 1),
        fmt="o" if c.defence else "D",
        mfc=colour if c.thorough else "white",
        color=colour,
        capsize=2,
        linewidth=1,
    )


def _line(axes: "Axes", audit: Audit, shown: list[Configuration]) -> None:
    """The front, from the least given up to the most."""
    along = sorted(_at(audit, c) for c in shown if c.key in audit.front)
    if along:
        axes.plot(*zip(*along, strict=True), color=MUTED, linewidth=1, zorder=0, label="front")


def _mark(axes: "Axes", audit: Audit, shown: list[Configuration]) -> None:
    for key, words in (
        (audit.recommendation.key, "recommended"),
        (audit.recommendation.nearest, "nearest"),
    ):
        for c in (c for c in shown if c.key == key):
            x, y = _at(audit, c)
            label = _short(f"{words}: {c.words}, {c.cut}")
            axes.plot([x], [y], "o", ms=15, mfc="none", mec=INK, label=label)


def _short(label: str) -> str:
    """As it is; a long one would leave the points no room."""
    return literal(label if len(label) < 60 else f"{label[:58]}…")


def _error(e: Estimate, scale: float) -> list[list[float]] | None:
    if e.value is None or e.low is None or e.high is None:
        return None
    return [[max(e.value - e.low, 0) * scale], [max(e.high - e.value, 0) * scale]]
