"""Ways to turn messages back into inputs, or to read a label off them. One file per idea."""

from .affine_inverse import AffineInverse
from .base import Attack, Reconstruction
from .confidence import ConfidenceInversion
from .floors import ClassMean, MeanSample, NearestAuxiliary
from .inference import AnswerInference, FarSegmentReads, Inference, LabelInference, about
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
INFERENCES: dict[str, type[Inference]] = {  # these read a label, and rebuild nothing
    "label-inference": LabelInference,
    "answer-inference": AnswerInference,
    "far-segment-reads": FarSegmentReads,
}
FLOORS: dict[str, type[Reconstruction]] = {
    "mean": MeanSample,
    "class-mean": ClassMean,
    "nearest-auxiliary": NearestAuxiliary,
}

__all__ = [
    "ATTACKS",
    "FLOORS",
    "INFERENCES",
    "AffineInverse",
    "AnswerInference",
    "Attack",
    "ClassMean",
    "ConfidenceInversion",
    "FarSegmentReads",
    "GaussianPrior",
    "Inference",
    "InverseNetwork",
    "LabelInference",
    "MaximumLikelihood",
    "MeanSample",
    "NearestAuxiliary",
    "Reconstruction",
    "Shadow",
    "about",
    "total_variation",
]
