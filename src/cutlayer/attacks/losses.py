"""What an inversion model may be trained to lower, reconstructions against inputs."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, l1_loss, mse_loss, softplus

_SIDE, _C1, _C2 = 7, 0.01**2, 0.03**2


class StructuralLoss(nn.Module):
    """1 - SSIM in a flat window of 7, plus the mean absolute error; for images."""

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Scalar, >= 0."""
        side = min(_SIDE, *x.shape[2:])
        mean, mean_hat = avg_pool2d(x, side, 1), avg_pool2d(x_hat, side, 1)
        both = avg_pool2d(x * x_hat, side, 1) - mean * mean_hat
        spread = avg_pool2d(x * x, side, 1) - mean.square()
        spread = spread + avg_pool2d(x_hat * x_hat, side, 1) - mean_hat.square()
        alike = (2 * mean * mean_hat + _C1) * (2 * both + _C2)
        alike = alike / ((mean.square() + mean_hat.square() + _C1) * (spread + _C2))
        return 1 - alike.mean() + l1_loss(x_hat, x)


class AdversarialLoss(nn.Module):
    """Mean squared error, and a critic that learns along to tell reconstructions from inputs.

    Args:
        weight: Of what the critic says.
    """

    def __init__(self, *, weight: float = 0.01) -> None:
        super().__init__()
        self.weight = weight
        self._optimiser: torch.optim.Optimizer | None = None
        self.critic: nn.Module = nn.Identity()

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Scalar; the critic takes a step of its own first."""
        if self._optimiser is None:
            self.critic = _critic(tuple(x.shape[1:])).to(x)
            self._optimiser = torch.optim.Adam(self.critic.parameters(), 1e-4, betas=(0.5, 0.999))
        self._optimiser.zero_grad(set_to_none=True)
        doubt = softplus(-self.critic(x)).mean() + softplus(self.critic(x_hat.detach())).mean()
        doubt.backward()
        self._optimiser.step()
        self.critic.requires_grad_(False)
        caught = softplus(-self.critic(x_hat)).mean()
        self.critic.requires_grad_(True)
        return mse_loss(x_hat, x) + self.weight * caught


def _critic(shape: tuple[int, ...]) -> nn.Module:
    """From inputs to one number each: images by strided convolutions, all else by a perceptron."""
    if len(shape) != 3:
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(128), nn.SiLU(), nn.Linear(128, 1))
    return nn.Sequential(
        nn.Conv2d(shape[0], 32, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.LazyLinear(1),
    )


LOSSES: dict[str, Callable[[], nn.Module]] = {
    "mse": nn.MSELoss,
    "l1": nn.L1Loss,
    "ssim": StructuralLoss,
    "adversarial": AdversarialLoss,
}
