"""Inverting a segment that is an affine map: algebra, no search."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn

Map = Callable[[Tensor], Tensor]
ROUND = 500  # steps between two looks at who has arrived
ROUNDS = (4, 10)  # however small or large an input is
GOAL = 1e-24  # squared size of the residual, of that at the start


def is_affine(f: nn.Module, x: Tensor, *, tolerance: float = 1e-4) -> bool:
    """Whether ``f`` keeps straight lines straight, as far as a few of them can tell.

    Far outside the range of ``x`` as well, so that an activation that no sample of ``x`` bends is
    found out. In float64: what a device makes of float32 products is no bend.

    Args:
        x: ``(N, ...)`` examples, N at least 2.
    """
    exact = copy.deepcopy(f).double()
    with torch.no_grad():
        rng = torch.Generator().manual_seed(0)
        far = 10 * torch.randn(x.shape, generator=rng).to(x).double()
        a, b = x + far, x - far.flip(0)
        middle, straight = exact(0.25 * a + 0.75 * b), 0.25 * exact(a) + 0.75 * exact(b)
        size = straight.abs().amax().clamp_min(torch.finfo(straight.dtype).tiny)
        return bool((middle - straight).abs().amax() <= tolerance * size)


class Solution(NamedTuple):
    """Inputs ``(N, ...)``, and for each whether its search came to the end, ``(N,)``."""

    x: Tensor
    arrived: Tensor


def least_squares(
    f: nn.Module, target: Tensor, prior: Tensor, *, damping: Tensor, rounds: int | None = None
) -> Solution:
    """The inputs that an affine ``f`` maps nearest to the targets, near the prior where it is free.

    Minimises ``|f(x) - target|² + damping |x - prior|²`` for every sample on its own by conjugate
    gradients, in float64 and without the matrix of ``f``. A sample has arrived where its residual
    is nothing beside that at the start.

    Args:
        target: ``(N, ...)`` messages.
        prior: One input; what is answered where a message says nothing.
        damping: ``(N,)``, >= 0, in units of the largest stretch of ``f``, squared.
        rounds: Of 500 steps, at most; by default enough for twice as many steps as an input has
            elements, but for rounding half of them do; no fewer than four, no more than ten.

    Returns:
        The inputs, in the dtype of the targets, and who has arrived.
    """
    exact = copy.deepcopy(f).double().requires_grad_(False)
    straight = _Straight(exact, prior.double(), len(target))
    ridge = damping.double() * straight.largest_stretch()
    search = _Gradients.begin(straight, target.double(), ridge)
    x, arrived = torch.zeros_like(search.x), torch.zeros_like(ridge, dtype=torch.bool)
    rows = torch.arange(len(target), device=target.device)
    for _ in range(rounds or rounds_for(prior.numel())):
        search.run(straight)
        there = search.size <= search.goal
        x[rows], arrived[rows] = search.x, there
        if bool(there.all()):
            break
        rows, search = rows[~there], search.only(~there)
    return Solution((straight.start + x).to(target.dtype), arrived)


def rounds_for(elements: int) -> int:
    """Rounds that do for inputs of so many elements, unless ``f`` all but loses some direction."""
    fewest, most = ROUNDS
    return min(most, max(fewest, math.ceil(2 * elements / ROUND)))


class _Straight:
    """An affine map without its offset, and its transpose, for up to N inputs."""

    def __init__(self, exact: nn.Module, prior: Tensor, n: int) -> None:
        self.exact, self.start = exact, prior.expand(n, *prior.shape)
        with torch.no_grad():
            self.at_start: Tensor = exact(self.start)

    @torch.no_grad()
    def forth(self, x: Tensor) -> Tensor:
        n = len(x)
        stretched: Tensor = self.exact(self.start[:n] + x) - self.at_start[:n]
        return stretched

    def back(self, r: Tensor) -> Tensor:
        with torch.enable_grad():
            x = self.start[: len(r)].clone().requires_grad_(True)
            gradient: Tensor = torch.autograd.grad(self.exact(x), x, r)[0]
            return gradient

    def largest_stretch(self) -> float:
        """The square of the largest singular value, by power iteration."""
        rng = torch.Generator().manual_seed(0)
        x = torch.randn(self.start[:1].shape, generator=rng, dtype=torch.float64).to(self.start)
        for _ in range(20):
            y = self.back(self.forth(x))
            x = y / y.norm().clamp_min(1e-300)
        return float(y.norm())


@dataclass
class _Gradients:
    """Conjugate gradients for N samples side by side.

    size: Squared length of the residual. goal: At which one has arrived.
    """

    ridge: Tensor
    goal: Tensor
    x: Tensor
    residual: Tensor
    direction: Tensor
    size: Tensor

    @classmethod
    def begin(cls, f: _Straight, target: Tensor, ridge: Tensor) -> "_Gradients":
        residual = f.back(target - f.at_start)
        size, x = _dot(residual, residual), torch.zeros_like(residual)
        return cls(ridge, GOAL * size, x, residual, residual.clone(), size)

    def only(self, rows: Tensor) -> "_Gradients":
        return _Gradients(*(getattr(self, f.name)[rows] for f in fields(self)))

    def run(self, f: _Straight) -> None:
        """A round, or until all have met their goal."""
        for _ in range(ROUND):
            direction = self.direction
            image = f.back(f.forth(direction)) + _column(self.ridge, direction) * direction
            step = _column(self.size / _dot(direction, image).clamp_min(1e-300), direction)
            self.x, self.residual = self.x + step * direction, self.residual - step * image
            before, self.size = self.size, _dot(self.residual, self.residual)
            if bool((self.size <= self.goal).all()):
                break
            turn = _column(self.size / before.clamp_min(1e-300), direction)
            self.direction = self.residual + turn * direction


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))
