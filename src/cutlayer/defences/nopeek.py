"""NoPeek: train the owner's segment so that its message depends less on its input."""

import math
from typing import Literal

from torch import Tensor

from ..metrics import distance_correlation
from .base import Defence, one_of


class NoPeek(Defence):
    """Distance-correlation penalty while training, after Vepakomma et al. (2020).

    Sends the message unchanged. The weight is applied once, here.

    Args:
        weight: Multiplies the distance correlation of input and message, >= 0, no unit.
        exponent: Of the Euclidean distance, in (0, 2]. 1 is distance correlation; 2 is what the
            published code computes: a linear measure, blind to z = x².
        on: "sent": the message as it leaves, noise included (Titcombe et al., algorithm 1);
            "clean": before any defence (their code).

    Raises:
        ValueError: weight negative, NaN or infinite; exponent outside (0, 2]; ``on`` neither.

    Reference: P. Vepakomma et al., "NoPeek: Information leakage reduction to share activations in
    distributed deep learning", 2020, arXiv:2008.09161.
    """

    active = "train"

    def __init__(
        self, weight: float, *, exponent: float = 1.0, on: Literal["sent", "clean"] = "sent"
    ) -> None:
        super().__init__()
        if not 0 <= weight < math.inf:
            raise ValueError(f"NoPeek weight must be >= 0: got {weight}")
        if not 0 < exponent <= 2:
            raise ValueError(f"NoPeek exponent must be in (0, 2]: got {exponent}")
        one_of("NoPeek on", on, ("sent", "clean"))
        self.weight = weight
        self.exponent = exponent
        self.on = on

    def penalty(self, x: Tensor, z: Tensor, sent: Tensor) -> Tensor:
        if not self.weight:
            return z.new_zeros(())
        if len(x) < 2:
            raise ValueError(
                f"NoPeek compares the samples of a batch, at least 2 wanted: got {len(x)}; "
                "raise the batch size"
            )
        message = sent if self.on == "sent" else z
        dependence: Tensor = distance_correlation(x, message, exponent=self.exponent)
        return self.weight * dependence

    def extra_repr(self) -> str:
        return f"weight={self.weight}, exponent={self.exponent}, on={self.on!r}"
