"""Defences to try: each a ladder of strengths, in units of the message that it acts on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..parts import Part, constructed, resolve

NOISE = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SHRUNK = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05)
WEIGHTS = (0.1, 0.5, 2.0)
TRAINED_NOISE = (0.5, 1.0, 2.0)
_ROOT = 2**0.5  # standard deviation of the Laplace law at scale 1


@dataclass(frozen=True)
class Loudness:
    """Of the undefended messages at a cut, on the owners' training share.

    rms: Root mean square of an element. l1, l2: Median norms of a message.
    """

    rms: float
    l1: float
    l2: float


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
}


def family_of(name: str) -> Family:
    """A family by name, or a single defence as on the command line, at the strength it has."""
    if name in FAMILIES:
        return FAMILIES[name]
    part = constructed(Part.parse(name))
    active = resolve("defence", part.kind)(**part.args).active
    rung = Rung(name.replace("/", "-"), name, (name,))
    return Family((1.0,), lambda step, z: rung, retrained=active != "serve")


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
