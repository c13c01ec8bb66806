"""A bottleneck: train the owner's segment so that its message says less of its input."""

import math
from typing import Literal

from torch import Tensor

from ..draws import normal
from .base import Defence, one_of


class MutualInformation(Defence):
    """MID, a variational information bottleneck, after Wang et al. (2021).

    The message z is the mean of an encoder N(z, I): while training, a standard normal draw is
    added, and ``penalty`` holds the law near N(0, I), which bounds what the message says of the
    input. The network has to be trained with it. The message may have any size otherwise, so at
    weight 0 the noise alone means little; and the served mean, without noise, has no such bound.

    The paper puts the bottleneck in front of the output layer: ``--cut`` the layer before the last,
    linear rather than its activation, and the class is all that has to go through. What a
    prediction API releases is still the softmax behind it. The published code learns the variance
    as well and draws when serving, too: ``active="both"``.

    Args:
        weight: Multiplies the divergence KL(N(z, I) || N(0, I)), half the squared norm of z, mean
            of the batch; >= 0, the paper's β.
        active: "train", to serve the mean, or "both".

    Raises:
        ValueError: weight negative, NaN or infinite; active neither.

    Reference: T. Wang, Y. Zhang, R. Jia, "Improving robustness to model inversion attacks via
    mutual information regularization", AAAI 2021, arXiv:2009.05241.
    """

    stochastic = True

    def __init__(self, weight: float, *, active: Literal["train", "both"] = "train") -> None:
        super().__init__()
        if not 0 <= weight < math.inf:
            raise ValueError(f"MutualInformation weight must be >= 0: got {weight}")
        one_of("MutualInformation active", active, ("train", "both"))
        self.weight = weight
        self.active = active

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return t + normal(t)

    def penalty(self, x: Tensor, z: Tensor, sent: Tensor) -> Tensor:
        return self.weight * z.flatten(1).square().sum(1).mean() / 2

    def noise_deviation(self) -> float:
        return 1.0

    def extra_repr(self) -> str:
        return f"weight={self.weight}, active={self.active!r}"
