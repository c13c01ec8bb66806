"""The first section of the page: what was attacked, by whom, and what came out, in plain words."""

from dataclasses import dataclass
from math import prod
from typing import Any

from ..record import Estimate, Record
from ..threat import CAPABILITIES
from .reading import (
    NONE,
    Setting,
    attacker,
    best_floor,
    heard,
    interval,
    is_undefended,
    leaks_more,
    metric,
    network,
    number,
    repeats,
    victims_from,
    worst,
)

FLOOR_WORDS = {
    "mean": "the mean sample, whatever was overheard",
    "class-mean": "the mean sample of the victim's class: what the label alone gives",
    "nearest-auxiliary": "the attacker's own sample with the nearest message: retrieval",
    "shuffled": "every reconstruction held against another victim: what unrelated data reads",
}


@dataclass(frozen=True)
class Outcome:
    """The worst case of one configuration: its strongest attacker."""

    label: str
    undefended: bool
    attacker: str
    rivals: int  # attackers that were tried on it
    leakage: Estimate
    floor: str
    floor_value: Estimate
    accuracy: Estimate
    read: Estimate
    flags: list[str]


def outcomes(setting: Setting) -> list[Outcome]:
    """One for each configuration, named by its strongest attacker."""
    found = []
    for runs in setting.configurations():
        r = worst(setting.primary, runs)
        floor, value = best_floor(setting.primary, r.floors)
        found.append(
            Outcome(
                label=setting.labels[r.id] if len(runs) == 1 else r.name,
                undefended=is_undefended(r),
                attacker=_attacker(r),
                rivals=len(runs),
                leakage=r.leakage.get(setting.primary, NONE),
                floor=floor,
                floor_value=value,
                accuracy=r.utility.get("accuracy", NONE),
                read=r.leakage.get("read", NONE),
                flags=setting.flags[r.id],
            )
        )
    return found


def _attacker(record: Record) -> str:
    more = f", {heard(record)}" if repeats(record) > 1 else ""
    return f"{attacker(record)} by {record.threat.get('name', 'an attacker')}{more}"


def attacked(setting: Setting) -> str:
    """What was attacked: data, network, cut, message."""
    r = setting.runs[0]
    shape = [int(n) for n in r.data.get("shape", ())]
    kind = {3: "images", 2: "signals", 1: "rows of a table"}.get(len(shape), "samples")
    networks = _listed(sorted({network(r) for r in setting.runs}))
    cuts = _listed(sorted({c for c in setting.cuts.values() if c}))
    text = (
        f"A neural network ({networks}) that tells apart the {len(r.data.get('classes', ()))} "
        f"classes of {setting.name} ({kind} of {'×'.join(map(str, shape))} values) was split"
        f"{f' after {cuts}' if cuts else ''}. The data owner computes the part before the cut and "
        "sends the result, the message, to a server that computes the rest."
    )
    sizes = {tuple(m) for r in setting.runs if (m := r.data.get("message_shape"))}
    for size in sorted(sizes):
        n, of = prod(size), "×".join(map(str, size))
        numbers = f"{of} = {n:,}" if len(size) > 1 else f"{n:,}"
        text += f" One message is {numbers} numbers ({_bytes(4 * n)} as float32)."
    n = max((s.n for s in r.leakage.values()), default=0)
    text += f" The messages of {n:,} victims were attacked." if n else ""
    if kinds := sorted({v for r in setting.runs if (v := victims_from(r))}):
        text += (
            f" Runs that say so have victims of another kind, from {_listed(kinds)}: their classes "
            "are none of the network's, so there is no accuracy, and nothing is read."
        )
    return text


def threats(setting: Setting) -> list[dict[str, Any]]:
    """Who attacked and with what, each distinct threat model once."""
    found: dict[str, dict[str, Any]] = {}
    for r in setting.runs:
        t = r.threat
        known = [str(w) for w in t.get("words", ())]
        if CAPABILITIES["owner_segment"] in known:  # who holds the weights knows the layers
            known = [w for w in known if w != CAPABILITIES["owner_structure"]]
        words = [_clause(w, t.get("auxiliary")) for w in known]
        name = ", ".join(str(t[k]) for k in ("name", "holds") if k in t) or "unknown"
        entry = found.setdefault(
            name,
            {
                "name": name,
                "who": str(t.get("who", "")),
                "source": str(t.get("source", "")),
                "words": words,
                "attacks": [],
            },
        )
        line = f"{attacker(r)}, having overheard {heard(r)}"
        if line not in entry["attacks"]:
            entry["attacks"].append(line)
    return list(found.values())


def _clause(words: str, auxiliary: object) -> str:
    if words == CAPABILITIES["auxiliary"] and isinstance(auxiliary, int):
        words = f"{auxiliary:,} samples of its own, none of them a victim's"
    return words if words.startswith(("may", "holds", "knows", "sees")) else f"has {words}"


def came_out(setting: Setting) -> list[str]:
    """The result in a few sentences, the undefended reference and the floor beside it."""
    every = outcomes(setting)
    bare = _ranked(setting, [o for o in every if o.undefended])
    reference = bare[-1] if bare else None
    lines = [_undefended(setting, reference)]
    ranked = _ranked(setting, [o for o in every if not o.undefended])
    if ranked:
        only = reference if len(bare) == 1 else None  # of several, none is every run's own
        lines.append(_defended(setting, ranked, only))
    return lines


def _undefended(setting: Setting, reference: Outcome | None) -> str:
    if reference is None:
        return (
            "There is no undefended run on this data, so nothing shows that the attack works "
            "where nothing hinders it."
        )
    name = setting.primary
    return (
        f"Undefended, {reference.attacker} rebuilds the inputs at {_scored(name, reference)}"
        f"{_read(reference)}. {_floor(name, reference)}{_doubts(reference)}"
    )


def _defended(setting: Setting, ranked: list[Outcome], reference: Outcome | None) -> str:
    name, least, most = setting.primary, ranked[0], ranked[-1]
    one = len(ranked) == 1
    which = "was the one defence tried" if one else "leaks least"
    text = (
        f"Behind the defences, each at its strongest attacker: {least.label} {which}, at "
        f"{_scored(name, least)}{_read(least)}; accuracy is "
        f"{number('accuracy', least.accuracy.value)}"
    )
    if reference:
        text += f" (undefended {number('accuracy', reference.accuracy.value)})."
    else:
        text += "."
    if least.floor and not (reference and leaks_more(name, least.leakage, least.floor_value)):
        text += f" {_floor(name, least)}"
    text += _doubts(least)
    if one:
        return text
    return f"{text} {most.label} leaks most, at {_scored(name, most)}."


def _doubts(o: Outcome) -> str:
    return f" Flagged, see section 5: {', '.join(o.flags)}." if o.flags else ""


def _ranked(setting: Setting, every: list[Outcome]) -> list[Outcome]:
    """From the one that leaks least to the one that leaks most; null is not ranked."""
    measured = [(o.leakage.value, o) for o in every if o.leakage.value is not None]
    high = metric(setting.primary).leaks == "high"
    return [o for _, o in sorted(measured, key=lambda pair: pair[0], reverse=not high)]


def _scored(name: str, o: Outcome) -> str:
    spread = interval(name, o.leakage)
    perfect = f"{metric(name).perfect:g} is exact"
    more = f"95 % interval {spread}; {perfect}" if spread else perfect
    return f"{metric(name).label} {number(name, o.leakage.value)} ({more})"


def _read(o: Outcome) -> str:
    if o.read.value is None:
        return ""
    share = number("read", o.read.value)
    return f", and an independent classifier reads {share} of the reconstructions right"


def _floor(name: str, o: Outcome) -> str:
    if not o.floor:
        return ""
    words = FLOOR_WORDS.get(o.floor, o.floor)
    value = number(name, o.floor_value.value)
    text = f"The best floor beside it is {metric(name).label} {value} ({o.floor}: {words})."
    if leaks_more(name, o.leakage, o.floor_value):
        return text
    return f"{text} The attack does not beat it: a stronger one may well leak more."


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _bytes(n: int) -> str:
    return f"{n:,} bytes" if n < 1000 else f"{n / 1000:,.1f} kB"
