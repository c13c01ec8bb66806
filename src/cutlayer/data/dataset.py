"""A data set as two tensors, whatever file it came from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Samples and labels, stored as they were read and handed out as float32 in [0, 1].

    Args:
        name: What the record calls it, for example ``"mnist"``.
        x: ``(N, *shape)``, any real dtype, finite. Images ``(N, C, H, W)``, signals ``(N, C, L)``,
            tables ``(N, D)``.
        y: ``(N,)``, int64, each in ``0 .. len(classes) - 1``.
        classes: The name of each class.
        bounds: ``(low, high)``: the declared range of ``x``, each a scalar tensor or one that
            broadcasts against a sample. ``None``: not declared; ``share_out`` then takes it from
            the owners' training share, never from the victims.
        parts: The published division, as half-open index ranges: ``{"train": (0, 60000), "test":
            (60000, 70000)}``. Empty where there is none.
        shuffled: Whether the published order is already random. If not, ``share_out`` permutes.
        source: What was read: paths and checksums, for the record.

    Raises:
        ValueError: unequal lengths, no samples, NaN or infinity, a label out of range.
    """

    name: str
    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    bounds: tuple[Tensor, Tensor] | None = None
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    shuffled: bool = False
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or self.y.dim() != 1:
            raise ValueError(
                f"{self.name}: one label for each sample wanted: "
                f"got x {tuple(self.x.shape)} and y {tuple(self.y.shape)}"
            )
        if not len(self.x):
            raise ValueError(f"{self.name}: at least one sample wanted: got none")
        if self.x.is_floating_point() and not (finite := self.x.isfinite()).all():
            row = int((~finite.flatten(1).all(1)).nonzero()[0])
            raise ValueError(
                f"{self.name}: finite values wanted: sample {row} holds NaN or infinity; "
                "drop or repair such samples before loading"
            )
        low, high = int(self.y.min()), int(self.y.max())
        if low < 0 or high >= len(self.classes):
            raise ValueError(
                f"{self.name}: labels in 0..{len(self.classes) - 1} wanted, one for each of "
                f"{len(self.classes)} classes: got {low}..{high}"
            )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.x.shape[1:])

    def take(self, index: Tensor | Sequence[int]) -> tuple[Tensor, Tensor]:
        """Samples ``(n, *shape)``, float32 in [0, 1], and labels ``(n,)`` of the given indices.

        Raises:
            ValueError: the bounds are not known yet.
        """
        if self.bounds is None:
            raise ValueError(f"{self.name}: no bounds declared: call share_out first, it sets them")
        index = torch.as_tensor(index, dtype=torch.long)
        low, high = self.bounds
        span = (high - low).clamp_min(torch.finfo(torch.float32).tiny)
        return ((self.x[index].float() - low) / span).clamp_(0, 1), self.y[index]

    def with_bounds(self, low: Tensor, high: Tensor) -> "Dataset":
        """The same data set with its range declared."""
        return replace(self, bounds=(low.float(), high.float()))

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over the stored samples and labels: what the record calls this data."""
        digest = hashlib.sha256()
        for t in (self.x, self.y):
            digest.update(f"{t.dtype}{tuple(t.shape)}".encode())
            digest.update(t.contiguous().numpy().data)
        return digest.hexdigest()
