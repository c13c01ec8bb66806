"""Noise on confidence vectors, inside the same limits as everything else that is compared."""

from typing import Literal, Self

import torch
from torch import Tensor

from ..base import one_of
from .base import Private
from .budgeted import Budgeted
from .keyed import new_key, normals, uniforms


class OutputNoise(Budgeted):
    """Independent noise on every entry, label and budget kept: the control for every poisoning.

    The noise of a row has an expected L1 norm of ``budget``, less what rounding may take, before it
    is fitted to the limits.

    Args:
        budget: Largest L1 distance, in (0, 2].
        law: "gaussian" or "laplace".
        repeatable: The same question is given the same noise; else fresh noise, which averages
            away.
        decimals: Of the answers, rounded inside the budget; see ``Budgeted``.

    Raises:
        ValueError: an argument out of range.
    """

    key: Tensor

    def __init__(
        self,
        budget: float = 0.02,
        *,
        law: Literal["gaussian", "laplace"] = "gaussian",
        repeatable: bool = True,
        decimals: int | None = None,
    ) -> None:
        super().__init__(budget, decimals)
        one_of("OutputNoise law", law, ("gaussian", "laplace"))
        self.law = law
        self.repeatable = repeatable
        self.register_buffer("key", torch.zeros(4, dtype=torch.int64))

    def fit(self, private: Private) -> Self:
        super().fit(private)
        self.key = new_key().to(private.p.device)
        return self

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Whether two calls with the same vectors differ."""
        return not self.repeatable

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return self.answered(t, t + self._noise(t) * self.room(t.shape[1]) / t.shape[1])

    def _noise(self, t: Tensor) -> Tensor:
        """``(N, K)``, of mean absolute value 1."""
        if self.law == "laplace":
            u = uniforms(t, self.key, t.shape[1]) if self.repeatable else _fresh(t)
            return -(u - 0.5).sign() * (1 - 2 * (u - 0.5).abs()).log()
        z = normals(t, self.key, t.shape[1]) if self.repeatable else torch.special.ndtri(_fresh(t))
        noise: Tensor = z * (torch.pi / 2) ** 0.5
        return noise


def _fresh(t: Tensor) -> Tensor:
    return torch.rand(t.shape, dtype=torch.float64, device=t.device).clamp(1e-12, 1 - 1e-12)


class SameClassSwap(Budgeted):
    """Towards the vector of another sample of the same label, as far as the budget goes.

    That sample is one of the operator's own: what is released tells something of it.

    Args:
        budget: Largest L1 distance, in (0, 2].
        decimals: Of the answers, rounded inside the budget; see ``Budgeted``.

    Raises:
        ValueError: an argument out of range.
    """

    key: Tensor
    others: Tensor

    def __init__(self, budget: float = 0.02, *, decimals: int | None = None) -> None:
        super().__init__(budget, decimals)
        self.register_buffer("key", torch.zeros(4, dtype=torch.int64))
        self.register_buffer("others", torch.empty(0, 0))

    def fit(self, private: Private) -> Self:
        super().fit(private)
        self.key = new_key().to(private.p.device)
        self.others = private.p[private.p.argmax(1).argsort(stable=True)]
        return self

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        if not len(self.others):
            raise RuntimeError("SameClassSwap is used before it was fitted: call fit first")
        count = self.others.argmax(1).bincount(minlength=t.shape[1])
        first, label = count.cumsum(0) - count, t.argmax(1)
        u = uniforms(t, self.key, 1)[:, 0]
        chosen = first[label] + (u * count[label]).long()
        swapped = self.others[chosen.clamp_max(len(self.others) - 1)]
        none = (count[label] == 0)[:, None]
        return self.answered(t, torch.where(none, t, swapped.to(t.dtype)))
