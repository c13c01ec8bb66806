"""Defences that say less: fewer decimals, fewer classes, less of the confidence, or the label."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .base import OutputDefence, within
from .feasible import is_label_kept

_FLOAT32 = 2.0**-24  # relative error of one operation; a softmax of K entries is off by K in sum


class Rounding(OutputDefence):
    """k decimals, the entries adding to 1 exactly, the label kept.

    Every entry is cut to a multiple of 10^-k, and the multiples that are then missing go one each
    to the largest remainders, the label's entry first (the method of Hamilton). So no entry moves
    by a whole multiple, but where two would tie for the label.

    Args:
        decimals: k, 1 to 6.

    Raises:
        ValueError: no such number of decimals.
    """

    def __init__(self, decimals: int = 3) -> None:
        super().__init__()
        within("Rounding decimals", decimals, 1, 6)
        self.decimals = decimals

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        unit = 10**self.decimals
        label = t.argmax(1, keepdim=True)
        scaled = t.double() / t.double().sum(1, keepdim=True) * unit
        whole = scaled.floor()
        remainder = (scaled - whole).scatter(1, label, 2.0)
        missing = (unit - whole.sum(1, keepdim=True)).round()
        order = remainder.argsort(dim=1, descending=True, stable=True)
        units = whole + (order.argsort(dim=1) < missing)
        rounded: Tensor = (self._label_first(units, label) / unit).to(t.dtype)
        return rounded

    def worst_case(self, classes: int) -> float:
        """Largest L1 distance that K confidences are moved, a softmax in float32 or better.

        ⌊(K + 1)²/4⌋·2/K units of 10^-k, about K/2 + 1, and (K + 16)·2^-24 for sums that in float32
        are not 1 exactly.

        What some entries gain the others lose, so it is twice the loss. With m units missing, K - m
        entries lose their remainders: m·(K - m)/(K - 1) at most, all but the label's being equal. A
        rival that ties loses its own as well, no larger than the label's: m·(K + 1 - m)/K at most,
        all being equal, for m up to K/2 + 1, 1 + (m - 2)·(K - m)/(K - 2) beyond, and 1 for none
        missing. The second is the largest of these, at m = (K + 1)/2.
        """
        units = (classes + 1) ** 2 // 4 * 2 / classes
        return units / 10.0**self.decimals + (classes + 16) * _FLOAT32

    @staticmethod
    def _label_first(units: Tensor, label: Tensor) -> Tensor:
        """Where another entry has as much as the label's, it gives one up."""
        rivals = units.scatter(1, label, -1.0)
        best, where = rivals.max(1, keepdim=True)
        tied = (best >= units.gather(1, label)) & (best > 0)
        taken = tied.to(units)
        return units.scatter_add(1, where, -taken).scatter_add(1, label, taken)


class TopK(OutputDefence):
    """The k largest entries; what is left over is spread evenly over the others.

    Args:
        k: At least 1.

    Raises:
        ValueError: k is less.
    """

    def __init__(self, k: int = 3) -> None:
        super().__init__()
        if k < 1:
            raise ValueError(f"TopK k must be at least 1: got {k}")
        self.k = k

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        classes = t.shape[1]
        if self.k >= classes - 1:
            return t
        first = t.scatter(1, t.argmax(1, keepdim=True), 2.0)  # of equals, the label's
        shown = torch.zeros_like(t).scatter(1, first.topk(self.k, 1).indices, 1.0).bool()
        left = torch.where(shown, 0.0, t).sum(1, keepdim=True) / (classes - self.k)
        return torch.where(shown, t, torch.minimum(left, t.amax(1, keepdim=True)))


class Temperature(OutputDefence):
    """``softmax(log p / T)``: above 1 less confident, and the order of all classes kept.

    It hides nothing from one who knows T, but for the digits that get lost.

    Args:
        temperature: T, from 0.01 to 100.

    Raises:
        ValueError: a temperature outside.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        within("Temperature temperature", temperature, 0.01, 100)
        self.temperature = temperature

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        tiny = torch.finfo(torch.float64).tiny
        heated = torch.softmax(t.double().clamp_min(tiny).log() / self.temperature, 1).to(t.dtype)
        kept = is_label_kept(t, heated)[:, None]  # one that underflows to a tie is not
        return torch.where(kept, heated, t)


class LabelOnly(OutputDefence):
    """The label and nothing else: 1 for it, 0 for the others.

    The ceiling: no defence that keeps labels, deterministic or not, can hide more from an attacker
    that is trained through it.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return one_hot(t.argmax(1), t.shape[1]).to(t)
