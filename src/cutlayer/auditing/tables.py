"""What the page's tables and its figure are made of, and the same numbers as CSV files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..record import Estimate
from ..report.tables import as_csv
from .result import Attacked, Audit, Configuration, Place
from .words import NONE, keeps_accuracy, title

_ESTIMATE = ("value", "low", "high", "n")
_MEASURED = ("accuracy", "lost", "ece", "distortion")
_CERTIFICATE = ("certificate_cut", "certificate", "certificate_floor", "certificate_holds")


@dataclass(frozen=True)
class AtPlace:
    """A cut point with what leaks there: undefended, and with the defence that hides most."""

    place: Place
    undefended: Configuration | None = None
    best: Configuration | None = None


def at_places(audit: Audit) -> list[AtPlace]:
    """Every cut point in the order of the computation."""
    found = []
    for place in audit.places:
        here = [c for c in audit.configurations if c.cut == place.name]
        bare = next((c for c in here if not c.defence), None)
        found.append(AtPlace(place, bare, _best([c for c in here if c.defence], audit)))
    return found


def _best(defended: Sequence[Configuration], audit: Audit) -> Configuration | None:
    """Of those that do not clearly break the limit on accuracy, if there are any."""
    kept = [c for c in defended if keeps_accuracy(c)] or defended

    def leaks(c: Configuration) -> tuple[bool, float]:
        value = c.leakage(audit.protect, audit.threats).value
        return value is None, value or 0.0

    return min(kept, key=leaks, default=None)


def on_front(audit: Audit) -> list[Configuration]:
    """The front from the least accuracy lost to the most; the recommended one is among them."""
    chosen = (*audit.front, audit.recommendation.key, audit.recommendation.nearest)
    found = [c for c in audit.configurations if c.key in chosen]
    return sorted(found, key=lambda c: c.given_up.value or 0.0)


def protected(audit: Audit) -> list[str]:
    """What leakage was measured by, the audit's own first."""
    every = [p for c in audit.configurations for a in c.attacks for p in a.leakage]
    return list(dict.fromkeys((audit.protect, *every)))


def feared(audit: Audit) -> list[str]:
    """Every threat model that anything was tried under, the audit's own first."""
    every = [t for c in audit.configurations for a in c.attacks for t in a.threats]
    return list(dict.fromkeys((*audit.threats, *every)))


def chart(audit: Audit) -> dict[str, Any]:
    """What the page's script filters and draws."""
    return {
        "protect": audit.protect,
        "threats": list(audit.threats),
        "chance": dict(audit.chance),
        "recommended": audit.recommendation.key,
        "nearest": audit.recommendation.nearest,
        "front": list(audit.front),
        "ceiling": audit.limits.get("leakage"),
        "of_answers": audit.of_answers,
        "configurations": [
            {
                "key": c.key,
                "cut": c.cut,
                "words": c.words,
                "title": title(c),
                "defended": bool(c.defence),
                "kept": keeps_accuracy(c),
                "thorough": c.thorough,
                "flags": list(c.flags),
                "lost": _spread(c.given_up),
                "accuracy": _spread(c.accuracy),
                "attacks": [_of_attack(a) for a in c.attacks],
            }
            for c in audit.configurations
        ],
    }


def _of_attack(a: Attacked) -> dict[str, Any]:
    return {
        "name": a.name,
        "threats": list(a.threats),
        "flags": list(a.flags),
        "leakage": {p: _spread(e) for p, e in a.leakage.items()},
        "floors": dict(a.floors),
    }


def _spread(e: Estimate) -> list[float | None]:
    return [e.value, e.low, e.high]


@dataclass(frozen=True)
class Change:
    """A configuration that two audits have in common. better: Beyond noise, ``None`` within it."""

    now: Configuration
    earlier: Configuration
    given_up_better: bool | None
    leakage_better: bool | None


def changes(audit: Audit, before: Audit) -> list[Change]:
    """What became better or worse; only what intervals that do not overlap bear out."""
    earlier = {c.key: c for c in before.configurations}
    found = []
    for c in audit.configurations:
        if (old := earlier.get(c.key)) is None:
            continue
        leaks = [k.leakage(audit.protect, audit.threats) for k in (c, old)]
        found.append(Change(c, old, _lower(c.given_up, old.given_up), _lower(*leaks)))
    return found


def _lower(now: Estimate, earlier: Estimate) -> bool | None:
    """Whether it fell; ``None`` where the intervals overlap or one is missing."""
    if now.high is not None and earlier.low is not None and now.high < earlier.low:
        return True
    if now.low is not None and earlier.high is not None and now.low > earlier.high:
        return False
    return None


def csv_files(audit: Audit) -> dict[str, str]:
    """File name to content, every digit kept; an empty cell is null."""
    return {
        "configurations.csv": _configurations(audit),
        "attacks.csv": _attacks(audit),
        "scores.csv": as_csv(
            ("configuration", "attacker", "run", "metric", *_ESTIMATE),
            (
                (c.key, a.name, a.run, name, *_cells(e))
                for c in audit.configurations
                for a in c.attacks
                for name, e in a.scores.items()
            ),
        ),
        "places.csv": as_csv(
            ("place", "kind", "shape", "bytes", "parameters", "flops", "ruled_out"),
            (
                (p.name, p.kind, "x".join(map(str, p.shape)), p.bytes, p.parameters, p.flops,
                 p.ruled_out)
                for p in audit.places
            ),
        ),
    }  # fmt: skip


def _configurations(audit: Audit) -> str:
    measured = [f"{m}{k}" for m in _MEASURED for k in ("", "_low", "_high")]
    return as_csv(
        ("configuration", "cut", "defence", "words", "strength", "epsilon", "retrained",
         *measured, "bytes", "parameters", "flops", "milliseconds", "limits", "thorough", "front",
         "recommended", "flags"),
        (
            (c.key, c.cut, " + ".join(c.defence), c.words, c.strength, c.epsilon, c.retrained,
             *(v for m in _MEASURED for v in _spread(getattr(c, m) or NONE)), c.bytes, c.parameters,
             c.flops, c.milliseconds, " ".join(f"{k}:{v}" for k, v in c.limits.items()),
             c.thorough, c.key in audit.front, c.key == audit.recommendation.key,
             " ".join(c.flags))
            for c in audit.configurations
        ),
    )  # fmt: skip


def _attacks(audit: Audit) -> str:
    return as_csv(
        ("configuration", "attacker", "attack", "threat", "threats", "repeats", "victims",
         "thorough", "hidden", *_ESTIMATE, "worst", "floor", *_CERTIFICATE, "flags", "seed",
         "seconds", "run", "command"),
        (
            (c.key, a.name, a.attack, a.threat, " ".join(a.threats), a.repeats, a.victims,
             a.thorough, p, *_cells(e), e.worst, a.floors.get(p), *_certified(a, p, audit),
             " ".join(a.flags), a.seed, a.seconds, a.run, a.command)
            for c in audit.configurations
            for a in c.attacks
            for p, e in (a.leakage or {audit.protect: NONE}).items()
        ),
    )  # fmt: skip


def _certified(a: Attacked, hidden: str, audit: Audit) -> tuple[Any, ...]:
    """The certificate is about what the audit protects."""
    if a.certificate is None or hidden != audit.protect:
        return (None,) * len(_CERTIFICATE)
    return a.certificate.cut, a.certificate.value.value, a.certificate.floor, a.certificate.holds


def _cells(e: Estimate) -> tuple[Any, ...]:
    return tuple(getattr(e, k) for k in _ESTIMATE)
