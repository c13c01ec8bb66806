"""Pictures that no network was made for, drawn by rule: checkerboards and lines of text."""

import string
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .dataset import Dataset
from .sides import picture_sides

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

_SIGNS = string.ascii_letters + string.digits
_SMALLEST_TYPE = 8  # pixels from one line to the next


def load_checkerboard(*, shape: str = "1x28x28", samples: int = 12_000, seed: int = 0) -> Dataset:
    """Checkerboards: square fields of random size and place, in two random greys or colours.

    A field is 2 pixels to half the shorter side wide, and not always whole pixels. In each channel
    one colour lies in [0, .4], the other in [.6, 1]. One class.

    Args:
        shape: Of one picture: channels, height and width with an x between them.
        samples: How many.
        seed: Of the draws.

    Raises:
        ValueError: a shape of no picture, or of sides under 4 pixels; fewer than one sample.

    >>> load_checkerboard(shape="3x32x32", samples=5).x.shape
    torch.Size([5, 3, 32, 32])
    """
    channels, height, width = picture_sides(shape, kind="checkerboard", least=4)
    rng = _draws("checkerboard", samples, seed)
    field = 2 + (min(height, width) / 2 - 2) * torch.rand(samples, 1, generator=rng)
    down, right = 2 * field * torch.rand(2, samples, 1, generator=rng)
    rows = ((torch.arange(height) + down) / field).floor()
    columns = ((torch.arange(width) + right) / field).floor()
    mask = (rows[:, :, None] + columns[:, None, :]) % 2
    return _drawn("checkerboard", mask, channels, rng, seed)


def load_text(*, shape: str = "1x28x28", samples: int = 12_000, seed: int = 0) -> Dataset:
    """Lines of random letters and digits, of random size and place, in two random greys or colours.

    Set in the typeface inside Pillow, 8 pixels to half the shorter side from line to line, cut off
    at the edges as a piece of a page is. In each channel one of paper and ink lies in [0, .4], the
    other in [.6, 1]. One class.

    Args:
        shape: Of one picture: channels, height and width with an x between them.
        samples: How many.
        seed: Of the draws.

    Raises:
        ValueError: a shape of no picture, or of sides under 16 pixels; fewer than one sample.

    >>> load_text(shape="1x28x28", samples=5).x.shape
    torch.Size([5, 1, 28, 28])
    """
    channels, height, width = picture_sides(shape, kind="text", least=2 * _SMALLEST_TYPE)
    rng = _draws("text", samples, seed)
    mask = torch.stack([_page(height, width, rng) for _ in range(samples)])
    return _drawn("text", mask, channels, rng, seed)


def _draws(kind: str, samples: int, seed: int) -> torch.Generator:
    if samples < 1:
        raise ValueError(f"{kind} samples: at least 1 wanted: got {samples}")
    return torch.Generator().manual_seed(seed)


def _drawn(kind: str, mask: Tensor, channels: int, rng: torch.Generator, seed: int) -> Dataset:
    """Masks ``(N, H, W)`` in [0, 1], each in two levels of its own in every channel."""
    n = len(mask)
    dark, light = torch.rand(2, n, channels, 1, 1, generator=rng) * 0.4
    swapped = torch.rand(n, channels, 1, 1, generator=rng) < 0.5
    light = 1 - light
    low, high = torch.where(swapped, light, dark), torch.where(swapped, dark, light)
    return Dataset(
        name=kind,
        x=low + (high - low) * mask[:, None],
        y=torch.zeros(n, dtype=torch.long),
        classes=(kind,),
        bounds=(torch.tensor(0.0), torch.tensor(1.0)),
        shuffled=True,
        source={"function": f"cutlayer.data.drawn.load_{kind}", "seed": seed},
    )


def _page(height: int, width: int, rng: torch.Generator) -> Tensor:
    """Ink ``(H, W)`` in [0, 1]: lines from above the upper edge to below the lower one."""
    from PIL import Image, ImageDraw

    largest = min(height, width) // 2
    leading = int(torch.randint(_SMALLEST_TYPE, largest + 1, (), generator=rng))
    left, top = (-leading * torch.rand(2, generator=rng)).tolist()
    page = Image.new("L", (width, height))
    draw, font = ImageDraw.Draw(page), _typeface(leading)
    for row in range(2 + height // leading):
        signs = torch.randint(len(_SIGNS), (4 + 4 * width // leading,), generator=rng)
        line = "".join(_SIGNS[i] for i in signs)
        draw.text((left, top + row * leading), line, fill=255, font=font)
    ink = torch.frombuffer(bytearray(page.tobytes()), dtype=torch.uint8)
    return ink.view(height, width).float() / 255


@cache  # Pillow reads its own anew at every call
def _typeface(size: int) -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size)
