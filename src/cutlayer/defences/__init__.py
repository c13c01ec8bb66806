"""What a party does before it sends. One file per idea."""

from .base import PHASES, Active, Defence, Phase, Site, in_phase
from .chain import Chain, Defended, Emission, Kept, OwnerSide
from .clip import ClipNorm
from .dropout import Dropout
from .noise import Gaussian, Laplace, Noise, StudentT, Uniform
from .nopeek import NoPeek

DEFENCES: dict[str, type[Defence]] = {
    "laplace": Laplace,
    "gaussian": Gaussian,
    "uniform": Uniform,
    "student-t": StudentT,
    "clip-norm": ClipNorm,
    "nopeek": NoPeek,
    "dropout": Dropout,
}

__all__ = [
    "DEFENCES",
    "PHASES",
    "Active",
    "Chain",
    "ClipNorm",
    "Defence",
    "Defended",
    "Dropout",
    "Emission",
    "Gaussian",
    "Kept",
    "Laplace",
    "NoPeek",
    "Noise",
    "OwnerSide",
    "Phase",
    "Site",
    "StudentT",
    "Uniform",
    "in_phase",
]
