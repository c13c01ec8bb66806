"""Inversion models that the defender trains itself, and which way it would like them to go."""

import copy
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, mse_loss, sigmoid, silu

from ...inversion_models import LogConfidences
from .base import Private

DefensiveLoss = Literal["negative", "swap"]


class SurrogateNetwork(nn.Module):
    """From vectors ``(N, K)`` to inputs: what a defender thinks that an attacker trains.

    All its weights are in two linear layers, so that the gradient of each sample on its own needs
    no copy of them: it is what goes into a layer times what comes back out of it.
    """

    def __init__(self, classes: int, input_shape: tuple[int, ...], *, width: int = 192) -> None:
        super().__init__()
        self.features = LogConfidences()
        self.first = nn.Linear(classes, width)
        self.second = nn.Linear(width, math.prod(input_shape))
        self.input_shape = input_shape

    def forward(self, p: Tensor) -> Tensor:
        return self.traced(p)[0]

    def traced(self, p: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The inputs made, and what went into each linear layer and came out."""
        h = self.features(p)
        a = self.first(h)
        s = silu(layer_norm(a, a.shape[1:]))
        b = self.second(s)
        return sigmoid(b).unflatten(1, self.input_shape), [(h, a), (s, b)]

    @property
    def layers(self) -> tuple[nn.Linear, nn.Linear]:
        """The two linear ones, in order."""
        return self.first, self.second


class Surrogate(nn.Module):
    """One snapshot of an inversion model, and the gradient of the defensive loss there.

    Args:
        slopes: That gradient, by weight and bias of each linear layer in turn; of length 1 all
            together. Without it zeros, for tensors to be loaded into.
    """

    def __init__(self, network: SurrogateNetwork, slopes: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        if slopes is None:
            slopes = [torch.zeros_like(w) for layer in network.layers for w in layer.parameters()]
        for i, slope in enumerate(slopes):
            self.register_buffer(f"slope{i}", slope)

    @property
    def target(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """By linear layer, of weight and bias."""
        found: list[Tensor] = [self.get_buffer(f"slope{i}") for i in range(4)]
        return (found[0], found[1]), (found[2], found[3])

    def misalignment(self, p: Tensor, x: Tensor) -> Tensor:
        """1 - cosine of the poisoned gradient and the target gradient of each vector, ``(N,)``.

        The poisoned gradient is that of the training loss by the weights, had an attacker this
        vector and its input alone. Differentiable in ``p``; no row sees another.
        """
        made, taps = self.network.traced(p)
        error = (made - x).square().flatten(1).mean(1).sum()
        back = torch.autograd.grad(error, [out for _, out in taps], create_graph=True)
        along, square = p.new_zeros(len(p)), p.new_zeros(len(p))
        for (given, _), out, (weight, bias) in zip(taps, back, self.target, strict=True):
            along = along + (out * (given @ weight.T + bias)).sum(1)
            square = square + out.square().sum(1) * (given.square().sum(1) + 1)
        return 1 - along / (square + 1e-30).sqrt()


def train_surrogates(
    private: Private, *, epochs: tuple[int, ...], loss: DefensiveLoss, batch_size: int = 64
) -> list[Surrogate]:
    """An ensemble: one inversion model after each of these numbers of epochs.

    Args:
        loss: "negative" for the reconstruction error of the private data with its sign turned, so
            that the way down is the way to worse reconstructions; "swap" for the error towards the
            image of another sample of the same class.
    """
    network = SurrogateNetwork(private.classes, tuple(private.x.shape[1:])).to(private.p)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    goal = private.x if loss == "negative" else private.x[others_of_class(private.y)]
    found = []
    for epoch in range(max(epochs)):
        for index in torch.randperm(len(private.p), device=private.p.device).split(batch_size):
            optimiser.zero_grad(set_to_none=True)
            mse_loss(network(private.p[index]), private.x[index]).backward()
            optimiser.step()
        if epoch + 1 in epochs:
            sign = -1.0 if loss == "negative" else 1.0
            found.append(_snapshot(network, private.p, goal, sign))
    return found


def _snapshot(network: SurrogateNetwork, p: Tensor, goal: Tensor, sign: float) -> Surrogate:
    network = copy.deepcopy(network)
    network.zero_grad(set_to_none=True)
    for part, x in zip(p.split(512), goal.split(512), strict=True):
        (sign * mse_loss(network(part), x, reduction="sum")).backward()
    slopes = [v.grad for layer in network.layers for v in (layer.weight, layer.bias)]
    size = torch.stack([g.square().sum() for g in slopes if g is not None]).sum().sqrt()
    unit = [g / size.clamp_min(1e-30) for g in slopes if g is not None]
    network.zero_grad(set_to_none=True)
    return Surrogate(network, unit)


def others_of_class(y: Tensor) -> Tensor:
    """``(N,)``: for each sample the index of another one of its class, each taken once; a sample
    that is alone in its class has itself."""
    found = torch.arange(len(y), device=y.device)
    for label in y.unique():
        members = (y == label).nonzero()[:, 0]
        members = members[torch.randperm(len(members), device=y.device)]
        found[members] = members.roll(1)
    return found
