"""Networks from messages to inputs. Attacks train them, and so do defences that need a surrogate.

``decoder("auto", message_shape, input_shape)`` fits any two shapes. The papers' own decoders are
here by name; they fit the cut they were made for, and say so otherwise.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from .errors import did_you_mean

Shape = tuple[int, ...]


def decoder(name: str, message_shape: Shape, input_shape: Shape) -> nn.Module:
    """An untrained network from messages ``(N, *message_shape)`` to ``(N, *input_shape)``.

    Raises:
        ValueError: no such decoder, or one that was made for other shapes.
    """
    return fitting("decoder", DECODERS, name, message_shape, input_shape)


Maker = Callable[[Shape, Shape], nn.Module]


def fitting(
    kind: str, known: Mapping[str, Maker], name: str, given: Shape, wanted: Shape
) -> nn.Module:
    """The network of that name from tensors ``(N, *given)`` to ``(N, *wanted)``.

    Raises:
        ValueError: there is none of that name, or it was made for other shapes.
    """
    if name not in known:
        raise ValueError(f"{kind} {name!r}: unknown{did_you_mean(name, known)}")
    network = known[name](given, wanted)
    got = _output_shape(network, given)
    if got != wanted:
        raise ValueError(
            f"{kind} {name!r} was made for another cut: from {given} it makes "
            f"{got or 'nothing'}, {wanted} is wanted; use 'auto'"
        )
    return network


def auto(message_shape: Shape, input_shape: Shape) -> nn.Module:
    """A decoder by the shapes alone, with outputs in [0, 1].

    Inputs of one dimension (tables) get a perceptron. Images and signals get transposed
    convolutions: a message that is itself a smaller image or signal is widened from where it is,
    any other message is first mapped linearly to a quarter-size image.
    """
    if len(input_shape) == 1:
        return _perceptron(math.prod(message_shape), input_shape)
    rank, size = len(input_shape) - 1, input_shape[1:]
    layers: list[nn.Module] = []
    channels, small = message_shape[0], message_shape[1:]
    last = 32
    if not _is_smaller(small, size):
        channels, small, last = 64, tuple(max(1, s // 4) for s in size), 16
        layers += [
            nn.Flatten(),
            nn.Linear(math.prod(message_shape), channels * math.prod(small)),
            nn.Unflatten(1, (channels, *small)),
            *(_NORM[rank](channels), nn.ReLU()),
        ]
    for _ in range(min(int(math.log2(b / a)) for a, b in zip(small, size, strict=True))):
        width = max(last, min(64, channels // 2))
        up = _UP[rank](channels, width, 3, stride=2, padding=1, output_padding=1)
        layers += [up, _NORM[rank](width), nn.ReLU()]
        channels, small = width, tuple(2 * a for a in small)
    # Convolutions without padding have shrunk the message: one transposed convolution undoes that.
    missing = tuple(b - a + 1 for a, b in zip(small, size, strict=True))
    grow = {"kernel_size": missing} if max(missing) > 1 else {"kernel_size": 3, "padding": 1}
    layers += [_UP[rank](channels, last, **grow), _NORM[rank](last), nn.ReLU()]
    return nn.Sequential(*layers, _FLAT[rank](last, input_shape[0], 3, padding=1), nn.Sigmoid())


def _is_smaller(small: Shape, size: Shape) -> bool:
    """Whether a message has the rank of the input and is no larger along any side."""
    return len(small) == len(size) and all(1 < a <= b for a, b in zip(small, size, strict=True))


_UP: dict[int, Callable[..., nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
_FLAT: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d}
_NORM: dict[int, Callable[..., nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


def _perceptron(inputs: int, input_shape: Shape) -> nn.Module:
    width = max(256, min(1024, 2 * inputs))
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, math.prod(input_shape)),
        nn.Sigmoid(),
        nn.Unflatten(1, input_shape),
    )


def titcombe(message_shape: Shape, input_shape: Shape, *, affine: bool = False) -> nn.Module:
    """The decoder of Titcombe et al. for 28×28 grey images, with ReLU between its layers.

    Their published code has no activation between the layers, so that it can only be an affine
    map: that one is ``titcombe-affine``.
    """

    def act() -> nn.Module:
        return nn.Identity() if affine else nn.ReLU()

    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(message_shape), 9216),
        nn.Unflatten(1, (64, 12, 12)),
        act(),
        nn.ConvTranspose2d(64, 64, 3, stride=2, padding=1, output_padding=1),
        act(),
        nn.ConvTranspose2d(64, 32, 3, padding=1),
        act(),
        nn.ConvTranspose2d(32, 8, 3),
        act(),
        nn.ConvTranspose2d(8, 1, 3),
    )


def _titcombe_affine(message_shape: Shape, input_shape: Shape) -> nn.Module:
    return titcombe(message_shape, input_shape, affine=True)


def _he(*layers: Callable[[], nn.Module]) -> Callable[[Shape, Shape], nn.Module]:
    """One of He et al.'s decoders: transposed convolutions with ReLU between them."""

    def build(message_shape: Shape, input_shape: Shape) -> nn.Module:
        network = nn.Sequential()
        for make in layers:
            if len(network):
                network.append(nn.ReLU())
            network.append(make())
        return network

    return build


def _double(inputs: int, outputs: int, kernel: int = 3) -> Callable[[], nn.Module]:
    padding = 1 if kernel == 3 else 0
    return lambda: nn.ConvTranspose2d(
        inputs, outputs, kernel, stride=2, padding=padding, output_padding=1
    )


def _same(inputs: int, outputs: int) -> Callable[[], nn.Module]:
    return lambda: nn.ConvTranspose2d(inputs, outputs, 3, padding=1)


DECODERS: dict[str, Maker] = {
    "auto": auto,
    "titcombe": titcombe,
    "titcombe-affine": _titcombe_affine,
    "he-lenet-conv1": _he(lambda: nn.Conv2d(8, 1, 5, padding=4)),
    "he-lenet-relu2": _he(lambda: nn.ConvTranspose2d(16, 8, 5), _double(8, 1, 5)),
    "he-cifar-conv11": _he(_same(64, 3)),
    "he-cifar-relu22": _he(_double(128, 64), _same(64, 3)),
    "he-cifar-relu32": _he(_double(128, 128), _double(128, 64), _same(64, 3)),
}


@torch.no_grad()
def _output_shape(network: nn.Module, given: Shape) -> Shape | None:
    network.eval()
    try:
        made: Tensor = network(torch.zeros(1, *given))
    except RuntimeError:  # the layers do not fit
        return None
    finally:
        network.train()
    return tuple(made.shape[1:])
