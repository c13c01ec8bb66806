"""The best that can be had for each price: leakage against distortion and calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..findings import Findings
from .comparison import Measured, alike, every, factor, undefended
from .defences import LIMITS
from .settings import Data

BUDGETS = (0.02, 0.1, 0.3)  # of the largest L1 distance of any answer
CALIBRATION = 0.01  # by which the calibration error may grow


@dataclass(frozen=True)
class Candidate:
    """A defence that keeps every label. factor: of the error of the stronger of the two attackers
    who tried every defence."""

    measured: Measured
    factor: float


def candidates(findings: Findings, data: Data) -> list[Candidate]:
    """All defences that changed no label and retrained nothing; not the limits."""
    base = undefended(findings, data)
    if base is None:
        return []
    return [
        Candidate(alike(m), factor(alike(m), alike(base)))
        for m in every(findings, data)
        if m.agreement == 1 and not m.defence.network and m.defence.group != LIMITS
    ]


def front(found: Sequence[Candidate], by: str = "farthest") -> list[Candidate]:
    """Those that no other one beats in both error and price, by price.

    Args:
        by: The price: a field of ``Measured``.
    """
    best, kept = 0.0, []
    for c in sorted(found, key=lambda c: (getattr(c.measured, by), -c.factor)):
        if c.factor > best:
            best = c.factor
            kept.append(c)
    return kept


def recommended(
    found: Sequence[Candidate], base: Measured | None, budget: float
) -> Candidate | None:
    """The defence of the greatest error that moves no answer further and is as well calibrated.

    Of several whose strongest attackers cannot be told apart, their intervals overlapping, the one
    of the least mean distance.

    Args:
        base: Undefended.
    """
    allowed = [
        c
        for c in found
        if base is not None
        and c.measured.farthest <= budget
        and c.measured.ece <= base.ece + CALIBRATION
    ]
    if not allowed:
        return None
    top = max(allowed, key=lambda c: c.factor)
    equal = [c for c in allowed if _overlap(c.measured, top.measured)]
    return min(equal, key=lambda c: c.measured.l1)


def _overlap(a: Measured, b: Measured) -> bool:
    first, second = a.worst[1].error, b.worst[1].error
    return first[2] >= second[1] and second[2] >= first[1]
