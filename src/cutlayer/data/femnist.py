"""FEMNIST digits: handwriting beside MNIST's, brought into MNIST's frame or left as it is."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import did_you_mean
from .dataset import Dataset
from .download import data_root, find, sha256
from .idx import read_idx

_FOLDER = "femnist_digits"
_STEMS = ("images-idx3-ubyte", "labels-idx1-ubyte", "clients-idx1-ubyte")
_SIDE, _LONGER = 28, 20  # MNIST's field, and the longer side of a digit in it
_CENTRE = 14  # the row and the column of MNIST's centres of mass, counted from 0
_PAPER = 32  # of 255; fainter is paper, not ink
Layout = Literal["mnist", "as-stored"]


def load_femnist_digits(*, root: Path | None = None, layout: Layout = "mnist") -> Dataset:
    """FEMNIST, digits only: handwriting by groups of writers ("clients"), 28×28 grey.

    ``x`` is ``(N, 1, 28, 28)`` uint8. The published order runs client by client, so ``shuffled``
    is false; ``source["clients"]`` counts each one's samples, in the order of their numbers. The
    files have no public address of their own: nothing is downloaded.

    Args:
        root: Where the three IDX files are, gzipped or not: in it, or in ``femnist_digits``.
        layout: ``mnist``: light ink on black, scaled and centred as MNIST is, see ``framed``.
            ``as-stored``: the bytes of the file, dark ink on white.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: an unknown layout, a corrupt file, files of different lengths.

    Reference: S. Caldas et al., "LEAF: a benchmark for federated settings", 2018,
    arXiv:1812.01097, from P. Grother, "NIST Special Database 19", 1995.
    """
    if layout not in get_args(Layout):
        raise ValueError(
            f"femnist-digits layout must be 'mnist' or 'as-stored': "
            f"got {layout!r}{did_you_mean(layout, get_args(Layout))}"
        )
    paths = _found(data_root(root))
    images, labels, clients = (read_idx(p, rank=r) for p, r in zip(paths, (3, 1, 1), strict=True))
    if not len(images) == len(labels) == len(clients):
        raise ValueError(
            f"one label and one client for each image wanted: got {len(images)} images, "
            f"{len(labels)} labels and {len(clients)} clients in {paths[0].parent}; "
            "they are of different sets"
        )
    numbers, counts = np.unique(clients, return_counts=True)
    return Dataset(
        name="femnist-digits",
        x=framed(255 - images) if layout == "mnist" else torch.from_numpy(images).unsqueeze(1),
        y=torch.from_numpy(labels.astype(np.int64)),
        classes=tuple("0123456789"),
        bounds=(torch.tensor(0.0), torch.tensor(255.0)),
        source={
            "files": [{"path": str(p), "sha256": sha256(p)} for p in paths],
            "layout": layout,
            "clients": dict(zip(map(str, numbers.tolist()), counts.tolist(), strict=True)),
        },
    )


def framed(ink: NDArray[np.uint8]) -> Tensor:
    """Light digits ``(N, H, W)`` on black, as MNIST frames its own: ``(N, 1, 28, 28)`` uint8.

    Each is cut to its ink, scaled so that the longer side of that is 20 pixels, and laid into the
    field with its centre of mass on MNIST's, to the pixel; where that would push ink out of the
    field, it stops at the edge. What is fainter than 32 of 255 is paper, and turns 0. An image
    without ink stays blank. Digits stored smaller than 20 pixels come out softer than MNIST's.

    Reference: Y. LeCun et al., "Gradient-based learning applied to document recognition", 1998,
    doi:10.1109/5.726791, section III A.
    """
    out = torch.zeros(len(ink), 1, _SIDE, _SIDE, dtype=torch.uint8)
    inked = torch.from_numpy(np.where(ink < _PAPER, 0, ink)).float()
    for field, image in zip(out[:, 0], inked, strict=True):
        rows, columns = (image.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
        if not rows:
            continue
        digit = _scaled(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        height, width = digit.shape
        top, left = _corner(digit.sum(1)), _corner(digit.sum(0))
        field[top : top + height, left : left + width] = digit
    return out


def _scaled(box: Tensor) -> Tensor:
    """The box with its longer side at 20 pixels, in its own proportions; whole numbers."""
    longer = max(box.shape)
    size = [max(1, round(side * _LONGER / longer)) for side in box.shape]
    # Bicubic, because most digits are enlarged and bilinear blurs them more; it overshoots.
    big = interpolate(box[None, None], size=size, mode="bicubic", antialias=True)[0, 0]
    return big.clamp(0, 255).round()


def _corner(mass: Tensor) -> int:
    """Where the box begins along one axis, given its ink in each row or column."""
    mean = float(mass @ torch.arange(len(mass), dtype=mass.dtype) / mass.sum().clamp_min(1))
    return min(max(round(_CENTRE - mean), 0), _SIDE - len(mass))


def _found(root: Path) -> list[Path]:
    folders = (root / _FOLDER, root)
    paths = [find(stem, folders, suffixes=("", ".gz")) for stem in _STEMS]
    if None in paths:
        raise FileNotFoundError(
            f"{_STEMS[paths.index(None)]}[.gz] wanted: found in neither {folders[0]} nor "
            f"{folders[1]}; no public address is known to download it from: "
            f"put {', '.join(_STEMS)} there yourself, or point the data root at where they are"
        )
    return [p for p in paths if p is not None]
