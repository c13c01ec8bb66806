"""Steps of the Titcombe network: what the split costs, and what the whole is worth.

The first tables: the split, and NoPeek, against the unsplit loop with the same optimiser, layout
and precision, taking turns in one process. The others: the product as an experiment builds it,
against the loop that people write (unsplit, contiguous, float32, Adam as it comes) at equal
accuracy, taking turns on the same batches from the same first weights. There each has a process
of its own, as outside a benchmark: how often memory goes back to the system and comes again
depends on all else that a process holds, and is up to a third of a step. Ours keep freed memory,
as the commands do; so does one of the loops that people write, which says how much that alone is
worth.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from benchmarks import Row, interleaved
from cutlayer.assembly import Assembly
from cutlayer.config import parse
from cutlayer.data import DATASETS, Dataset
from cutlayer.defences import Chain, Defence, Defended, NoPeek
from cutlayer.memory import keep_freed_memory
from cutlayer.metrics import accuracy
from cutlayer.models import DEFAULT_CUT, MODELS
from cutlayer.network import bare_model
from cutlayer.parties import Owner, Server, optimiser
from cutlayer.precision import laid_out
from cutlayer.split import cut
from cutlayer.streams import generator
from cutlayer.training import batches
from cutlayer.wire import At

UNSPLIT, SPLIT, NOPEEK = "unsplit PyTorch loop", "split, two parties", "split, NoPeek 0.5"
PLAIN, OURS, ROUNDED = "plain PyTorch loop", "two parties, float32", "two parties, bfloat16"
PLAIN_KEPT = "plain PyTorch loop, memory kept"
WANTED = {(32, OURS): 1.6, (128, OURS): 1.15, (32, ROUNDED): 1.8, (128, ROUNDED): 1.8}
SHAPE, CLASSES, RATE = (1, 28, 28), 10, 1e-3
SAMPLES = 1280  # in training: whole batches of both sizes
EPOCHS = {32: 3, 128: 6}


def run(repeats: int) -> list[Row]:
    rows = [row for size in (32, 512) for row in split_against_unsplit(size, repeats)]
    return rows + [row for size in EPOCHS for row in whole_against_plain(size, repeats)]


def split_against_unsplit(size: int, repeats: int) -> list[Row]:
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
    return laid_out(MODELS["titcombe"](SHAPE, CLASSES))


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
    index, number = torch.arange(len(x)), count()
    return lambda: owner.step(index, server, at=At("bench", 0, 0, next(number)))


def whole_against_plain(size: int, repeats: int) -> list[Row]:
    """Steps per second of short trainings, as ratios, and the accuracy at their end."""
    loops = {name: Apart(name, size) for name in LOOPS}
    enough = EPOCHS[size] * SAMPLES // size // in_a_turn(size)  # turns in all
    turns = interleaved(loops, repeats=min(repeats * 6, enough - 1))
    reached = {name: loop.end() for name, loop in loops.items()}
    return [
        {
            "table": f"a training step against the loop that people write, batch {size}",
            "what": name,
            "median ms": 1e3 * t.median / in_a_turn(size),
            "steps per second": in_a_turn(size) / t.median,
            "steps per second / plain": turns[PLAIN].median / t.median,
            "wanted": wanted(size, name),
            f"accuracy after {EPOCHS[size]} epochs": reached[name],
        }
        for name, t in turns.items()
    ]


def wanted(size: int, name: str) -> float | None:
    if name == ROUNDED and not multiplies_bfloat16():
        return None
    return WANTED.get((size, name))


def in_a_turn(size: int) -> int:
    """Steps in one turn: after others had theirs, the first finds cold caches."""
    return max(1, 128 // size)


class Apart:
    """A loop that trains in a process of its own, turn by turn."""

    def __init__(self, name: str, size: int) -> None:
        command = [sys.executable, "-m", __name__, name, str(size), str(torch.get_num_threads())]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def __call__(self) -> float:
        """One turn; the loss at its end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def end(self) -> float:
        """Train to the end without waiting; the accuracy reached."""
        return float(self.process.communicate()[0])


def serve(name: str, size: int) -> None:
    """What the process of a loop does."""
    loop, steps = LOOPS[name](size), given(size)
    for _ in sys.stdin:
        losses = [loop.step(index) for index in islice(steps, in_a_turn(size))]
        print(losses[-1], flush=True)
    for index in steps:
        loop.step(index)
    print(held_out_accuracy(loop, size))


def given(size: int) -> Iterator[Tensor]:
    """The batches of all epochs, the same for every loop."""
    for epoch in range(EPOCHS[size]):
        yield from batches(SAMPLES, size, generator(0, "bench", epoch))


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU has instructions for it; where it has none, it is only emulated.

    Known on Linux; elsewhere the answer is no.
    """
    if not cpuinfo.exists():
        return False
    words = set(cpuinfo.read_text().split())  # "flags" on x86, "Features" on ARM
    return not words.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


@dataclass(frozen=True)
class Loop:
    """A way to train: one step on the samples of an index, and logits for inputs."""

    step: Callable[[Tensor], float]
    predict: Callable[[Tensor], Tensor]


def experiment(size: int, **changes: object) -> Assembly:
    """The Titcombe network on the embedded digits, enlarged to the size of MNIST's."""
    digits = DATASETS["digits"]()
    large = interpolate(digits.x.float(), size=SHAPE[1:], mode="bilinear")
    data = Dataset(
        name="digits, enlarged", x=large, y=digits.y, classes=digits.classes, bounds=digits.bounds
    )
    shares = f"owners={SAMPLES},validation=450,auxiliary=20,attacker_validation=5,victims=5"
    raw = {"batch_size": size, "learning_rate": RATE, "shares": shares, "device": "cpu"}
    return Assembly.of(parse(raw | changes), data)


def plain(assembly: Assembly) -> Loop:
    """What people write."""
    model = bare_model(assembly.experiment, SHAPE, CLASSES)
    opt = torch.optim.Adam(model.parameters(), RATE)
    x, y = assembly.take(assembly.shares.owners[0])

    def step(index: Tensor) -> float:
        opt.zero_grad()
        loss = cross_entropy(model(x[index]), y[index])
        loss.backward()
        opt.step()
        return loss.item()

    return Loop(step, model)


def plain_kept(assembly: Assembly) -> Loop:
    """The same, not slowed down by memory that goes back to the system."""
    keep_freed_memory()
    return plain(assembly)


def ours(assembly: Assembly) -> Loop:
    """Owner and server as an experiment builds them and a command runs them."""
    keep_freed_memory()
    owners, far = assembly.parties(assembly.segments())
    number = count()

    def step(index: Tensor) -> float:
        return owners[0].step(index, far, at=At("bench", 0, 0, next(number)))

    return Loop(step, lambda x: far.predict(owners[0].defended.eval()(x)))


@torch.no_grad()
def held_out_accuracy(loop: Loop, size: int) -> float:
    """Of digits that none was trained on."""
    assembly = experiment(size)
    x, y = assembly.take(assembly.shares.validation)
    return float(accuracy(loop.predict(x), y).mean())


LOOPS: dict[str, Callable[[int], Loop]] = {
    PLAIN: lambda size: plain(experiment(size)),
    PLAIN_KEPT: lambda size: plain_kept(experiment(size)),
    OURS: lambda size: ours(experiment(size)),
    ROUNDED: lambda size: ours(experiment(size, precision="bfloat16")),
}

if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    serve(sys.argv[1], int(sys.argv[2]))
