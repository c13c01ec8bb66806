"""CIFAR-10 in its binary version: no pickle to trust."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .dataset import Dataset
from .download import data_root, fetch, find, missing, sha256, unpack

_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
_FOLDER = "cifar-10-batches-bin"
_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_RECORD = 1 + 3 * 32 * 32
_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def load_cifar10(*, root: Path | None = None, download: bool = True) -> Dataset:
    """CIFAR-10: 50,000 + 10,000 photographs, 32×32 RGB, ``x`` ``(N, 3, 32, 32)`` uint8.

    Files with any whole number of records are read, so a reduced test file works.

    Args:
        root: Where the ``.bin`` files are or go: in it, or in ``cifar-10-batches-bin``.
        download: Fetch what is missing (an archive of 162 MB, deleted after unpacking).

    Reference: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """
    base = data_root(root)
    folders = (base / _FOLDER, base)
    paths = [find(name, folders) for name in _FILES]
    if None in paths:
        if not download:
            raise missing(_FILES[paths.index(None)], folders, _URL)
        archive, there = base / "cifar-10-binary.tar.gz", (base / "cifar-10-binary.tar.gz").exists()
        if not there:
            fetch(_URL, archive, md5=_MD5)
        unpack(
            archive,
            {
                f"{_FOLDER}/{name}": folders[0] / name
                for name, path in zip(_FILES, paths, strict=True)
                if path is None
            },
        )
        if not there:
            archive.unlink()
        paths = [find(name, folders) for name in _FILES]
    found = [p for p in paths if p is not None]
    records = [read_records(p) for p in found]
    every = np.concatenate(records)
    n = len(every) - len(records[-1])
    return Dataset(
        name="cifar10",
        x=torch.from_numpy(every[:, 1:].copy()).view(-1, 3, 32, 32),
        y=torch.from_numpy(every[:, 0].astype(np.int64)),
        classes=_CLASSES,
        bounds=(torch.tensor(0.0), torch.tensor(255.0)),
        parts={"train": (0, n), "test": (n, len(every))},
        shuffled=True,
        source={"files": [{"path": str(p), "sha256": sha256(p)} for p in found]},
    )


def read_records(path: Path) -> NDArray[np.uint8]:
    """``(n, 3073)``: a label, then 1,024 red, green and blue pixels each, row by row.

    Raises:
        ValueError: no whole number of records, none at all, or a label above 9.
    """
    size = path.stat().st_size
    if not size or size % _RECORD:
        raise ValueError(
            f"{path}: whole records of {_RECORD} bytes wanted: got {size} bytes, "
            f"{size // _RECORD} records and {size % _RECORD} bytes over; "
            "delete it so that it is downloaded again"
        )
    records = np.fromfile(path, np.uint8).reshape(-1, _RECORD)
    if (records[:, 0] > 9).any():
        row = int((records[:, 0] > 9).argmax())
        raise ValueError(
            f"{path}: labels 0..9 wanted in the first byte of each record: got "
            f"{records[row, 0]} in record {row}; not the binary version of CIFAR-10, or corrupt"
        )
    return records
