"""As few different answers as the budget allows: what is not said cannot be inverted."""

import torch
from torch import Tensor

from .base import OutputDefence, Private, within
from .coarse import Rounding
from .feasible import MARGIN

_SLACK = 1e-6  # of the budget, left for float32
_CHUNK = 256  # queries that are compared with the book at a time


class Codebook(OutputDefence):
    """Every vector is answered by an entry of a short book, one of its own label within reach.

    The book is a greedy cover of the operator's own vectors: of each label, again and again, the
    vector that has most of those not yet covered within the budget, near ones counting more. A
    query is answered by the first entry in reach in that order, not by the nearest one: so answers
    are few, and most questions of a class get the very same one. That is what rate-distortion
    theory would have: within the distortion that is allowed, say as little as possible. A query
    out of reach of all entries is rounded, to as few decimals as stay within the budget for
    certain.

    Deterministic, a function of the vector alone: repeats tell nothing new.

    Args:
        budget: Largest L1 distance, in (0, 2].

    Raises:
        ValueError: a budget out of range.
    """

    entries: Tensor

    def __init__(self, budget: float = 0.02) -> None:
        super().__init__()
        within("Codebook budget", budget, 1e-5, 2)
        self.budget = budget
        self.rounding: Rounding | None = None
        self.register_buffer("entries", torch.empty(0, 0))

    def fit(self, private: Private) -> "Codebook":
        label, ahead = private.p.argmax(1), _is_ahead(private.p)
        of_label = (private.p[ahead & (label == k)] for k in range(private.classes))
        self.entries = torch.cat([_cover(p, self.budget - _SLACK) for p in of_label])
        self.rounding = _coarsest(private.classes, self.budget)
        return self

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        if not self.entries.shape[1]:
            raise RuntimeError("Codebook is used before it was fitted: call fit first")
        return torch.cat([self._answered(part) for part in t.split(_CHUNK)])

    def _answered(self, p: Tensor) -> Tensor:
        far = torch.cdist(p.double(), self.entries.double(), p=1)
        fits = (far <= self.budget - _SLACK) & (p.argmax(1)[:, None] == self.entries.argmax(1))
        answer = p if self.rounding is None else self.rounding(p)
        if not len(self.entries):
            return answer
        reached = fits.any(1, keepdim=True)
        return torch.where(reached, self.entries[fits.int().argmax(1)].to(p.dtype), answer)


def _is_ahead(p: Tensor) -> Tensor:
    """``(N,)`` of bool: vectors whose label is ahead by the margin."""
    first, second = p.topk(2, 1).values.unbind(1)
    return first - second >= MARGIN


def _cover(p: Tensor, reach: float) -> Tensor:
    """``(n, K)`` to those of them that have all others within reach, the most useful first.

    What a vector gains for each that it covers falls with its distance, so that where the crowd
    sits most answers hardly move.
    """
    far = torch.cdist(p.double(), p.double(), p=1)
    gain = (1 - far / reach).clamp_min(0)
    left, chosen = torch.ones(len(p), dtype=torch.bool, device=p.device), list[int]()
    while left.any():
        chosen.append(int((gain * left).sum(1).argmax()))
        left &= far[chosen[-1]] > reach
    return p[torch.tensor(chosen, dtype=torch.long, device=p.device)]


def _coarsest(classes: int, budget: float) -> Rounding | None:
    """The rounding to the fewest decimals that never takes more than the budget."""
    every = (Rounding(decimals) for decimals in range(1, 7))
    return next((r for r in every if r.worst_case(classes) <= budget), None)
