"""As few different answers as the budget allows: what is not said cannot be inverted."""

from typing import Self

import torch
from torch import Tensor

from .base import OutputDefence, Private, within
from .coarse import Rounding
from .feasible import MARGIN

_SLACK = 1e-6  # of the budget, left for float32
_CHUNK = 256  # queries that are compared with the book at a time


class Codebook(OutputDefence):
    """Every vector is answered by an entry of a short book, one of its own label within reach.

    The entries are vectors of the operator's own, rounded to as few decimals as stay within the
    budget for certain, so that they say no more of a person than a rounded answer would. Of these
    the book is a greedy cover: of each label, again and again, the entry that has most of the
    operator's vectors not yet covered within the budget, near ones counting more. A query is
    answered by the first entry in reach in that order, not by the nearest one: so answers are few,
    and most questions of a class get the very same one. That is what rate-distortion theory would
    have: within the distortion that is allowed, say as little as possible. A query out of reach of
    all entries is rounded itself.

    Deterministic, a function of the vector alone: repeats tell nothing new. With hundreds of
    classes few vectors share an entry, and most answers are rounded ones.

    Args:
        budget: Largest L1 distance, in (0, 2].
        samples: Private vectors that the book is made of, at most.

    Raises:
        ValueError: an argument out of range; when fitted, a budget with no room for rounding.
    """

    entries: Tensor

    def __init__(self, budget: float = 0.02, *, samples: int = 4000) -> None:
        super().__init__()
        within("Codebook budget", budget, 1e-5, 2)
        if samples < 1:
            raise ValueError(f"Codebook samples must be at least 1: got {samples}")
        self.budget = budget
        self.samples = samples
        self.rounding: Rounding | None = None
        self.register_buffer("entries", torch.empty(0, 0))

    def laid_out(self, classes: int, input_shape: tuple[int, ...]) -> Self:
        self.rounding = _coarsest(classes, self.budget)
        return self

    def fit(self, private: Private) -> Self:
        self.laid_out(private.classes, tuple(private.x.shape[1:]))
        assert self.rounding is not None
        p = private.p[: self.samples]
        p, reach = p[_is_ahead(p)], self.budget - _SLACK
        found = [p[:0]]
        for own in (p[p.argmax(1) == k] for k in range(private.classes)):
            if len(own):
                found.append(_cover(own, self.rounding(own).unique(dim=0), reach))
        self.entries = torch.cat(found)
        return self

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        if self.rounding is None:
            raise RuntimeError("Codebook is used before it was fitted: call fit first")
        return torch.cat([self._answered(part, self.rounding(part)) for part in t.split(_CHUNK)])

    def _answered(self, p: Tensor, rounded: Tensor) -> Tensor:
        if not len(self.entries):
            return rounded
        far = torch.cdist(p.double(), self.entries.double(), p=1)
        fits = (far <= self.budget - _SLACK) & (p.argmax(1)[:, None] == self.entries.argmax(1))
        first = self.entries[fits.int().argmax(1)].to(p.dtype)
        return torch.where(fits.any(1, keepdim=True), first, rounded)


def _is_ahead(p: Tensor) -> Tensor:
    """``(N,)`` of bool: vectors whose label is ahead by the margin."""
    first, second = p.topk(2, 1).values.unbind(1)
    return first - second >= MARGIN


def _cover(p: Tensor, entries: Tensor, reach: float) -> Tensor:
    """Those of the entries ``(n, K)`` that have all of ``p`` ``(N, K)`` within reach, the most
    useful first.

    What an entry gains for each that it covers falls with its distance, so that where the crowd
    sits most answers hardly move.
    """
    far = torch.cdist(entries.double(), p.double(), p=1)
    gain = (1 - far / reach).clamp_min(0)
    left, chosen = (far <= reach).any(0), list[int]()
    while left.any():
        chosen.append(int((gain * left).sum(1).argmax()))
        left &= far[chosen[-1]] > reach
    return entries[torch.tensor(chosen, dtype=torch.long, device=p.device)]


def _coarsest(classes: int, budget: float) -> Rounding:
    """The rounding to the fewest decimals that never takes more than the budget.

    Raises:
        ValueError: there is none.
    """
    for decimals in range(1, 7):
        rounding = Rounding(decimals)
        if rounding.worst_case(classes) < budget - _SLACK:
            return rounding
    least = Rounding(6).worst_case(classes)
    raise ValueError(
        f"Codebook budget for {classes} classes must be above {least:.2g}, what rounding to six "
        f"decimals may take: got {budget:g}"
    )
