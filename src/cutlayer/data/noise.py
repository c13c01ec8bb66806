"""Inputs of somebody who knows nothing of the data but their shape."""

import torch

from .dataset import Dataset
from .sides import sides


def load_noise(
    *,
    shape: str = "1x28x28",
    samples: int = 12_000,
    mean: float = 0.5,
    deviation: float = 0.5,
    seed: int = 0,
) -> Dataset:
    """Independent normal noise in every element, clipped to [0, 1]; one class.

    For an adversary without data (the row "rand" of He et al. 2019, table 4: standard normal in
    the scale of their normalised pixels, which on MNIST is mean 0.5 and deviation 0.5 in ours).

    Args:
        shape: Of one sample, its sides with an x between them.
        samples: How many.
        mean: Of the noise, in units of the input's range.
        deviation: Of the noise, in the same units.
        seed: Of the draws.

    Raises:
        ValueError: a shape that is none, fewer than one sample, a deviation that is not positive.

    >>> load_noise(shape="3x32x32", samples=5).x.shape
    torch.Size([5, 3, 32, 32])
    """
    size = sides(shape, kind="noise")
    if samples < 1:
        raise ValueError(f"noise samples: at least 1 wanted: got {samples}")
    if not deviation > 0:
        raise ValueError(f"noise deviation must be > 0: got {deviation}")
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, *size, generator=rng) * deviation + mean
    return Dataset(
        name="noise",
        x=x.clamp_(0, 1),
        y=torch.zeros(samples, dtype=torch.long),
        classes=("noise",),
        bounds=(torch.tensor(0.0), torch.tensor(1.0)),
        shuffled=True,
        source={"function": "torch.randn", "seed": seed, "mean": mean, "deviation": deviation},
    )
