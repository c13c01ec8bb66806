"""Proposition 1 put to the test: what an attacker's training steps do to the defensive loss."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from ...assembly import Assembly
from ...defences.outputs import LabelPreservingPoisoning, OutputDefence, OutputNoise, Private
from ...defences.outputs.surrogates import DefensiveLoss, SurrogateNetwork, others_of_class
from ...prediction_api import PRIVATE, PredictionApi
from ...streams import stream

BUDGET, EPOCHS, BATCH, LEARNING_RATE, HELD = 0.02, 10, 64, 0.02, 500

Loss = Callable[[SurrogateNetwork], Tensor]


def descents(assembly: Assembly, api: PredictionApi, loss: DefensiveLoss) -> dict[str, Any]:
    """An attacker's training by gradient descent on clean vectors, on noisy and on poisoned ones.

    The paper's condition could not be had whole. By the descent lemma the defensive loss falls
    with a step while ``rate · L < 2 · cos · |defensive gradient| / |training gradient|``; the
    paper's assumptions point to a constant c < 1 for the 2. Here c is 1, and L the least that the
    step itself shows: the change of the defensive gradient over the length of the step.

    "swap" has another derangement here than the one that the poisoning was aligned with, and fewer
    private samples.

    Args:
        api: Undefended.
        loss: Of the defender.

    Returns:
        By what is released: ``cosine``, mean of each epoch; ``condition``, share of steps that
        meet it; ``fell``, share of steps after which the defensive loss is lower;
        ``fell_where_met``; ``defensive_loss``, at first and after each epoch; ``error``,
        reconstruction error on the private data, likewise.
    """
    own = assembly.take(assembly.shares.train[:PRIVATE])
    (x, _), _ = assembly.attackers_own()
    p, theirs = (_said(api, t) for t in (own[0], x))
    private = Private(own[0], own[1], p)
    ways: dict[str, OutputDefence | None] = {
        "clean": None,
        "gaussian": OutputNoise(BUDGET),
        "lpa": LabelPreservingPoisoning(BUDGET, loss=loss),
    }
    found = {}
    for name, way in ways.items():
        with stream(assembly.experiment.seed, "proposition", name):
            released = theirs if way is None else _released(way.fit(private), theirs, x)
        with stream(assembly.experiment.seed, "proposition"):
            found[name] = _descent(private, released, x, loss)
    return found


def _said(api: PredictionApi, x: Tensor) -> Tensor:
    return torch.cat([api.send(part, 1)[:, 0] for part in x.split(256)])


def _released(defence: OutputDefence, p: Tensor, x: Tensor) -> Tensor:
    pairs = zip(p.split(256), x.split(256), strict=True)
    with torch.no_grad():
        return torch.cat([defence(q, x=part) for q, part in pairs])


def _descent(private: Private, released: Tensor, x: Tensor, loss: DefensiveLoss) -> dict[str, Any]:
    network = SurrogateNetwork(private.classes, tuple(x.shape[1:])).to(x)
    defensive, error = _losses(private, loss)
    steps: list[tuple[float, bool, bool]] = []
    by_epoch: dict[str, list[float]] = {"cosine": [], "defensive_loss": [], "error": []}
    for epoch in range(EPOCHS + 1):
        if epoch:
            taken = [
                _step(network, released[i], x[i], defensive)
                for i in torch.randperm(len(x), device=x.device).split(BATCH)
            ]
            by_epoch["cosine"].append(sum(s[0] for s in taken) / len(taken))
            steps += taken
        with torch.no_grad():
            by_epoch["defensive_loss"].append(float(defensive(network)))
            by_epoch["error"].append(float(error(network)))
    met = [fell for _, meets, fell in steps if meets]
    return {
        **by_epoch,
        "condition": len(met) / len(steps),
        "fell": sum(fell for _, _, fell in steps) / len(steps),
        "fell_where_met": sum(met) / len(met) if met else None,
        "steps": len(steps),
    }


def _losses(private: Private, loss: DefensiveLoss) -> tuple[Loss, Loss]:
    """What the defender lowers, and the reconstruction error, both on private data.

    Both are sums over pixels, as of a mean there is hardly a gradient to descend.
    """
    x, p = private.x[:HELD], private.p[:HELD]
    goal = x if loss == "negative" else private.x[others_of_class(private.y)][:HELD]
    sign = -1.0 if loss == "negative" else 1.0

    def defensive(network: SurrogateNetwork) -> Tensor:
        return sign * _error(network, p, goal)

    return defensive, lambda network: mse_loss(network(p), x)


def _error(network: SurrogateNetwork, p: Tensor, x: Tensor) -> Tensor:
    return mse_loss(network(p), x, reduction="sum") / len(x)


def _step(
    network: SurrogateNetwork, p: Tensor, x: Tensor, defensive: Loss
) -> tuple[float, bool, bool]:
    """One step of plain gradient descent: cosine, whether the condition is met, whether the
    defensive loss fell."""
    weights = [w for w in network.parameters() if w.requires_grad]
    before = defensive(network)
    target = _flat(torch.autograd.grad(before, weights))
    training = torch.autograd.grad(_error(network, p, x), weights)
    with torch.no_grad():
        for w, g in zip(weights, training, strict=True):
            w.sub_(LEARNING_RATE * g)
    after = defensive(network)
    change = (_flat(torch.autograd.grad(after, weights)) - target).norm()
    size, goal = _flat(training).norm(), target.norm()
    cosine = float(_flat(training) @ target / (size * goal).clamp_min(1e-30))
    smooth = float(change / (LEARNING_RATE * size).clamp_min(1e-30))
    ratio = float(goal / size.clamp_min(1e-30))
    return cosine, is_met(LEARNING_RATE, smooth, cosine, ratio), bool(after < before)


def is_met(rate: float, smooth: float, cosine: float, ratio: float) -> bool:
    """The condition on a step.

    Args:
        smooth: L, of the defensive loss.
        ratio: Of the size of the defensive gradient to that of the training gradient.

    The loss t²/2, L = 1, at t = 1, and a training gradient of 3: a rate of 0.3 lands at 0.1 and
    lowers it, one of 0.7 lands at -1.1 and does not.

    >>> is_met(0.3, 1.0, 1.0, 1 / 3), is_met(0.7, 1.0, 1.0, 1 / 3)
    (True, False)
    """
    return rate * smooth < cosine * ratio


def _flat(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])
