"""What crosses between the parties."""

from .far_side import At, FarSide, StepResult
from .tap import Tap

__all__ = ["At", "FarSide", "StepResult", "Tap"]
