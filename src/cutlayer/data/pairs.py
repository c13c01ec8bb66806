"""Two digits side by side: a hundred classes, where a confidence vector carries more."""

from pathlib import Path

import torch
from torch import Tensor

from .dataset import Dataset
from .idx import load_mnist


def load_digit_pairs(*, root: Path | None = None, download: bool = True) -> Dataset:
    """Pairs of MNIST digits: 30,000 + 5,000 images of 28×56 grey, classes 00 to 99.

    Each digit is in one pair only, with its neighbour in the published order, so that pairs of the
    train part and of the test part share none.

    Args:
        root: Where the files of MNIST are or go, as of ``load_mnist``.
        download: Fetch what is missing.
    """
    digits = load_mnist(root=root, download=download)
    left, parts = list[Tensor](), dict[str, tuple[int, int]]()
    for name, (start, stop) in digits.parts.items():
        before = sum(map(len, left))
        left.append(torch.arange(start, stop - 1, 2))
        parts[name] = (before, before + len(left[-1]))
    first = torch.cat(left)
    return Dataset(
        name="digit-pairs",
        x=torch.cat([digits.x[first], digits.x[first + 1]], dim=3),
        y=10 * digits.y[first] + digits.y[first + 1],
        classes=tuple(f"{k:02}" for k in range(100)),
        bounds=digits.bounds,
        parts=parts,
        shuffled=digits.shuffled,
        source=digits.source,
    )
