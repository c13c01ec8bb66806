"""Statistical dependence between what a client holds and what it sends."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# Squared distances below this share of the two squared norms lose digits in the Gram expansion
# |p|² + |q|² - 2 p.q; they are computed anew, from differences. At this value distances keep a
# relative error under 2e-4 in float32 (measured; tests/test_dependence.py).
_NEAR = 1e-3
_CHUNK = 1 << 22  # elements of the differences held at once


def distance_correlation(x: Tensor, z: Tensor, *, exponent: float = 1.0) -> Tensor:
    """Distance correlation of two batches, after Székely et al. (2007).

    One when ``z`` is ``x`` up to rotation, shift and scale; for large ``N`` zero only when the two
    are independent (not at exponent 2). This is the V-statistic, biased upwards: independent
    batches of 784 and 500 dimensions read .94 at N = 8, .68 at N = 128. Compare values only at
    equal ``N``, and put ``bias_corrected_distance_correlation`` or
    ``distance_correlation_floor`` beside them. Differentiable once, in ``x`` and ``z``; where the
    value is zero, so is the gradient, and coincident points do not pull at each other.

    Args:
        x: ``(N, ...)``, N >= 2; trailing dimensions are flattened. Half precisions and integers
            are computed in float32.
        z: ``(N, ...)``, same ``N``; its trailing shape may differ.
        exponent: Power of the Euclidean distances, in (0, 2]. At 2 the statistic is the square
            root of linear CKA, which the published NoPeek code trains on, and sees linear
            dependence only.

    Returns:
        Scalar in [0, 1], no unit. Higher means more of ``x`` shows in ``z``; zero by convention
        when either batch is constant. Cost is O(N²) in time and memory, except at exponent 2 with
        ``N`` well above the dimensions, where it is O(N).

    Raises:
        ValueError: unequal or too few rows, an exponent outside (0, 2].

    >>> x = torch.arange(16.0).reshape(4, 4)
    >>> distance_correlation(x, torch.tensor([[1.0], [0.0], [0.0], [1.0]]))
    tensor(0.5266)

    Reference: G. Székely, M. Rizzo, N. Bakirov, "Measuring and testing dependence by correlation
    of distances", Ann. Statist. 35(6), 2007, doi:10.1214/009053607000000505.
    """
    return _correlation("distance_correlation", x, z, exponent, unbiased=False)


def bias_corrected_distance_correlation(x: Tensor, z: Tensor, *, exponent: float = 1.0) -> Tensor:
    """Bias-corrected squared distance correlation, after Székely and Rizzo (2013, 2014).

    The U-statistic: near zero for independent batches at every ``N``, and then as often negative
    as positive. It estimates the *square* of ``distance_correlation``. Zero by convention where
    either batch has no variation left after U-centring (all distances equal, say).

    Args:
        x: ``(N, ...)``, N >= 4, as for ``distance_correlation``.
        z: ``(N, ...)``, same ``N``.
        exponent: Power of the Euclidean distances, in (0, 2].

    Returns:
        Scalar in [-1, 1], no unit. Higher means more of ``x`` shows in ``z``.

    Raises:
        ValueError: unequal or too few rows, an exponent outside (0, 2].

    >>> x = torch.arange(16.0).reshape(4, 4)
    >>> bias_corrected_distance_correlation(x, torch.tensor([[1.0], [0.0], [0.0], [1.0]]))
    tensor(-0.5000)

    Reference: G. Székely, M. Rizzo, "Partial distance correlation with methods for
    dissimilarities", Ann. Statist. 42(6), 2014, doi:10.1214/14-AOS1255.
    """
    return _correlation("bias_corrected_distance_correlation", x, z, exponent, unbiased=True)


def distance_correlation_floor(
    x: Tensor, z: Tensor, *, exponent: float = 1.0, bias_corrected: bool = False, seed: int = 0
) -> Tensor:
    """What independence reads at this ``N``: the same statistic with ``z``'s rows shuffled.

    Args:
        x: ``(N, ...)``.
        z: ``(N, ...)``.
        exponent: Power of the Euclidean distances, in (0, 2].
        bias_corrected: Shuffle for ``bias_corrected_distance_correlation`` instead.
        seed: Of the one permutation drawn; the global random state is not touched.

    Returns:
        Scalar, on the scale of the statistic it is the floor of. Not a bound: one draw.
    """
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed)).to(z.device)
    statistic = bias_corrected_distance_correlation if bias_corrected else distance_correlation
    return statistic(x, z[order], exponent=exponent)


def _correlation(name: str, x: Tensor, z: Tensor, exponent: float, *, unbiased: bool) -> Tensor:
    n = len(x) if x.dim() else 0
    if not z.dim() or n != len(z):
        raise ValueError(
            f"{name} pairs row i of x with row i of z: "
            f"got {n} rows of x {tuple(x.shape)} and "
            f"{len(z) if z.dim() else 0} of z {tuple(z.shape)}"
        )
    least = 4 if unbiased else 2
    if n < least:
        raise ValueError(
            f"{name} compares the samples of a batch with one another and needs at least {least}: "
            f"got {n}, x {tuple(x.shape)}; use a larger batch and drop a smaller last one"
        )
    if not 0 < exponent <= 2:
        raise ValueError(f"{name}: exponent in (0, 2] wanted: got {exponent}")
    dtype = torch.promote_types(torch.promote_types(x.dtype, z.dtype), torch.float32)
    x, z = (t.to(dtype).reshape(n, t.numel() // n) for t in (x, z))
    if torch.is_grad_enabled() and (x.requires_grad or z.requires_grad):
        value: Tensor = _Correlation.apply(x, z, exponent, unbiased)  # type: ignore[no-untyped-call]
        return value
    with torch.no_grad():
        return _value_and_gradients(x, z, exponent, unbiased, (False, False))[0]


class _Correlation(Function):
    """The gradients are computed with the value: only they are kept, no N x N matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, z: Tensor, exponent: float, unbiased: bool) -> Tensor:
        need = ctx.needs_input_grad[:2]
        value, *gradients = _value_and_gradients(x, z, exponent, unbiased, need)
        ctx.save_for_backward(*gradients)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        dx, dz = (None if g is None else upstream * g for g in ctx.saved_tensors)
        return dx, dz, None, None


_Result = tuple[Tensor, Tensor | None, Tensor | None]  # the value, its gradients in x and in z


def _value_and_gradients(
    x: Tensor, z: Tensor, exponent: float, unbiased: bool, need: tuple[bool, bool]
) -> _Result:
    if exponent == 2 and _features_are_cheaper(len(x), x.shape[1], z.shape[1], need):
        return _by_features(x, z, unbiased, need)
    return _by_pairs(x, z, exponent, unbiased, need)


def _by_pairs(
    x: Tensor, z: Tensor, exponent: float, unbiased: bool, need: tuple[bool, bool]
) -> _Result:
    """Both centrings are self-adjoint projections, so V and U share value and gradient."""
    slopes: list[Tensor | None] = [None, None]
    near = [False, False]
    if exponent == 2:  # no distances: doubly centred, they are -2 times the Gram matrix
        points, stack = _gram(x, z, 1)
    else:
        points, stack, near = _squared_distances(x, z)
        slopes = _raise_(stack, exponent, need, near)
    tolerance = (0.0, 0.0)
    if unbiased or exponent != 2:  # else centred already
        tolerance = _centre_(stack, unbiased)  # from here on A and B of the papers
    sxx, szz, sxz = _inner_products(stack)
    value, weight, share = _ratio(sxx, szz, sxz, tolerance, unbiased, x.dtype)

    def gradient(i: int, own: float) -> Tensor | None:
        if not need[i]:
            return None
        if not weight:
            return x.new_zeros(points[i].shape)
        room = None if all(need) else stack[i]  # not wanted again
        w = torch.add(stack[1 - i], stack[i], alpha=-share / (own * weight), out=room)
        slope, p = slopes[i], points[i]
        if slope is None:  # exponent 2: rows of w sum to zero, and the stack holds -1/2 distances
            return torch.mm(w, p).mul_(2 * weight)
        w.div_(slope)
        w = w.to(p.dtype)  # float64 where large weights on short differences must cancel
        w.diagonal().sub_(w.sum(1))
        return torch.mm(w, p).mul_(-2 * exponent * weight).to(x.dtype)

    return x.new_tensor(value), gradient(0, sxx), gradient(1, szz)


def _inner_products(stack: Tensor) -> tuple[float, float, float]:
    """<A, A>, <B, B> and <A, B>: row by row, as one float32 sum over millions is 1e-4 off."""
    rows = stack.transpose(0, 1)
    products = torch.bmm(rows, rows.mT).sum(0, dtype=torch.float64).tolist()
    return products[0][0], products[1][1], products[0][1]


def _ratio(
    sxx: float,
    szz: float,
    sxz: float,
    tolerance: tuple[float, float],
    unbiased: bool,
    dtype: torch.dtype,
) -> tuple[float, float, float]:
    """The statistic, and its derivative in B, as ``weight * A - share / szz * B``."""
    if sxx <= tolerance[0] or szz <= tolerance[1]:
        return 0.0, 0.0, 0.0
    both = sxx**0.5 * szz**0.5
    r = sxz / both
    if unbiased:
        return (max(-1.0, min(1.0, r)) if r == r else r), 1 / both, r
    if r <= 4 * torch.finfo(dtype).eps:  # rounding: the root's derivative would magnify it
        return 0.0, 0.0, 0.0
    value = r**0.5
    return (min(1.0, value) if r == r else r), 0.5 / (value * both), 0.5 * value


def _gram(x: Tensor, z: Tensor, scale: float) -> tuple[list[Tensor], Tensor]:
    """Centred points and ``(2, N, N)`` scaled Gram matrices."""
    points = [_centred(x), _centred(z)]
    stack = x.new_empty(2, len(x), len(x))
    for p, out in zip(points, stack, strict=True):
        torch.addmm(out, p, p.mT, beta=0, alpha=scale, out=out)
    return points, stack


def _centred(t: Tensor) -> Tensor:
    """First to a sample: exact for near-identical samples, and zero for identical ones."""
    t = t - t[:1]
    return t.sub_(t.mean(0))


def _squared_distances(x: Tensor, z: Tensor) -> tuple[list[Tensor], Tensor, list[bool]]:
    """Centred points, ``(2, N, N)`` squared distances, and where some of them are near zero."""
    points, stack = _gram(x, z, -2)
    diagonal = stack.diagonal(dim1=1, dim2=2)
    norms = diagonal * -0.5
    stack += norms[:, :, None]
    stack += norms[:, None, :]
    diagonal.fill_(torch.inf)
    least, most = stack.amin((1, 2)).tolist(), norms.amax(1).tolist()
    near = [False, False]
    for i, t in enumerate((x, z)):
        if least[i] < 2 * _NEAR * most[i] and _repair_(stack[i], norms[i], t):
            near[i] = True
            points[i] = _centred(t.double())
    diagonal.zero_()
    return points, stack, near


def _repair_(squared: Tensor, norms: Tensor, t: Tensor) -> bool:
    """Compute the short distances anew from differences; whether there are any."""
    near = squared < _NEAR * (norms[:, None] + norms)
    pairs = (near | near.mT).triu(1).nonzero()
    for i, j in (part.unbind(1) for part in pairs.split(max(1, _CHUNK // max(1, t.shape[1])))):
        squared[i, j] = squared[j, i] = (t[i] - t[j]).square_().sum(1)
    return len(pairs) > 0


def _raise_(
    stack: Tensor, exponent: float, need: tuple[bool, bool], near: list[bool]
) -> list[Tensor | None]:
    """Squared distances to distances^exponent, in place; for the sides that need a gradient the
    slope d^(2 - exponent), infinite at zero: what the weight of a difference is divided by.
    """
    slopes: list[Tensor | None] = [None, None]
    if exponent == 1:
        stack.sqrt_()
    for i in (0, 1):
        if need[i]:
            slope = stack[i].clone() if exponent == 1 else stack[i].pow(1 - exponent / 2)
            slope.fill_diagonal_(torch.inf)
            slopes[i] = slope.masked_fill_(slope == 0, torch.inf) if near[i] else slope
    if exponent != 1:
        stack.pow_(exponent / 2)
    return slopes


def _centre_(stack: Tensor, unbiased: bool) -> tuple[float, float]:
    """Centre in place; the sums of squares up to which nothing but rounding is left."""
    n, tolerance = stack.shape[-1], (0.0, 0.0)
    if unbiased:
        largest = torch.linalg.vector_norm(stack, torch.inf, (1, 2)).tolist()
        noise = 16 * torch.finfo(stack.dtype).eps * n
        tolerance = (noise * largest[0]) ** 2, (noise * largest[1]) ** 2
        stack.diagonal(dim1=1, dim2=2).zero_()
    rows = stack.sum(2, keepdim=True).div_(n - 2 if unbiased else n)
    stack -= rows
    rows -= rows.sum(1, keepdim=True).div_(n - 1 if unbiased else n)
    stack -= rows.mT
    if unbiased:
        stack.diagonal(dim1=1, dim2=2).zero_()
    return tolerance


def _features_are_cheaper(n: int, p: int, q: int, need: tuple[bool, bool]) -> bool:
    """By multiplications, divided by n."""
    dx, dz = need
    pairs = n * (p + q + dx * p + dz * q)
    return p * p + q * q + p * q + dx * p * (p + q) + dz * q * (p + q) < pairs


def _by_features(x: Tensor, z: Tensor, unbiased: bool, need: tuple[bool, bool]) -> _Result:
    """Exponent 2 without an N x N matrix: ``|X'Z|² / (|X'X| |Z'Z|)``, or its root."""
    n = len(x)
    points = [_centred(x), _centred(z)]
    norms = [p.square().sum(1) for p in points]
    traces = [norm.sum().item() for norm in norms]
    # U-centring takes the diagonal out and adds what restores zero row sums
    a, b = (n / (n - 2), 1 / ((n - 1) * (n - 2))) if unbiased else (0.0, 0.0)

    def inner(i: int, j: int) -> tuple[Tensor, float, float]:
        m = points[i].mT @ points[j]
        square = m.square().sum().item()
        corrected = square - a * norms[i].dot(norms[j]).item() + b * traces[i] * traces[j]
        return m, corrected, square

    (mx, sxx, size_x), (mz, szz, size_z), (mxz, sxz, _) = inner(0, 0), inner(1, 1), inner(0, 1)
    noise = 16 * torch.finfo(x.dtype).eps if unbiased else 0.0
    tolerance = noise * size_x, noise * size_z
    value, weight, share = _ratio(sxx, szz, sxz, tolerance, unbiased, x.dtype)

    def half(i: int, j: int, m: Tensor) -> Tensor:
        """Half the derivative of the inner product (i, j) in points j."""
        d = points[i] @ m
        if unbiased:
            d += (b * traces[i] - a * norms[i])[:, None] * points[j]
        return d

    def gradient(i: int, own: float, m_own: Tensor, m_other: Tensor) -> Tensor | None:
        if not need[i]:
            return None
        if not weight:
            return torch.zeros_like(points[i])
        d = half(1 - i, i, m_other).mul_(2 * weight)
        d.add_(half(i, i, m_own), alpha=-2 * share / own)
        return d.sub_(d.mean(0))

    return x.new_tensor(value), gradient(0, sxx, mx, mxz.mT), gradient(1, szz, mz, mxz)
