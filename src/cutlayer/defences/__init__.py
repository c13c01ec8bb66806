"""What a party does before it sends. One file per idea."""

from .base import PHASES, Active, Defence, Phase, Site, in_phase
from .bottleneck import MutualInformation
from .chain import Chain, Defended, Emission, Kept, OwnerSide
from .clip import ClipNorm
from .dropout import Dropout
from .noise import Gaussian, Laplace, Noise, StudentT, Uniform
from .nopeek import NoPeek
from .outputs import (
    AdversarialNoise,
    Codebook,
    LabelFlippingPoisoning,
    LabelOnly,
    LabelPreservingPoisoning,
    OutputNoise,
    PoisoningGenerator,
    Purification,
    Rounding,
    SameClassSwap,
    Temperature,
    TopK,
)

DEFENCES: dict[str, type[Defence]] = {
    "laplace": Laplace,
    "gaussian": Gaussian,
    "uniform": Uniform,
    "student-t": StudentT,
    "clip-norm": ClipNorm,
    "nopeek": NoPeek,
    "mid": MutualInformation,
    "dropout": Dropout,
    "rounding": Rounding,
    "top-k": TopK,
    "temperature": Temperature,
    "label-only": LabelOnly,
    "output-noise": OutputNoise,
    "same-class-swap": SameClassSwap,
    "purification": Purification,
    "codebook": Codebook,
    "adversarial-noise": AdversarialNoise,
    "lpa": LabelPreservingPoisoning,
    "lfp": LabelFlippingPoisoning,
    "lpa-generator": PoisoningGenerator,
}

__all__ = [
    "DEFENCES",
    "PHASES",
    "Active",
    "AdversarialNoise",
    "Chain",
    "ClipNorm",
    "Codebook",
    "Defence",
    "Defended",
    "Dropout",
    "Emission",
    "Gaussian",
    "Kept",
    "LabelFlippingPoisoning",
    "LabelOnly",
    "LabelPreservingPoisoning",
    "Laplace",
    "MutualInformation",
    "NoPeek",
    "Noise",
    "OutputNoise",
    "OwnerSide",
    "Phase",
    "PoisoningGenerator",
    "Purification",
    "Rounding",
    "SameClassSwap",
    "Site",
    "StudentT",
    "Temperature",
    "TopK",
    "Uniform",
    "in_phase",
]
