"""SSIM as the authors' scripts compute it, beside ours."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

_SIDE = 7


def published_ssim(x: Tensor, x_hat: Tensor) -> Tensor:
    """SSIM of each image by the authors' call of scikit-image, ``(N,)``. Higher is more leaked.

    A flat 7×7 window and sample covariance, the defaults of that call; and a data range taken from
    the reconstruction, so that a pale one is judged by its own range. Not comparable with ours.

    Args:
        x: ``(N, C, H, W)``, originals in [0, 1].
        x_hat: ``(N, C, H, W)``, reconstructions in [0, 1].
    """
    a, b = x.double(), x_hat.double()
    span = (b.flatten(1).amax(1) - b.flatten(1).amin(1)).clamp_min(1e-12).view(-1, 1, 1, 1)
    ma, mb = avg_pool2d(a, _SIDE, 1), avg_pool2d(b, _SIDE, 1)
    correction = _SIDE**2 / (_SIDE**2 - 1)
    va = correction * (avg_pool2d(a * a, _SIDE, 1) - ma * ma)
    vb = correction * (avg_pool2d(b * b, _SIDE, 1) - mb * mb)
    both = correction * (avg_pool2d(a * b, _SIDE, 1) - ma * mb)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    likeness = (2 * ma * mb + c1) * (2 * both + c2)
    likeness = likeness / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return likeness.flatten(1).mean(1).to(torch.float32)
