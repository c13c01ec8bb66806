"""Rows of pictures, cut out of the strips that attacks leave."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .tables import NOT_RUN, Column, Shown

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Pictured:
    """One row: ten pictures side by side, and the numbers of all victims.

    short: for a column heading. missing: why there are no pictures.
    """

    label: str
    short: str = ""
    image: "Image | None" = None
    numbers: tuple[Shown, ...] = ()
    missing: str = ""
    under: str = ""  # in the column heading

    @property
    def uri(self) -> str:
        return "" if self.image is None else as_uri(self.image)

    @property
    def cells(self) -> list[str]:
        """The pictures one by one."""
        if self.image is None:
            return []
        side = self.image.height
        boxes = ((i, 0, i + side, side) for i in range(0, self.image.width - side + 1, side))
        return [as_uri(self.image.crop(box)) for box in boxes]


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures of the same victims. name: of its PNG file."""

    name: str
    title: str
    rows: tuple[Pictured, ...]
    columns: tuple[Column, ...] = ()

    @property
    def count(self) -> int:
        return max((len(r.cells) for r in self.rows), default=0)

    @property
    def missing(self) -> list[str]:
        return [r.label for r in self.rows[1:] if r.missing == NOT_RUN]


def as_uri(image: "Image") -> str:
    """A picture as a data URL."""
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def halves(path: Path) -> "tuple[Image, Image]":
    """Originals and reconstructions of a strip."""
    from PIL import Image

    with Image.open(path) as strip:
        strip.load()
        side = strip.height // 2
        return (
            strip.crop((0, 0, strip.width, side)),
            strip.crop((0, side, strip.width, 2 * side)),
        )
