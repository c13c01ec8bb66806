"""Real handwriting that comes inside scikit-learn: the data set that needs no download."""

import torch
from torch.nn.functional import interpolate

from .dataset import Dataset


def load_digits() -> Dataset:
    """1,797 handwritten digits, 8×8 in 17 grey levels, enlarged to 28×28 by bilinear interpolation.

    ``x`` is ``(1797, 1, 28, 28)``, float32 in [0, 1]. The published order runs writer by writer,
    so ``shuffled`` is false and ``share_out`` permutes.

    Reference: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", 1998,
    doi:10.24432/C50P49 (the test set of it).

    >>> load_digits().shape
    (1, 28, 28)
    """
    from sklearn.datasets import load_digits as bundled

    images, y = bundled().images, bundled().target
    small = torch.from_numpy(images).float().unsqueeze(1) / 16
    return Dataset(
        name="digits",
        x=interpolate(small, size=(28, 28), mode="bilinear", antialias=False),
        y=torch.from_numpy(y).long(),
        classes=tuple("0123456789"),
        bounds=(torch.tensor(0.0), torch.tensor(1.0)),
        source={"function": "sklearn.datasets.load_digits"},
    )
