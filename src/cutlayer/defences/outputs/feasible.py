"""Where a confidence vector may go: the simplex, an L1 ball around it, the same label."""

import torch
from torch import Tensor

MARGIN = 1e-3  # by which the label stays ahead of every other class
_ROUNDING = 1e-7  # of the budget, left for float32
_TINY = 1e-300
_FLOOR = 1e-9  # of a proposed entry: all that is less counts as this


def project(p: Tensor, proposed: Tensor, budget: float, *, margin: float = MARGIN) -> Tensor:
    """Move every confidence vector towards a proposal, as far as it may go.

    The answer is feasible: entries >= 0 that sum to 1, at most ``budget`` away from ``p`` in L1,
    the label ahead by the margin, its entry by complement. First the other classes' entries that
    are to shrink do so, by half the budget at most; then those that are to grow do, as far as
    budget and label allow. Each of the two keeps its direction. They go apart, because what
    shrinks is mostly the tails: they cost nearly nothing, and are what a reconstruction lives on;
    with one factor for all of a row, a long step would leave every tail as it was.

    A vector whose label is not ahead by the margin, and one whose proposal is not finite, is
    returned bit for bit as it is. Gradients flow through the proposal, below its floor as well; how
    far it may go counts as fixed.

    Args:
        p: ``(N, K)``, entries >= 0 that sum to 1.
        proposed: ``(N, K)``, any numbers, those below 1e-9 counting as this; the label's entry is
            not looked at.
        budget: Largest L1 distance, in [0, 2]: twice the probability that changes hands.

    Returns:
        ``(N, K)`` of the dtype of ``p``.
    """
    start = p.double()
    ahead, label = start.max(1, keepdim=True)
    step = (_clamped(proposed.double()) - start).scatter_(1, label, 0.0)
    still = Tensor.detach if step.requires_grad else _itself
    up = step.clamp_min(0.0)
    down, half = up - step, max(budget - _ROUNDING, _TINY) / 2
    falls, rises = down.sum(1, keepdim=True), up.sum(1, keepdim=True)
    shrink = (half / still(falls)).clamp_max(1.0)
    low = torch.addcmul(start, shrink, down, value=-1)
    high = torch.addcmul(ahead, shrink, falls)  # the label's entry when the others have shrunk
    most = still(rises).clamp_min(_TINY)
    room = (still(high) - margin - still(low)).scatter_(1, label, torch.inf)
    limit = (room / (still(up) + most)).amin(1, keepdim=True)
    grow = torch.minimum(limit, half / most).clamp(0.0, 1.0)
    rival = start.scatter(1, label, -1.0).amax(1, keepdim=True)
    free = (most < torch.inf) & (ahead - rival >= margin)
    moved = torch.addcmul(low, grow, up)
    moved = moved.scatter_(1, label, torch.addcmul(high, grow, rises, value=-1))
    return torch.where(free, moved, start).to(p.dtype)


def _itself(t: Tensor) -> Tensor:
    return t


def _clamped(proposed: Tensor) -> Tensor:
    """At least the floor; the gradient passes as if it were not there, or no entry would ever come
    back from it."""
    low = proposed.clamp_min(_FLOOR)
    return proposed + (low - proposed).detach() if proposed.requires_grad else low


def is_label_kept(p: Tensor, q: Tensor) -> Tensor:
    """``(N,)`` of bool: whether the largest entry, the first of equals, is where it was."""
    return p.argmax(1) == q.argmax(1)
