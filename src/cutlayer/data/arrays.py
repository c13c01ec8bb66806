"""NumPy files: tables, signals, pictures, and labels of any type. Nothing in them is executed."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import did_you_mean
from .dataset import Dataset
from .download import sha256

Array = NDArray[Any]
CUT_OFF = 0.5  # share of values beyond declared bounds that is no question of outliers


def load_arrays(
    *,
    path: Path,
    root: Path | None = None,
    labels: Path | None = None,
    test: Path | None = None,
    test_labels: Path | None = None,
    x: str = "x",
    y: str = "y",
    signal: bool = False,
    grey: bool = False,
    channels_last: bool = False,
    low: float | None = None,
    high: float | None = None,
    classes: list[str] | None = None,
) -> Dataset:
    """An ``.npz`` with samples and labels, or a pair of ``.npy`` files.

    ``(N, D)`` is a table, ``(N, C, L)`` signals, ``(N, C, H, W)`` pictures; say so where yours is
    not. Bytes have the bounds 0..255; other numbers have none unless given, and ``share_out``
    then takes them from the owners' training share.

    Args:
        path: The ``.npz``, or the ``.npy`` of the samples; a relative one starts at ``root``.
        root: Where relative paths start; the working directory without it.
        labels: The ``.npy`` of the labels, if ``path`` is an ``.npy``.
        test: A second file like ``path``: the published test set.
        test_labels: Its labels, if it is an ``.npy``.
        x: Name of the samples in an ``.npz``.
        y: Name of the labels in an ``.npz``.
        signal: ``(N, L)`` is signals of one channel, not a table.
        grey: ``(N, H, W)`` is grey pictures, not signals of H channels.
        channels_last: The channels are the last axis: ``(N, H, W, C)`` or ``(N, L, C)``.
        low: Declared lower bound of the samples, together with ``high``.
        high: Declared upper bound.
        classes: Names of the classes. Without it the labels themselves, which must then be
            0..K-1 without a gap, or text.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: corrupt, an unknown name, a shape or a type that means nothing, labels that
            are no classes, bounds that are none.
    """
    base = Path(root or ".").expanduser()
    pairs = [(path, labels)] if test is None else [(path, labels), (test, test_labels)]
    read = [_pair(base, a, b, x, y) for a, b in pairs]
    shaped = [
        as_samples(s, str(f), signal=signal, grey=grey, channels_last=channels_last)
        for s, _, f in read
    ]
    for (a, _, first), (b, _, second) in pairwise(read):
        if a.shape[1:] != b.shape[1:] or a.dtype != b.dtype:
            raise ValueError(
                f"samples of one shape and type wanted: got {a.shape[1:]} {a.dtype} in {first} "
                f"and {b.shape[1:]} {b.dtype} in {second}"
            )
    samples, bounds = shaped[0] if len(shaped) == 1 else torch.cat(shaped), _bounds(low, high)
    if bounds is not None:
        _covering(bounds, samples, str(read[0][2]))
    joined = np.concatenate([_column(t, str(f)) for _, t, f in read])
    codes, names = as_classes(joined, str(read[0][2]), classes)
    n = len(shaped[0])
    files = [base / Path(f).expanduser() for pair in pairs for f in pair if f is not None]
    return Dataset(
        name=Path(path).stem,
        x=samples,
        y=codes,
        classes=names,
        bounds=bounds or declared(samples, read[0][0].dtype == np.bool_),
        parts={} if test is None else {"train": (0, n), "test": (n, len(samples))},
        source={"files": [{"path": str(f), "sha256": sha256(f)} for f in files]},
    )


def _pair(base: Path, path: Path, labels: Path | None, x: str, y: str) -> tuple[Array, Array, Path]:
    """Samples, labels, and the file to name in errors."""
    file = base / Path(path).expanduser()
    if file.suffix == ".npz":
        if labels is not None:
            raise ValueError(f"{file}: an .npz holds its labels, under {y!r}: drop {labels}")
        samples, targets = _read(file, x, y)
    elif file.suffix == ".npy":
        if labels is None:
            raise ValueError(f"{file}: an .npy of labels wanted beside it: give labels=FILE.npy")
        (samples,), (targets,) = _read(file), _read(base / Path(labels).expanduser())
    else:
        raise ValueError(f"{file}: an .npz or .npy file wanted: got {file.suffix or 'no suffix'}")
    if samples.ndim == 0 or targets.ndim == 0 or len(samples) != len(targets):
        raise ValueError(
            f"{file}: one label for each sample wanted: "
            f"got samples {samples.shape} and labels {targets.shape}"
        )
    return samples, targets, file


def _read(file: Path, *names: str) -> tuple[Array, ...]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        with file.open("rb") as stream:  # opened here: numpy leaves a corrupt .npz open
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray) == bool(names):
                raise ValueError("its content is not what its suffix says")
            if not names:
                return (loaded,)
            for name in names:
                if name not in loaded.files:
                    known = did_you_mean(name, loaded.files)
                    raise ValueError(f"no array {name!r} in it{known} (choose with x= and y=)")
            return tuple(loaded[name] for name in names)
    except Exception as e:  # a reader fed with garbage raises nearly anything
        if isinstance(e, OSError) and e.errno is not None:
            raise  # the file system's words are better
        reason = str(e)
        if "pickle" in reason.lower():
            reason = "Python objects in it, which could run code; save plain numbers and text"
        raise ValueError(f"{file}: a NumPy file of plain arrays wanted: {reason}") from e


def as_samples(
    a: Array, where: str, *, signal: bool = False, grey: bool = False, channels_last: bool = False
) -> Tensor:
    """``(N, D)``, ``(N, C, L)`` or ``(N, C, H, W)`` of a type that torch computes with."""
    if a.dtype.kind not in "biuf":
        raise ValueError(f"{where}: samples of real numbers wanted: got {a.dtype}")
    if a.ndim not in (2, 3, 4) or 0 in a.shape[1:]:
        raise ValueError(
            f"{where}: samples (N, D), (N, C, L) or (N, C, H, W) wanted: got {a.shape}"
        )
    for asked, name, rank in ((signal, "signal", 2), (grey, "grey", 3)):
        if asked and a.ndim != rank:
            raise ValueError(f"{where}: {name}=true is for {rank} axes: got {a.shape}")
    if channels_last and (a.ndim == 2 or grey):
        raise ValueError(f"{where}: channels_last=true wants an axis of channels: got {a.shape}")
    if a.ndim == 4 and not channels_last and a.shape[3] in (1, 3, 4) and a.shape[1] > 4:
        raise ValueError(
            f"{where}: pictures (N, C, H, W) wanted: got {a.shape}, which looks like "
            "(N, H, W, C); say channels_last=true, or move the axis: x.transpose(0, 3, 1, 2)"
        )
    if channels_last:
        a = np.moveaxis(a, -1, 1)
    if signal or grey:
        a = a[:, None]
    wider = {"u2": "i4", "u4": "i8", "u8": "f8", "b1": "u1", "f16": "f8"}
    kind = wider.get(a.dtype.str[1:], a.dtype.newbyteorder("="))
    return torch.from_numpy(np.ascontiguousarray(a.astype(kind, copy=False)))


def declared(x: Tensor, boolean: bool = False) -> tuple[Tensor, Tensor] | None:
    """The bounds that a type brings with it: 0..255 for bytes, 0..1 for truth values."""
    if x.dtype != torch.uint8:
        return None
    return torch.tensor(0.0), torch.tensor(1.0 if boolean else 255.0)


def _bounds(low: float | None, high: float | None) -> tuple[Tensor, Tensor] | None:
    if low is None and high is None:
        return None
    if low is None or high is None or not -np.inf < low < high < np.inf:
        raise ValueError(f"finite bounds low < high wanted, both or none: got {low}..{high}")
    return torch.tensor(float(low)), torch.tensor(float(high))


def _covering(bounds: tuple[Tensor, Tensor], samples: Tensor, where: str) -> None:
    """Refuse bounds that most of the values lie beyond: cut off there, all samples look alike."""
    low, high = (float(b) for b in bounds)
    beyond = float(((samples < low) | (samples > high)).float().mean())
    if beyond > CUT_OFF:
        raise ValueError(
            f"{where}: bounds that cover the values wanted: {beyond:.0%} of them lie beyond "
            f"{low:g}..{high:g}, they reach from {float(samples.min()):g} to "
            f"{float(samples.max()):g}; give these as low and high, or leave both out"
        )


def _column(y: Array, where: str) -> Array:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(
            f"{where}: one label for each sample wanted, (N,): got {y.shape}; "
            "of one-hot rows take the index, y.argmax(1)"
        )
    return y


def as_classes(y: Array, where: str, names: list[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    """Labels ``(N,)`` as int64 in ``0 .. K-1``, and the K names.

    Text becomes classes in sorted order, or in the order of ``names``.
    """
    if y.dtype.kind in "US":
        text = np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y
        known = list(names) if names else sorted(set(text.tolist()))
        if unknown := sorted(set(text.tolist()) - set(known)):
            raise ValueError(
                f"{where}: label {unknown[0]!r} is none of the classes "
                f"given{did_you_mean(unknown[0], known)}"
            )
        codes = {name: code for code, name in enumerate(known)}
        return torch.tensor([codes[t] for t in text.tolist()], dtype=torch.long), tuple(known)
    whole = y.dtype.kind in "biu" or (
        y.dtype.kind == "f" and bool((np.isfinite(y) & (y == np.floor(y))).all())
    )
    if not whole:
        odd = next((v for v in y.tolist() if not isinstance(v, int) and v != v // 1), None)
        got = f"{y.dtype}" + (f", {odd}" if odd is not None else "")
        raise ValueError(f"{where}: whole numbers or text wanted as labels: got {got}")
    present = np.unique(y)
    if names is None and not np.array_equal(present, np.arange(len(present))):
        few = ", ".join(f"{v}" for v in present[:8]) + (", …" if len(present) > 8 else "")
        raise ValueError(
            f"{where}: labels 0..{len(present) - 1} wanted, one for each of {len(present)} classes "
            f"without a gap: got {few}; renumber them with "
            "numpy.unique(y, return_inverse=True)[1], or name every class with classes="
        )
    codes64 = torch.from_numpy(y.astype(np.int64))
    return codes64, tuple(names) if names else tuple(str(int(v)) for v in present)
