"""Zeroing elements of what is sent, as a defence."""

from typing import Literal

from torch import Tensor

from ..draws import keep
from .base import Active, Defence, one_of


class Dropout(Defence):
    """Set each element to zero with probability ``rate``, after He et al. (2020), equation 6.

    Not ``nn.Dropout``: it acts while serving, a network that was not trained with it, and the
    elements that stay are not rescaled by 1/(1 - rate). The zeros show which elements to ignore,
    so judge it by an attacker that does.

    Args:
        rate: Probability of a zero, in [0, 1].
        active: "train", "serve" or "both".
        site: "cut" for the message, "input" for the input before the owner's segment.

    Raises:
        ValueError: rate outside [0, 1] or NaN.

    Reference: Z. He, T. Zhang, R. B. Lee, "Attacking and protecting data privacy in edge-cloud
    collaborative inference systems", IEEE Internet of Things Journal, 2020.
    """

    stochastic = True

    def __init__(
        self, rate: float, *, active: Active = "serve", site: Literal["input", "cut"] = "cut"
    ) -> None:
        super().__init__()
        if not 0 <= rate <= 1:
            raise ValueError(f"Dropout rate must be a probability, 0 to 1: got {rate}")
        one_of("Dropout active", active, ("train", "serve", "both"))
        one_of("Dropout site", site, ("input", "cut"))
        self.rate = rate
        self.active = active
        self.site = site

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return t * keep(t, 1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}, active={self.active!r}, site={self.site!r}"
