"""How far a number would move with other samples of the same kind."""

from collections.abc import Iterator

import torch
from torch import Tensor

_CHUNK = 1 << 21  # indices held at once


def bootstrap(
    values: Tensor, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, after Efron (1979).

    It speaks of other samples (images, people), not of other training runs. One sample, or equal
    ones, give an interval of no width: it then says nothing. NaN among the values gives NaN.

    Args:
        values: ``(N,)``, one value for each sample.
        resamples: Draws with replacement of N samples each.
        level: Share of the resampled means inside the interval, in (0, 1).
        seed: Of the draws; the global random state is not touched.

    Returns:
        ``(low, high)``, in the unit of the values.

    Raises:
        ValueError: no values or more than one dimension, no resamples, a level outside (0, 1).

    >>> bootstrap(torch.tensor([0.0, 1.0] * 50))
    (0.4, 0.6)

    Reference: B. Efron, "Bootstrap methods: another look at the jackknife", Ann. Statist. 7(1),
    1979, doi:10.1214/aos/1176344552.
    """
    if values.dim() != 1 or not len(values):
        raise ValueError(
            f"bootstrap wants (N,) values, one for each sample, N >= 1: got {tuple(values.shape)}"
        )
    values = values.detach().cpu().double()
    draws = resampled(len(values), resamples=resamples, seed=seed)
    return percentiles(torch.cat([values[index].mean(1) for index in draws]), level=level)


def resampled(n: int, *, resamples: int, seed: int) -> Iterator[Tensor]:
    """Indices of ``n`` samples drawn with replacement, in chunks ``(rows, n)`` of bounded size."""
    if resamples < 1:
        raise ValueError(f"at least one resample wanted: got {resamples}")
    generator = torch.Generator().manual_seed(seed)
    rows = max(1, _CHUNK // n)
    for start in range(0, resamples, rows):
        yield torch.randint(n, (min(rows, resamples - start), n), generator=generator)


def percentiles(statistics: Tensor, *, level: float) -> tuple[float, float]:
    """The central ``level`` of resampled statistics ``(resamples,)``."""
    if not 0 < level < 1:
        raise ValueError(f"level of an interval in (0, 1) wanted, such as 0.95: got {level}")
    tail = (1 - level) / 2
    low, high = statistics.quantile(torch.tensor([tail, 1 - tail], dtype=statistics.dtype)).tolist()
    return low, high
