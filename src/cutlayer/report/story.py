"""The first section of the page: what was attacked, by whom, and what came out, in plain words."""

from dataclasses import dataclass
from math import prod
from typing import Any

from ..record import Estimate, Record, Scores
from ..threat import CAPABILITIES
from .reading import (
    NONE,
    OF_AN_API,
    Setting,
    attacker,
    best_floor,
    heard,
    interval,
    leaks_more,
    metric,
    network,
    number,
    repeats,
    seen,
    victims_from,
    worst,
)

FLOOR_WORDS = {
    "mean": "the mean sample, whatever was overheard",
    "class-mean": "the mean sample of the victim's class: what the label alone gives",
    "nearest-auxiliary": "the attacker's own sample with the nearest message: retrieval",
    "shuffled": "every reconstruction held against another victim: what unrelated data reads",
}
_CEILING = (
    "No defence that keeps every label can hide more than label-only does: its answers hold the "
    "label as well. Where such a run seems to leak less, the attack was weaker, or it is chance."
)


def floor_words(what: str) -> dict[str, str]:
    """``FLOOR_WORDS`` where the attacker sees ``what``: a message, or an answer."""
    return {name: words.replace("message", what) for name, words in FLOOR_WORDS.items()}


@dataclass(frozen=True)
class Outcome:
    """The worst case of one configuration: its strongest attacker."""

    label: str
    defence: tuple[str, ...]  # its parts; none: undefended
    attacker: str
    rivals: int  # attackers that were tried on it
    leakage: Estimate
    floor: str
    floor_value: Estimate
    utility: Scores
    read: Estimate
    flags: list[str]

    @property
    def label_only(self) -> bool:
        """Whether the answers hold the label and nothing else."""
        return self.defence == ("label-only",)


def outcomes(setting: Setting) -> list[Outcome]:
    """One for each configuration, named by its strongest attacker."""
    found = []
    for runs in setting.configurations():
        r = worst(setting.primary, runs)
        floor, value = best_floor(setting.primary, r.floors)
        found.append(
            Outcome(
                label=setting.labels[r.id] if len(runs) == 1 else r.name,
                defence=tuple(map(str, r.defence.get("parts") or ())),
                attacker=_attacker(r),
                rivals=len(runs),
                leakage=r.leakage.get(setting.primary, NONE),
                floor=floor,
                floor_value=value,
                utility=r.utility,
                read=r.leakage.get("read", NONE),
                flags=setting.flags[r.id],
            )
        )
    return found


def _attacker(record: Record) -> str:
    more = f", {heard(record)}" if repeats(record) > 1 else ""
    return f"{attacker(record)} by {record.threat.get('name', 'an attacker')}{more}"


def attacked(setting: Setting) -> str:
    """What was attacked: data, network, and the cut with its message or the API's answer."""
    r, api = setting.runs[0], setting.seen == "answer"
    text = f"{_network(setting)} {_served() if api else _split(setting)}{_sizes(setting)}"
    n = max((s.n for s in r.leakage.values()), default=0)
    whose = "answers to the inputs" if api else "messages"
    text += f" The {whose} of {n:,} victims were attacked." if n else ""
    if kinds := sorted({v for r in setting.runs if (v := victims_from(r))}):
        text += (
            f" Runs that say so have victims of another kind, from {_listed(kinds)}: their classes "
            "are none of the network's, so there is no accuracy, and nothing is read."
        )
    return text


def _network(setting: Setting) -> str:
    r = setting.runs[0]
    shape = [int(n) for n in r.data.get("shape", ())]
    kind = {3: "images", 2: "signals", 1: "rows of a table"}.get(len(shape), "samples")
    networks = _listed(sorted({network(r) for r in setting.runs}))
    return (
        f"A neural network ({networks}) that tells apart the {len(r.data.get('classes', ()))} "
        f"classes of {setting.data} ({kind} of {'×'.join(map(str, shape))} values)"
    )


def _split(setting: Setting) -> str:
    cuts = _listed(sorted({c for c in setting.cuts.values() if c}))
    return (
        f"was split{f' after {cuts}' if cuts else ''}. The data owner computes the part before the "
        "cut and sends the result, the message, to a server that computes the rest."
    )


def _served() -> str:
    return (
        "is served as a prediction API. It answers an input with one confidence for each class; "
        "a defence may change the answer before it is released."
    )


def _sizes(setting: Setting) -> str:
    sizes = {tuple(m) for r in setting.runs if (m := r.data.get("message_shape"))}
    text = ""
    for size in sorted(sizes):
        n, of = prod(size), "×".join(map(str, size))
        numbers = f"{of} = {n:,}" if len(size) > 1 else f"{n:,}"
        text += f" One {setting.seen} is {numbers} numbers ({_bytes(4 * n)} as float32)."
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
        how = "seen" if seen(r) == "answer" else "overheard"
        line = f"{attacker(r)}, having {how} {heard(r)}"
        if line not in entry["attacks"]:
            entry["attacks"].append(line)
    return list(found.values())


def _clause(words: str, auxiliary: object) -> str:
    if words == CAPABILITIES["auxiliary"] and isinstance(auxiliary, int):
        words = f"{auxiliary:,} samples of its own, none of them a victim's"
    if words == CAPABILITIES["confidences"]:
        words = "sees what the prediction API answers, to its own samples and to the victims'"
    return words if words.startswith(("may", "holds", "knows", "sees")) else f"has {words}"


def came_out(setting: Setting) -> list[str]:
    """The result in a few sentences, the undefended reference and the floor beside it."""
    every = outcomes(setting)
    bare = _ranked(setting, [o for o in every if not o.defence])
    reference = bare[-1] if bare else None
    lines = [_undefended(setting, reference)]
    ranked = _ranked(setting, [o for o in every if o.defence])
    if ranked:
        only = reference if len(bare) == 1 else None  # of several, none is every run's own
        lines.append(_defended(setting, ranked, only))
    if len(ranked) > 1 and any(o.label_only for o in ranked):
        lines.append(_CEILING)
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
        f"{_read(reference)}. {_floor(setting, reference)}{_doubts(reference)}"
    )


def _defended(setting: Setting, ranked: list[Outcome], reference: Outcome | None) -> str:
    name, least, most = setting.primary, ranked[0], ranked[-1]
    one = len(ranked) == 1
    which = "was the one defence tried" if one else "leaks least"
    text = (
        f"Behind the defences, each at its strongest attacker: {least.label} {which}, at "
        f"{_scored(name, least)}{_read(least)}; {_worth(least, reference)}."
    )
    if least.floor and not (reference and leaks_more(name, least.leakage, least.floor_value)):
        text += f" {_floor(setting, least)}"
    text += _doubts(least)
    if one:
        return text
    return f"{text} {most.label} leaks most, at {_scored(name, most)}."


def _worth(o: Outcome, reference: Outcome | None) -> str:
    """What the network is still worth behind a defence."""
    text = f"accuracy is {_utility('accuracy', o)}"
    text += f" (undefended {_utility('accuracy', reference)})" if reference else ""
    more = [f"{metric(n).label} {_utility(n, o)}" for n in OF_AN_API if n in o.utility]
    return ", ".join([text, *more])


def _utility(name: str, o: Outcome) -> str:
    return number(name, o.utility.get(name, NONE).value)


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


def _floor(setting: Setting, o: Outcome) -> str:
    if not o.floor:
        return ""
    name, words = setting.primary, floor_words(setting.seen).get(o.floor, o.floor)
    value = number(name, o.floor_value.value)
    text = f"The best floor beside it is {metric(name).label} {value} ({o.floor}: {words})."
    if leaks_more(name, o.leakage, o.floor_value):
        return text
    if o.label_only and o.floor == "class-mean":
        return f"{text} No attack can be expected to beat it: the label is all there is to see."
    return f"{text} The attack does not beat it: a stronger one may well leak more."


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _bytes(n: int) -> str:
    return f"{n:,} bytes" if n < 1000 else f"{n / 1000:,.1f} kB"
