"""What each defence leaves to each attacker, read from the findings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..findings import Findings
from .defences import LABEL_ONLY, NONE, Defended, compared, flipping, further
from .settings import NAMES, Data
from .tasks import ALWAYS, ATTACKERS, OTHERS, TRANSFERRED, attack_key, transfer_key

ATTACKER_NAMES = {"log": "logarithms", "adaptive": "adaptive", "transposed": "convolutions"}
Interval = tuple[float, float, float]  # value, and 95 % interval


@dataclass(frozen=True)
class Attacked:
    """One attack on the answers of an API.

    error: mean squared error over all victims; the greater, the less leaked. ssim: of images.
    read: share of reconstructions whose class an independent classifier reads right. clean: the
    error on the victims' undefended vectors, of the attacker trained on defended ones.
    """

    key: str
    error: Interval
    ssim: float | None
    read: float | None
    clean: float
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """A defence, and all attacks on it that have been run.

    accuracy, agreement, ece: of what is released. l1: its mean distance from what the classifier
    says; farthest: the largest.
    """

    defence: Defended
    by: Mapping[str, Attacked]
    accuracy: Interval
    agreement: float
    ece: float
    l1: float
    farthest: float

    @property
    def worst(self) -> tuple[str, Attacked]:
        """The attacker that gets nearest, by name."""
        return min(self.by.items(), key=lambda pair: pair[1].error[0])


def attacked(findings: Findings, key: str) -> Attacked | None:
    """What one attack found; ``None`` if it has not been run."""
    kept = findings.get(key)
    if kept is None:
        return None
    leakage = kept["record"]["leakage"]
    ssim, read = (leakage.get(name, {}).get("value") for name in ("ssim", "read"))
    return Attacked(
        key=key,
        error=interval(leakage["mse"]),
        ssim=ssim,
        read=read,
        clean=kept["clean"]["mse"]["value"],
        flags=tuple(kept["record"]["flags"]),
    )


def interval(estimate: Mapping[str, Any]) -> Interval:
    """Value and interval of a recorded estimate."""
    return estimate["value"], estimate["low"], estimate["high"]


def measured(findings: Findings, data: Data, defence: Defended) -> Measured | None:
    """A defence with every attack on it; ``None`` unless the two usual ones have been run."""
    keys = {by: attack_key(data, defence.name, by) for by in ATTACKERS}
    if data == "mnist" and defence.name in TRANSFERRED:
        keys |= {f"{n}, {loss}": transfer_key(defence.name, n, loss) for n, loss in OTHERS}
    found = {by: a for by, key in keys.items() if (a := attacked(findings, key)) is not None}
    if any(by not in found for by in ALWAYS):
        return None
    kept = findings.get(keys[ALWAYS[0]])
    assert kept is not None
    utility = kept["record"]["utility"]
    return Measured(
        defence,
        found,
        interval(utility["accuracy"]),
        utility["label_agreement"]["value"],
        utility["ece"]["value"],
        utility["l1_distortion"]["value"],
        kept["farthest"],
    )


def factor(m: Measured, undefended: Measured) -> float:
    """How much the strongest attacker's error has grown, by the attackers that tried both."""
    both = [by for by in m.by if by in undefended.by]
    least, before = (min(x.by[by].error[0] for by in both) for x in (m, undefended))
    return least / before


def alike(m: Measured) -> Measured:
    """As the two usual attackers see it, who tried every defence: to compare defences by."""
    return replace(m, by={by: m.by[by] for by in ALWAYS})


def every(findings: Findings, data: Data) -> list[Measured]:
    """All that was tried on a data set and has been run, LFP left out."""
    wanted = [*compared(data), *(further() if data == "mnist" else [])]
    return [m for d in wanted if (m := measured(findings, data, d)) is not None]


def undefended(findings: Findings, data: Data) -> Measured | None:
    return measured(findings, data, NONE)


def ceiling(findings: Findings, data: Data) -> Measured | None:
    """The label alone: no defence that keeps labels can leave less to a trained attacker."""
    return measured(findings, data, LABEL_ONLY)


def places(findings: Findings) -> list[Data]:
    """The data sets on which the undefended API has been attacked."""
    return [data for data in NAMES if undefended(findings, data) is not None]


def flipped(findings: Findings) -> Sequence[tuple[Defended, Measured | None]]:
    """LFP and its controls on MNIST."""
    return [(d, measured(findings, "mnist", d)) for d in flipping()]


def class_mean_error(findings: Findings, data: Data) -> Interval | None:
    """The floor: the error of answering with the mean picture of the class."""
    kept = findings.get(attack_key(data, NONE.name, ALWAYS[0]))
    return None if kept is None else interval(kept["record"]["floors"]["class-mean"]["mse"])
