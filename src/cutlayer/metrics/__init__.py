"""Pure functions of tensors: what leaked, and what it cost. Each names its unit and direction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .dependence import (
    bias_corrected_distance_correlation,
    distance_correlation,
    distance_correlation_floor,
)
from .identity import reidentification_rank
from .interval import bootstrap
from .reconstruction import mse, psnr, ssim, ssim_applies
from .utility import (
    accuracy,
    expected_calibration_error,
    expected_calibration_error_interval,
)


@dataclass(frozen=True)
class Metric:
    """How to read a number of this name, wherever it appears."""

    label: str
    unit: str
    leaks: Literal["high", "low"]  # which end of the scale is bad for the data owner
    perfect: float  # the value of a perfect reconstruction
    per_sample: Callable[[Tensor, Tensor], Tensor] | None = None  # (x, x_hat) -> (N,)


METRICS: dict[str, Metric] = {
    "mse": Metric("MSE", "", "low", 0.0, mse),
    "psnr": Metric("PSNR", "dB", "high", 100.0, psnr),
    "ssim": Metric("SSIM", "", "high", 1.0, ssim),
    "read": Metric("read by judge", "", "high", 1.0),
    "read_by_victim": Metric("read by victim's classifier", "", "high", 1.0),
    "top1": Metric("re-identified, top 1", "", "high", 1.0),
    "top5": Metric("re-identified, top 5", "", "high", 1.0),
    "top1_in_class": Metric("re-identified within its class, top 1", "", "high", 1.0),
    "dcor_x_z": Metric("distance correlation (x, z)", "", "high", 1.0),
    "dcor_x_z_corrected": Metric("bias-corrected distance correlation² (x, z)", "", "high", 1.0),
    "dcor_x_xhat": Metric("distance correlation (x, x̂)", "", "high", 1.0),
    "dcor_x_xhat_corrected": Metric("bias-corrected distance correlation² (x, x̂)", "", "high", 1.0),
}

UTILITY: dict[str, Metric] = {
    "accuracy": Metric("accuracy", "", "low", 1.0),
    "ece": Metric("expected calibration error", "", "high", 0.0),
}

__all__ = [
    "METRICS",
    "UTILITY",
    "Metric",
    "accuracy",
    "bias_corrected_distance_correlation",
    "bootstrap",
    "distance_correlation",
    "distance_correlation_floor",
    "expected_calibration_error",
    "expected_calibration_error_interval",
    "mse",
    "psnr",
    "reidentification_rank",
    "ssim",
    "ssim_applies",
]
