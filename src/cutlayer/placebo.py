"""Whether an attack knows its victims from elsewhere than their messages.

Asked of the outside: what it answers where the messages tell it nothing of them.
"""

import copy
from dataclasses import asdict, dataclass
from math import comb
from typing import Any

import torch
from torch import Tensor

from .adversary import Seat
from .assembly import Assembly
from .attacks import Reconstruction
from .metrics import bootstrap, mse, reidentification_rank
from .overhear import Heard
from .prediction_api import PredictionApi
from .streams import generator, stream
from .threat import Observed
from .trained import Network

VICTIMS = 32
FEWEST = 8  # victims with which anything can be told
LOUD = 0.25  # deviation of the mean noise to the message's root mean square
BETTER = 0.9  # of the floor's error
UNLIKELY = 1e-4


@dataclass(frozen=True)
class Placebo:
    """What an attack made of messages of others, held against the victims in their place.

    victims: How many. mse: Mean squared error, ``None`` where an answer is not finite. floor: That
    of the guess. found_again: Share of the answers that differ from their mean most nearly as the
    victim in their place does, of all these victims; chance is one in their number. knows: It is
    better than anybody can be who goes by the messages.
    """

    victims: int
    mse: float | None
    floor: float
    found_again: float
    knows: bool


def placebo(x: Tensor, x_hat: Tensor, guess: Tensor) -> Placebo:
    """Grade answers to messages that were not the victims', whose order says nothing of theirs.

    Args:
        x: ``(N, ...)`` victims. x_hat: ``(N, ...)`` answers. guess: ``(N, ...)``, what somebody
            answers who has heard nothing: the mean sample.
    """
    n = len(x)
    hits = int((reidentification_rank(_directions(x), _directions(x_hat)) == 0).sum())
    errors, floors = mse(x, x_hat), mse(x, guess)
    floor, finite = float(floors.mean()), bool(errors.isfinite().all())
    error = float(errors.mean()) if finite else None
    closer = error is not None and error < BETTER * floor and bootstrap(floors - errors)[0] > 0
    knows = n >= FEWEST and (closer or by_chance(n, hits) < UNLIKELY)
    return Placebo(n, error, floor, hits / n, knows)


def _directions(t: Tensor) -> Tensor:
    """In which way each sample differs from the mean of all, whatever its scale; ``(N, D)``."""
    away = t.flatten(1).double()
    away = away - away.mean(0)
    length: Tensor = torch.linalg.vector_norm(away, dim=1, keepdim=True)
    return away / length.clamp_min(1e-12)


def by_chance(n: int, hits: int) -> float:
    """Probability that so many of n, or more, are found where each has a chance of one in n.

    >>> by_chance(32, 0)
    1.0
    >>> by_chance(32, 8) < 1e-4 < by_chance(32, 5)
    True
    """
    ways = sum(comb(n, k) * (n - 1) ** (n - k) for k in range(hits, n + 1))
    return float(ways / n**n)


def copies(x: Tensor, x_hat: Tensor, own: Tensor) -> int:
    """How many victims were reconstructed bit for bit, and are no sample of the adversary's own.

    Args:
        x, x_hat: ``(N, ...)``. own: ``(M, ...)``.
    """
    alike = (x == x_hat).flatten(1).all(1)
    if not alike.any():
        return 0
    known = {sample.numpy().tobytes() for sample in own.cpu()}
    return sum(sample.numpy().tobytes() not in known for sample in x[alike].cpu())


def untouched(attack: Reconstruction) -> Reconstruction:
    """The attack as it is before it hears any victim; itself, if it cannot be copied.

    One that counts how often it is called would be told by the count.
    """
    told = attack.on_progress
    try:
        return copy.deepcopy(attack, {id(told): told})
    except Exception:  # whatever a user's own code may hold
        return attack


@dataclass(frozen=True)
class Suspicion:
    """What speaks for an attack having met its victims elsewhere.

    placebo: ``None`` where it could not be given. copies: Victims rebuilt bit for bit through
    loud noise.
    """

    placebo: Placebo | None
    copies: int

    @property
    def knows(self) -> bool:
        return self.copies > 0 or (self.placebo is not None and self.placebo.knows)

    def to_dict(self) -> dict[str, Any]:
        """For the record."""
        given = None if self.placebo is None else asdict(self.placebo)
        return {"placebo": given, "copies": self.copies}


def suspicion(
    assembly: Assembly,
    network: Network,
    post: Seat | PredictionApi,
    attack: Reconstruction,
    x: Tensor,
    heard: Heard,
) -> Suspicion:
    """Examine an attack on victims ``x`` ``(N, ...)`` that has been carried out.

    Args:
        attack: As it was fitted, ``untouched``.
    """
    noise, repeats = network.defended.defence, assembly.experiment.repeats
    loud = noise.noise_deviation() >= LOUD * repeats**0.5 * heard.rms
    loud &= noise.noise_deviation() > 0
    own = torch.cat([samples for samples, _ in assembly.attackers_own()])
    exact = copies(x, heard.x_hat["attack"], own) if loud else 0
    return Suspicion(administered(assembly, post, attack, x, heard.x_hat["mean"]), exact)


def administered(
    assembly: Assembly,
    post: Seat | PredictionApi,
    attack: Reconstruction,
    x: Tensor,
    guess: Tensor,
) -> Placebo | None:
    """Give a fitted attack messages of the adversary's own samples, as if they were victims'.

    They are as many, sent as often, through the same defended path; drawn from streams of their
    own. ``None`` where there are too few samples to tell anything, or the attack fails at them.

    Args:
        x: ``(N, ...)``, the victims; the first 32 count. guess: ``(N, ...)``, the mean sample.
    """
    e, (learn, stop) = assembly.experiment, assembly.attackers_own()
    others = torch.cat([stop[0], learn[0]])
    n = min(VICTIMS, len(x), len(others))
    if n < FEWEST:
        return None
    first = others[: max(n, len(stop[0]))]
    order = torch.randperm(len(first), generator=generator(e.seed, "placebo"))[:n]
    with stream(e.seed, "placebo", "serve"):
        messages = post.send(first[order.to(first.device)], e.repeats)
    with stream(e.seed, "placebo", "reconstruct"):
        try:
            answers = attack.reconstruct(Observed(messages))
        except Exception:  # the run is whole without this: it is not to die of it
            return None
    return placebo(x[:n], answers, guess[:n])
