"""A bound on the message, without which no noise carries an (ε, δ)."""

import math

import torch
from torch import Tensor

from .base import Active, Defence, one_of


class ClipNorm(Defence):
    """Scale every sample's message down to at most a given norm.

    Two messages then differ by at most twice the norm: the sensitivity (replace-one) that a noise
    chained behind it is calibrated to, L1 for Laplace, L2 for Gaussian.

    Args:
        norm: The bound, > 0, in units of the activation.
        order: 1 or 2, of the norm over all elements of one sample.
        active: "train", "serve" or "both".

    Raises:
        ValueError: norm is not positive and finite; order is neither 1 nor 2.
    """

    def __init__(self, norm: float, *, order: int = 2, active: Active = "both") -> None:
        super().__init__()
        if not 0 < norm < math.inf:
            raise ValueError(f"ClipNorm norm must be > 0, in units of the activation: got {norm}")
        one_of("ClipNorm order", order, (1, 2))
        one_of("ClipNorm active", active, ("train", "serve", "both"))
        self.norm = norm
        self.order = order
        self.active = active

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        size = torch.linalg.vector_norm(t.flatten(1), self.order, dim=1)
        factor: Tensor = self.norm / size.clamp_min(self.norm)
        return t * factor.view(-1, *[1] * (t.dim() - 1))

    def extra_repr(self) -> str:
        return f"norm={self.norm}, order={self.order}, active={self.active!r}"
