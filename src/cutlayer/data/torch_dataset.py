"""Any ``torch.utils.data.Dataset`` of the user's own."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import as_classes
from .dataset import Dataset


def from_torch(dataset: Any, *, name: str) -> Dataset:
    """Read a map-style PyTorch data set once, into memory.

    Its items are ``(x, y)``: ``x`` a tensor, a NumPy array or a PIL picture, all of one shape;
    ``y`` an integer in ``0 .. K-1``. Random transforms are drawn once, here, so leave
    augmentation out. Bytes have the bounds 0..255, floats that lie in [0, 1] the bounds 0..1, and
    other numbers none. Class names come from ``dataset.classes`` where there is one.

    Raises:
        ValueError: no length, items of another form, shapes or types that differ, labels that are
            not ``0 .. K-1``, channels last.

    >>> from torch.utils.data import TensorDataset
    >>> x, y = torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    >>> from_torch(TensorDataset(x, y), name="own").shape
    (3, 8, 8)
    """
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise ValueError(
            f"{name}: a map-style data set wanted, with __len__ and __getitem__: "
            f"got {type(dataset).__name__}; collect a stream into a TensorDataset first"
        )
    if not len(dataset):
        raise ValueError(f"{name}: at least one sample wanted: got none")
    first, _ = _item(dataset, 0, name)
    x = torch.empty(len(dataset), *first.shape, dtype=first.dtype)
    labels = []
    for i in range(len(dataset)):
        value, label = _item(dataset, i, name)
        if value.shape != first.shape or value.dtype != first.dtype:
            raise ValueError(
                f"{name}: samples of one shape and type wanted: got {tuple(first.shape)} "
                f"{first.dtype} in item 0 and {tuple(value.shape)} {value.dtype} in item {i}; "
                "resize them in the data set's transform"
            )
        x[i] = value
        labels.append(label)
    if x.dim() == 4 and x.shape[3] in (1, 3, 4) and x.shape[1] > 4:
        raise ValueError(
            f"{name}: pictures (C, H, W) wanted: got {tuple(first.shape)}, which looks like "
            "(H, W, C); transpose them in the data set's transform"
        )
    boolean = x.dtype == torch.bool
    x = x.to(torch.uint8) if boolean else x
    names = getattr(dataset, "classes", None)
    y, classes = as_classes(np.array(labels), name, [str(c) for c in names] if names else None)
    return Dataset(
        name=name,
        x=x,
        y=y,
        classes=classes,
        bounds=_bounds(x, boolean),
        source={"class": f"{type(dataset).__module__}.{type(dataset).__qualname__}"},
    )


def _bounds(x: Tensor, boolean: bool) -> tuple[Tensor, Tensor] | None:
    if x.dtype == torch.uint8 and not boolean:
        return torch.tensor(0.0), torch.tensor(255.0)
    if boolean or (x.is_floating_point() and x.min() >= 0 and x.max() <= 1):
        return torch.tensor(0.0), torch.tensor(1.0)
    return None


def _item(dataset: Any, i: int, name: str) -> tuple[Tensor, int]:
    item = dataset[i]
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise ValueError(f"{name}: items (x, y) wanted: got {type(item).__name__} in item {i}")
    return _sample(item[0], i, name), _label(item[1], i, name)


def _sample(value: Any, i: int, name: str) -> Tensor:
    if hasattr(value, "getbands"):  # a PIL picture, without importing PIL to ask
        from .images import pixels, plain

        return pixels(plain(value))
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if not isinstance(value, Tensor) or value.is_complex() or not 1 <= value.dim() <= 3:
        shape = f" {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise ValueError(
            f"{name}: a tensor, NumPy array or PIL picture of 1 to 3 axes wanted as x: "
            f"got {type(value).__name__}{shape} in item {i}"
        )
    return value.detach().cpu()


def _label(value: Any, i: int, name: str) -> int:
    plain = value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value
    if not isinstance(plain, int):
        shape = f" {tuple(value.shape)}" if hasattr(value, "shape") else f" {value!r}"
        raise ValueError(
            f"{name}: an integer label wanted as y: got {type(value).__name__}{shape} in item {i}"
        )
    return int(plain)
