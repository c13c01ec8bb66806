"""Networks from inputs to messages: what an adversary puts in the place of a segment it lacks.

``encoder("auto", input_shape, message_shape)`` fits any two shapes. The stand-ins of He et al. for
an owner's segment of unknown structure are here by name; they fit the cut they were made for.
"""

import math

from torch import nn

from .decoders import Maker, Shape, fitting


def encoder(name: str, input_shape: Shape, message_shape: Shape) -> nn.Module:
    """An untrained network from inputs ``(N, *input_shape)`` to ``(N, *message_shape)``.

    Raises:
        ValueError: no such encoder, or one that was made for other shapes.
    """
    return fitting("encoder", ENCODERS, name, input_shape, message_shape)


def auto(input_shape: Shape, message_shape: Shape) -> nn.Module:
    """An encoder by the shapes alone.

    A message that is itself a smaller image or signal comes out of two convolutions and a pooling
    to its size, any other one of a dense layer behind them; tables get a perceptron.
    """
    if len(input_shape) == 1:
        width = max(64, *message_shape)
        flat = nn.Linear(width, math.prod(message_shape))
        layers = [nn.Linear(*input_shape, width), nn.ReLU(), flat]
        return nn.Sequential(*layers, nn.Unflatten(1, message_shape))
    signal = len(input_shape) == 2
    convolution = nn.Conv1d if signal else nn.Conv2d
    pooling = nn.AdaptiveMaxPool1d if signal else nn.AdaptiveMaxPool2d
    front = convolution(input_shape[0], 32, 3, padding=1)
    if len(message_shape) == len(input_shape):
        small = message_shape[1:]
        last = convolution(32, message_shape[0], 3, padding=1)
        return nn.Sequential(front, nn.ReLU(), last, pooling(small if not signal else small[0]))
    small = tuple(max(1, side // 4) for side in input_shape[1:])
    flat = nn.Linear(32 * math.prod(small), math.prod(message_shape))
    shrink = pooling(small if not signal else small[0])
    body = nn.Sequential(front, nn.ReLU(), convolution(32, 32, 3, padding=1), nn.ReLU(), shrink)
    return nn.Sequential(*body, nn.Flatten(), flat, nn.Unflatten(1, message_shape))


def _convolutions(*plan: tuple[int, int, int, int] | str) -> Maker:
    """Convolutions (in, out, kernel, padding), "relu" and "pool", in this order."""

    def build(input_shape: Shape, message_shape: Shape) -> nn.Module:
        network = nn.Sequential()
        for layer in plan:
            if layer == "relu":
                network.append(nn.ReLU())
            elif layer == "pool":
                network.append(nn.MaxPool2d(2))
            else:
                assert not isinstance(layer, str)
                inputs, outputs, kernel, padding = layer
                network.append(nn.Conv2d(inputs, outputs, kernel, padding=padding))
        return network

    return build


ENCODERS: dict[str, Maker] = {
    "auto": auto,
    # He et al. (2019), table 5: two 3×3 for each 5×5, and other widths and kernels.
    "he-lenet-conv1": _convolutions((1, 8, 3, 0), (8, 8, 3, 0)),
    "he-lenet-relu2": _convolutions(
        (1, 8, 3, 0), (8, 8, 3, 0), "relu", "pool", (8, 16, 3, 0), (16, 16, 3, 0), "relu"
    ),
    "he-cifar-conv11": _convolutions((3, 16, 3, 1), (16, 64, 3, 1)),
    "he-cifar-relu22": _convolutions((3, 64, 5, 2), "relu", "pool", (64, 128, 5, 2), "relu"),
    "he-cifar-relu32": _convolutions(
        *((3, 64, 5, 2), "relu", "pool", (64, 128, 5, 2), "relu", "pool"),
        *((128, 128, 5, 2), "relu"),
    ),
}
