"""An audit in plain words: how its numbers print, and the one sentence for whoever signs."""

from dataclasses import dataclass
from typing import Literal

from ..checks import FLAGS
from ..record import Estimate
from .limits import ANSWERS
from .result import PROTECTABLE, Attacked, Audit, Configuration

NONE = Estimate(value=None)
_THIN = "\u202f"  # a space that does not break a line
_FINDS: dict[str, str] = {  # what a share of successes is a share of
    "class": "tells what class an input is of",
    "individual": "finds out whose input it is",
    "attribute": "tells the private attribute of an input",
}
_LIMITS: dict[str, str] = {
    "accuracy_loss": "points of accuracy given up, at most",
    "accuracy_floor": "accuracy of at least",
    "leakage": "leakage of at most",
    "owner_parameters": "parameters of the owner at most",
    "owner_flops": "FLOPs of the owner at most",
    "message_bytes": "bytes of a message at most",
    "milliseconds": "milliseconds of the owner at most",
    "distortion": "answers moved on average, L1, at most",
}


def number(protect: str, value: float | None) -> str:
    """A leakage as the page prints it: per cent of successes, a plain number for pixels.

    >>> number("pixels", 0.25), number("class", None)
    ('0.250', '–')
    """
    if value is None:
        return "–"
    return f"{value:.3f}" if protect == "pixels" else percent(value)


def percent(value: float | None) -> str:
    """A share, one decimal; a dash for null."""
    return "–" if value is None else f"{value * 100:.1f}{_THIN}%"


def points(value: float | None) -> str:
    """A difference of shares in percentage points.

    >>> points(0.0084), points(-0.0084), points(-0.0001)
    ('0.8', '−0.8', '0.0')
    """
    return "–" if value is None else f"{value * 100:z.1f}".replace("-", "−")


def spread(protect: str, e: Estimate) -> str:
    """``low … high``; empty where there is no interval."""
    if e.low is None or e.high is None:
        return ""
    return f"{number(protect, e.low)} … {number(protect, e.high)}"


def spread_points(e: Estimate) -> str:
    if e.low is None or e.high is None:
        return ""
    return f"{points(e.low)} … {points(e.high)}"


def amount(count: float) -> str:
    """A count of parameters or FLOPs, three figures.

    >>> amount(919312), amount(136934), amount(40)
    ('919 k', '137 k', '40')
    """
    for step, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= step:
            return f"{count / step:.3g} {letter}"
    return f"{count:g}"


def size(count: int) -> str:
    """Bytes of a message.

    >>> size(40), size(18432), size(3_200_000)
    ('40 B', '18.4 kB', '3.2 MB')
    """
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def left_out(audit: Audit) -> list[str]:
    """What was not examined and why, without the names of where."""
    return [line.partition(": ")[0] for line in audit.not_examined[:3]]


def explained(flag: str) -> str:
    """What a flag means."""
    return FLAGS.get(flag, "A flag that this release does not know.")


def limit(name: str, value: float, protect: str) -> str:
    """One thing that was asked for, with its value.

    >>> limit("message_bytes", 18432, "class"), limit("accuracy_loss", 0.02, "class")
    ('bytes of a message at most: 18,432', 'points of accuracy given up, at most: 2.0')
    """
    shown = f"{value:,.15g}"
    if name == "accuracy_floor":
        shown = percent(value)
    elif name == "accuracy_loss":
        shown = points(value)
    elif name == "leakage":
        shown = number(protect, value)
    return f"{_LIMITS.get(name, name.replace('_', ' '))}: {shown}"


def title(c: Configuration) -> str:
    """A configuration as a person would say it."""
    if c.cut == ANSWERS:
        return f"answers {c.words if c.defence else 'as they are'}"
    return f"{c.words if c.defence else 'no defence'}, cut after {c.cut}"


def keeps_accuracy(c: Configuration) -> bool:
    """Whether it does not clearly break a limit on accuracy, or on how far answers may be off."""
    return "no" not in map(c.limits.get, ("accuracy_floor", "accuracy_loss", "distortion"))


def given_up(c: Configuration) -> str:
    """What it costs in use, in points of accuracy or as a distance."""
    return points(c.lost.value) if c.distortion is None else distance(c.distortion.value)


def cost(c: Configuration) -> str:
    """The same as a change of accuracy, or a distance, in the width of a cell."""
    if c.distortion is not None:
        return f"L1 {given_up(c)}"
    return change(c.lost.value)


def change(lost: float | None) -> str:
    """Of accuracy, in points, where so much is lost.

    >>> change(0.0084), change(-0.0084), change(0.0)
    ('−0.8', '+0.8', '0.0')
    """
    said = points(None if lost is None else -lost)
    return said if lost is None or points(lost)[0] != "−" else f"+{said}"


def spread_given_up(c: Configuration) -> str:
    """Its interval."""
    e = c.given_up
    if c.distortion is None:
        return spread_points(e)
    return "" if e.low is None or e.high is None else f"{distance(e.low)} … {distance(e.high)}"


def distance(value: float | None) -> str:
    """An L1 distance of answers.

    >>> distance(0.01494), distance(None)
    ('0.0149', '–')
    """
    return "–" if value is None else f"{value:.4f}"


@dataclass(frozen=True)
class Verdict:
    """For the person who signs.

    Args:
        answer: Whether the recommended configuration keeps what was asked for.
        head: "Yes", "No", …. sentence: All that such a person reads. Begins with ``head``.
        reservations: Reasons to doubt a yes, each a sentence.
        chosen: The recommended configuration, or the nearest to what was asked for.
        worst: The attacker who learns most there.
    """

    answer: Literal["yes", "reserved", "no", "unknown"]
    head: str
    sentence: str
    reservations: tuple[str, ...] = ()
    chosen: Configuration | None = None
    worst: Attacked | None = None


def verdict(audit: Audit) -> Verdict:
    """Whether it is safe, in one sentence, from the recommendation and its numbers."""
    asked = audit.recommendation
    known = {c.key: c for c in audit.configurations}
    chosen = known.get(asked.key or asked.nearest or "")
    if not audit.configurations:
        return Verdict("unknown", "Not known", "Not known: nothing was examined.")
    if chosen is None:
        return Verdict("no", "No", "No: no setting that was tried keeps what was asked for.")
    worst = chosen.worst(audit.protect, audit.threats)
    finds = _finds(audit, chosen, worst)
    if asked.key is None:
        ceiling = audit.limits.get("leakage")
        allowed = "" if ceiling is None else f" (allowed: {number(audit.protect, ceiling)})"
        text = (
            "No: no setting that was tried keeps all that was asked for; with the nearest, "
            f"{title(chosen)}, {finds}{allowed}, {_costs(chosen)}."
        )
        return Verdict("no", "No", text, (), chosen, worst)
    doubts = _reservations(audit, chosen, worst)
    if "leakage" not in audit.limits and worst is not None and _most(audit, worst):
        text = f"No: even with {title(chosen)}, the best that was tried, {finds}, {_costs(chosen)}."
        return Verdict("no", "No", text, doubts, chosen, worst)
    if "leakage" not in audit.limits:
        text = f"You decide: with {title(chosen)}, {finds}, {_costs(chosen)}."
        return Verdict("reserved", "You decide", text, doubts, chosen, worst)
    with_what = "a reservation" if len(doubts) == 1 else f"{len(doubts)} reservations"
    head = f"Yes, with {with_what}" if doubts else "Yes"
    text = f"{head}: with {title(chosen)}, {finds}, {_costs(chosen)}."
    return Verdict("reserved" if doubts else "yes", head, text, doubts, chosen, worst)


def _most(audit: Audit, worst: Attacked) -> bool:
    """Whether an attacker gets more than half of what guessing leaves open."""
    found, guess = worst.leakage[audit.protect].value or 0.0, _guess(audit, worst)
    return found - guess > (1 - guess) / 2


def _guess(audit: Audit, worst: Attacked) -> float:
    floor = worst.floors.get(audit.protect)
    return floor if floor is not None else audit.chance.get(audit.protect, 0.0)


def _finds(audit: Audit, chosen: Configuration, worst: Attacked | None) -> str:
    if worst is None:
        return "nobody who is feared attacked"
    found = number(audit.protect, worst.leakage[audit.protect].value)
    guess = number(audit.protect, _guess(audit, worst))
    who = f"the worst attacker tried ({worst.name})"
    if audit.protect in _FINDS:
        return (
            f"{who} {_FINDS[audit.protect]} in {found} of cases, where guessing is right in {guess}"
        )
    what = PROTECTABLE.get(audit.protect, audit.protect)
    return f"{who} rebuilds {what} to {found}, where guessing reaches {guess} ({audit.measure})"


def _costs(chosen: Configuration) -> str:
    lost, left = chosen.lost.value, percent(chosen.accuracy.value)
    if chosen.distortion is not None and chosen.defence:
        moved = f"answers move by {distance(chosen.distortion.value)} on average (L1)"
        return f"and {moved}; {left} of the labels are right"
    if not chosen.defence or lost is None:
        return f"and the network is right for {left}"
    if lost <= 0:
        return f"and it costs no accuracy ({left})"
    return f"and it costs {points(lost)} points of accuracy ({left} are left)"


def _reservations(audit: Audit, chosen: Configuration, worst: Attacked | None) -> tuple[str, ...]:
    """Reasons not to rely on a recommendation, the gravest first."""
    if worst is None:
        return ("No attacker who is feared was tried on it.",)
    found = []
    if (certificate := worst.certificate) is None:
        if chosen.defence:
            found.append(f"Nothing shows that its worst attacker, {worst.name}, works at all.")
    elif not certificate.holds:
        found.append(
            f"Its worst attacker, {worst.name}, does not beat guessing even where nothing defends "
            f"({certificate.cut}): that it finds little here proves nothing."
        )
    undecided = [name for name, kept in chosen.limits.items() if kept != "yes"]
    if undecided:
        names = " and ".join(n.replace("_", " ") for n in undecided)
        found.append(f"The numbers do not show clearly that it keeps the limit on {names}.")
    if "leakage" not in audit.limits:
        found.append("No ceiling on leakage was named: --leakage names one.")
    if not chosen.closely:
        found.append("Only a quick look was taken at it.")
    elif not chosen.thorough:
        found.append(f"Only {chosen.closely} of the strongest attackers were at it.")
    if count := len(audit.not_examined):
        things = "1 thing was" if count == 1 else f"{count} things were"
        found.append(f"The audit is partial: {things} not examined.")
    flags = dict.fromkeys((*chosen.flags, *worst.flags))
    return (*found, *(f"{f}: {explained(f)}" for f in flags))
