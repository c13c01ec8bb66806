"""What the page's charts show."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...record import Estimate
from ...report.figures import PALETTE
from ...report.reading import interval, number
from ..chart import INK, MUTED, Chart, Series, View
from ..findings import Findings
from . import leaks
from .comparison import figure_4
from .leaks import OURS, THEIRS, Configuration, Leak
from .settings import Name
from .tables import SHORT
from .tables_leaks import by


def every_chart(findings: Findings, settings: Sequence[Name]) -> dict[str, Chart]:
    """The page's charts by name."""
    found = [
        class_and_individual(findings),
        by_size(findings),
        noise_after_training(findings, settings),
        by_round(findings),
        front(findings),
    ]
    return {c.name: c for c in found}


def noise_after_training(findings: Findings, settings: Sequence[Name]) -> Chart:
    """Figure 4: published dashed, ours solid, other seeds thin."""
    views, waits = [], []
    for setting in settings:
        series = []
        for c, colour in zip(figure_4(findings, setting), PALETTE, strict=False):
            name = f"NoPeek {c.weight:g}"
            series.append(_curve(f"{name}, paper", colour, c.published, line="dash", symbol=""))
            series.append(_curve(f"{name}, ours", colour, c.ours))
            series += [
                _curve(f"{name}, another seed", colour, s, width=0.8, symbol="", listed=False)
                for s in c.seeds
            ]
            if not c.ours:
                waits.append(f"NoPeek {c.weight:g} ({WORDS[setting]})")
        views.append(
            View(
                WORDS[setting],
                "scale b of the noise added after training",
                "accuracy (%)",
                tuple(s for s in series if s.x),
            )
        )
    title = "Figure 4: accuracy against noise added after training"
    return Chart("figure-4", title, "Setting", tuple(views), ", ".join(waits))


WORDS: Mapping[Name, str] = {
    "authors-code": "as the authors' code did it",
    "paper": "as the text says",
}


def _curve(label: str, colour: str, points: Sequence[tuple[float, float]], **style: Any) -> Series:
    text = [f"{label}: {y:.2f} % at b = {x:g}" for x, y in points]
    return Series(label, colour, [x for x, _ in points], [y for _, y in points], text=text, **style)


def _measured(
    label: str, colour: str, metric: str, points: Sequence[tuple[float, Mapping[str, Any], str]],
    **style: Any,
) -> Series:  # fmt: skip
    """Points with an interval: x, an estimate as the findings hold it, and words."""
    kept = [(x, Estimate(**e), w) for x, e, w in points if e["value"] is not None]
    return Series(
        label,
        colour,
        [x for x, _, _ in kept],
        [float(e.value or 0.0) for _, e, _ in kept],
        [float(e.value or 0.0) if e.low is None else e.low for _, e, _ in kept],
        [float(e.value or 0.0) if e.high is None else e.high for _, e, _ in kept],
        [
            f"{w}: {SHORT.get(metric, metric)} {number(metric, e.value)} ({interval(metric, e)})"
            for _, e, w in kept
        ],
        **style,
    )


_CHOSEN = ("ssim", "read", "top1_in_class")
_AXES: Mapping[str, str] = {
    "ssim": "SSIM",
    "read": "class read by the judge",
    "top1_in_class": "individual found within its class",
}


_TWO = ((PALETTE[0], "circle"), (PALETTE[1], "square"))
Point = tuple[float, Mapping[str, Any], str]  # x, estimates by metric, words


def _curves(
    x_title: str,
    ticks: Sequence[float],
    curves: Mapping[str, Sequence[Point]],
    floors: Mapping[str, Series] | None = None,
    *,
    x_log: bool = False,
) -> tuple[View, ...]:
    """A view for each metric: a curve for each label, and the metric's floor below them."""
    views = []
    for metric in _CHOSEN:
        series = [
            _measured(
                label,
                colour,
                metric,
                [(x, scores[metric], words) for x, scores, words in points if metric in scores],
                symbol=symbol,
            )
            for (label, points), (colour, symbol) in zip(curves.items(), _TWO, strict=True)
        ]
        series += [floors[metric]] if floors else []
        views.append(
            View(
                _AXES[metric],
                x_title,
                f"{_AXES[metric]} (higher leaks more)",
                tuple(s for s in series if s.x),
                y_percent=metric != "ssim",
                x_log=x_log,
                x_ticks=tuple(float(t) for t in ticks),
            )
        )
    return tuple(views)


def by_size(findings: Findings) -> Chart:
    """Figure 3 as a curve: what both attackers get out by the size of their set."""
    found = leaks.sizes(findings)
    curves: dict[str, list[Point]] = {}
    waits = []
    for attacker, label in ((OURS, "our attacker"), (THEIRS, "the paper's attacker")):
        tried = [(n, x) for n, every in found for x in every if x.attacker == attacker]
        curves[label] = [(n, x.scores, f"{n:,} images, {attacker}") for n, x in tried]
        without = [f"{n:,}" for n, _ in found if n not in dict(tried)]
        waits += [f"{label} with {', '.join(without)} images"] if without else []
    floors = {m: _floor_by_size(found, m) for m in _CHOSEN}
    sizes = [n for n, _ in found]
    views = _curves("images in the attacker's set", sizes, curves, floors, x_log=True)
    title = "Leakage against the size of the attack set, no defence"
    return Chart("figure-3-curve", title, "Measured as", views, "; ".join(reversed(waits)))


def _floor_by_size(found: Sequence[tuple[int, Sequence[Leak]]], metric: str) -> Series:
    floors = [(float(n), every[-1].floors.get(metric)) for n, every in found if every]
    known = [(n, f) for n, f in floors if f is not None]
    return Series(
        "best floor",
        MUTED,
        [n for n, _ in known],
        [f for _, f in known],
        text=[f"best floor at {n:,.0f} images: {number(metric, f)}" for n, f in known],
        line="dash",
        width=1,
        symbol="",
    )


def by_round(findings: Findings) -> Chart:
    """What a server reads out of the messages that it kept from each epoch of training."""
    found = leaks.rounds(findings)
    curves: dict[str, list[Point]] = {}
    for who, label in (
        ("own", "attacker fitted to that epoch"),
        ("final", "attacker fitted to the last epoch"),
    ):
        kept = [(r["epoch"], r[who]) for r in found if r[who] is not None]
        curves[label] = [(e, scores, f"epoch {e}, {label}") for e, scores in kept]
    views = _curves("epoch in which the message was sent", [r["epoch"] for r in found], curves)
    waits = [f"epoch {r['epoch']}" for r in found if r["own"] is None or r["final"] is None]
    title = "Messages of earlier rounds"
    return Chart("rounds", title, "Measured as", views, ", ".join(waits))


_FAMILIES: tuple[tuple[str, str, str], ...] = (
    ("undefended", INK, "diamond"),
    ("noise after training", PALETTE[0], "circle"),
    ("noise in training and after", PALETTE[5], "square"),
    ("NoPeek", PALETTE[1], "triangle-up"),
    ("NoPeek and noise", PALETTE[2], "x"),
)


def family(c: Configuration) -> str:
    """Which defences a configuration has."""
    noisy = bool(c.noise) or c.served not in ("as-trained", "clean")
    if c.weight:
        return "NoPeek and noise" if noisy else "NoPeek"
    if not noisy:
        return "undefended"
    return "noise in training and after" if c.noise else "noise after training"


def _short(c: Configuration) -> str:
    """A configuration beside its point: only where one defence is alone."""
    scale = f"{c.noise:g}" if c.noise else c.served.rpartition("-")[2]
    name = family(c)
    return {"NoPeek": f"α {c.weight:g}", "undefended": "none", "NoPeek and noise": ""}.get(
        name, f"b {scale}"
    )


def class_and_individual(findings: Findings) -> Chart:
    """Whether a defence hides the class, the individual within it, or both."""
    configurations = leaks.grid(findings)
    views = []
    for attacker, label in ((OURS, "attacker trained through the noise"), (THEIRS, THEIRS)):

        def points(c: Configuration, attacker: str = attacker) -> Leak | None:
            x = by(c, attacker)
            return x if x and {"read", "top1_in_class"} <= x.scores.keys() else None

        series = _by_family(
            configurations, points, "top1_in_class", lambda x: x.value("read") or 0.0
        )
        views.append(
            View(label, "class read by the judge", _AXES["top1_in_class"], series, True, True)
        )
    title = "Class against individual"
    return Chart("class-and-individual-chart", title, "Attacker", tuple(views))


def front(findings: Findings) -> Chart:
    """Accuracy against the worst case of every configuration that more than a weak attacker tried.

    Where only the published attack was run, the worst case is not known.
    """
    every = leaks.grid(findings)
    configurations = [c for c in every if by(c) is not None]
    views = []
    for metric in _CHOSEN:

        def points(c: Configuration, metric: str = metric) -> Leak | None:
            return c.worst(metric)

        series = _by_family(configurations, points, metric, lambda x: x.accuracy)
        views.append(
            View(
                _AXES[metric],
                "accuracy (%)",
                f"{_AXES[metric]}, strongest attacker",
                series,
                y_percent=metric != "ssim",
            )
        )
    waits = [c.words for c in every if c not in configurations]
    missing = f"an attacker trained through the noise on: {'; '.join(waits)}" if waits else ""
    title = "Accuracy against worst-case leakage"
    return Chart("front", title, "Leakage measured as", tuple(views), missing)


def _by_family(
    configurations: Sequence[Configuration],
    point: Callable[[Configuration], Leak | None],
    metric: str,
    across: Callable[[Leak], float],
) -> tuple[Series, ...]:
    """One series of points for each family of defences; ``across`` is their x."""
    found = []
    for name, colour, symbol in _FAMILIES:
        known = [(c, x) for c in configurations if family(c) == name and (x := point(c))]
        points = [
            (across(x), x.scores[metric], f"{c.words} (accuracy {x.accuracy:.1f} %), {x.attacker}")
            for c, x in known
        ]
        if points:
            near = [_short(c) for c, _ in known]
            style: dict[str, Any] = {"line": None, "symbol": symbol, "near": near}
            found.append(_measured(name, colour, metric, points, **style))
    return tuple(found)
