"""Inverting a segment that is an affine map: algebra, no search."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

Map = Callable[[Tensor], Tensor]


def is_affine(f: Map, x: Tensor, *, tolerance: float = 1e-4) -> bool:
    """Whether ``f`` keeps straight lines straight, as far as a few of them can tell.

    Far outside the range of ``x`` as well, so that an activation that no sample of ``x`` bends is
    found out.

    Args:
        x: ``(N, ...)`` examples, N at least 2.
    """
    with torch.no_grad():
        rng = torch.Generator().manual_seed(0)
        far = 10 * torch.randn(x.shape, generator=rng).to(x)
        a, b = x + far, x - far.flip(0)
        middle, straight = f(0.25 * a + 0.75 * b), 0.25 * f(a) + 0.75 * f(b)
        size = straight.abs().amax().clamp_min(torch.finfo(x.dtype).tiny)
        return bool((middle - straight).abs().amax() <= tolerance * size)


def least_squares(
    f: nn.Module, target: Tensor, prior: Tensor, *, damping: Tensor, steps: int = 500
) -> Tensor:
    """The inputs that an affine ``f`` maps nearest to the targets, near the prior where it is free.

    Minimises ``|f(x) - target|² + damping |x - prior|²`` for every sample on its own by conjugate
    gradients, in float64 and without the matrix of ``f``.

    Args:
        target: ``(N, ...)`` messages.
        prior: One input; what is answered where a message says nothing.
        damping: ``(N,)``, >= 0, in units of the largest stretch of ``f``, squared.
        steps: At most; a full-rank ``f`` needs no more than an input has elements.

    Returns:
        ``(N, ...)`` inputs, in the dtype of the targets.
    """
    exact = copy.deepcopy(f).double().requires_grad_(False)
    start = prior.double().expand(len(target), *prior.shape)
    with torch.no_grad():
        at_start = exact(start)

    def forth(x: Tensor) -> Tensor:
        with torch.no_grad():
            stretched: Tensor = exact(start + x) - at_start
        return stretched

    def back(r: Tensor) -> Tensor:
        with torch.enable_grad():
            x = start.clone().requires_grad_(True)
            gradient: Tensor = torch.autograd.grad(exact(x), x, r)[0]
            return gradient

    ridge = _column(damping.double() * _largest_stretch(forth, back, start[:1]), start)
    x = torch.zeros_like(start)
    residual = back(target.double() - at_start)
    direction, size = residual.clone(), _dot(residual, residual)
    goal = 1e-24 * size
    for _ in range(steps):
        image = back(forth(direction)) + ridge * direction
        step = _column(size / _dot(direction, image).clamp_min(1e-300), x)
        x, residual = x + step * direction, residual - step * image
        before, size = size, _dot(residual, residual)
        if bool((size <= goal).all()):
            break
        direction = residual + _column(size / before.clamp_min(1e-300), x) * direction
    return (start + x).to(target.dtype)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))


def _largest_stretch(forth: Map, back: Map, like: Tensor) -> float:
    """The square of the largest singular value, by power iteration."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(like.shape, generator=rng, dtype=like.dtype).to(like.device)
    for _ in range(20):
        y = back(forth(x))
        x = y / y.norm().clamp_min(1e-300)
    return float(y.norm())
