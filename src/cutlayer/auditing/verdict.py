"""From what is known to what to do: the front, and the recommendation that the intervals bear."""

from collections.abc import Callable, Mapping, Sequence

from ..record import Estimate
from .result import Configuration, Recommendation

EVERYTHING = 0.995  # leakage to which more attackers add nothing
_WORST = Estimate(value=1.0, low=1.0, high=1.0)


class Verdict:
    """Judges configurations by what must stay hidden.

    Args:
        protect: What. threats: From whom. ceiling: Leakage that was allowed, if any.
    """

    def __init__(self, protect: str, threats: Sequence[str], ceiling: float | None = None) -> None:
        self.protect, self.threats, self.ceiling = protect, tuple(threats), ceiling

    def leakage(self, c: Configuration) -> Estimate:
        """To the worst attacker; everything, where nobody looked."""
        found = c.leakage(self.protect, self.threats)
        return _WORST if found.value is None else found

    def front(self, every: Sequence[Configuration]) -> list[Configuration]:
        """Those that no other beats in both leakage and what is given up, by rising leakage."""

        def at(c: Configuration) -> tuple[float, float]:
            return value(self.leakage(c)), value(c.given_up)

        found = [c for c in every if not any(_dominates(at(o), at(c)) for o in every if o is not c)]
        return sorted(found, key=at)

    def meets(self, c: Configuration, *, but: str = "") -> bool:
        """Whether a configuration keeps all limits for certain.

        Args:
            but: Name of a limit that is left aside.
        """
        return all(answer == "yes" for name, answer in c.limits.items() if name != but)

    def may_meet(self, c: Configuration) -> bool:
        """Whether it does not break any for certain, and the accuracy is kept."""
        fixed = [a for name, a in c.limits.items() if name != "leakage"]
        return all(a == "yes" for a in fixed) and c.limits.get("leakage") != "no"

    def best(self, every: Sequence[Configuration]) -> Configuration | None:
        """The one to recommend of those that keep the limits.

        With a ceiling any that stays below it will do; without one, those that leak least, as far
        as the intervals can tell. Of these the most accurate, as far as the intervals can tell;
        of these the one that asks least of the owner, and no defence rather than one.
        """
        left = list(every)
        if not left:
            return None
        if self.ceiling is None:
            left = _indistinguishable(left, self.leakage)
        left = _indistinguishable(left, lambda c: c.given_up)
        return min(left, key=lambda c: (c.flops, c.bytes, bool(c.defence), value(self.leakage(c))))

    def could_win(self, c: Configuration, best: Configuration | None) -> bool:
        """Whether a closer look at it may change the recommendation.

        More attackers can only raise its leakage: what already leaks more than the best, or breaks
        a limit, stays out.
        """
        if not self.may_meet(c):
            return False
        if best is None:
            return True
        if self.ceiling is None:
            return _low(self.leakage(c)) <= _high(self.leakage(best))
        ahead = (value(c.given_up), c.flops) < (value(best.given_up), best.flops)
        return ahead and _low(c.given_up) <= _high(best.given_up)

    def nearest(self, every: Sequence[Configuration]) -> Configuration | None:
        """The one that breaks fewest limits, then leaks least."""

        def away(c: Configuration) -> tuple[int, int, float]:
            answers = list(c.limits.values())
            return answers.count("no"), answers.count("undecided"), value(self.leakage(c))

        return min(every, key=away, default=None)

    def ways_out(
        self, every: Sequence[Configuration], limits: Mapping[str, float]
    ) -> dict[str, Configuration]:
        """By limit the best configuration that keeps all the others, where there is one."""
        found = {}
        for name in limits:
            others = [c for c in every if self.meets(c, but=name) and not self.meets(c)]
            if others:
                found[name] = min(others, key=lambda c: _excess(name, c, self.leakage(c)))
        return found


def _excess(name: str, c: Configuration, leakage: Estimate) -> float:
    """What a limit would have to be, the smaller the better."""
    return {
        "accuracy_loss": _high(c.lost),
        "accuracy_floor": -(c.accuracy.low or 0.0),
        "leakage": _high(leakage),
        "owner_parameters": float(c.parameters),
        "owner_flops": float(c.flops),
        "message_bytes": float(c.bytes),
        "milliseconds": c.milliseconds or 0.0,
        "distortion": _high(c.given_up),
    }[name]


def _indistinguishable(
    every: list[Configuration], of: Callable[[Configuration], Estimate]
) -> list[Configuration]:
    """Those whose interval reaches down to that of the smallest."""
    least = min(every, key=lambda c: value(of(c)))
    return [c for c in every if _low(of(c)) <= _high(of(least))]


def _dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] <= b[1] and a != b


def value(e: Estimate) -> float:
    """The number itself; the worst where there is none."""
    return 1.0 if e.value is None else e.value


def _low(e: Estimate) -> float:
    return value(e) if e.low is None else e.low


def _high(e: Estimate) -> float:
    return value(e) if e.high is None else e.high


NOTHING = Recommendation(
    key=None,
    words="Nothing was examined in the time that there was: no recommendation can be given. "
    "The same command with more time goes on from here.",
)
