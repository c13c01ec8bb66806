"""The victims use the network, and somebody listens."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .adversary import Seat
from .attacks import ClassMean, Reconstruction
from .defences import in_phase
from .prediction_api import PredictionApi
from .streams import stream
from .threat import Observed
from .trained import Network, OnProgress, silent


@dataclass(frozen=True)
class Heard:
    """What came of listening to N victims.

    x_hat: by listener, ``(N, ...)``. logits: ``(N, K)``, the server's answer to the first message
    of each. sent: ``(n, ...)``, the first messages of the first n, as they were heard. rms: of
    what the noise at the cut is added to. released: of a prediction API, ``(N, K)``, its first
    answer to each.
    """

    x_hat: Mapping[str, Tensor]
    logits: Tensor
    sent: Tensor
    rms: float
    released: Tensor | None = None


@torch.no_grad()
def served(
    network: Network, x: Tensor, *, repeats: int, root: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """What leaves the owner while serving, for whoever has put the defences into that phase.

    Yields:
        Number of a part, its inputs ``(n, ...)`` and their messages ``(n, repeats, ...)``. The
        messages of all never lie in memory together.
    """
    size = max(1, min(256, 8192 // repeats))
    for i, part in enumerate(x.split(size)):
        with stream(root, "serve", i):
            messages = network.defended.repeats(part, repeats)
        yield i, part, messages


@torch.no_grad()
def overhear(
    network: Network,
    seat: Seat | PredictionApi,
    listeners: Mapping[str, Reconstruction],
    x: Tensor,
    y: Tensor,
    *,
    repeats: int,
    root: int,
    keep: int,
    on_progress: OnProgress = silent,
) -> Heard:
    """Every victim sends ``repeats`` messages; the server answers, the listeners reconstruct.

    Listeners are given messages; the floor that answers by class, and no other, the labels.

    Args:
        keep: How many first messages to keep.
    """
    made: dict[str, list[Tensor]] = {name: [] for name in listeners}
    logits, answers, sent, square, count, done = [], [], [], 0.0, 0, 0
    chain = network.defended.defence
    with in_phase(chain, "serve"):
        for i, part, messages in served(network, x, repeats=repeats, root=root):
            on_progress("reconstruct", done, len(x))
            labels = y[done : done + len(part)]
            logits.append(network.far.predict(messages[:, 0]))
            messages = seat.heard(messages, part)
            if isinstance(seat, PredictionApi):
                answers.append(messages[:, 0])
            if done < keep:
                sent.append(messages[:, 0][: keep - done])
            with stream(root, "loudness", i):
                quiet = chain.without_noise(network.defended.emit(part).z).double()
            square, count = square + float(quiet.square().sum()), count + quiet.numel()
            for name, listener in listeners.items():
                with stream(root, "reconstruct", name, i):
                    told = labels if isinstance(listener, ClassMean) else None
                    made[name].append(listener.reconstruct(Observed(messages, told)))
            done += len(part)
    x_hat = {name: torch.cat(parts) for name, parts in made.items()}
    rms = (square / max(count, 1)) ** 0.5
    released = torch.cat(answers) if answers else None
    return Heard(x_hat, torch.cat(logits), torch.cat(sent), rms, released)
