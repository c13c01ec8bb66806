"""What the network costs, over loopback with mutual TLS: messages, training steps, predictions.

The far side has a process of its own. Beside wall time stands CPU time, of both processes together:
other work on the machine counts in the first alone.

*Messages*: float32 up and as much back, to a far side that answers at once; against the same bytes
over a bare TLS socket with the same certificates. *Training*: ``cutlayer serve`` and an owner as in
``cutlayer join``, against the same training in one process, step by step; one thread each. As the
two wait for one another, a second core gains nothing. *Predictions*: users that ask about one
sample at a time, each with a certificate, a connection and a thread of its own, all in one process.
"""

import os
import random
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import Row, Turns, interleaved
from benchmarks._wire import HUB, LENGTH, NAME, OWNER, port_of, raw_line, received, set_up
from cutlayer.federation.build import far_party
from cutlayer.federation.demo import running
from cutlayer.federation.file import Federation
from cutlayer.federation.serve import reached
from cutlayer.memory import keep_freed_memory
from cutlayer.wire import At
from cutlayer.wire.identity import Credentials, Identity
from cutlayer.wire.message import Kind, Message, encode
from cutlayer.wire.remote import RemoteFarSide

KB, MB = 2**10, 2**20
OURS, BARE = "cutlayer", "bare socket"
ROUNDS = {64 * KB: 40, MB: 30, 8 * MB: 8}  # for each repeat
MOST_TIMES = {MB: 2.2, 8 * MB: 3.5}  # of the bare socket's time
HERE, NETWORK = "in one process", "over the network"
LEAST_SPEED = 0.85  # of that in one process
USERS, SECONDS = (1, 8, 64), 0.5


def run(repeats: int) -> list[Row]:
    keep_freed_memory()  # as the commands do
    steps = 6 * repeats
    with tempfile.TemporaryDirectory(prefix="cutlayer-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        f = set_up(folder, users=max(USERS), steps=steps + 2)
        rows = messages(folder, repeats)
        hub = stack.enter_context(running(served(folder))).pid
        rows += training(folder, hub, steps)
        return rows + predictions(f, folder, hub, repeats)


def party(name: str, folder: Path) -> list[str]:
    """The command line of a process of ours."""
    return [sys.executable, "-m", "benchmarks._wire", name, str(folder)]


def served(folder: Path) -> list[str]:
    """The command line of the server."""
    where = [str(folder / "federation.yaml"), "--identity", str(folder / HUB)]
    more = ["--store", str(folder / "store"), "--revoked", str(folder / "authority/revoked.json")]
    return [sys.executable, "-m", "cutlayer", "serve", *where, *more, "--threads", "1"]


# CPU time


def cpu_seconds(processes: Sequence[int]) -> float:
    """CPU time of all threads of these processes; 0 but on Linux, where a process has a clock."""
    if sys.platform != "linux":
        return 0.0
    return sum(time.clock_gettime((~process << 3) | 2) for process in processes)


@dataclass
class Metered:
    """Something to time that also notes the CPU time of its processes in every turn."""

    turn: Callable[[], object]
    processes: Sequence[int]
    cpu: list[float] = field(default_factory=list)

    def __call__(self) -> None:
        before = cpu_seconds(self.processes)
        self.turn()
        self.cpu.append(cpu_seconds(self.processes) - before)

    @property
    def median(self) -> float:
        """Without the first turn, as ``interleaved`` has it."""
        return statistics.median(self.cpu[1:])


# Messages


def messages(folder: Path, repeats: int) -> list[Row]:
    with ExitStack() as stack:
        processes = {
            what: (os.getpid(), stack.enter_context(running(party(name, folder))).pid)
            for what, name in ((BARE, "raw"), (OURS, "echo"))
        }
        line, far = stack.enter_context(raw_line(folder)), stack.enter_context(to_echo(folder))
        numbers, rows = count(), list[Row]()
        for size, rounds in ROUNDS.items():
            turn = {BARE: over_socket(line, size), OURS: over_ours(far, size, numbers)}
            metered = {name: Metered(turn[name], processes[name]) for name in turn}
            turns = interleaved(metered, repeats=repeats * rounds)
            rows += [sent(size, name, turns, metered) for name in turns]
    return rows


def to_echo(folder: Path) -> RemoteFarSide:
    there = Identity(NAME, "server", HUB)
    address = f"localhost:{port_of(folder, 'echo')}"
    return RemoteFarSide(address, Credentials.load(folder / OWNER), party=there)


def sample(size: int) -> tuple[Tensor, Tensor]:
    """A message of so many bytes, and labels."""
    n = 128
    return torch.rand(n, size // n // 4), torch.zeros(n, dtype=torch.int64)


def over_socket(line: ssl.SSLSocket, size: int) -> Callable[[], None]:
    """The bytes of a step there and back over a bare socket."""
    content = encode(Message.at(Kind.STEP, At(NAME, 0, 0, 0), *sample(size)))
    length, buffer = bytearray(LENGTH.pack(len(content))), bytearray(len(content))

    def turn() -> None:
        line.sendall(length)
        line.sendall(content)
        received(line, length)
        received(line, buffer)

    return turn


def over_ours(far: RemoteFarSide, size: int, numbers: Iterator[int]) -> Callable[[], None]:
    """A step over our connection."""
    z, y = sample(size)

    def turn() -> None:
        far.step(z, y, at=At(NAME, 0, 0, next(numbers)))

    return turn


def sent(size: int, name: str, turns: dict[str, Turns], metered: dict[str, Metered]) -> Row:
    return {
        "table": "a message and its answer, mutual TLS over loopback",
        "up and back": f"{size // KB} KB" if size < MB else f"{size // MB} MB",
        "over": name,
        "median ms": 1e3 * turns[name].median,
        "CPU ms": 1e3 * metered[name].median,
        "time / bare": turns[name].median / turns[BARE].median,
        "at most": MOST_TIMES.get(size) if name == OURS else None,
        "CPU / bare": ratio(metered[name].median, metered[BARE].median),
    }


def ratio(value: float, base: float) -> float | None:
    return value / base if base else None


# Training


class Apart:
    """A training in a process of its own, step by step."""

    def __init__(self, name: str, folder: Path) -> None:
        pipe = subprocess.PIPE
        command = party(name, folder)
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.losses: list[float] = []

    def __call__(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        self.losses.append(float(self.process.stdout.readline()))

    def end(self) -> None:
        self.process.communicate()


def training(folder: Path, hub: int, steps: int) -> list[Row]:
    apart = {HERE: Apart("alone", folder), NETWORK: Apart("join", folder)}
    processes = {HERE: [apart[HERE].process.pid], NETWORK: [apart[NETWORK].process.pid, hub]}
    metered = {name: Metered(loop, processes[name]) for name, loop in apart.items()}
    turns = interleaved(metered, repeats=steps)
    for loop in apart.values():
        loop.end()
    if apart[HERE].losses != apart[NETWORK].losses:
        raise RuntimeError("the same losses wanted over the network as in one process")
    return [trained(name, t, turns[HERE], metered) for name, t in turns.items()]


def trained(name: str, t: Turns, base: Turns, metered: dict[str, Metered]) -> Row:
    return {
        "table": "a training step of the Titcombe network, batch 128, one thread each",
        "what": name,
        "median ms": 1e3 * t.median,
        "CPU ms": 1e3 * metered[name].median,
        "steps per second": 1 / t.median,
        "speed / one process": base.median / t.median,
        "at least": LEAST_SPEED if name == NETWORK else None,
        "the same in CPU time": ratio(metered[HERE].median, metered[name].median),
    }


# Predictions


@dataclass(frozen=True)
class Asked:
    """What came of a turn. seconds: of each request."""

    seconds: list[float]
    wall: float
    cpu: float

    def row(self) -> dict[str, float]:
        cuts = statistics.quantiles(self.seconds, n=100)
        return {
            "requests per second": len(self.seconds) / self.wall,
            "p50 ms": 1e3 * cuts[49],
            "p99 ms": 1e3 * cuts[98],
            "CPU ms per request": 1e3 * self.cpu / len(self.seconds),
        }


def predictions(f: Federation, folder: Path, hub: int, repeats: int) -> list[Row]:
    inside, z = far_party(f, 0), torch.rand(1, 500)
    with ExitStack() as stack:
        users = [
            stack.enter_context(reached(f, f.server, Credentials.load(folder / name)))
            for name in f.users
        ]
        for user in users:  # connects
            user.predict(z)
        own = os.getpid()
        groups = {0: ([inside.predict], [own])}
        groups |= {n: ([user.predict for user in users[:n]], [own, hub]) for n in USERS}
        found: dict[int, list[Asked]] = {n: [] for n in groups}
        for turn in range(repeats):
            for n in random.Random(turn).sample(list(groups), len(groups)):
                found[n].append(asked(*groups[n], z))
    return [predicted(n, turns) for n, turns in found.items()]


def asked(
    users: Sequence[Callable[[Tensor], Tensor]], processes: Sequence[int], z: Tensor
) -> Asked:
    """All of them at once, each one request after the other, for a while."""
    seconds: list[float] = []

    def ask(predict: Callable[[Tensor], Tensor]) -> None:
        while (start := time.perf_counter()) < end:
            predict(z)
            seconds.append(time.perf_counter() - start)

    cpu, begin = cpu_seconds(processes), time.perf_counter()
    end = begin + SECONDS
    threads = [threading.Thread(target=ask, args=(predict,)) for predict in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Asked(seconds, time.perf_counter() - begin, cpu_seconds(processes) - cpu)


def predicted(users: int, turns: Sequence[Asked]) -> Row:
    rows = [turn.row() for turn in turns]
    return {
        "table": "predictions of one sample at a time, Titcombe network",
        "users at once": str(users) if users else "in one process",
        **{key: statistics.median(row[key] for row in rows) for key in rows[0]},
    }
