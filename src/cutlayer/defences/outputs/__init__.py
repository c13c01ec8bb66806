"""What an operator does to a confidence vector before it is released. One file per idea."""

from .adversarial import AdversarialNoise
from .base import OutputDefence, Private
from .budgeted import Budgeted
from .coarse import LabelOnly, Rounding, Temperature, TopK
from .codebook import Codebook
from .feasible import MARGIN, is_label_kept, project
from .generator import PoisoningGenerator
from .noise import OutputNoise, SameClassSwap
from .poisoning import LabelFlippingPoisoning, LabelPreservingPoisoning
from .purification import Purification

__all__ = [
    "MARGIN",
    "AdversarialNoise",
    "Budgeted",
    "Codebook",
    "LabelFlippingPoisoning",
    "LabelOnly",
    "LabelPreservingPoisoning",
    "OutputDefence",
    "OutputNoise",
    "PoisoningGenerator",
    "Private",
    "Purification",
    "Rounding",
    "SameClassSwap",
    "Temperature",
    "TopK",
    "is_label_kept",
    "project",
]
