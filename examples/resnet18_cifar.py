"""A network of your own: a ResNet-18 in plain torch, attacked as it stands.

Nothing here knows of cutlayer: no base class, no registration, no wrapper. In the folder of this
file::

    cutlayer cuts --model resnet18_cifar:ResNet18:width=16 --data cifar10
    cutlayer attack --model resnet18_cifar:ResNet18:width=16 --cut stem --data cifar10 \
        --attack maximum-likelihood

and from Python ``cut_points(ResNet18(), x)`` and ``cut(ResNet18(), "stem", x)``. Arguments named
``classes`` and ``input_shape`` are filled in by the data; the others are yours to set. The cuts
lie where exactly one tensor crosses: around the blocks, not inside them, where the shortcut runs
beside the convolutions.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            narrow = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(narrow, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 with the 3×3 stem that 32×32 images want; ``(N, 3, H, W)`` to ``(N, classes)``.

    Args:
        classes: Number of logits.
        width: Channels of the first stage; 64 is the published network.

    Reference: K. He et al., "Deep residual learning for image recognition", 2016,
    doi:10.1109/CVPR.2016.90.
    """

    def __init__(self, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.stage1 = nn.Sequential(Block(width, width), Block(width, width))
        self.stage2 = nn.Sequential(Block(width, 2 * width, 2), Block(2 * width, 2 * width))
        self.stage3 = nn.Sequential(Block(2 * width, 4 * width, 2), Block(4 * width, 4 * width))
        self.stage4 = nn.Sequential(Block(4 * width, 8 * width, 2), Block(8 * width, 8 * width))
        self.head = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits
