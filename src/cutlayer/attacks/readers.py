"""Classifiers of messages: a small network by the shape, and the best linear map."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)  # of the largest eigenvalue
FACTORS = (0.0, *(2.0**k for k in range(-1, 7)))  # from scores to logits
_CONVOLUTIONS: dict[int, tuple[Callable[..., nn.Module], ...]] = {
    1: (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AdaptiveAvgPool1d),
    2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d),
}


def reader(message_shape: tuple[int, ...], values: int) -> nn.Module:
    """An untrained small network from messages ``(N, *message_shape)`` to logits ``(N, values)``.

    Maps ``(C, H, W)`` and signals ``(C, L)`` go through two convolutions, anything else through a
    perceptron.
    """
    rank = len(message_shape) - 1
    if rank not in _CONVOLUTIONS:
        inputs = math.prod(message_shape)
        hidden = [nn.Linear(inputs, 128), nn.ReLU(), nn.Dropout(0.3)]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128, values))
    convolution, norm, pool, shrink = _CONVOLUTIONS[rank]
    channels, sides, body = message_shape[0], message_shape[1:], list[nn.Module]()
    for width in (32, 64):
        body += [convolution(channels, width, 3, padding=1), norm(width), nn.ReLU()]
        channels = width
        if min(sides) >= 4:
            body.append(pool(2))
            sides = tuple(side // 2 for side in sides)
    small = tuple(min(side, 4) for side in sides)
    if small != sides:
        body.append(shrink(small if rank > 1 else small[0]))
    features = channels * math.prod(small)
    return nn.Sequential(*body, nn.Flatten(), nn.Dropout(0.3), nn.Linear(features, values))


@torch.no_grad()
def ridge(z: Tensor, y: Tensor, held: Tensor, truth: Tensor, values: int) -> nn.Module:
    """Ridge regression of one-hot labels on messages, as a module from messages to logits.

    Regression on the mean of many answers, with the weight of the ridge that reads single ones
    best: of noise that is the same in every element, that is its variance.

    Args:
        z: ``(M, ...)`` mean answers, y ``(M,)``: to learn from.
        held: ``(V, ...)`` messages as they are overheard, truth ``(V,)``: to choose by.
        values: Of the label, K.
    """
    share = one_hot(y, values).double().mean(0)
    centre, sought = z.flatten(1).mean(0), one_hot(truth, values) - share
    away = held.flatten(1) - centre
    maps = _maps(z.flatten(1) - centre, one_hot(y, values) - share)
    best = min(maps, key=lambda m: float((away @ m - sought).square().mean()))
    prior = share.clamp_min(1e-6).log().float()
    factor = min(FACTORS, key=lambda f: float(cross_entropy(f * (away @ best) + prior, truth)))
    linear = nn.Linear(*best.shape).to(z)
    linear.weight.copy_(factor * best.T)
    linear.bias.copy_(prior - factor * (centre @ best))
    return nn.Sequential(nn.Flatten(), linear).requires_grad_(False)


def _maps(z: Tensor, wanted: Tensor) -> Iterator[Tensor]:
    """``(D, K)`` from ``(M, D)`` to ``(M, K)``, both centred, for every weight of the ridge."""
    wide = z.shape[1] > len(z)
    squares, axes = torch.linalg.eigh((z @ z.T if wide else z.T @ z).double())
    along = axes.T @ (wanted if wide else z.T.double() @ wanted)
    squares = squares.clamp_min(0)
    for weight in RIDGES:
        solved = axes @ (along / (squares + weight * squares[-1].clamp_min(1e-300))[:, None])
        yield (z.T.double() @ solved if wide else solved).float()
