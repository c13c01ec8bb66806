"""What the service is still worth."""

import torch
from torch import Tensor

from .interval import percentiles, resampled


def accuracy(scores: Tensor, y: Tensor) -> Tensor:
    """Whether the highest score is the label's, (N,), 0 or 1, no unit. Higher is better.

    Args:
        scores: ``(N, classes)``, logits or probabilities; a row with NaN counts as wrong.
        y: ``(N,)``, int64.

    Returns:
        ``(N,)`` float32: its mean is the accuracy.

    Raises:
        ValueError: shapes that do not pair one row of scores with one label.

    >>> accuracy(torch.tensor([[0.2, 0.8], [0.9, 0.1]]), torch.tensor([1, 1]))
    tensor([1., 0.])
    """
    _check("accuracy", scores, y)
    return ((scores.argmax(1) == y) & ~scores.isnan().any(1)).float()


def expected_calibration_error(probabilities: Tensor, y: Tensor, *, bins: int = 15) -> Tensor:
    """How far confidence is from accuracy, after Guo et al. (2017). Lower is better.

    The sample-weighted mean, over ``bins`` equal intervals ``(low, high]`` of the highest
    probability, of ``|accuracy - mean confidence|``. Biased upwards where bins hold few samples.

    Args:
        probabilities: ``(N, classes)``, rows that sum to 1: not logits.
        y: ``(N,)``, int64.
        bins: Intervals of [0, 1].

    Returns:
        Scalar float64 in [0, 1], no unit.

    Raises:
        ValueError: unequal shapes, rows that are no probabilities, no bins.

    >>> expected_calibration_error(torch.tensor([[0.2, 0.8], [0.9, 0.1]]), torch.tensor([1, 1]))
    tensor(0.5500, dtype=torch.float64)

    Reference: C. Guo et al., "On calibration of modern neural networks", ICML 2017,
    arXiv:1706.04599.
    """
    bin_of, gap = _gaps(probabilities, y, bins)
    return torch.bincount(bin_of, gap, minlength=bins).abs().sum() / len(gap)


def expected_calibration_error_interval(
    probabilities: Tensor,
    y: Tensor,
    *,
    bins: int = 15,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the expected calibration error.

    Resampling adds noise to every bin, and absolute values add it up: the interval sits a little
    high, and for a well calibrated model can lie above the estimate itself.

    Args:
        probabilities: ``(N, classes)``, as for ``expected_calibration_error``.
        y: ``(N,)``, int64.
        bins: Intervals of [0, 1].
        resamples: Draws with replacement of N samples each.
        level: Share of the resampled errors inside the interval, in (0, 1).
        seed: Of the draws; the global random state is not touched.

    Raises:
        ValueError: as ``expected_calibration_error`` and ``bootstrap``.
    """
    bin_of, gap = _gaps(probabilities, y, bins)
    errors = []
    for index in resampled(len(gap), resamples=resamples, seed=seed):
        sums = gap.new_zeros(len(index), bins).scatter_add_(1, bin_of[index], gap[index])
        errors.append(sums.abs_().sum(1) / len(gap))
    return percentiles(torch.cat(errors), level=level)


def _gaps(probabilities: Tensor, y: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """The bin of each sample and its correctness minus its confidence, (N,) each, on the CPU."""
    _check("expected_calibration_error", probabilities, y)
    if bins < 1:
        raise ValueError(f"expected_calibration_error wants at least one bin: got {bins}")
    p = probabilities.detach().cpu().double()
    sums = p.sum(1)
    if not ((p >= 0).all() and (sums - 1).abs().max() <= 1e-2):  # this way round, NaN is refused
        raise ValueError(
            "expected_calibration_error wants probabilities, rows >= 0 that sum to 1: "
            f"got values from {p.min():.3g} to {p.max():.3g}, sums from {sums.min():.3g} "
            f"to {sums.max():.3g}; apply softmax to logits"
        )
    confidence, prediction = p.max(1)
    bin_of = (confidence * bins).ceil().long().sub_(1).clamp_(0, bins - 1)
    return bin_of, (prediction == y.cpu()).double() - confidence


def _check(name: str, scores: Tensor, y: Tensor) -> None:
    if scores.dim() != 2 or y.shape != scores.shape[:1] or not scores.numel():
        raise ValueError(
            f"{name} pairs scores (N, classes) with labels (N,), N >= 1: "
            f"got {tuple(scores.shape)} and {tuple(y.shape)}"
        )
