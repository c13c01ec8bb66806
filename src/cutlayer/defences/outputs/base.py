"""What every defence of a released confidence vector has in common."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from ..base import Defence


@dataclass(frozen=True)
class Private:
    """What the operator of a prediction API has to prepare a defence with.

    x: ``(N, ...)`` its own samples in [0, 1], as from the classifier's training. y: ``(N,)``.
    p: ``(N, K)`` what the classifier says of them. classes: K.
    """

    x: Tensor
    y: Tensor
    p: Tensor

    @property
    def classes(self) -> int:
        """How many entries a vector has."""
        return int(self.p.shape[1])


class OutputDefence(Defence):
    """Changes confidence vectors before they are released: ``(N, K)`` to ``(N, K)``.

    Acts on the serving path alone; the classifier is neither trained nor looked into. Every row is
    answered by itself.

    Attributes:
        keeps_label: No answer has another label than the classifier's.
        needs_input: Answers hang on the query as well as on its vector.
        budget: Largest L1 distance from the classifier's vector; 2 is no limit. Where labels are
            changed it counts from the changed vector.
    """

    site = "output"
    active = "serve"
    keeps_label: ClassVar[bool] = True
    needs_input: bool = False
    budget: float = 2.0

    def fit(self, private: Private) -> Self:
        """Prepare with the operator's own data; nothing by default. Draws from torch's stream."""
        return self

    def laid_out(self, classes: int, input_shape: tuple[int, ...]) -> Self:
        """With the layers that ``fit`` trains, untrained, so that tensors can be loaded into them;
        by default there are none.

        Args:
            classes: Entries of a vector. input_shape: Of a query, without the batch.

        Raises:
            ValueError: the arguments do not go with so many classes.
        """
        return self

    @abstractmethod
    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor: ...


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside [low, high], NaN included."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}: got {value}")
