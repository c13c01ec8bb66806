"""Where a confidence vector may go: the simplex, an L1 ball around it, the same label."""

import torch
from torch import Tensor

MARGIN = 1e-3  # by which the label stays ahead of every other class
_ROUNDING = 1e-7  # of the budget, left for float32


def project(p: Tensor, proposed: Tensor, budget: float, *, margin: float = MARGIN) -> Tensor:
    """Move every confidence vector towards a proposal, as far as it may go.

    The answer lies on the straight line from ``p`` to the proposal's entries for the other
    classes, with the label's entry by complement, at the last point that is feasible: entries >= 0
    that sum to 1, at most ``budget`` away from ``p`` in L1, the label ahead by the margin. A vector
    whose label is not ahead by the margin, and one whose proposal is not finite, is returned bit
    for bit as it is. Gradients flow through the proposal; how far it may go counts as fixed.

    Args:
        p: ``(N, K)``, entries >= 0 that sum to 1.
        proposed: ``(N, K)``, any numbers; the label's entry is not looked at.
        budget: Largest L1 distance, in [0, 2]: twice the probability that changes hands.

    Returns:
        ``(N, K)`` of the dtype of ``p``.
    """
    label = p.argmax(1, keepdim=True)
    start = p.double()
    ahead = start.gather(1, label)
    step = (proposed.double().clamp_min(0.0) - start).scatter(1, label, 0.0)
    given = step.sum(1, keepdim=True)
    with torch.no_grad():
        gap = (ahead - margin - start).scatter(1, label, torch.inf)
        far = _how_far(gap, step, given, budget - _ROUNDING)
    moved = (start + far * step).scatter(1, label, ahead - far * given)
    return torch.where(given.isfinite(), moved, start).to(p.dtype)


def _how_far(gap: Tensor, step: Tensor, given: Tensor, budget: float) -> Tensor:
    """``(N, 1)`` in [0, 1]: the largest share of the step that is feasible.

    Args:
        gap: ``(N, K)``, what the label is ahead by, less the margin.
        given: ``(N, 1)``, what it loses in the whole step.
    """
    catching_up = step + given
    limit = torch.where(catching_up > 0, gap / catching_up, torch.inf).amin(1, keepdim=True)
    reach = max(budget, 0.0) / (step.abs().sum(1, keepdim=True) + given.abs()).clamp_min(1e-300)
    far = torch.minimum(limit, reach).clamp(0.0, 1.0)
    return torch.where(gap.amin(1, keepdim=True) < 0, 0.0, far)


def is_label_kept(p: Tensor, q: Tensor) -> Tensor:
    """``(N,)`` of bool: whether the largest entry, the first of equals, is where it was."""
    return p.argmax(1) == q.argmax(1)
