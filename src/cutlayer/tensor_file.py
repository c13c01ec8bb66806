"""Tensors to and from disk, as safetensors, with errors that a person can act on."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, told: Mapping[str, str] | None = None
) -> None:
    """Write named tensors.

    Args:
        told: Words about them, in the file's head.

    Raises:
        OSError: the disk is full, or the place cannot be written.
    """
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    try:
        save_file(plain, path, None if told is None else dict(told))
    except SafetensorError as e:
        full = "os error 28" in str(e) or "os error 27" in str(e)
        code = errno.ENOSPC if full else errno.EACCES
        raise OSError(code, os.strerror(code), str(path)) from e


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors.

    Raises:
        OSError: there is no such file.
        ValueError: it is no safetensors file, or a damaged one.
    """
    return load_described(path)[0]


def load_described(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Named tensors, and the words in the file's head.

    Raises:
        OSError: there is no such file.
        ValueError: it is no safetensors file, or a damaged one.
    """
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as e:
        raise ValueError(f"{path}: an undamaged safetensors file wanted: {e}") from e
