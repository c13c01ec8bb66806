"""What the page draws: the front, poisoned vectors in the plane, and the proposition's steps."""

from collections.abc import Iterator
from typing import Any

from ...report.figures import PALETTE
from ..chart import MUTED, Chart, Series, View
from ..findings import Findings
from .comparison import alike, ceiling, factor, undefended
from .defences import BOTH, CONTROLS, OURS, PAPER, RIVALS, named
from .front import Candidate, candidates, front
from .tasks import DEFENSIVE, SHOWN

_GROUPS = {
    PAPER: (PALETTE[0], "circle"),
    RIVALS: (PALETTE[1], "square"),
    CONTROLS: (PALETTE[2], "triangle-up"),
    BOTH: (PALETTE[3], "diamond"),
    OURS: (PALETTE[4], "x"),
}


def front_charts(findings: Findings) -> list[Chart]:
    """Every label-preserving defence on MNIST: how much safer, for how much change."""
    found = candidates(findings, "mnist")
    if not found:
        return [Chart("front", "Leakage against distortion, MNIST", "", (), "the attacks on MNIST")]
    views = tuple(
        View(title, title, _GROWN, _points(findings, found, by), x_log=by != "ece")
        for by, title in (
            ("farthest", "largest L1 distance"),
            ("l1", "mean L1 distance"),
            ("ece", "calibration error"),
        )
    )
    return [Chart("front", "Leakage against distortion, MNIST", "", views)]


_GROWN = "error of the strongest, × undefended"


def _points(findings: Findings, found: list[Candidate], by: str) -> tuple[Series, ...]:
    series = []
    for group, (colour, symbol) in _GROUPS.items():
        mine = [c for c in found if c.measured.defence.group == group]
        x = [float(getattr(c.measured, by)) for c in mine]
        text = [f"{c.measured.defence.label}: {c.factor:.2f}×" for c in mine]
        y = [c.factor for c in mine]
        series.append(Series(group, colour, x, y, text=text, line=None, symbol=symbol))
    every = [x for s in series for x in s.x]
    ends = [min(every), max(every)]
    best = front(found, by)
    x, y = [float(getattr(c.measured, by)) for c in best], [c.factor for c in best]
    series.append(Series("front", MUTED, x, y, symbol="", width=1.5))
    limit, base = ceiling(findings, "mnist"), undefended(findings, "mnist")
    if limit is not None and base is not None:
        y = [factor(alike(limit), alike(base))] * 2
        series.append(Series("the label alone", MUTED, ends, y, line="dot", symbol="", width=1))
    return tuple(series)


def vector_charts(findings: Findings) -> Iterator[Chart]:
    """Clean and released vectors of the same inputs in two dimensions."""
    looks = (("pca", "vectors"), ("t-sne", "vectors"), ("t-sne", "logarithms"))
    for name in SHOWN:
        kept, label = findings.get(f"mnist/vectors/{name}"), named(name, "mnist").label
        if kept is None:
            yield Chart(f"vectors-{name}", label, "", (), "these vectors")
            continue
        views = tuple(_plane(kept["points"][method], method, look) for method, look in looks)
        yield Chart(f"vectors-{name}", label, "", views)


def _plane(points: dict[str, Any], method: str, look: str) -> View:
    series = tuple(
        Series(
            kind,
            colour,
            [p[0] for p in points[look][kind]],
            [p[1] for p in points[look][kind]],
            line=None,
            symbol=symbol,
        )
        for kind, colour, symbol in (
            ("clean", PALETTE[2], "circle"),
            ("released", PALETTE[1], "x"),
        )
    )
    title = f"{'PCA' if method == 'pca' else 't-SNE'} of {look}"
    return View(title, title, "", series)


def descent_charts(findings: Findings) -> Iterator[Chart]:
    """An attacker's training on clean, on noisy and on poisoned vectors, epoch by epoch."""
    for loss in DEFENSIVE:
        kept = findings.get(f"mnist/proposition/{loss}")
        if kept is None:
            yield Chart(f"proposition-{loss}", loss, "", (), "these trainings")
            continue
        views = tuple(
            View(label, "epoch", label, _by_epoch(kept, name))
            for name, label in (
                ("cosine", "cosine of the gradients"),
                ("defensive_loss", "defensive loss"),
                ("error", "reconstruction error"),
            )
        )
        yield Chart(f"proposition-{loss}", f"Defensive loss “{loss}”", "", views)


def _by_epoch(kept: dict[str, Any], name: str) -> tuple[Series, ...]:
    first = 1 if name == "cosine" else 0
    return tuple(
        Series(
            label,
            colour,
            [float(first + i) for i in range(len(kept[released][name]))],
            kept[released][name],
            symbol=symbol,
        )
        for released, label, colour, symbol in (
            ("clean", "clean vectors", MUTED, "circle"),
            ("gaussian", "Gaussian noise 0.02", PALETTE[2], "triangle-up"),
            ("lpa", "LPA 0.02", PALETTE[0], "square"),
        )
    )
