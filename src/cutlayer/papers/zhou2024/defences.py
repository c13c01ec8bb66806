"""The defences that are compared, by name: what the paper has, its rivals, controls, and more."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .settings import Data

FRACTIONS = (0.01, 0.05, 0.1, 0.2)  # of answers that LFP gives another label
MID_WEIGHTS: Mapping[Data, tuple[float, ...]] = {
    "mnist": (1e-4, 1e-3, 1e-2),
    "fashion-mnist": (1e-3,),
}


@dataclass(frozen=True)
class Defended:
    """One way to answer.

    Args:
        name: In keys.
        label: In tables.
        part: Of an experiment; ``None`` for none.
        group: What it belongs to, for tables.
        network: Which network answers: "" for the plain one, else the kind and name of the task
            that trained it.
    """

    name: str
    label: str
    part: Mapping[str, Any] | None
    group: str
    network: str = ""

    @property
    def parts(self) -> list[Mapping[str, Any]]:
        return [] if self.part is None else [self.part]


def _of(name: str, label: str, group: str, kind: str, **args: Any) -> Defended:
    return Defended(name, label, {"kind": kind, "args": args}, group)


LIMITS = "Limits"
NONE = Defended("none", "none", None, LIMITS)
LABEL_ONLY = _of("label-only", "the label alone", LIMITS, "label-only")
PAPER, RIVALS, CONTROLS = "Of the paper", "Rivals", "Controls"
BOTH, OURS = "With rounding, in one budget", "Beyond the paper"


def compared(data: Data) -> list[Defended]:
    """What every data set is tried with, in the order of the tables."""
    rounded = 0.1 if data == "digit-pairs" else 0.02  # rounding a hundred entries takes more room
    return [
        NONE,
        LABEL_ONLY,
        *(_lpa(b) for b in (0.02, 0.1)),
        _of("lpa-negative-0.02", "LPA 0.02, negative", PAPER, "lpa", budget=0.02, loss="negative"),
        *(_generator(b) for b in (0.02, 0.1)),
        *_mid(data),
        _of("purification", "purification", RIVALS, "purification"),
        *(_adversarial(b) for b in (0.02, 0.1)),
        *(_noise(b) for b in (0.02, 0.1)),
        _noise(0.02, "laplace"),
        *(_swap(b) for b in (0.02, 0.1)),
        *(_rounding(k) for k in (3, 2)),
        _of("top-3", "the three largest", CONTROLS, "top-k", k=3),
        _of("temperature-3", "temperature 3", CONTROLS, "temperature", temperature=3.0),
        *_together(rounded, 3),
        *(_codebook(b) for b in (0.02, 0.1)),
    ]


def further() -> list[Defended]:
    """More strengths, on MNIST: where the front runs."""
    return [
        *(make(0.3) for make in (_lpa, _generator, _noise, _swap)),
        *(_swap(b) for b in (0.005, 0.01)),
        *(_rounding(k) for k in (1, 4, 6)),
        _of("top-1", "the largest", CONTROLS, "top-k", k=1),
        _of("temperature-10", "temperature 10", CONTROLS, "temperature", temperature=10.0),
        _of("purification-0.1", "purification, 0.1", RIVALS, "purification", budget=0.1),
        *_together(0.1, 2),
        *(_codebook(b) for b in (0.005, 0.3)),
    ]


def flipping() -> list[Defended]:
    """LFP by the share of answers, and its controls: anybody's label, and the flip alone."""
    ways: dict[str, dict[str, Any]] = {
        "": {},
        "-random": {"select": "random"},
        "-flips": {"select": "random", "poison": False},
    }
    said = {"": "", "-random": ", at random", "-flips": ", at random, the flip alone"}
    return [
        _of(f"lfp-{f:g}{way}", f"LFP {f:.0%}{said[way]}", "LFP", "lfp", fraction=f, **args)
        for f in FRACTIONS
        for way, args in ways.items()
    ]


def _lpa(budget: float) -> Defended:
    return _of(f"lpa-{budget:g}", f"LPA {budget:g}", PAPER, "lpa", budget=budget)


def _generator(budget: float) -> Defended:
    name, label = f"generator-{budget:g}", f"LPA generator {budget:g}"
    return _of(name, label, PAPER, "lpa-generator", budget=budget)


def _mid(data: Data) -> Iterator[Defended]:
    """With the mean served, and, of the strongest, drawn anew for every answer."""
    weights = MID_WEIGHTS.get(data, ())
    for weight in weights:
        args: dict[str, Any] = {"weight": weight}
        yield _retrained(f"mid-{weight:g}", f"MID {weight:g} (retrained)", args)
    if weights:
        args = {"weight": weights[-1], "active": "both"}
        label = f"MID {weights[-1]:g}, drawn (retrained)"
        yield _retrained(f"mid-{weights[-1]:g}-drawn", label, args)


def _retrained(name: str, label: str, args: Mapping[str, Any]) -> Defended:
    part = {"kind": "mid", "args": args}
    return Defended(name, label, part, RIVALS, f"mid/{name.removeprefix('mid-')}")


def _adversarial(budget: float) -> Defended:
    name, label = f"adversarial-{budget:g}", f"adversarial noise {budget:g}"
    return _of(name, label, RIVALS, "adversarial-noise", budget=budget)


def _noise(budget: float, law: str = "gaussian") -> Defended:
    known = {"gaussian": "Gaussian", "laplace": "Laplace"}
    name, label = f"{law}-{budget:g}", f"{known[law]} noise {budget:g}"
    return _of(name, label, CONTROLS, "output-noise", budget=budget, law=law)


def _swap(budget: float) -> Defended:
    name, label = f"swap-{budget:g}", f"swap within the class {budget:g}"
    return _of(name, label, CONTROLS, "same-class-swap", budget=budget)


def _codebook(budget: float) -> Defended:
    return _of(f"codebook-{budget:g}", f"codebook {budget:g}", OURS, "codebook", budget=budget)


def _rounding(decimals: int) -> Defended:
    label = "1 decimal" if decimals == 1 else f"{decimals} decimals"
    return _of(f"rounding-{decimals}", label, CONTROLS, "rounding", decimals=decimals)


def _together(budget: float, decimals: int) -> Iterator[Defended]:
    """Each idea followed by rounding, the worst that this can add taken off its budget."""
    for kind, name, label in (
        ("lpa", "lpa", "LPA"),
        ("lpa-generator", "generator", "LPA generator"),
        ("output-noise", "gaussian", "Gaussian noise"),
        ("same-class-swap", "swap", "swap within the class"),
    ):
        yield _of(
            f"{name}-{budget:g}-rounded-{decimals}",
            f"{label} {budget:g}, {decimals} decimals",
            BOTH,
            kind,
            budget=budget,
            decimals=decimals,
        )


def named(name: str, data: Data) -> Defended:
    """The defence of that name.

    Raises:
        KeyError: there is none.
    """
    every = [*compared(data), *further(), *flipping()]
    return {d.name: d for d in every}[name]
