"""A folder of class folders of pictures, of any size and mode."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from .dataset import Dataset

if TYPE_CHECKING:
    from PIL.Image import Image

_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_GREY_MODES = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"))
_ALPHA_MODES = frozenset(("LA", "La", "PA", "RGBA", "RGBa"))
Mode = Literal["grey", "rgb"]


@dataclass(frozen=True)
class _Header:
    """What a picture says of itself before it is decoded."""

    path: Path
    label: str
    size: tuple[int, int]  # width, height, upright
    grey: bool


def load_images(
    *,
    path: Path = Path(),
    root: Path | None = None,
    size: int | None = None,
    mode: Mode | None = None,
) -> Dataset:
    """``path/CLASS/*.png`` and so on; or ``path/train/CLASS`` and ``path/test/CLASS``.

    ``x`` is ``(N, C, H, W)`` uint8. Classes and files are taken in the order of their names, and
    the camera's orientation (EXIF) is applied. Transparent pixels turn white. 16-bit grey is
    reduced to 8 bits over its whole range, 0..65535. Files that are no pictures are passed over.

    Args:
        path: The folder; a relative one starts at ``root``, and is that itself where none is given.
        root: Where relative paths start; the working directory without it.
        size: Side in pixels to which every picture is resized: the shorter side, then a centre
            crop. Without it all pictures must be of one size.
        mode: ``grey`` or ``rgb``. Without it, grey if every picture is, otherwise RGB.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no class folders, a class folder without pictures, a picture that cannot be
            read, pictures of different sizes.
    """
    if size is not None and size < 1:
        raise ValueError(f"images size must be >= 1 pixel: got {size}")
    if mode not in (None, "grey", "rgb"):
        raise ValueError(f"images mode must be 'grey' or 'rgb': got {mode!r}")
    folder = (Path(root or ".") / Path(path).expanduser()).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"a folder of class folders wanted: {folder} is not a folder")
    parts = _parts(folder)
    found = [[_header(p, label) for p, label in _walk(part)] for part in parts]
    headers = [h for group in found for h in group]
    _agree(headers, size)
    classes = sorted({h.label for h in found[0]})
    unknown = {h.label for h in headers} - set(classes)
    if unknown:
        raise ValueError(
            f"{folder}: every class of test/ must be in train/: got {', '.join(sorted(unknown))} "
            "in test/ only"
        )
    mode = mode or ("grey" if all(h.grey for h in headers) else "rgb")
    x, digest = _decode(headers, mode, size)
    n = len(found[0])
    return Dataset(
        name=folder.resolve().name,
        x=x,
        y=torch.tensor([classes.index(h.label) for h in headers]),
        classes=tuple(classes),
        bounds=(torch.tensor(0.0), torch.tensor(255.0)),
        parts={"train": (0, n), "test": (n, len(headers))} if len(found) == 2 else {},
        source={"path": str(folder), "files": len(headers), "sha256": digest},
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _parts(folder: Path) -> list[Path]:
    """The train and test folders where there are both, with class folders in them; or the one."""
    inside = _folders(folder)
    names = {p.name for p in inside}
    if not {"train", "test"} <= names or not _folders(folder / "train"):
        return [folder]
    if beside := names - {"train", "test"}:
        raise ValueError(
            f"{folder}: only train/ and test/ wanted: got {', '.join(sorted(beside))} beside them; "
            "move it elsewhere, or its pictures into train/"
        )
    return [folder / "train", folder / "test"]


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    classes = _folders(folder)
    if not classes:
        raise ValueError(
            f"{folder}: a folder for each class wanted, with its pictures in it: got no folders"
        )
    for each in classes:
        pictures = sorted(
            (p for p in each.rglob("*") if p.suffix.lower() in _SUFFIXES and p.name[0] != "."),
            key=lambda p: p.relative_to(each).parts,
        )
        if not pictures:
            raise ValueError(
                f"{each}: at least one picture wanted ({', '.join(sorted(_SUFFIXES))}): got none; "
                "remove the folder if it is no class"
            )
        yield from ((p, each.name) for p in pictures)


def _header(path: Path, label: str) -> _Header:
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            sideways = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            mode = image.mode
    except Exception as e:  # a decoder fed with garbage raises nearly anything
        raise _unreadable(path, e) from e
    return _Header(
        path, label, (height, width) if sideways else (width, height), mode in _GREY_MODES
    )


def _unreadable(path: Path, e: Exception) -> ValueError:
    return ValueError(f"{path}: a whole picture wanted: {e}; replace the file or remove it")


def _agree(headers: list[_Header], size: int | None) -> None:
    first = headers[0]
    other = next((h for h in headers if h.size != first.size), None)
    if size is None and other is not None:
        w, h = first.size
        raise ValueError(
            f"pictures of one size wanted: got {w}×{h} in {first.path} and "
            f"{other.size[0]}×{other.size[1]} in {other.path}; "
            f"give a size to which all are resized, for example size={min(w, h, *other.size)}"
        )


def _decode(headers: list[_Header], mode: Mode, size: int | None) -> tuple[Tensor, str]:
    """Every picture as ``(N, C, H, W)`` uint8, and one SHA-256 over all the files."""
    from PIL import Image, ImageOps

    width, height = (size, size) if size else headers[0].size
    x = torch.empty(len(headers), 3 if mode == "rgb" else 1, height, width, dtype=torch.uint8)
    digest = hashlib.sha256()
    for row, header in zip(x, headers, strict=True):
        digest.update(header.path.read_bytes())
        try:
            with Image.open(header.path) as opened:
                image = plain(ImageOps.exif_transpose(opened), mode)
        except Exception as e:  # as above
            raise _unreadable(header.path, e) from e
        if size is not None:
            image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        row.copy_(pixels(image))
    return x, digest.hexdigest()


def plain(image: "Image", mode: Mode | None = None) -> "Image":
    """An 8-bit grey or RGB picture of one of any mode, alpha laid on white.

    Raises:
        ValueError: floating-point or 32-bit pixels, whose range is not known.
    """
    from PIL import Image

    wanted = {"grey": "L", "rgb": "RGB", None: "L" if image.mode in _GREY_MODES else "RGB"}[mode]
    if image.mode[0] in "IF":
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError(
                f"8 or 16 bits a pixel wanted: got mode {image.mode}, "
                f"values {values.min()}..{values.max()}; load such pictures as arrays, with bounds"
            )
        image = Image.fromarray(
            ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        )
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    return image.convert(wanted)


def pixels(image: "Image") -> Tensor:
    """``(C, H, W)`` uint8 of an 8-bit grey or RGB picture."""
    values = torch.from_numpy(np.array(image))
    return values.unsqueeze(0) if values.dim() == 2 else values.movedim(-1, 0)
