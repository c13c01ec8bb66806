"""Layers by words: ``conv8k5s2 relu max2 fc64`` is a network that says what it is.

>>> import torch
>>> list(layers("conv8k5 relu max2 fc64 tanh", (1, 28, 28)))
['conv1', 'act1', 'pool1', 'flatten', 'fc1', 'act2']
"""

import re
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor, nn

WORDS: dict[str, str] = {  # what each kind of word means; n and the like are numbers above 0
    "convNkKsSpP": "convolution to N channels: kernel K, else 3; stride S, else 1; padding P, else "
    "what keeps the size at stride 1",
    "maxKsS, avgKsS": "pooling over K; stride S, else K, then without padding",
    "fcN": "fully connected layer of N, behind a flattening",
    "relu, leaky, tanh, sigmoid": "activation",
}
_CONV = re.compile(r"conv([1-9]\d*)(?:k([1-9]\d*))?(?:s([1-9]\d*))?(?:p(\d+))?")
_POOL = re.compile(r"(max|avg)([1-9]\d*)(?:s([1-9]\d*))?")
_FULL = re.compile(r"fc([1-9]\d*)")
_ACTS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
_CONVS = {1: nn.Conv1d, 2: nn.Conv2d}
_POOLS: dict[tuple[str, int], Callable[..., nn.Module]] = {
    ("max", 1): nn.MaxPool1d,
    ("max", 2): nn.MaxPool2d,
    ("avg", 1): nn.AvgPool1d,
    ("avg", 2): nn.AvgPool2d,
}


def layers(words: str, input_shape: tuple[int, ...]) -> dict[str, nn.Module]:
    """The layers that the words name, in their order, for samples of that shape.

    They are called after what they are and numbered by kind, whatever stands between: ``conv1``,
    ``act1``, ``pool1``, ``fc1``, so that a cut keeps its name when something else is changed.

    Args:
        words: Separated by spaces; see ``WORDS``.
        input_shape: ``(C, L)``, ``(C, H, W)``, or any other where all layers are fully connected.

    Raises:
        ValueError: a word that means nothing, or a layer that does not fit what comes to it.
    """
    found: dict[str, nn.Module] = {}
    t = torch.zeros(1, *input_shape)
    for word in words.split():
        if _FULL.fullmatch(word) and t.dim() > 2:
            found["flatten"] = nn.Flatten()
            t = t.flatten(1)
        kind, layer = _layer(word, tuple(t.shape[1:]))
        number = 1 + sum(name.rstrip("0123456789") == kind for name in found)
        found[f"{kind}{number}"] = layer
        t = _passed(word, layer, t)
    return found


def _layer(word: str, shape: tuple[int, ...]) -> tuple[str, nn.Module]:
    """What a layer is, in one short word, and the layer."""
    if word in _ACTS:
        return "act", _ACTS[word]()
    if match := _FULL.fullmatch(word):
        return "fc", nn.Linear(prod(shape), int(match[1]))
    rank = len(shape) - 1
    conv, pool = _CONV.fullmatch(word), _POOL.fullmatch(word)
    if not (conv or pool):
        known = "; ".join(f"{w}: {means}" for w, means in WORDS.items())
        raise ValueError(f"layer {word!r}: unknown; these are known: {known}")
    if rank not in _CONVS:
        raise ValueError(f"layer {word!r} wants signals or images: got {shape}")
    if conv:
        kernel, stride = int(conv[2] or 3), int(conv[3] or 1)
        padding = (kernel - 1) // 2 if conv[4] is None else int(conv[4])
        return "conv", _CONVS[rank](shape[0], int(conv[1]), kernel, stride, padding)
    assert pool is not None
    kernel, stride = int(pool[2]), int(pool[3] or pool[2])
    padding = 0 if stride >= kernel else (kernel - 1) // 2
    return "pool", _POOLS[pool[1], rank](kernel, stride, padding)


@torch.no_grad()
def _passed(word: str, layer: nn.Module, t: Tensor) -> Tensor:
    try:
        made: Tensor = layer(t)
    except RuntimeError as e:
        raise ValueError(
            f"layer {word!r} does not fit what comes to it, {tuple(t.shape[1:])}: {e}"
        ) from e
    return made
