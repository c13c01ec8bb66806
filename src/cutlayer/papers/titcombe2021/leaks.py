"""What each attacker got out of each configuration, as rows for the page.

What has not been run yet is ``None``, or missing from a list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..findings import Findings
from .tasks import (
    HEARD,
    LAWS,
    OTHER_DATA,
    SCALES,
    SIZES,
    WEIGHTS,
    attack_key,
    published_key,
    round_key,
)

SHOWN = ("ssim", "read", "top1", "top1_in_class")
THEIRS, OURS = "the paper's, which never saw noise", "trained through the noise"


@dataclass(frozen=True)
class Leak:
    """One attacker against one configuration.

    attacker: in words. scores: estimates by metric of ``SHOWN``, each ``{value, low, high, n,
    worst}``. floors: the best floor by metric. slant: share of the slant within a class that is
    kept. picture: file in the folder of findings.
    """

    attacker: str
    key: str
    scores: Mapping[str, Any]
    floors: Mapping[str, float | None]
    flags: Sequence[str]
    accuracy: float
    slant: float | None
    by_class: Mapping[str, Any]
    picture: str

    def value(self, metric: str) -> float | None:
        estimate = self.scores.get(metric)
        return None if estimate is None else estimate["value"]


def leak(findings: Findings, key: str, attacker: str, served: str = "") -> Leak | None:
    """An attack task's finding; ``served`` names one of a published attack's cases."""
    found = findings.get(key)
    if found is None:
        return None
    case = found["served"].get(served) if served else found
    if case is None:
        return None
    record = case["record"]
    picture = f"{key}-{served}.png" if served else f"{key}.png"
    return Leak(
        attacker,
        key,
        {k: record["leakage"][k] for k in SHOWN if record["leakage"].get(k)},
        {k: _best_floor(record["floors"], k) for k in SHOWN},
        record["flags"],
        100 * record["utility"]["accuracy"]["value"],
        (case.get("slant") or {}).get("kept"),
        case.get("by_class", {}),
        picture if (findings.folder / picture).exists() else "",
    )


def _best_floor(floors: Mapping[str, Any], metric: str) -> float | None:
    guesses = [
        floors[k][metric]["value"]
        for k in ("mean", "class-mean", "nearest-auxiliary")
        if metric in floors.get(k, {})
    ]
    known = [g for g in guesses if g is not None]
    return max(known) if known else None


@dataclass(frozen=True)
class Configuration:
    """One way to defend, and every attacker that was tried on it.

    noise: Laplace scale in training. weight: of NoPeek. served: "as-trained", "clean" or a law
    and a scale added after training alone.
    """

    noise: float
    weight: float
    served: str
    leaks: tuple[Leak, ...]

    @property
    def words(self) -> str:
        """The configuration for a person."""
        parts = [f"NoPeek {self.weight:g}"] if self.weight else []
        if self.served == "as-trained" and self.noise:
            parts.append(f"noise {self.noise:g} in training and after")
        elif self.served == "clean" and self.noise:
            parts.append(f"noise {self.noise:g} in training only")
        elif self.served not in ("as-trained", "clean"):
            law, _, scale = self.served.rpartition("-")
            name = "" if law == "laplace" else f", {law}"
            parts.append(f"noise {scale} after training{name}")
        return " + ".join(parts) or "undefended"

    @property
    def accuracy(self) -> float | None:
        """Per cent of victims classified right, defences on."""
        return self.leaks[0].accuracy if self.leaks else None

    def worst(self, metric: str) -> Leak | None:
        """The attacker that leaks most by a metric of ``SHOWN``."""
        known = [x for x in self.leaks if x.value(metric) is not None]
        return max(known, key=lambda x: x.value(metric) or 0.0) if known else None


def configuration(
    findings: Findings, place: str, noise: float, weight: float, served: str = "as-trained"
) -> Configuration:
    """A configuration with the attackers that have been tried on it."""
    found = [
        leak(findings, attack_key(place, noise, weight, served=served), OURS),
        *(
            leak(
                findings,
                attack_key(place, noise, weight, served=served, heard=m),
                f"the same, averaging {m} messages",
            )
            for m in HEARD
        ),
    ]
    case = _published_case(noise, served)
    if case:
        key = published_key(place, noise, weight)
        found.append(leak(findings, key, THEIRS, case))
    return Configuration(noise, weight, served, tuple(x for x in found if x is not None))


def _published_case(noise: float, served: str) -> str:
    """Under which name the published attack's task keeps this case."""
    if served == "as-trained":
        return f"laplace-{noise:g}" if noise else "clean"
    return served if served == "clean" or (served.startswith("laplace-") and not noise) else ""


def grid(findings: Findings, place: str = "authors-code") -> list[Configuration]:
    """Weight by scale: undefended, noise after training, noise in training and after."""
    found = []
    for weight in WEIGHTS:
        found.append(configuration(findings, place, 0.0, weight))
        for scale in SCALES:
            found.append(configuration(findings, place, 0.0, weight, f"laplace-{scale:g}"))
        found += [configuration(findings, place, scale, weight) for scale in SCALES]
    return [c for c in found if c.leaks]


def when(findings: Findings, place: str = "authors-code") -> list[Configuration]:
    """Noise after training only, in training only, both."""
    return [
        configuration(findings, place, noise, 0.0, served)
        for scale in (0.5, 1.0)
        for noise, served in (
            (0.0, f"laplace-{scale:g}"),
            (scale, "clean"),
            (scale, "as-trained"),
        )
    ]


def laws(findings: Findings, place: str = "authors-code") -> list[Configuration]:
    """Noise laws of equal variance, added after training to the undefended classifier."""
    return [
        configuration(findings, place, 0.0, 0.0, f"{law}-{scale:g}")
        for scale in (0.5, 1.0)
        for law in ("laplace", *LAWS)
    ]


def sizes(findings: Findings, place: str = "authors-code") -> list[tuple[int, list[Leak]]]:
    """Attack sets of growing size against the undefended classifier, both attackers."""
    found = []
    for size in (*SIZES, 5000):
        more = "" if size == 5000 else f"{size}-samples"
        published = leak(findings, published_key(place, 0.0, 0.0, more=more), THEIRS, "clean")
        adaptive = leak(findings, attack_key(place, 0.0, 0.0, more=more), OURS)
        found.append((size, [x for x in (published, adaptive) if x is not None]))
    return found


def domains(findings: Findings, place: str = "authors-code") -> list[tuple[str, list[Leak]]]:
    """Attack sets from other sources; MNIST itself first. Without an attack: not run."""
    found = []
    for name in ("mnist", "femnist-digits", "fashion-mnist", "emnist-letters"):
        more = "" if name == "mnist" else name
        published = leak(findings, published_key(place, 0.0, 0.0, more=more), THEIRS, "clean")
        adaptive = leak(findings, attack_key(place, 0.0, 0.0, more=more), OURS)
        found.append((name, [x for x in (published, adaptive) if x is not None]))
    return found


def parties(findings: Findings, place: str = "authors-code") -> list[tuple[str, Leak | None]]:
    """The three adversaries of appendix A."""
    two = f"{place}/adaptive/two-owners-"
    return [
        (
            "the server and an owner, who provides 5,000 images of the same kind",
            leak(findings, f"{two}server-and-owner", OURS),
        ),
        (
            "the server alone, with a stolen segment and digits from elsewhere",
            leak(findings, attack_key(place, 0.0, 0.0, more="femnist-digits"), OURS),
        ),
        (
            "an owner alone, with its own training images, on another owner's messages",
            leak(findings, f"{two}owner-alone", OURS),
        ),
    ]


def tuned(findings: Findings, place: str = "authors-code") -> list[dict[str, Any]]:
    """The server's segment trained further under noise: accuracies before and after."""
    found = []
    for weight in WEIGHTS:
        for scale in (0.5, 1.0):
            key = f"{place}/server-tuned/noise-0-weight-{weight:g}-laplace-{scale:g}"
            if (f := findings.get(key)) is not None:
                found.append({"weight": weight, **f})
    return found


def rounds(findings: Findings, place: str = "authors-code") -> list[dict[str, Any]]:
    """For each epoch: the attacker fitted to that epoch, and the final attacker on its messages."""
    kept = {e: f for e in range(1, 11) if (f := findings.get(round_key(place, e))) is not None}
    if not kept:
        return []
    last = kept[max(kept)]["messages_of"]
    return [
        {
            "epoch": e,
            "own": kept[e]["messages_of"][str(e)] if e in kept else None,
            "final": last.get(str(e)),
        }
        for e in range(1, max(kept) + 1)
    ]


def other_data(findings: Findings) -> dict[str, list[Configuration]]:
    """The grid on more complex data, by data set; only what has been run."""
    found = {}
    for name in OTHER_DATA:
        every = []
        for weight in WEIGHTS:
            every.append(configuration(findings, name, 0.0, weight))
            for scale in (0.5, 1.0):
                every.append(configuration(findings, name, 0.0, weight, f"laplace-{scale:g}"))
            every.append(configuration(findings, name, 0.5, weight))
        if kept := [c for c in every if c.leaks]:
            found[name] = kept
    return found
