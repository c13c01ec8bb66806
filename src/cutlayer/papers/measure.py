"""Statistics of messages and reconstructions that any paper may want."""

from typing import Any

import torch
from torch import Tensor

from ..trained import Network


@torch.no_grad()
def messages(network: Network, x: Tensor) -> Tensor:
    """Undisturbed messages ``(N, ...)``."""
    return torch.cat([network.defended.segment(part) for part in x.split(256)])


def spread(z: Tensor) -> dict[str, Any]:
    """How wide the messages ``(N, d)`` lie: noise of one scale harms a tighter cloud more.

    Returns:
        ``around_mean``: root mean square distance of an element from its mean over samples;
        ``rms``; ``saturated``: share of elements beyond .99 in size; ``effective_dimensions``:
        (Σλ)² / Σλ² of the covariance's eigenvalues.
    """
    flat = z.flatten(1).double()
    centred = flat - flat.mean(0)
    covariance = centred.mT @ centred / len(flat)
    trace, square = covariance.trace(), covariance.square().sum()
    return {
        "around_mean": float(centred.square().mean().sqrt()),
        "rms": float(flat.square().mean().sqrt()),
        "saturated": float((flat.abs() > 0.99).double().mean()),
        "effective_dimensions": float(trace * trace / square) if square else 0.0,
    }


def by_class(values: Tensor, y: Tensor, classes: int) -> list[float | None]:
    """The mean of ``values`` ``(N,)`` within each class."""
    rows = [values[y == k].double() for k in range(classes)]
    return [float(r.mean()) if len(r) else None for r in rows]
