"""A far side that keeps a copy of all it is sent: where an attack listens."""

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from .far_side import At, FarSide, StepResult


@dataclass
class Tap:
    """Wraps any far side. ``seen`` holds every message that crossed, in order, as it crossed."""

    far: FarSide
    seen: list[Tensor] = field(default_factory=list)

    def _hear(self, z: Tensor) -> Tensor:
        self.seen.append(z.detach().clone())
        return z

    def step(self, z: Tensor, y: Tensor, *, at: At) -> StepResult:
        return self.far.step(self._hear(z), y, at=at)

    def forward(self, z: Tensor, *, at: At) -> Tensor:
        return self.far.forward(self._hear(z), at=at)

    def backward(self, dh: Tensor, *, at: At) -> Tensor:
        return self.far.backward(dh, at=at)

    def predict(self, z: Tensor) -> Tensor:
        return self.far.predict(self._hear(z))

    def save(self, at: At, folder: Path) -> None:
        self.far.save(at, folder)

    def restore(self, at: At, folder: Path) -> None:
        self.far.restore(at, folder)
