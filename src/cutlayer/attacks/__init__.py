"""Ways to turn messages back into inputs. One file per idea."""

from .base import Attack, Reconstruction
from .floors import ClassMean, MeanSample, NearestAuxiliary
from .inverse_network import InverseNetwork

ATTACKS: dict[str, type[Reconstruction]] = {"inverse-network": InverseNetwork}
FLOORS: dict[str, type[Reconstruction]] = {
    "mean": MeanSample,
    "class-mean": ClassMean,
    "nearest-auxiliary": NearestAuxiliary,
}

__all__ = [
    "ATTACKS",
    "FLOORS",
    "Attack",
    "ClassMean",
    "InverseNetwork",
    "MeanSample",
    "NearestAuxiliary",
    "Reconstruction",
]
