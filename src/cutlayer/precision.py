"""In which arithmetic a segment is run while it is trained."""

from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["float32", "bfloat16"]


def run(segment: nn.Module, t: Tensor, precision: Precision) -> Tensor:
    """``segment(t)``, its matrix products and convolutions in ``precision``; float32 comes out.

    Weights, gradients and optimiser moments stay in float32: only what is multiplied is rounded.
    """
    if precision == "float32":
        out: Tensor = segment(t)
        return out
    with torch.autocast(t.device.type, torch.bfloat16):
        out = segment(t)
    return out.float()


def laid_out(module: nn.Module) -> nn.Module:
    """The module with four-dimensional weights stored channels last, as convolutions like them.

    Values and names stay as they are; the last digits of what it computes change. What comes back
    to a max pooling is laid out the same way: after a flattening it is not, and would be turned
    again at every layer below.
    """
    for pooling in (m for m in module.modules() if isinstance(m, nn.MaxPool2d)):
        if _turn_the_gradient not in pooling._forward_hooks.values():
            pooling.register_forward_hook(_turn_the_gradient)
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _turn_the_gradient(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
    if out.requires_grad and out.dim() == 4:
        out.register_hook(_channels_last)


def _channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)
