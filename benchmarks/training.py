"""What the split and NoPeek cost: steps of the Titcombe network against the unsplit loop.

Same optimiser, layout, precision, threads and data; the variants take turns in one run.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import Row, interleaved
from cutlayer.defences import Chain, Defence, Defended, NoPeek
from cutlayer.models import DEFAULT_CUT, MODELS
from cutlayer.parties import Owner, Server, optimiser
from cutlayer.split import cut
from cutlayer.wire import At

UNSPLIT, SPLIT, NOPEEK = "unsplit PyTorch loop", "split, two parties", "split, NoPeek 0.5"
SHAPE, CLASSES, RATE = (1, 28, 28), 10, 1e-3


def run(repeats: int) -> list[Row]:
    return [row for size in (32, 512) for row in steps(size, repeats)]


def steps(size: int, repeats: int) -> list[Row]:
    """Median time of a training step at one batch size, as ratios."""
    data = torch.rand(size, *SHAPE), torch.randint(CLASSES, (size,))
    turns = interleaved(
        {UNSPLIT: unsplit(*data), SPLIT: split(*data), NOPEEK: split(*data, NoPeek(0.5))},
        repeats=repeats * (20 if size <= 64 else 3),
    )
    base, plain = turns[UNSPLIT].median, turns[SPLIT].median
    return [
        {
            "table": f"a training step of the Titcombe network, batch {size}",
            "what": name,
            "median ms": 1e3 * t.median,
            "steps per second": 1 / t.median,
            "steps per second / unsplit": base / t.median,
            "time / split": t.median / plain,
        }
        for name, t in turns.items()
    ]


def network() -> nn.Module:
    torch.manual_seed(0)
    return MODELS["titcombe"](SHAPE, CLASSES)


def unsplit(x: Tensor, y: Tensor) -> Callable[[], object]:
    model = network()
    opt = optimiser("adam", model, RATE)
    assert opt is not None
    index = torch.arange(len(x))

    def step() -> float:
        loss = cross_entropy(model(x[index]), y[index])
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        return float(loss.detach())

    return step


def split(x: Tensor, y: Tensor, *defences: Defence) -> Callable[[], object]:
    near, far = cut(network(), DEFAULT_CUT["titcombe"], x[:2])
    side = Defended(near, Chain(*defences))
    owner = Owner(0, side, optimiser("adam", side, RATE), (x, y), root=0)
    server = Server(far, optimiser("adam", far, RATE), root=0, shape=(500,))
    index, count = torch.arange(len(x)), iter(range(10**9))
    return lambda: owner.step(index, server, at=At("bench", 0, 0, next(count)))
