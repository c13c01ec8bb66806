"""The recommendation in plain words."""

from collections.abc import Mapping, Sequence

from ..record import Estimate
from .limits import ANSWERS
from .result import Attacked, Configuration, Recommendation
from .verdict import EVERYTHING, NOTHING, Verdict, value

_LIMITS = {
    "accuracy_loss": "accuracy given up",
    "accuracy_floor": "accuracy",
    "leakage": "leakage to the worst attacker",
    "owner_parameters": "parameters of the owner's part",
    "owner_flops": "FLOPs of the owner's part",
    "message_bytes": "bytes of a message",
    "milliseconds": "milliseconds of the owner's part",
    "distortion": "how far answers move",
}
_NEARLY_ALL = 0.9  # of the FLOPs
_DOES = {
    "individual": "re-identifies {} of {} victims",
    "class": "reads the class of {} of {} inputs right",
    "attribute": "reads the private attribute of {} of {} inputs right",
}


def recommendation(
    verdict: Verdict,
    every: Sequence[Configuration],
    *,
    limits: Mapping[str, float],
    whole: int,
) -> Recommendation:
    """What to do, and why.

    Args:
        every: All that was examined.
        limits: By name. whole: FLOPs of the whole network.
    """
    looked = [c for c in every if verdict.leakage(c).value is not None and c.attacks]
    thorough = [c for c in looked if c.thorough]
    best = verdict.best([c for c in thorough if verdict.meets(c)])
    if best is not None:
        others = [c for c in thorough if c is not best and verdict.meets(c)]
        words = " ".join([_do(best), *_outcome(verdict, best, every, whole)])
        reasons = tuple(_why(verdict, best, other) for other in others[:6])
        return Recommendation(key=best.key, words=words, reasons=reasons)
    open_ = [c for c in looked if not c.thorough and verdict.may_meet(c)]
    quick = verdict.best(_most_examined(open_))
    if quick is not None and not any(verdict.meets(c) for c in thorough):
        return _provisional(verdict, quick, every, whole)
    near = verdict.nearest(thorough or looked)
    if near is None:
        return NOTHING
    return _none(verdict, near, thorough or looked, every, limits, whole)


def _most_examined(every: Sequence[Configuration]) -> list[Configuration]:
    """What most of the strongest attackers were at: fewer would find less in anything."""
    most = max((c.closely for c in every), default=0)
    return [c for c in every if c.closely == most]


def notable(verdict: Verdict, every: Sequence[Configuration]) -> list[str]:
    """Cuts that undefended show everything, or nothing that guessing does not; those alike in one
    line."""
    alike: dict[str, list[str]] = {}
    for c in every:
        if not c.defence and (what := _stands_out(verdict, c)):
            alike.setdefault(what, []).append(c.cut)
    return [
        f"{_and(cuts)} {'show' if len(cuts) > 1 or cuts == [ANSWERS] else 'shows'} {what}"
        for what, cuts in alike.items()
    ]


def _stands_out(verdict: Verdict, c: Configuration) -> str:
    worst = c.worst(verdict.protect, verdict.threats)
    if worst is None:
        return ""
    e, floor = worst.leakage[verdict.protect], worst.floors.get(verdict.protect, 0.0)
    if value(e) >= EVERYTHING:
        return f"everything, undefended, to {_article(worst.name)}"
    if (value(e) if e.low is None else e.low) <= floor:
        who = "any attacker" if c.thorough else "a quick attacker"
        return f"nothing to {who} that guessing does not, undefended"
    return ""


def _do(c: Configuration) -> str:
    if c.cut == ANSWERS:
        return f"Release the answers {c.words if c.defence else 'as they are'}."
    protection = f"and send it with {c.words}" if c.defence else "and send it undefended"
    verb = "Train with" if c.retrained else ""
    if c.retrained:
        return f"Cut after {c.cut}. {verb} {c.words.removesuffix(', trained with')}."
    return f"Cut after {c.cut} {protection}."


def _outcome(
    verdict: Verdict, c: Configuration, every: Sequence[Configuration], whole: int
) -> list[str]:
    words = [_accuracy(c)]
    worst = c.worst(verdict.protect, verdict.threats)
    if worst is not None:
        words.append(_worst(verdict.protect, c, worst))
        if proof := _proof(verdict.protect, worst):
            words.append(proof)
    bare = next((o for o in every if o.cut == c.cut and not o.defence), None)
    if bare is not None and c.defence and bare.attacks:
        words.append(f"Undefended, {percent(verdict.leakage(bare))} would.")
    if c.distortion is not None:
        moved = "" if not c.defence else f", {_moved(c.distortion)} from what the network says"
        words.append(f"Their calibration error is {_percent(value(c.ece))}{moved}.")
        return words
    share = c.flops / whole if whole else 0.0
    words.append(
        f"The owner computes {share:.0%} of the network's FLOPs and sends {c.bytes:,} bytes a "
        "sample."
    )
    if share > _NEARLY_ALL:
        words.append("That leaves the server hardly anything: a limit on the owner's FLOPs helps.")
    return words


def _short(c: Configuration) -> str:
    """A configuration in a list."""
    if c.cut == ANSWERS:
        return f"answers {c.words}" if c.defence else "answers as they are"
    return f"{c.cut}, {c.words}"


def _moved(e: Estimate) -> str:
    """How far answers are moved."""
    return f"their mean distance (L1) {value(e):.4f}"


def _accuracy(c: Configuration) -> str:
    if not c.defence:
        return f"Accuracy stays at {percent(c.accuracy)}."
    lost = value(c.lost)
    change = f"{-100 * lost:+.1f} points" if round(100 * lost, 1) else "no change"
    span = ""
    if c.lost.low is not None and c.lost.high is not None and c.lost.low < c.lost.high:
        span = f", {-100 * c.lost.high:+.1f} to {-100 * c.lost.low:+.1f}"
    return f"Accuracy {percent(c.accuracy)} ({change}{span})."


def _worst(protect: str, c: Configuration, worst: Attacked) -> str:
    e, floor = worst.leakage[protect], worst.floors.get(protect)
    many = len({a.attack for a in c.attacks})
    of = f"The worst of {many} attackers" if many > 1 else "The only attacker"
    who = f"{of}, {_article(worst.name)},"
    guess = "" if floor is None else f"; guessing gives {_plain(protect, floor)}"
    span = ""
    if e.low is not None and e.high is not None:
        span = f" ({_plain(protect, e.low)} to {_plain(protect, e.high)}{guess})"
    span += _seeds(protect, c, worst)
    if protect in _DOES:
        return f"{who} {_DOES[protect].format(percent(e), worst.victims)}{span}."
    return f"{who} reconstructs {worst.victims} inputs with {_plain(protect, value(e))}{span}."


def _seeds(protect: str, c: Configuration, worst: Attacked) -> str:
    """How far the same attacker comes with other random numbers."""
    alike = {a.seed: value(a.leakage[protect]) for a in c.same(worst)}
    if len(alike) < 2:
        return ""
    low, high = _plain(protect, min(alike.values())), _plain(protect, max(alike.values()))
    range_ = f"{low} with each" if low == high else f"{low} to {high}"
    return f", the most of {len(alike)} seeds ({range_})"


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _proof(protect: str, worst: Attacked) -> str:
    proof = worst.certificate
    if proof is None:
        return "Nothing shows that this attack works at all: it was not tried undefended."
    if not proof.holds:
        return (
            "Undefended, the same attack does no better than guessing: that it finds little here "
            "proves nothing."
        )
    return ""


def _why(verdict: Verdict, best: Configuration, other: Configuration) -> str:
    """Why not another one that keeps the limits as well."""
    mine, its = verdict.leakage(best), verdict.leakage(other)
    what = _short(other)
    figures = f"{_plain(verdict.protect, value(its))} leak, accuracy {percent(other.accuracy)}"
    if verdict.ceiling is None and (its.low or 0.0) > (mine.high or 1.0):
        return f"{what}: leaks more ({figures})"
    if (other.given_up.low or 0.0) > (best.given_up.high or 1.0):
        more = "gives up more accuracy" if other.distortion is None else "moves answers further"
        return f"{what}: {more} ({figures})"
    if other.flops > best.flops:
        more = "no better as far as the intervals tell, and the owner computes more"
        return f"{what}: {more} ({figures})"
    return f"{what}: no better as far as the intervals tell ({figures})"


def _provisional(
    verdict: Verdict, c: Configuration, every: Sequence[Configuration], whole: int
) -> Recommendation:
    who = f"only {c.closely} of the strongest attackers" if c.closely else "only quick attackers"
    words = [
        f"Provisional: {who} were at this one in the time that there was, so its leakage is at "
        "least what they found.",
        _do(c),
        *_outcome(verdict, c, every, whole),
    ]
    return Recommendation(key=c.key, words=" ".join(words))


def _none(
    verdict: Verdict,
    near: Configuration,
    thorough: Sequence[Configuration],
    every: Sequence[Configuration],
    limits: Mapping[str, float],
    whole: int,
) -> Recommendation:
    """No configuration keeps all limits."""
    ways = verdict.ways_out(thorough, limits)
    lines = tuple(_give_up(verdict, name, c) for name, c in ways.items())
    broken = [_LIMITS[n] for n, a in near.limits.items() if a == "no"]
    unsure = [_LIMITS[n] for n, a in near.limits.items() if a == "undecided"]
    misses = [f"it breaks the limit of {_and(broken)}"] if broken else []
    misses += [f"the interval does not settle {_and(unsure)}"] if unsure else []
    words = [
        "No setting that was examined meets all limits for certain.",
        f"The nearest: {_do(near)[0].lower()}{_do(near)[1:]}",
        *_outcome(verdict, near, every, whole),
        f"But {'; '.join(misses)}." if misses else "",
        f"Give up one of these: {'; '.join(lines)}." if lines else "",
    ]
    return Recommendation(
        key=None, nearest=near.key, words=" ".join(w for w in words if w), give_up=lines
    )


def _give_up(verdict: Verdict, name: str, c: Configuration) -> str:
    """A limit, what it would have to be, and what that gives."""
    needed = {
        "accuracy_loss": f"{100 * (c.lost.high or 0):.1f} points of accuracy",
        "accuracy_floor": f"an accuracy floor of {100 * (c.accuracy.low or 0):.1f} %",
        "leakage": f"a leakage of {_plain(verdict.protect, verdict.leakage(c).high or 1.0)}",
        "owner_parameters": f"{c.parameters:,} parameters at the owner",
        "owner_flops": f"{c.flops:,} FLOPs at the owner",
        "message_bytes": f"{c.bytes:,} bytes a message",
        "milliseconds": f"{c.milliseconds or 0:.1f} ms at the owner",
        "distortion": f"a distortion of {c.given_up.high or 0:.4f}",
    }[name]
    return f"allow {needed} ({_short(c)})"


def _and(words: Sequence[str]) -> str:
    """As a list is read.

    >>> _and(["a", "b", "c"]), _and(["a"])
    ('a, b and c', 'a')
    """
    return " and ".join([", ".join(words[:-1]), *words[-1:]] if len(words) > 1 else words)


def percent(e: Estimate) -> str:
    """As a person writes it.

    >>> percent(Estimate(value=0.0314)), percent(Estimate(value=None))
    ('3.1 %', 'an unknown share')
    """
    return "an unknown share" if e.value is None else _percent(e.value)


def _percent(number: float) -> str:
    digits = 1 if number else 0
    return f"{100 * number:.{digits}f} %"


def _plain(protect: str, number: float) -> str:
    """Leakage as a person writes it: a share, or a similarity."""
    return f"{number:.2f}" if protect == "pixels" else _percent(number)
