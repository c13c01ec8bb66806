"""Defences to try: each a ladder of strengths, in units of the message that it acts on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..defences import Defence, Rounding
from ..parts import Part, constructed, resolve
from .limits import OF_ANSWERS

NOISE = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SHRUNK = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05)
WEIGHTS = (0.1, 0.5, 2.0)
TRAINED_NOISE = (0.5, 1.0, 2.0)
DECIMALS = (6, 5, 4, 3, 2, 1)
LARGEST = (10, 5, 3, 2, 1)
TEMPERATURES = (1.2, 1.5, 2.0, 3.0, 5.0)
BUDGETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # of one answer, L1
WIDTHS = (16, 8, 4, 3, 2)
_ROOT = 2**0.5  # standard deviation of the Laplace law at scale 1


@dataclass(frozen=True)
class Loudness:
    """Of the undefended messages at a cut, on the owners' training share.

    rms: Root mean square of an element. l1, l2: Median norms of a message. size: Its elements.
    """

    rms: float
    l1: float
    l2: float
    size: int = 0


def loudness_of(plain: Mapping[str, Any]) -> Loudness:
    """From JSON values."""
    return Loudness(**plain)


@dataclass(frozen=True)
class Rung:
    """A defence at one strength.

    Args:
        name: In a key, "laplace-0.5". words: For people. defence: As on the command line.
        epsilon: Of one message, pure local differential privacy; ``None`` without a bound.
    """

    name: str
    words: str
    defence: tuple[str, ...]
    epsilon: float | None = None


@dataclass(frozen=True)
class Family:
    """A defence at several strengths, weakest first.

    Args:
        steps: The strengths. at: One of them as a defence at a cut.
    """

    steps: Sequence[float]
    at: Callable[[float, Loudness], Rung]
    retrained: bool = False

    def ladder(self, loudness: Loudness) -> list[Rung]:
        """Every rung."""
        return [self.at(step, loudness) for step in self.steps]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _laplace(rms: float, *, active: str = "serve") -> str:
    return f"laplace:scale={_number(rms / _ROOT)},active={active}"


def _of_laplace(step: float, z: Loudness) -> Rung:
    return Rung(f"laplace-{step}", f"Laplace noise of {step} rms", (_laplace(step * z.rms),))


def _of_gaussian(step: float, z: Loudness) -> Rung:
    spec = f"gaussian:scale={_number(step * z.rms)},active=serve"
    return Rung(f"gaussian-{step}", f"Gaussian noise of {step} rms", (spec,))


def _of_dropout(step: float, z: Loudness) -> Rung:
    return Rung(f"dropout-{step}", f"dropout of {step:.0%}", (f"dropout:rate={step}",))


def _of_clip(step: float, z: Loudness) -> Rung:
    spec = f"clip-norm:norm={_number(step * z.l2)},active=serve"
    return Rung(f"clip-norm-{step}", f"messages clipped to {step} of their median norm", (spec,))


def _of_clipped_laplace(step: float, z: Loudness) -> Rung:
    """Clipped to the median norm: replacing one input moves a message by at most twice that."""
    norm, scale = float(_number(z.l1)), float(_number(step * z.rms / _ROOT))
    clip = f"clip-norm:norm={_number(norm)},order=1,active=serve"
    words = f"messages clipped to their median norm, Laplace noise of {step} rms"
    noise = f"laplace:scale={_number(scale)},active=serve"
    return Rung(f"clipped-laplace-{step}", words, (clip, noise), 2 * norm / scale)


def _of_dropout_laplace(step: float, z: Loudness) -> Rung:
    words = f"Laplace noise of {step} rms, then dropout of 50%"
    return Rung(f"dropout-laplace-{step}", words, (_laplace(step * z.rms), "dropout:rate=0.5"))


def _of_nopeek(step: float, z: Loudness) -> Rung:
    return Rung(f"nopeek-{step}", f"NoPeek of weight {step}", (f"nopeek:weight={step}",))


def _of_trained_laplace(step: float, z: Loudness) -> Rung:
    words = f"Laplace noise of {step} rms of the undefended message, trained with"
    return Rung(f"laplace-in-training-{step}", words, (_laplace(step * z.rms, active="both"),))


def _of_nopeek_laplace(step: float, z: Loudness) -> Rung:
    words = f"NoPeek of weight 0.5 and Laplace noise of {step} rms, trained with"
    noise = _laplace(step * z.rms, active="both")
    return Rung(f"nopeek-laplace-{step}", words, ("nopeek:weight=0.5", noise))


def _of_answers(
    kind: str, argument: str, words: str, steps: Sequence[float], *, more: str = ""
) -> Family:
    """A defence of what is released, by its one strength."""

    def at(step: float, z: Loudness) -> Rung:
        spec = f"{kind}:{argument}={_number(step)}{more}"
        return Rung(f"{kind}-{_number(step)}", words.format(_number(step)), (spec,))

    return Family(steps, at)


def _of_rounded_noise(step: float, z: Loudness) -> Rung:
    """Noise and rounding in one budget, of which the rounding may take half."""
    decimals = next(k for k in range(2, 7) if k == 6 or Rounding(k).worst_case(z.size) < step / 2)
    words = f"with Gaussian noise, rounded to {decimals} decimals, within {_number(step)}"
    spec = f"output-noise:budget={_number(step)},decimals={decimals}"
    return Rung(f"rounded-noise-{_number(step)}", words, (spec,))


def _label_only(step: float, z: Loudness) -> Rung:
    return Rung("label-only", "as the label alone", ("label-only",))


FAMILIES: dict[str, Family] = {
    "laplace": Family(NOISE, _of_laplace),
    "gaussian": Family(NOISE, _of_gaussian),
    "dropout": Family(RATES, _of_dropout),
    "clip-norm": Family(SHRUNK, _of_clip),
    "clipped-laplace": Family(NOISE, _of_clipped_laplace),
    "dropout-laplace": Family(NOISE, _of_dropout_laplace),
    "nopeek": Family(WEIGHTS, _of_nopeek, retrained=True),
    "laplace-in-training": Family(TRAINED_NOISE, _of_trained_laplace, retrained=True),
    "nopeek-laplace": Family(TRAINED_NOISE, _of_nopeek_laplace, retrained=True),
    "rounding": _of_answers("rounding", "decimals", "rounded to {} decimals", DECIMALS),
    "top-k": _of_answers("top-k", "k", "with the {} largest entries alone", LARGEST),
    "temperature": _of_answers("temperature", "temperature", "at temperature {}", TEMPERATURES),
    "output-noise": _of_answers("output-noise", "budget", "with Gaussian noise within {}", BUDGETS),
    "rounded-noise": Family(BUDGETS[2:], _of_rounded_noise),
    "same-class-swap": _of_answers(
        "same-class-swap", "budget", "moved within {} towards another one of their class", BUDGETS
    ),
    "codebook": _of_answers("codebook", "budget", "out of a codebook within {}", BUDGETS),
    "purification": _of_answers("purification", "width", "purified through {} numbers", WIDTHS),
    "adversarial-noise": _of_answers(
        "adversarial-noise", "budget", "with adversarial noise within {}", BUDGETS[2:5]
    ),
    "lpa-generator": _of_answers(
        "lpa-generator", "budget", "poisoned by a generator within {}", BUDGETS[2:5]
    ),
    "label-only": Family((1.0,), _label_only),
}


def family_of(name: str) -> Family:
    """A family by name, or a single defence as on the command line, at the strength it has."""
    if name in FAMILIES:
        return FAMILIES[name]
    defence = _made(name)
    words = f"behind {name}" if defence.site == "output" else name
    rung = Rung(name.replace("/", "-"), words, (name,))
    return Family((1.0,), lambda step, z: rung, retrained=defence.active != "serve")


def of_answers(name: str) -> bool:
    """Whether a family acts on what is released, and not on what crosses a cut."""
    return name in OF_ANSWERS or (name not in FAMILIES and _made(name).site == "output")


def is_random(spec: str) -> bool:
    """Whether a defence makes two messages about one input differ."""
    return bool(_made(spec).stochastic)


def _made(spec: str) -> Defence:
    part = constructed(Part.parse(spec))
    made: Defence = resolve("defence", part.kind)(**part.args)
    return made


def strongest(rungs: Sequence[Rung], keeps: Callable[[Rung], bool]) -> int:
    """The last rung that keeps the limit, by bisection; -1 where the first does not.

    What one rung breaks every stronger one breaks: tried are at most about log2 of their number.

    >>> rungs = [Rung(str(n), "", ()) for n in range(13)]
    >>> strongest(rungs, lambda rung: int(rung.name) <= 7)
    7
    """
    low, high = -1, len(rungs)
    while high - low > 1:
        middle = (low + high) // 2
        if keeps(rungs[middle]):
            low = middle
        else:
            high = middle
    return low


def to_try(last: int) -> list[int]:
    """Rungs to attack: the last that keeps the limit, and two weaker ones for the front.

    >>> to_try(7), to_try(1), to_try(-1)
    ([7, 5, 2], [1], [])
    """
    return [rung for rung in (last, last - 2, last - 5) if rung >= 0]
