"""Networks from confidence vectors to inputs.

What tells one image from another of its class are the tails of its vector, 1e-8 against 1e-6. So
every network looks at logarithms, after Yang et al. (2019).
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from .decoders import Shape, auto
from .errors import did_you_mean

FLOOR = 1e-22  # smaller confidences count as this


class LogConfidences(nn.Module):
    """The logarithms of the k largest entries, from 0 for none to about 5; the others are 0.

    Args:
        top: k; by default all entries.
    """

    def __init__(self, top: int | None = None) -> None:
        super().__init__()
        self.top = top

    def forward(self, p: Tensor) -> Tensor:
        logs = p.clamp_min(FLOOR).log().div_(10).add_(5)
        if self.top is None or self.top >= p.shape[1]:
            return logs
        shown = p.topk(self.top, 1).indices
        return torch.zeros_like(logs).scatter(1, shown, logs.gather(1, shown))


def inversion_model(name: str, classes: int, input_shape: Shape) -> nn.Module:
    """An untrained network from features ``(N, classes)`` to inputs ``(N, *input_shape)``.

    Raises:
        ValueError: there is none of that name, or it makes no inputs of that shape.
    """
    if name not in INVERSION_MODELS:
        raise ValueError(f"inversion model {name!r}: unknown{did_you_mean(name, INVERSION_MODELS)}")
    return INVERSION_MODELS[name](classes, input_shape)


def perceptron(features: int, input_shape: Shape, *, width: int = 256) -> nn.Module:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(features, width),
        nn.LayerNorm(width),
        nn.Tanh(),
        nn.Linear(width, width),
        nn.Tanh(),
        nn.Linear(width, math.prod(input_shape)),
        nn.Sigmoid(),
        nn.Unflatten(1, input_shape),
    )


def transposed(features: int, input_shape: Shape, *, width: int = 32) -> nn.Module:
    """Transposed convolutions with batch normalisation and Tanh, after Yang et al. (2019).

    Theirs are for 64×64 grey faces and up to 1,024 channels wide; these are as many as the sides
    have factors of two, and ``width`` channels at the end.
    """
    channels, *sides = _images("transposed", input_shape)
    doublings = min(3, *(_twos(side) for side in sides))
    small = (sides[0] >> doublings, sides[1] >> doublings)
    wide = width << doublings
    layers: list[nn.Module] = [nn.Unflatten(1, (features, 1, 1))]
    layers += [nn.ConvTranspose2d(features, wide, small), nn.BatchNorm2d(wide), nn.Tanh()]
    for _ in range(doublings):
        layers += [nn.ConvTranspose2d(wide, wide // 2, 4, stride=2, padding=1)]
        layers += [nn.BatchNorm2d(wide // 2), nn.Tanh()]
        wide //= 2
    return nn.Sequential(*layers, nn.Conv2d(wide, channels, 3, padding=1), nn.Sigmoid())


def residual(features: int, input_shape: Shape, *, width: int = 32) -> nn.Module:
    """A dense layer to a quarter of the size, then residual blocks between doublings."""
    channels, *sides = _images("residual", input_shape)
    small = [-(-side // 4) for side in sides]
    return nn.Sequential(
        nn.Linear(features, width * math.prod(small)),
        nn.Unflatten(1, (width, *small)),
        _Residual(width),
        nn.Upsample(scale_factor=2),
        _Residual(width),
        nn.Upsample(size=tuple(sides)),
        nn.Conv2d(width, channels, 3, padding=1),
        nn.Sigmoid(),
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(4, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(4, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.body(x)
        return x + changed


def _auto(features: int, input_shape: Shape) -> nn.Module:
    return auto((features,), input_shape)


def _images(name: str, input_shape: Shape) -> Shape:
    if len(input_shape) != 3:
        raise ValueError(
            f"inversion model {name!r} makes images of shape (C, H, W): got {input_shape}; "
            "use 'perceptron' or 'auto'"
        )
    return input_shape


def _twos(side: int) -> int:
    """How often a side can be halved before it is odd or 4 or less."""
    return 0 if side % 2 or side < 6 else 1 + _twos(side // 2)


INVERSION_MODELS: Mapping[str, Callable[[int, Shape], nn.Module]] = {
    "perceptron": perceptron,
    "transposed": transposed,
    "residual": residual,
    "auto": _auto,
}
