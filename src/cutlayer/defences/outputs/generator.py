"""Poison at the price of one forward pass."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, mse_loss, silu, softplus

from ...inversion_models import LogConfidences
from .base import Private
from .budgeted import Budgeted
from .keyed import new_key, normals
from .poisoning import LabelPreservingPoisoning
from .surrogates import DefensiveLoss


class PoisoningGenerator(Budgeted):
    """Label-preserving perturbations out of a network that has learned from LPA's.

    After Zhou et al. (2024): a conditional variational autoencoder is trained on the perturbations
    that ``LabelPreservingPoisoning`` finds for the operator's own samples, given the vector. A
    query then costs one pass of its decoder and the fitting to the limits, and needs no input: what
    is released hangs on the vector and a secret key alone, so that a repeated question gets the
    same answer, and no answer says more of the input than the vector did.

    Args:
        budget: Largest L1 distance, in (0, 2].
        steps, loss: Of the poisoning that it learns from.
        samples: Private samples to learn from, at most; half for the surrogates.
        latent: Size of what is drawn from the key.
        epochs: Of the autoencoder.
        decimals: Of the answers, rounded inside the budget; see ``Budgeted``.

    Raises:
        ValueError: an argument out of range.

    Reference: S. Zhou et al., arXiv:2412.07575; the layers are this implementation's.
    """

    key: Tensor

    def __init__(
        self,
        budget: float = 0.02,
        *,
        steps: int = 20,
        loss: DefensiveLoss = "swap",
        samples: int = 4000,
        latent: int = 8,
        epochs: int = 30,
        decimals: int | None = None,
    ) -> None:
        super().__init__(budget, decimals)
        for name, value in (("samples", samples), ("latent", latent), ("epochs", epochs)):
            if value < 1:
                raise ValueError(f"PoisoningGenerator {name} must be at least 1: got {value}")
        self.steps = steps
        self.loss: DefensiveLoss = loss
        self.samples = samples
        self.latent = latent
        self.epochs = epochs
        self.network: _ConditionalAutoencoder | None = None
        self.register_buffer("key", torch.zeros(4, dtype=torch.int64))

    def laid_out(self, classes: int, input_shape: tuple[int, ...]) -> Self:
        self.network = _ConditionalAutoencoder(classes, self.latent)
        return super().laid_out(classes, input_shape)

    def fit(self, private: Private) -> Self:
        room, half = self.room(private.classes), max(1, min(self.samples, len(private.p)) // 2)
        poisoning = LabelPreservingPoisoning(
            room, steps=self.steps, loss=self.loss, samples=half
        ).fit(private)
        p, x = private.p[: 2 * half], private.x[: 2 * half]
        parts = zip(p.split(256), x.split(256), strict=True)
        delta = torch.cat([poisoning(q, x=y) - q for q, y in parts]) / room
        self.laid_out(private.classes, tuple(private.x.shape[1:])).to(p)
        assert self.network is not None
        _train(self.network, p, delta, self.epochs)
        self.key = new_key().to(p.device)
        return self

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        network = self.network
        if network is None:
            raise RuntimeError("PoisoningGenerator needs to be fitted first")
        with torch.inference_mode():  # a seventh faster; of its answer a copy, to be trained on
            drawn = normals(t, self.key, self.latent).to(t.dtype)
            made = network.decoded(t, drawn)
            answer = self.answered(t, torch.add(t, made, alpha=self.room(t.shape[1])))
        return answer.clone()


class _ConditionalAutoencoder(nn.Module):
    """From a vector and a perturbation to a few numbers, and back given the vector."""

    def __init__(self, classes: int, latent: int, *, width: int = 64) -> None:
        super().__init__()
        self.features = LogConfidences()
        self.encoder = nn.Sequential(
            nn.Linear(2 * classes, width), nn.SiLU(), nn.Linear(width, 2 * latent)
        )
        self.hidden = nn.Linear(classes + latent, width)
        self.made = nn.Linear(width, classes)

    def encoded(self, p: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, ``(N, latent)`` each."""
        mean, raw = self.encoder(torch.cat([self.features(p), delta], 1)).chunk(2, 1)
        return mean, softplus(raw) + 1e-4

    def decoded(self, p: Tensor, latent: Tensor) -> Tensor:
        """A perturbation ``(N, K)`` in units of the budget."""
        hidden, made = self.hidden, self.made
        given = torch.cat([self.features.forward(p), latent], 1)
        return linear(silu(linear(given, hidden.weight, hidden.bias)), made.weight, made.bias)


def _train(network: _ConditionalAutoencoder, p: Tensor, delta: Tensor, epochs: int) -> None:
    """The usual bound: squared error, and the divergence from a normal law."""
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(epochs):
        for index in torch.randperm(len(p), device=p.device).split(64):
            mean, deviation = network.encoded(p[index], delta[index])
            made = network.decoded(p[index], mean + deviation * torch.randn_like(mean))
            divergence = (mean.square() + deviation.square() - 1) / 2 - deviation.log()
            optimiser.zero_grad(set_to_none=True)
            (10 * mse_loss(made, delta[index]) + 0.05 * divergence.sum(1).mean()).backward()
            optimiser.step()
    network.requires_grad_(False)
