"""Statistics that belong to no record."""

from dataclasses import asdict
from typing import Any

from torch import Tensor

from ...evaluation import estimate
from ...metrics import mse, ssim, ssim_applies


def likeness(x: Tensor, x_hat: Tensor) -> dict[str, Any]:
    """Estimates of mean squared error and, of images, SSIM of reconstructions."""
    found = {"mse": asdict(estimate(mse(x, x_hat), leaks="low"))}
    if ssim_applies(tuple(x.shape[1:])):
        found["ssim"] = asdict(estimate(ssim(x, x_hat)))
    return found
