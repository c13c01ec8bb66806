"""What moves vectors towards a proposal inside a budget, and may round them inside it as well."""

import math
from typing import Self

from torch import Tensor

from .base import OutputDefence, Private, within
from .coarse import Rounding
from .feasible import project

_LEAST = 1e-5  # a budget below is nothing in float32


class Budgeted(OutputDefence):
    """Moves a vector no further than the budget, its rounding included.

    Args:
        budget: Largest L1 distance, in (0, 2].
        decimals: Round every answer to so many, by the method of ``Rounding``, one that cannot
            move as well. The worst case of that is taken off the budget before anything moves.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(self, budget: float, decimals: int | None = None) -> None:
        super().__init__()
        within(f"{type(self).__name__} budget", budget, _LEAST, 2)
        self.budget = budget
        self.decimals = decimals
        self.rounding = None if decimals is None else Rounding(decimals)

    def fit(self, private: Private) -> Self:
        self.room(private.classes)
        return self

    def laid_out(self, classes: int, input_shape: tuple[int, ...]) -> Self:
        self.room(classes)
        return self

    def room(self, classes: int) -> float:
        """How far a vector of so many entries may go before it is rounded.

        Raises:
            ValueError: nowhere, as the rounding may take all of the budget.
        """
        if self.rounding is None:
            return self.budget
        room = self.budget - self.rounding.worst_case(classes)
        if room < _LEAST:
            least = math.ceil((self.budget - room) / _LEAST + 1) * _LEAST
            raise ValueError(
                f"{type(self).__name__} budget must be at least {least:g} for {classes} entries "
                f"rounded to {self.decimals} decimals, which may move a vector so far: got "
                f"{self.budget:g}; raise the decimals or the budget"
            )
        return room

    def moved(self, p: Tensor, proposed: Tensor) -> Tensor:
        """Towards the proposal as far as there is room, not yet rounded."""
        return project(p, proposed, self.room(p.shape[1]))

    def answered(self, p: Tensor, proposed: Tensor) -> Tensor:
        """What is released instead of ``p`` ``(N, K)``."""
        moved = self.moved(p, proposed)
        return moved if self.rounding is None else self.rounding(moved)
