"""Images moved and mirrored at random while a network is trained, anew in every epoch.

>>> import torch
>>> x = torch.arange(8.0).expand(1, 1, 8, 8)
>>> augmented(x, "shift", torch.Generator().manual_seed(3))[0, 0, 0]
tensor([1., 2., 3., 4., 5., 6., 7., 7.])
"""

from typing import Literal

import torch
from torch import Tensor

from .errors import did_you_mean

Augment = Literal["none", "shift", "shift-and-flip"]
AUGMENTATIONS: tuple[Augment, ...] = ("none", "shift", "shift-and-flip")
PART = 8  # an image is moved by up to this part of its side


def augmented(x: Tensor, augment: Augment, rng: torch.Generator) -> Tensor:
    """Each image of ``x`` ``(N, C, H, W)`` moved by whole pixels, up to an eighth of each side.

    What comes in at an edge repeats the edge: an object's background goes on. Zeros, as He et al.
    (2019) have them, would be black bars on photographs and on scans with a light background, which
    a network learns to look for and which NoPeek compares; on a black background they are the same.

    Args:
        augment: "none": ``x`` itself, and nothing is drawn. "shift": moved. "shift-and-flip": every
            image is mirrored left-right with probability 1/2 as well; not for writing.
        rng: On the CPU, so that every device gets the same draws.
    """
    if augment == "none":
        return x
    rows, columns = (_moved(len(x), side, rng) for side in x.shape[2:])
    if augment == "shift-and-flip":
        mirrored = torch.rand(len(x), 1, generator=rng) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    rows, columns = rows.to(x.device), columns.to(x.device)
    moved = x.gather(2, rows[:, None, :, None].expand_as(x))
    return moved.gather(3, columns[:, None, None, :].expand_as(x))


def _moved(n: int, side: int, rng: torch.Generator) -> Tensor:
    """``(n, side)``: which row or column stands where after a shift."""
    shift = torch.randint(-(side // PART), side // PART + 1, (n, 1), generator=rng)
    return (torch.arange(side) + shift).clamp(0, side - 1)


def check_augment(augment: str, shape: tuple[int, ...]) -> None:
    """Refuse samples that cannot be augmented so.

    Args:
        shape: Of one sample.

    Raises:
        ValueError: no such augmentation, or no images of at least 8×8.
    """
    if augment not in AUGMENTATIONS:
        raise ValueError(f"augment {augment!r}: unknown{did_you_mean(augment, AUGMENTATIONS)}")
    if augment != "none" and (len(shape) != 3 or min(shape[1:]) < PART):
        raise ValueError(
            f"augment {augment!r} wants images (C, H, W), each side at least {PART}: "
            f"got samples of shape {tuple(shape)}; leave augment at 'none'"
        )
