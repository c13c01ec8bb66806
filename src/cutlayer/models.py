"""The papers' networks, and others to compare. Their children have names: a cut is named after one.

>>> import torch
>>> model = MODELS["titcombe"]((1, 28, 28), 10)
>>> model(torch.rand(2, 1, 28, 28)).shape, DEFAULT_CUT["titcombe"]
(torch.Size([2, 10]), 'act3')
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import inf, prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import layers as layers_by_words

PerChannel = float | tuple[float, ...]  # one number for all, or one for each channel


class Normalise(nn.Module):
    """``(x - mean) / deviation``, fixed numbers: not learned, and not stored with the weights.

    Args:
        mean: One number, or one for each channel of ``x`` ``(N, C, ...)``.
        deviation: Likewise; none of them 0.
        sides: Dimensions behind the channels: 2 for images, 1 for signals, 0 for tables.
    """

    mean: float | Tensor
    deviation: float | Tensor

    def __init__(self, mean: PerChannel, deviation: PerChannel, *, sides: int = 2) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("deviation", deviation)):
            if isinstance(value, Sequence):  # a buffer, so that it follows the device
                column = torch.tensor([float(v) for v in value]).view(-1, *[1] * sides)
                self.register_buffer(name, column, persistent=False)
            else:
                setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


def titcombe(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    width: int = 500,
    mean: PerChannel = 0.0,
    deviation: PerChannel = 1.0,
    softmax: bool = False,
) -> nn.Sequential:
    """The classifier of Titcombe et al. (2021), cut after Tanh; returns logits.

    Args:
        input_shape: ``(C, H, W)``, at least 6×6.
        classes: Number of logits.
        width: Elements of what is sent.
        mean: Taken off the input before anything else, one number or one for each channel; the
            published code has 0.1307.
        deviation: > 0, by which it is then divided; likewise; the published code has 0.3081.
        softmax: End in a softmax, as the published code does in front of its cross-entropy, which
            then takes one of its own.

    Raises:
        ValueError: no images of that size, a deviation that is not positive, or neither one number
            nor one for each channel.

    Reference: arXiv:2104.05743, appendix; layers as in the authors' code.
    """
    channels, height, width_in = _sized("titcombe", input_shape, rank=3, least=6, classes=classes)
    flat = 64 * ((height - 4) // 2) * ((width_in - 4) // 2)
    return _named(
        **_scaled("titcombe", input_shape, mean, deviation),
        conv1=nn.Conv2d(channels, 32, 3),
        act1=nn.ReLU(),
        conv2=nn.Conv2d(32, 64, 3),
        act2=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        fc1=nn.Linear(flat, width),
        act3=nn.Tanh(),
        fc2=nn.Linear(width, 128),
        act4=nn.ReLU(),
        fc3=nn.Linear(128, classes),
        **({"softmax": nn.Softmax(1)} if softmax else {}),
    )


def lenet(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    mean: PerChannel = 0.0,
    deviation: PerChannel = 1.0,
) -> nn.Sequential:
    """The LeNet of He et al. (2019): 8 and 16 channels, not the classic 6 and 16.

    Args:
        input_shape: ``(C, H, W)``, at least 16×16.
        classes: Number of logits.
        mean: As of ``titcombe``; the published code has 0.5.
        deviation: As of ``titcombe``; the published code has 0.5.

    Raises:
        ValueError: as ``titcombe``.

    Reference: doi:10.1145/3359789.3359824, table 2.
    """
    channels, *sides = _sized("lenet", input_shape, rank=3, least=16, classes=classes)
    flat = 16 * prod(((side - 4) // 2 - 4) // 2 for side in sides)
    return _named(
        **_scaled("lenet", input_shape, mean, deviation),
        conv1=nn.Conv2d(channels, 8, 5),
        ReLU1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(8, 16, 5),
        ReLU2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        fc1=nn.Linear(flat, 120),
        fc1act=nn.ReLU(),
        fc2=nn.Linear(120, 84),
        fc2act=nn.ReLU(),
        fc3=nn.Linear(84, classes),
    )


def cifar10cnn(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    mean: PerChannel = 0.0,
    deviation: PerChannel = 1.0,
) -> nn.Sequential:
    """The CIFAR10 network of He et al. (2019): six convolutions, a sigmoid before the last layer.

    Args:
        input_shape: ``(C, H, W)``, at least 8×8.
        classes: Number of logits.
        mean: As of ``titcombe``; the published code has ImageNet's, 0.485, 0.456 and 0.406.
        deviation: As of ``titcombe``; the published code has 0.229, 0.224 and 0.225.

    Raises:
        ValueError: as ``titcombe``.

    Reference: doi:10.1145/3359789.3359824, table 2.
    """
    channels, *sides = _sized("cifar10cnn", input_shape, rank=3, least=8, classes=classes)
    layers = _scaled("cifar10cnn", input_shape, mean, deviation)
    for stage, width in enumerate((64, 128, 128), start=1):
        for k in (1, 2):
            layers[f"conv{stage}{k}"] = nn.Conv2d(channels, width, 3, padding=1)
            layers[f"ReLU{stage}{k}"] = nn.ReLU()
            channels = width
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    return _named(
        **layers,
        flatten=nn.Flatten(),
        fc1=nn.Linear(128 * prod(side // 8 for side in sides), 512),
        fc1act=nn.Sigmoid(),
        fc2=nn.Linear(512, classes),
    )


def ecg(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """A 1-D CNN for heartbeats, after Abuadbba et al. (2020), cut after the second pooling.

    Args:
        input_shape: ``(C, L)``: leads and samples of the signal, L at least 4.
        classes: Number of logits.

    Raises:
        ValueError: no signals of that length.

    Reference: arXiv:2003.12365.
    """
    channels, length = _sized("ecg", input_shape, rank=2, least=4, classes=classes)
    return _named(
        conv1=nn.Conv1d(channels, 16, 7, padding=3),
        act1=nn.LeakyReLU(),
        pool1=nn.MaxPool1d(2),
        conv2=nn.Conv1d(16, 16, 5, padding=2),
        act2=nn.LeakyReLU(),
        pool2=nn.MaxPool1d(2),
        flatten=nn.Flatten(),
        fc1=nn.Linear(16 * (length // 4), 128),
        act3=nn.LeakyReLU(),
        fc2=nn.Linear(128, classes),
    )


def mlp(input_shape: tuple[int, ...], classes: int, *, width: int = 64) -> nn.Sequential:
    """A small fully connected network, for tables and for anything else, flattened.

    Args:
        input_shape: Any shape.
        classes: Number of logits.
        width: Elements of what is sent; the layer behind it has half as many.

    Raises:
        ValueError: a side of the shape is not positive.
    """
    shape = _sized("mlp", input_shape, rank=None, least=1, classes=classes)
    return _named(
        flat=nn.Flatten(),
        fc1=nn.Linear(prod(shape), width),
        act1=nn.ReLU(),
        fc2=nn.Linear(width, max(1, width // 2)),
        act2=nn.ReLU(),
        head=nn.Linear(max(1, width // 2), classes),
    )


def stack(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    layers: str = "conv8k5 relu max2 conv16k5 relu max2 fc64 relu",
    mean: PerChannel = 0.0,
    deviation: PerChannel = 1.0,
) -> nn.Sequential:
    """One layer after the other, given in words: for asking what a single one of them changes.

    Args:
        input_shape: ``(C, L)`` or ``(C, H, W)``; anything where all layers are fully connected.
        classes: Number of logits; ``head``, a fully connected layer, is added for them.
        layers: Separated by spaces, as ``cutlayer.layers`` has them: ``conv16k5s2`` has 16
            channels, kernel 5 and stride 2; ``max2`` and ``avg2`` halve each side; ``fc64``; then
            ``relu``, ``leaky``, ``tanh``, ``sigmoid``. Cuts are called ``conv1``, ``act1``,
            ``pool1``, ``fc1``, each kind numbered on its own.
        mean: As of ``titcombe``.
        deviation: As of ``titcombe``.

    Raises:
        ValueError: as ``titcombe``; no layers, one that is unknown, or that does not fit.
    """
    shape = _sized("stack", input_shape, rank=None, least=1, classes=classes)
    if not layers.split():
        raise ValueError("stack: at least one layer wanted: got none")
    try:
        *made, (_, head) = layers_by_words(f"{layers} fc{classes}", shape).items()
    except ValueError as e:
        raise ValueError(f"stack: {e}") from e
    return _named(**_scaled("stack", shape, mean, deviation), **dict(made), head=head)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut: inside, two tensors cross and no cut exists."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            conv = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.shortcut = _named(conv=conv, norm=nn.BatchNorm2d(width))
        self.act2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        out: Tensor = self.act2(y + self.shortcut(x))
        return out


def resnet18(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    width: int = 16,
    mean: PerChannel = 0.0,
    deviation: PerChannel = 1.0,
) -> nn.Sequential:
    """ResNet-18 with the 3×3 stem that small images want, after He et al. (2016).

    Args:
        input_shape: ``(C, H, W)``, at least 1×1.
        classes: Number of logits.
        width: Channels of the first stage; 64 is the published network.
        mean: As of ``titcombe``.
        deviation: As of ``titcombe``.

    Raises:
        ValueError: as ``titcombe``.

    Reference: doi:10.1109/CVPR.2016.90.
    """
    channels, *_ = _sized("resnet18", input_shape, rank=3, least=1, classes=classes)
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    before = width
    for stage, factor in enumerate((1, 2, 4, 8), start=1):
        after, stride = width * factor, 1 if stage == 1 else 2
        blocks = BasicBlock(before, after, stride), BasicBlock(after, after, 1)
        stages[f"layer{stage}"] = nn.Sequential(*blocks)
        before = after
    return _named(
        **_scaled("resnet18", input_shape, mean, deviation),
        conv1=nn.Conv2d(channels, width, 3, padding=1, bias=False),
        norm1=nn.BatchNorm2d(width),
        act1=nn.ReLU(),
        **stages,
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(before, classes),
    )


class Attention(nn.Module):
    """Multi-head self-attention, ``(N, T, width)`` to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.split = (3, heads, width // heads)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, self.split).permute(2, 0, 3, 1, 4)  # 3, N, heads, T, d
        y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        out: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Pre-norm transformer block: attention, then two dense layers, each added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        y: Tensor = self.fc2(self.act(self.fc1(self.norm2(x))))
        return x + y


class PatchTransformer(nn.Module):
    """Patches, learned positions, blocks, mean over patches, logits."""

    def __init__(
        self, sizes: tuple[int, ...], classes: int, patch: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        channels, *sides = sizes
        # Enough padding on both ends that every pixel is in a patch.
        padding = tuple((-side % patch + 1) // 2 for side in sides)
        count = prod((side + 2 * p) // patch for side, p in zip(sides, padding, strict=True))
        conv = nn.Conv1d if len(sides) == 1 else nn.Conv2d
        self.patch = conv(channels, width, patch, patch, padding)  # type: ignore[arg-type]
        self.position = nn.Parameter(0.02 * torch.randn(1, count, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        z = self.patch(x).flatten(2).transpose(1, 2) + self.position  # N, T, width
        logits: Tensor = self.head(self.norm(self.blocks(z)).mean(1))
        return logits


def transformer(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    patch: int = 4,
    width: int = 32,
    depth: int = 2,
    heads: int = 4,
) -> PatchTransformer:
    """A small patch transformer encoder after Dosovitskiy et al. (2021), for images and signals.

    Args:
        input_shape: ``(C, H, W)`` or ``(C, L)``.
        classes: Number of logits.
        patch: Side of a patch; the edges are padded with zeros where it does not divide.
        width: Features of a token, a multiple of ``heads``.
        depth: Number of blocks.
        heads: Attention heads.

    Raises:
        ValueError: neither images nor signals, or heads do not divide the width.

    Reference: arXiv:2010.11929 (mean over patches instead of a class token).
    """
    rank = len(input_shape) if len(input_shape) == 2 else 3
    sizes = _sized("transformer", input_shape, rank=rank, least=1, classes=classes)
    if width % heads:
        raise ValueError(f"transformer: width a multiple of heads wanted: got {width} and {heads}")
    return PatchTransformer(sizes, classes, patch, width, depth, heads)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "titcombe": titcombe,
    "lenet": lenet,
    "cifar10cnn": cifar10cnn,
    "ecg": ecg,
    "mlp": mlp,
    "stack": stack,
    "resnet18": resnet18,
    "transformer": transformer,
}

DEFAULT_CUT: dict[str, str] = {  # the paper's own, where there is a paper
    "titcombe": "act3",
    "lenet": "ReLU2",
    "cifar10cnn": "ReLU22",
    "ecg": "pool2",
    "mlp": "act1",
    "stack": "act2",
    "resnet18": "layer2.1.act2",
    "transformer": "add_2",  # behind the first block
}

_KINDS = {2: "signals (C, L)", 3: "images (C, H, W)"}


def _named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _scaled(
    model: str, shape: tuple[int, ...], mean: PerChannel, deviation: PerChannel
) -> dict[str, nn.Module]:
    """The first child, ``norm``, where there is something to scale."""
    for name, value, above in (("mean", mean, -inf), ("deviation", deviation, 0.0)):
        numbers = value if isinstance(value, Sequence) else [value] * shape[0]
        if len(numbers) != shape[0]:
            raise ValueError(
                f"{model}: {name} must be one number, or one for each channel, here {shape[0]}: "
                f"got {value}"
            )
        if not all(above < number < inf for number in numbers):
            wanted = "finite" if above else "> 0 and finite"
            raise ValueError(f"{model}: {name} must be {wanted}: got {value}")
    if (mean, deviation) == (0.0, 1.0):
        return {}
    return {"norm": Normalise(mean, deviation, sides=len(shape) - 1)}


def _sized(
    model: str, shape: tuple[int, ...], *, rank: int | None, least: int, classes: int
) -> tuple[int, ...]:
    """The shape, if the network can take it."""
    sides = shape if rank is None else shape[1:]
    fits = rank in (None, len(shape)) and shape and min(shape) >= 1 and min(sides) >= least
    if not fits:
        wanted = "a shape of positive sides" if rank is None else _KINDS[rank]
        size = f", each side at least {least}" if least > 1 else ""
        raise ValueError(
            f"{model} wants {wanted}{size}: got samples of shape {tuple(shape)}; "
            "mlp takes any shape, ecg signals, lenet and others images"
        )
    if classes < 1:
        raise ValueError(f"{model}: at least one class wanted: got {classes}")
    return tuple(shape)
