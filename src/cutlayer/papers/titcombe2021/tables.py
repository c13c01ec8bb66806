"""Leakage in a cell: an estimate, its interval and its floor."""

from collections.abc import Mapping, Sequence

from ...metrics import METRICS
from ...record import Estimate
from ...report.reading import interval, number
from ..tables import DASH, NOT_RUN, Column, Mark, Shown
from .leaks import Leak

_ESTIMATE = ("value", "low", "high", "n", "worst_5_percent", "floor")


def estimate_columns(metrics: Sequence[str], *, hint: str = "") -> tuple[Column, ...]:
    """One column for each metric; in the CSV file its interval and floor as well."""
    return tuple(
        Column(
            SHORT.get(m, METRICS[m].label),
            tuple(f"{m}_{k}" if k != "value" else m for k in _ESTIMATE),
            hint=hint or "higher leaks more",
        )
        for m in metrics
    )


SHORT: Mapping[str, str] = {
    "ssim": "SSIM",
    "read": "Class read",
    "top1": "Found among all",
    "top1_in_class": "Found within its class",
}


def estimate(leak: Leak | None, metric: str, *, worst: bool = False, tail: bool = False) -> Shown:
    """A leakage value with its 95 % interval and the best floor.

    Args:
        worst: Whether this attacker leaks most here.
        tail: Print the value of the worst-off 5 % of the victims, too.
    """
    if leak is None:
        return Shown(NOT_RUN, (None,) * len(_ESTIMATE), mark="missing")
    raw, floor = leak.scores.get(metric), leak.floors.get(metric)
    if raw is None:
        return Shown(DASH, (None,) * (len(_ESTIMATE) - 1) + (floor,), mark="null")
    e = Estimate(**raw)
    small = [interval(metric, e)]
    if tail and e.worst is not None:
        small.append(f"worst 5 %: {number(metric, e.worst)}")
    if floor is not None:
        small.append(f"floor {number(metric, floor)}")
    values = (e.value, e.low, e.high, e.n, e.worst, floor)
    mark: Mark = "worst" if worst else ""
    return Shown(number(metric, e.value), values, tuple(s for s in small if s), mark)
