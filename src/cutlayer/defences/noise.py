"""Defences that add independent noise to every element."""

import math
from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from .. import draws
from .base import Active, Defence, one_of


class Noise(Defence):
    """Independent noise of a fixed law on every element of the message, or of the input.

    One trained network can be served at many strengths: give ``active="serve"``. On its own no
    noise carries an (ε, δ): the message is not clipped, so its sensitivity is unbounded; chain it
    after ``ClipNorm``.

    Args:
        scale: The law's own parameter, >= 0, in units of what it is added to.
        active: "train", "serve" or "both".
        site: "cut" for the message, "input" for the input before the owner's segment.

    Raises:
        ValueError: scale is negative, NaN or infinite; active or site is none of those named.
    """

    stochastic = True
    deviation_per_scale: float  # standard deviation of the law at scale 1

    def __init__(
        self, scale: float, *, active: Active = "both", site: Literal["input", "cut"] = "cut"
    ) -> None:
        super().__init__()
        if not 0 <= scale < math.inf:  # this way round, NaN is refused too
            unit = "activation" if site == "cut" else "input"
            raise ValueError(
                f"{type(self).__name__} scale must be >= 0, in units of the {unit}: got {scale}"
            )
        one_of(f"{type(self).__name__} active", active, ("train", "serve", "both"))
        one_of(f"{type(self).__name__} site", site, ("input", "cut"))
        self.scale = scale
        self.active = active
        self.site = site

    @abstractmethod
    def sample(self, like: Tensor) -> Tensor:
        """Noise at scale 1, of the shape, dtype and device of ``like``."""

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return t + self.scale * self.sample(t) if self.scale else t

    def noise_deviation(self) -> float:
        return self.scale * self.deviation_per_scale

    def extra_repr(self) -> str:
        return f"scale={self.scale}, active={self.active!r}, site={self.site!r}"


class Laplace(Noise):
    """Laplace noise, after Titcombe et al. (2021), section 4.

    ``scale`` is the Laplace parameter b; the standard deviation is b·√2.

    Reference: T. Titcombe et al., "Practical defences against model inversion attacks for split
    neural networks", 2021, arXiv:2104.05743.
    """

    deviation_per_scale = math.sqrt(2)

    def sample(self, like: Tensor) -> Tensor:
        # A difference of exponentials, not the inverse CDF: torch.rand returns an exact 0 about
        # twice in 5e7 float32 draws, and there the inverse CDF is -inf.
        e1, e2 = draws.exponential(like, 2)
        noise: Tensor = e1 - e2
        return noise


class Gaussian(Noise):
    """Gaussian noise, after He et al. (2020), section IV. ``scale`` is the standard deviation.

    Reference: Z. He, T. Zhang, R. B. Lee, "Attacking and protecting data privacy in edge-cloud
    collaborative inference systems", IEEE Internet of Things Journal, 2020.
    """

    deviation_per_scale = 1.0

    def sample(self, like: Tensor) -> Tensor:
        return draws.normal(like)


class Uniform(Noise):
    """Uniform noise on [-scale, scale]; the standard deviation is scale/√3."""

    deviation_per_scale = 1 / math.sqrt(3)

    def sample(self, like: Tensor) -> Tensor:
        return draws.uniform(like)


class StudentT(Noise):
    """Heavy-tailed noise: Student's t with three degrees of freedom, times ``scale``.

    Three is the fewest whole degrees with a finite variance: the standard deviation is scale·√3,
    the tails fall as the fourth power.
    """

    deviation_per_scale = math.sqrt(3)

    def sample(self, like: Tensor) -> Tensor:
        first, *rest = draws.normals(like, 4).unbind()
        spread = torch.stack(rest).square().mean(0).sqrt()
        return first.div(spread)
