"""Adversarial examples for an inversion model: the nearest neighbour of poisoning."""

from torch import Tensor

from .poisoning import Steps
from .surrogates import Surrogate


class AdversarialNoise(Steps):
    """Noise that makes an inversion model of the operator's own as wrong as it can be.

    After Wen, Yiu and Hui (2021): steps along the sign of the gradient of the surrogate's
    reconstruction error; the label is kept. It sees the query.

    Args:
        budget, steps, surrogate_epochs, samples: As of ``LabelPreservingPoisoning``.

    Raises:
        ValueError: an argument out of range.

    Reference: J. Wen, S.-M. Yiu, L. C. K. Hui, "Defending against model inversion attack by
    adversarial examples", IEEE CSR 2021.
    """

    def __init__(
        self,
        budget: float = 0.02,
        *,
        steps: int = 20,
        surrogate_epochs: tuple[int, ...] = (20,),
        samples: int = 2000,
    ) -> None:
        super().__init__(budget, steps, "negative", surrogate_epochs, samples)

    def _objective(self, surrogate: Surrogate, p: Tensor, x: Tensor) -> Tensor:
        error: Tensor = (surrogate.network(p) - x).square().flatten(1).mean(1)
        return -error
