"""Confidence vectors through an autoencoder, which gives back what they have in common."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from ...inversion_models import LogConfidences
from .base import OutputDefence, Private, within
from .feasible import project


class Purification(OutputDefence):
    """Prediction purification: an autoencoder between the classifier and the world.

    After Yang et al. (2020): trained on vectors of the operator's own to give them back, through
    a narrow layer, with the label they had. Here the label is kept for certain: a vector goes
    towards what the autoencoder makes of it only as far as the label stays ahead.

    Args:
        width: Of the narrow layer.
        budget: Largest L1 distance, in (0, 2].
        label_weight: Of the cross-entropy with the label, beside the squared error.
        epochs: Passes over the private vectors.

    Raises:
        ValueError: an argument out of range.

    Reference: Z. Yang et al., "Defending model inversion and membership inference attacks via
    prediction purification", 2020, arXiv:2005.03915.
    """

    def __init__(
        self,
        width: int = 3,
        *,
        budget: float = 2.0,
        label_weight: float = 0.1,
        epochs: int = 20,
    ) -> None:
        super().__init__()
        within("Purification budget", budget, 1e-5, 2)
        within("Purification label_weight", label_weight, 0, 1e6)
        for name, value in (("width", width), ("epochs", epochs)):
            if value < 1:
                raise ValueError(f"Purification {name} must be at least 1: got {value}")
        self.width = width
        self.budget = budget
        self.label_weight = label_weight
        self.epochs = epochs
        self.network: nn.Module | None = None

    def laid_out(self, classes: int, input_shape: tuple[int, ...]) -> Self:
        self.network = nn.Sequential(
            LogConfidences(),
            *(nn.Linear(classes, 64), nn.SiLU(), nn.Linear(64, self.width), nn.SiLU()),
            *(nn.Linear(self.width, 64), nn.SiLU(), nn.Linear(64, classes)),
        )
        return self

    def fit(self, private: Private) -> Self:
        p = private.p
        self.laid_out(private.classes, tuple(private.x.shape[1:])).to(p)
        assert self.network is not None
        optimiser = torch.optim.Adam(self.network.parameters(), 1e-3)
        for _ in range(self.epochs):
            for index in torch.randperm(len(p), device=p.device).split(64):
                logits = self.network(p[index])
                loss = mse_loss(logits.softmax(1), p[index], reduction="sum") / len(index)
                loss = loss + self.label_weight * cross_entropy(logits, p[index].argmax(1))
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
        self.network.requires_grad_(False)
        return self

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        if self.network is None:
            raise RuntimeError("Purification needs to be fitted first")
        return project(t, self.network(t).softmax(1), self.budget)
