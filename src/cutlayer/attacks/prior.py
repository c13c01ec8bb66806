"""What an adversary believes of an input before any message was heard."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

_TINY = 1e-12  # under the square root, whose slope at zero is infinite
_EXACT = 4096  # elements or samples up to which every direction is computed


def total_variation(x: Tensor, *, beta: Literal[1, 2] = 1) -> Tensor:
    """Mean size of the step from each element to the next along every side, one number a sample.

    Args:
        x: ``(N, C, ...)``: images, signals, volumes.
        beta: 1 as He et al. print it, the length of the step; 2 as their code has it, its square.

    Returns:
        ``(N,)``, >= 0, per element; 0 for inputs without sides, such as tables.

    Reference: Z. He, T. Zhang, R. B. Lee, "Model inversion attacks against collaborative
    inference", ACSAC 2019, doi:10.1145/3359789.3359824, equation 3.
    """
    squares = torch.zeros_like(x)
    for side in range(2, x.dim()):
        behind = 2 * (x.dim() - 1 - side)  # sides after this one, which are not padded
        squares = squares + pad(x.diff(dim=side).square(), (*[0] * behind, 0, 1))
    steps = squares if beta == 2 else (squares + _TINY).sqrt() - _TINY**0.5
    return steps.flatten(1).mean(1)


class GaussianPrior:
    """How unlike samples of one's own something is, if these were drawn from a normal law.

    Their mean and covariance along the directions in which they vary most; in all others one
    common variance. It says more than smoothness does where a message says little.

    Args:
        samples: ``(M, ...)``.
        directions: At most, where inputs are too large for all of them.
    """

    def __init__(self, samples: Tensor, *, directions: int = 512) -> None:
        self.mean = samples.mean(0).flatten()
        away = samples.flatten(1) - self.mean
        n, d = away.shape
        if min(n, d) <= _EXACT:
            _, singular, self.axes = torch.linalg.svd(away, full_matrices=False)
        else:
            _, singular, axes = torch.svd_lowrank(away, directions, niter=2)
            self.axes = axes.T
        variance = singular.square() / n
        self.least = 1e-3 * variance[0].clamp_min(_TINY)  # nothing is known better than that
        self.variance = variance + self.least
        rest = (away.square().sum() / n - variance.sum()) / max(1, d - len(variance))
        self.rest = rest.clamp_min(0) + self.least

    def __call__(self, x: Tensor) -> Tensor:
        """``(N,)``: squared distance from the mean, each direction in units of its variance.

        Mean over the elements of an input: about 1 for samples like those given.
        """
        away = x.flatten(1) - self.mean
        along = away @ self.axes.T
        rest = (away.square().sum(1) - along.square().sum(1)).clamp_min(0)
        unlikely: Tensor = (along.square() / self.variance).sum(1) + rest / self.rest
        return unlikely / away.shape[1]
