"""How close a reconstruction is: (N, ...) and (N, ...) in [0, 1] -> (N,), never a batch mean."""

from collections.abc import Sequence

import torch
from torch import Tensor

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_CHUNK = 1 << 18  # pixels of each image set held in float64 at once


def mse(x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean squared error of each sample, (N,), in squared units of x. Lower means more leaked.

    Args:
        x: ``(N, ...)``, originals in [0, 1].
        x_hat: ``(N, ...)``, reconstructions in [0, 1], same shape.

    Returns:
        ``(N,)`` float32 (float64 for float64 inputs); NaN for a sample that holds NaN.

    Raises:
        ValueError: unequal shapes, values outside [0, 1].

    >>> mse(torch.zeros(2, 4), torch.tensor([[0.0] * 4, [0.5] * 4]))
    tensor([0.0000, 0.2500])
    """
    x, x_hat = _checked("mse", x, x_hat)
    return (x - x_hat).square_().flatten(1).mean(1)


def psnr(x: Tensor, x_hat: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each sample, (N,), in dB. Higher means more leaked.

    The peak is 1; capped at 100 dB, what a perfect reconstruction reads. Average the ratios, not
    the errors.

    Args:
        x: ``(N, ...)``, originals in [0, 1].
        x_hat: ``(N, ...)``, reconstructions in [0, 1], same shape.

    Raises:
        ValueError: unequal shapes, values outside [0, 1].

    >>> psnr(torch.zeros(2, 4), torch.tensor([[0.0] * 4, [0.1] * 4]))
    tensor([100.,  20.])
    """
    x, x_hat = _checked("psnr", x, x_hat)
    return (x - x_hat).square_().flatten(1).mean(1).clamp_min_(1e-10).log10_().mul_(-10)


def ssim_applies(shape: Sequence[int]) -> bool:
    """Whether SSIM is defined for samples of this shape: images (C, H, W) of 11 pixels or more.

    >>> ssim_applies((1, 28, 28)), ssim_applies((3, 8, 8)), ssim_applies((1, 187))
    (True, False, False)
    """
    return len(shape) == 3 and shape[0] > 0 and min(shape[1:]) >= _WINDOW


def ssim(x: Tensor, x_hat: Tensor) -> Tensor:
    """Structural similarity of each image, (N,), after Wang et al. (2004).

    11 x 11 Gaussian window of sigma 1.5, population variance, data range 1, averaged over the
    valid region (no padding) and then over the channels: ``skimage``'s with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1``. Padded or
    rescaled variants read up to twice as high. Higher means more leaked.

    Args:
        x: ``(N, C, H, W)``, originals in [0, 1], at least 11 pixels each side.
        x_hat: ``(N, C, H, W)``, reconstructions in [0, 1].

    Returns:
        ``(N,)`` in [-1, 1], no unit; computed in float64 and returned as float32 (float64 for
        float64 inputs).

    Raises:
        ValueError: unequal shapes, values outside [0, 1], no images or too small ones.

    >>> x = torch.arange(128.0).reshape(1, 1, 8, 16).repeat_interleave(2, 2) / 127
    >>> ssim(x, x), ssim(x, 1 - x)
    (tensor([1.]), tensor([-0.8347]))

    Reference: Z. Wang et al., "Image quality assessment: from error visibility to structural
    similarity", IEEE Trans. Image Process. 13(4), 2004, doi:10.1109/TIP.2003.819861.
    """
    x, x_hat = _checked("ssim", x, x_hat)
    if x.dim() != 4 or not ssim_applies(x.shape[1:]):
        raise ValueError(
            f"ssim wants images (N, C, H, W) of at least {_WINDOW} pixels each side: "
            f"got {tuple(x.shape)}; ask ssim_applies(shape) first"
        )
    rows = max(1, _CHUNK // max(1, x[:1].numel()))
    parts = zip(x.split(rows), x_hat.split(rows), strict=True)
    return torch.cat([_ssim(a.double(), b.double()) for a, b in parts]).to(x.dtype)


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    # float64: a variance as a difference of means loses 1e-5 of the result in float32
    blurred = _blur(torch.stack([x, y, x * x, y * y, x * y]))
    mx, my, xx, yy, xy = blurred.unbind(0)
    mxx, myy, mxy = mx * mx, my * my, mx * my
    likeness = (2 * mxy + _C1) * (2 * (xy - mxy) + _C2)
    likeness /= (mxx + myy + _C1) * (xx - mxx + yy - myy + _C2)
    return likeness.flatten(1).mean(1)


def _blur(t: Tensor) -> Tensor:
    """Gaussian means over every window that lies whole inside the image."""
    height, width = t.shape[-2:]
    return _bands(height, t) @ t @ _bands(width, t).mT


def _bands(size: int, like: Tensor) -> Tensor:
    """(size - 10, size): row i holds the window at i, so a product slides it."""
    offset = torch.arange(_WINDOW, dtype=like.dtype, device=like.device) - _WINDOW // 2
    window = torch.exp(-0.5 * (offset / _SIGMA) ** 2)
    window /= window.sum()
    bands = like.new_zeros(size - _WINDOW + 1, size)
    for k, weight in enumerate(window.tolist()):
        bands.diagonal(k).fill_(weight)
    return bands


def _checked(name: str, x: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
    if x.shape != x_hat.shape or x.dim() < 2:
        raise ValueError(
            f"{name} compares like with like, (N, ...) each: "
            f"got x {tuple(x.shape)} and x_hat {tuple(x_hat.shape)}"
        )
    for what, t in (("x", x), ("x_hat", x_hat)):
        if t.numel() and ((low := t.min()) < -1e-5) | ((high := t.max()) > 1 + 1e-5):
            raise ValueError(
                f"{name} wants {what} in [0, 1], neither normalised nor rescaled: "
                f"got values from {low:.4g} to {high:.4g}; undo the normalisation, or clamp"
            )
    dtype = torch.promote_types(torch.promote_types(x.dtype, x_hat.dtype), torch.float32)
    return x.to(dtype), x_hat.to(dtype)
