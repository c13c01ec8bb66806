"""MNIST and the sets published in its format, IDX, gzipped or not."""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from string import ascii_lowercase
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .dataset import Dataset
from .download import data_root, fetch, find, missing, sha256, unpack

_STEMS = (  # train images and labels, test images and labels
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_EMNIST_STEMS = tuple(
    f"emnist-letters-{part}-{kind}-ubyte"
    for part in ("train", "test")
    for kind in ("images-idx3", "labels-idx1")
)
_EMNIST_URL = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"
_EMNIST_MD5 = "58c8d27c78d21e728a6bc7b3cc06412e"
# MD5 of the unpacked test labels: three sets use the same file names
_TELLTALE = {
    "27ae3e4e09519cfbb04c329615203637": "mnist",
    "15d484375f8d13e6eb1aabb0c3f46965": "fashion-mnist",
}


def load_mnist(*, root: Path | None = None, download: bool = True) -> Dataset:
    """MNIST: 60,000 + 10,000 handwritten digits, 28×28 grey.

    Args:
        root: Where the files are or go: in it, in ``MNIST`` or in ``MNIST/raw``, gzipped or not.
        download: Fetch what is missing.

    Reference: Y. LeCun et al., "Gradient-based learning applied to document recognition", 1998,
    doi:10.1109/5.726791.
    """
    return _load(
        "mnist",
        "MNIST",
        root,
        download,
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        md5s=(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        classes=tuple("0123456789"),
    )


def load_fashion_mnist(*, root: Path | None = None, download: bool = True) -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 articles of clothing, 28×28 grey.

    Args:
        root: Where the files are or go: in it, in ``FashionMNIST`` or in ``FashionMNIST/raw``.
        download: Fetch what is missing.

    Reference: H. Xiao et al., "Fashion-MNIST", 2017, arXiv:1708.07747.
    """
    return _load(
        "fashion-mnist",
        "FashionMNIST",
        root,
        download,
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        md5s=(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        classes=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    )


def load_kmnist(*, root: Path | None = None, download: bool = True) -> Dataset:
    """Kuzushiji-MNIST: 60,000 + 10,000 cursive hiragana, 28×28 grey.

    Args:
        root: Where the files are or go: in it, in ``KMNIST`` or in ``KMNIST/raw``.
        download: Fetch what is missing.

    Reference: T. Clanuwat et al., "Deep learning for classical Japanese literature", 2018,
    arXiv:1812.01718.
    """
    return _load(
        "kmnist",
        "KMNIST",
        root,
        download,
        url="http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        md5s=(
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    )


def load_emnist_letters(*, root: Path | None = None, download: bool = True) -> Dataset:
    """EMNIST letters: 124,800 + 20,800 handwritten letters of both cases, 26 classes, 28×28 grey.

    The files hold each image transposed and labels 1..26; here images are upright and labels
    0..25. The test file is in the order of its labels, so ``shuffled`` is false.

    Args:
        root: Where the files are or go: in it, in ``EMNIST`` or in ``EMNIST/raw``.
        download: Fetch what is missing (an archive of 535 MB, deleted after unpacking).

    Reference: G. Cohen et al., "EMNIST: an extension of MNIST to handwritten letters", 2017,
    arXiv:1702.05373.
    """
    folders = _folders(data_root(root), "EMNIST")
    paths = [find(stem, folders, suffixes=("", ".gz")) for stem in _EMNIST_STEMS]
    if None in paths:
        lost = _EMNIST_STEMS[paths.index(None)]
        if not download:
            raise missing(f"{lost}[.gz]", folders, _EMNIST_URL)
        archive, there = folders[0] / "gzip.zip", (folders[0] / "gzip.zip").exists()
        if not there:
            fetch(_EMNIST_URL, archive, md5=_EMNIST_MD5)
        pairs = zip(_EMNIST_STEMS, paths, strict=True)
        unpack(archive, {f"gzip/{s}.gz": folders[0] / f"{s}.gz" for s, p in pairs if p is None})
        if not there:
            archive.unlink()
        paths = [find(stem, folders, suffixes=("", ".gz")) for stem in _EMNIST_STEMS]
    x, y, parts, source = _assemble([p for p in paths if p is not None])
    return Dataset(
        name="emnist-letters",
        x=x.transpose(2, 3).contiguous(),
        y=y - 1,
        classes=tuple(ascii_lowercase),
        bounds=(torch.tensor(0.0), torch.tensor(255.0)),
        parts=parts,
        source=source,
    )


def _folders(root: Path, folder: str) -> tuple[Path, ...]:
    return root / folder / "raw", root / folder, root


def _load(
    name: str,
    folder: str,
    root: Path | None,
    download: bool,
    *,
    url: str,
    md5s: tuple[str, ...],
    classes: tuple[str, ...],
) -> Dataset:
    folders = _folders(data_root(root), folder)
    paths = []
    for stem, md5 in zip(_STEMS, md5s, strict=True):
        path = find(stem, folders, suffixes=("", ".gz"))
        if path is None:
            if not download:
                raise missing(f"{stem}[.gz]", folders, f"{url}{stem}.gz")
            path = fetch(f"{url}{stem}.gz", folders[0] / f"{stem}.gz", md5=md5)
        paths.append(path)
    x, y, parts, source = _assemble(paths)
    labels = y[slice(*parts["test"])].to(torch.uint8).numpy()
    unpacked = struct.pack(">II", 2049, len(labels)) + labels.tobytes()
    other = _TELLTALE.get(hashlib.md5(unpacked, usedforsecurity=False).hexdigest(), name)
    if other != name:
        raise ValueError(
            f"{name} wanted: {paths[3]} is of {other}, which uses the same file names; "
            f"put {name} into {folders[0]} or choose the data set {other}"
        )
    return Dataset(
        name=name,
        x=x,
        y=y,
        classes=classes,
        bounds=(torch.tensor(0.0), torch.tensor(255.0)),
        parts=parts,
        shuffled=True,
        source=source,
    )


def _assemble(
    paths: list[Path],
) -> tuple[Tensor, Tensor, dict[str, tuple[int, int]], dict[str, Any]]:
    """Train and test files, one after the other: x ``(N, 1, H, W)`` uint8, y ``(N,)`` int64."""
    train, train_labels, test, test_labels = (
        read_idx(path, rank=rank) for path, rank in zip(paths, (3, 1, 3, 1), strict=True)
    )
    pairs = ((train, train_labels, paths[0:2]), (test, test_labels, paths[2:4]))
    for images, labels, (image_path, label_path) in pairs:
        if len(images) != len(labels):
            raise ValueError(
                f"one label for each image wanted: got {len(images)} images in {image_path} "
                f"and {len(labels)} labels in {label_path}; they are of different sets"
            )
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(
            f"images of one size wanted: got {train.shape[1:]} in {paths[0]} "
            f"and {test.shape[1:]} in {paths[2]}"
        )
    x = torch.from_numpy(np.concatenate([train, test])).unsqueeze(1)
    y = torch.from_numpy(np.concatenate([train_labels, test_labels]).astype(np.int64))
    n = len(train)
    source = {"files": [{"path": str(p), "sha256": sha256(p)} for p in paths]}
    return x, y, {"train": (0, n), "test": (n, len(x))}, source


def read_idx(path: Path, *, rank: int) -> NDArray[np.uint8]:
    """One IDX file of unsigned bytes, gzipped or not (by its content, not its name).

    The header is checked first, and never more is read than the file really holds.

    Raises:
        ValueError: another magic number, type or rank; shorter or longer than the header says;
            a corrupt gzip stream.
    """
    try:
        with path.open("rb") as plain:
            gzipped = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            with gzip.GzipFile(fileobj=plain) if gzipped else plain as stream:
                return _parse(stream, path, rank)
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise ValueError(
            f"{path}: a whole gzip file wanted: {e}; delete it so that it is downloaded again"
        ) from e


def _parse(stream: IO[bytes] | gzip.GzipFile, path: Path, rank: int) -> NDArray[np.uint8]:
    again = "delete it so that it is downloaded again"
    magic, wanted = stream.read(4), bytes((0, 0, 8, rank))
    if magic != wanted:
        raise ValueError(
            f"{path}: an IDX file of unsigned bytes and rank {rank} wanted, magic number "
            f"{wanted.hex()}: got {magic.hex() or 'an empty file'}; {again}"
        )
    header = stream.read(4 * rank)
    if len(header) < 4 * rank:
        raise ValueError(f"{path}: truncated after {4 + len(header)} bytes, in the header; {again}")
    shape = struct.unpack(f">{rank}I", header)
    length = math.prod(shape)
    data = bytearray()
    while len(data) <= length and (chunk := stream.read(1 << 20)):
        data += chunk
    if len(data) != length:
        got = f"only {len(data)}: truncated" if len(data) < length else "more"
        raise ValueError(
            f"{path}: {length} bytes wanted for the shape {shape} in its header: got {got}; {again}"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
