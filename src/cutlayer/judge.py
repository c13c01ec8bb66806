"""An independent classifier that reads reconstructions: does the class survive?

It belongs to the evaluation, not to the adversary: trained on a share of its own, disjoint from the
owners' data and from the victims, with an architecture of its own.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from .streams import stream


def judge_network(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """A compact network for any input: convolutional for images and signals, else a perceptron."""
    if len(input_shape) == 1:
        return nn.Sequential(
            nn.BatchNorm1d(input_shape[0]),
            nn.Linear(input_shape[0], 128),
            nn.ReLU(),
            nn.Linear(128, 128),
            nn.ReLU(),
            nn.Linear(128, classes),
        )
    signal = len(input_shape) == 2
    conv = nn.Conv1d if signal else nn.Conv2d
    norm = nn.BatchNorm1d if signal else nn.BatchNorm2d
    pool = nn.AdaptiveAvgPool1d if signal else nn.AdaptiveAvgPool2d
    down = nn.MaxPool1d if signal else nn.MaxPool2d
    layers: list[nn.Module] = []
    channels, side = input_shape[0], min(input_shape[1:])
    for width in (16, 32, 64):
        layers += [conv(channels, width, 3, padding=1), norm(width), nn.ReLU()]
        channels = width
        if side >= 4:
            layers.append(down(2))
            side //= 2
    kept = min(side, 3)
    features = channels * kept ** (len(input_shape) - 1)
    head = [pool(kept), nn.Flatten(), nn.Dropout(0.3), nn.Linear(features, classes)]
    return nn.Sequential(*layers, *head)


def train_judge(
    x: Tensor,
    y: Tensor,
    classes: int,
    *,
    root: int,
    steps: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 1e-2,
) -> nn.Module:
    """A trained judge, in eval mode.

    Images are shifted by up to two pixels while training, so that a reconstruction that is off by
    one is still read.

    Args:
        x: ``(N, *shape)``, float32 in [0, 1].
        y: ``(N,)``.
        steps: At most; a small share is passed over no more than sixty times.
        root: Root of its random streams.
    """
    with stream(root, "judge"):
        network = judge_network(tuple(x.shape[1:]), classes).to(x.device)
        optimiser = torch.optim.AdamW(network.parameters(), learning_rate, fused=True)
        a_pass = math.ceil(len(x) / batch_size)
        passes = min(math.ceil(steps / a_pass), 60)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, learning_rate, total_steps=passes * a_pass
        )
        for _ in range(passes):
            for index in torch.randperm(len(x)).split(batch_size):
                if len(index) > 1:  # BatchNorm wants two
                    optimiser.zero_grad(set_to_none=True)
                    cross_entropy(network(_shifted(x[index])), y[index]).backward()
                    optimiser.step()
                schedule.step()
    return network.eval()


def _shifted(x: Tensor, by: int = 2) -> Tensor:
    """Every image moved by up to ``by`` pixels, zeros moving in; anything else as it is."""
    if x.dim() != 4 or min(x.shape[2:]) < 16:
        return x
    n, _, height, width = x.shape
    padded = pad(x, (by, by, by, by))
    down, right = torch.randint(2 * by + 1, (2, n, 1), device=x.device)
    rows = (torch.arange(height, device=x.device) + down)[:, None, :, None]
    columns = (torch.arange(width, device=x.device) + right)[:, None, None, :]
    every = torch.arange(n, device=x.device)[:, None, None, None]
    channels = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    return padded[every, channels, rows, columns]


@torch.no_grad()
def read(network: nn.Module, x: Tensor) -> Tensor:
    """Logits ``(N, classes)``, in chunks."""
    return torch.cat([network(part) for part in x.split(512)])
