"""Ways to turn messages back into inputs. One file per idea."""

from .affine_inverse import AffineInverse
from .base import Attack, Reconstruction
from .confidence import ConfidenceInversion
from .floors import ClassMean, MeanSample, NearestAuxiliary
from .inverse_network import InverseNetwork
from .likelihood import MaximumLikelihood
from .prior import GaussianPrior, total_variation
from .shadow import Shadow

ATTACKS: dict[str, type[Reconstruction]] = {
    "inverse-network": InverseNetwork,
    "affine-inverse": AffineInverse,
    "maximum-likelihood": MaximumLikelihood,
    "shadow": Shadow,
    "confidence-inversion": ConfidenceInversion,
}
FLOORS: dict[str, type[Reconstruction]] = {
    "mean": MeanSample,
    "class-mean": ClassMean,
    "nearest-auxiliary": NearestAuxiliary,
}

__all__ = [
    "ATTACKS",
    "FLOORS",
    "AffineInverse",
    "Attack",
    "ClassMean",
    "ConfidenceInversion",
    "GaussianPrior",
    "InverseNetwork",
    "MaximumLikelihood",
    "MeanSample",
    "NearestAuxiliary",
    "Reconstruction",
    "Shadow",
    "total_variation",
]
