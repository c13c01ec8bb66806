"""What an owner talks to. In one process and over a network, both are this."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor


@dataclass(frozen=True)
class At:
    """Where in a training a message belongs. A replay is told by an ``At`` seen before."""

    session: str
    owner: int
    epoch: int
    step: int


@dataclass(frozen=True)
class StepResult:
    """What comes back for one training message.

    loss: scalar, over the ``N`` samples of the message. reduction: how it was reduced, so that a
    party that clips or weights samples knows what ``gradient``, dL/dz ``(N, ...)``, is of.
    """

    loss: Tensor
    reduction: Literal["mean", "sum"]
    gradient: Tensor


class FarSide(Protocol):
    """The other side of a cut.

    Idempotent: a second call with the same ``at`` repeats the reply and touches neither weights,
    optimiser nor BatchNorm.
    """

    def step(self, z: Tensor, y: Tensor, *, at: At) -> StepResult:
        """One training message ``(N, ...)``, labels ``(N,)``; the far side has updated itself."""
        ...

    def forward(self, z: Tensor, *, at: At) -> Tensor:
        """First half of a step whose loss the owner computes: the output for ``z``."""
        ...

    def backward(self, dh: Tensor, *, at: At) -> Tensor:
        """Second half: dL/d(output) in, dL/dz out; the far side has updated itself."""
        ...

    def predict(self, z: Tensor) -> Tensor:
        """Serving: the output for ``z`` in eval mode; nothing is learned from it."""
        ...

    def save(self, at: At, folder: Path) -> None:
        """Keep everything needed to go on from ``at``."""
        ...

    def restore(self, at: At, folder: Path) -> None:
        """Go back to ``at``."""
        ...
