"""Whether a reconstruction points at the one it was made from."""

import torch
from torch import Tensor

_CHUNK = 1 << 22  # distances held at once


def reidentification_rank(
    x: Tensor, x_hat: Tensor, *, labels: Tensor | None = None, others: Tensor | None = None
) -> Tensor:
    """Where each original stands among all originals, by L2 distance to its reconstruction.

    Rank 0: the reconstruction is nearest to its own original, so ``(rank < k).float()`` is the
    top-k success. Lower means more leaked. Ties count against the attacker: every other original
    at an equal distance (to the last digits of float64), and every one for a reconstruction that
    is not finite, stands ahead. So duplicates in the gallery never read as re-identified.

    Args:
        x: ``(N, ...)``, the gallery: the originals, row i of the sample i.
        x_hat: ``(N, ...)``, reconstructions, same shape.
        labels: ``(N,)``. If given, the gallery of a sample is its own class: what the
            reconstruction shows beyond the label. Chance then is one in the class size.
        others: ``(M, ...)``, further originals in the gallery, of whom there is no reconstruction:
            only ranks in galleries of one size compare.

    Returns:
        ``(N,)`` int64, in 0 .. gallery size - 1. O(N²) time, bounded memory.

    Raises:
        ValueError: unequal shapes, or labels and others at once.

    >>> x = torch.tensor([[0.0], [0.4], [1.0]])
    >>> reidentification_rank(x, torch.tensor([[0.1], [0.9], [1.0]]))
    tensor([0, 1, 0])
    """
    if x.shape != x_hat.shape or not x.dim():
        raise ValueError(
            "reidentification_rank looks for row i of x_hat in x: "
            f"got x {tuple(x.shape)} and x_hat {tuple(x_hat.shape)}"
        )
    if labels is None:
        return _ranks(x if others is None else torch.cat([x, others]), x_hat)
    if others is not None:
        raise ValueError("reidentification_rank wants labels or others: got both")
    if labels.shape != x.shape[:1]:
        raise ValueError(
            "reidentification_rank wants one label for each row of x: "
            f"got {tuple(labels.shape)} labels and x {tuple(x.shape)}"
        )
    rank = torch.empty(len(x), dtype=torch.long, device=x.device)
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        rank[rows] = _ranks(x[rows], x_hat[rows])
    return rank


def _ranks(x: Tensor, x_hat: Tensor) -> Tensor:
    """Of the first originals, of whom there are reconstructions, among all."""
    # Matrix products, so float64: float32 confuses near-identical originals.
    gallery = x.detach().double().reshape(len(x), -1)
    centre = gallery.mean(0)
    gallery -= centre
    norms = gallery.square().sum(1)
    ranks = []
    rows = max(1, _CHUNK // len(x))
    for start in range(0, len(x_hat), rows):
        own = torch.arange(start, min(len(x_hat), start + rows), device=x.device)
        probe = x_hat[own].detach().double().reshape(len(own), -1) - centre
        # |x - x_hat|² without |x_hat|², which is the same for a whole row
        distance = torch.addmm(norms, probe, gallery.mT, alpha=-2)
        mine = distance.gather(1, own[:, None])
        rounding = 1e-13 * (norms.max() + probe.square().sum(1, keepdim=True))
        ahead = ~(distance > mine + rounding)  # this way round, NaN is ahead
        ranks.append(ahead.sum(1) - 1)  # not the original itself
    return torch.cat(ranks)
