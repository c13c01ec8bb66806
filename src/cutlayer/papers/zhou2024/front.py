"""The best that can be had for each price: leakage against distortion and calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..findings import Findings
from .comparison import Measured, every, factor, undefended
from .settings import Data

BUDGETS = (0.005, 0.02, 0.1)  # of the mean L1 distance
CALIBRATION = 0.01  # by which the calibration error may grow


@dataclass(frozen=True)
class Candidate:
    """A defence that keeps every label. factor: of the strongest attacker's error."""

    measured: Measured
    factor: float


def candidates(findings: Findings, data: Data) -> list[Candidate]:
    """All defences that changed no label and retrained nothing."""
    base = undefended(findings, data)
    if base is None:
        return []
    return [
        Candidate(m, factor(m, base))
        for m in every(findings, data)
        if m.agreement == 1 and not m.defence.network
    ]


def front(found: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other one beats in both error and distortion, by distortion."""
    best, kept = 0.0, []
    for c in sorted(found, key=lambda c: (c.measured.l1, -c.factor)):
        if c.factor > best:
            best = c.factor
            kept.append(c)
    return kept


def recommended(found: Sequence[Candidate], budget: float) -> Candidate | None:
    """The defence of the greatest error at that mean distortion and equal calibration.

    Of several whose strongest attackers cannot be told apart, their intervals overlapping, the one
    of the least distortion.
    """
    plain = next((c for c in found if c.measured.defence.part is None), None)
    if plain is None:
        return None
    allowed = [
        c
        for c in found
        if c.measured.l1 <= budget and c.measured.ece <= plain.measured.ece + CALIBRATION
    ]
    if not allowed:
        return None
    top = max(allowed, key=lambda c: c.factor)
    equal = [c for c in allowed if _overlap(c.measured, top.measured)]
    return min(equal, key=lambda c: c.measured.l1)


def _overlap(a: Measured, b: Measured) -> bool:
    first, second = a.worst[1].error, b.worst[1].error
    return first[2] >= second[1] and second[2] >= first[1]
