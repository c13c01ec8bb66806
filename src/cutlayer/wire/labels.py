"""Labels that stay with their owner: the loss is computed here, the far side sees none."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .far_side import At, FarSide, StepResult


@dataclass
class LabelsHere:
    """Wraps any far side. Two messages for each step instead of one: the output comes back for the
    loss, and the loss's gradient goes out again."""

    far: FarSide

    def step(self, z: Tensor, y: Tensor, *, at: At) -> StepResult:
        out = self.far.forward(z, at=at).detach().requires_grad_()
        loss = cross_entropy(out, y)
        (gradient,) = torch.autograd.grad(loss, out)
        return StepResult(loss.detach(), "mean", self.far.backward(gradient, at=at))

    def forward(self, z: Tensor, *, at: At) -> Tensor:
        return self.far.forward(z, at=at)

    def backward(self, dh: Tensor, *, at: At) -> Tensor:
        return self.far.backward(dh, at=at)

    def predict(self, z: Tensor) -> Tensor:
        return self.far.predict(z)

    def save(self, at: At, folder: Path) -> None:
        self.far.save(at, folder)

    def restore(self, at: At, folder: Path) -> None:
        self.far.restore(at, folder)
