"""What splitting buys over a slow link: latency, bytes, and the owner's share of the work.

Owner and server are two processes that talk over mutual TLS, as outside a benchmark; between them
is a link of 10 or of 100 Mbit/s in each direction without a delay of its own
(``benchmarks._throttle``), where the bytes are counted. Inputs and messages cross as float32.

Predictions, one sample at a time: all at the owner; the input sent as it is, all at the server;
and every cut. Training, in batches of 32: every cut against plain federated averaging, whose owner
trains the whole network, sends it up and gets it back once in an epoch. CPU seconds are the
owner's, its transport included; they and the bytes are measured on a link without a limit.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import Row, interleaved
from benchmarks._throttle import Link
from cutlayer.defences import Chain, Defended
from cutlayer.models import MODELS
from cutlayer.parties import Owner, Server, optimiser
from cutlayer.precision import laid_out
from cutlayer.split import cut, cut_points
from cutlayer.wire import At, FarSide
from cutlayer.wire.identity import Authority, Credentials, Identity
from cutlayer.wire.listen import start
from cutlayer.wire.mailbox import Mailbox
from cutlayer.wire.members import Members
from cutlayer.wire.remote import RemoteFarSide
from cutlayer.wire.service import Service
from cutlayer.wire.states import States
from cutlayer.wire.turns import Sequence

NETWORKS = {"lenet": (1, 28, 28), "cifar10cnn": (3, 32, 32)}
MEGABITS = (10, 100)  # in a second
CLASSES, RATE, BATCH = 10, 1e-3, 32
SAMPLES = 1000  # of one owner, in an epoch
LOCAL, INPUT = "all local", "input sent"
FEDERATED, WEIGHTS = "federated", "weights"
HUB = Identity("bench", "server", "hub")


def run(repeats: int) -> list[Row]:
    return [row for name in NETWORKS for row in measured(name, repeats)]


def measured(name: str, repeats: int) -> list[Row]:
    """All tables of one network."""
    with connected(name) as line:
        x = torch.rand(BATCH, *NETWORKS[name])
        one, many = predicts(line, x[:1]), predicts(line, x)
        costs = {place: line.cost(place, action) for place, action in one.items()}
        at_once = {place: line.cost(place, action) for place, action in many.items()}
        rows: list[Row] = []
        for megabits in MEGABITS:
            line.link.carries(megabits)
            turns = interleaved(one, repeats=4 * repeats)
            medians = {place: turn.median for place, turn in turns.items()}
            rows += predictions(f"{name} over {megabits} Mbit/s", medians, costs, at_once)
        line.link.carries(None)
        return rows + trainings(line)


@dataclass(frozen=True)
class Cost:
    """What something takes. cpu: seconds of this process, all threads; up, down: bytes."""

    cpu: float
    up: float
    down: float

    def times(self, many: float) -> "Cost":
        return Cost(many * self.cpu, many * self.up, many * self.down)

    @property
    def bytes(self) -> float:
        return self.up + self.down


def predictions(
    title: str,
    medians: Mapping[str, float],
    costs: Mapping[str, Cost],
    at_once: Mapping[str, Cost],
) -> list[Row]:
    """A row for each place of the cut."""
    return [
        {
            "table": f"a prediction of {title}",
            "cut": place,
            "median ms": 1e3 * seconds,
            "time / input sent": seconds / medians[INPUT],
            "kB up": costs[place].up / 1e3,
            "kB down": costs[place].down / 1e3,
            "owner's CPU ms": 1e3 * costs[place].cpu,
            f"of each of {BATCH} at once": 1e3 * at_once[place].cpu / BATCH,
        }
        for place, seconds in medians.items()
    ]


def trainings(line: "Line") -> list[Row]:
    """An epoch of one owner: federated averaging, then every cut."""
    steps = SAMPLES / BATCH
    inside = line.cost(LOCAL, trains_all(line)).times(steps)
    sent = line.cost(WEIGHTS, sends_all(line))
    plain = Cost(inside.cpu + sent.cpu, sent.up, sent.down)
    costs = {place: line.cost(place, trains(line, place)).times(steps) for place in line.cuts}
    return [
        {
            "table": f"training {line.name}, an epoch of {SAMPLES} samples",
            "cut": place,
            "owner's CPU s": cost.cpu,
            "CPU / federated": cost.cpu / plain.cpu,
            "MB up": cost.up / 1e6,
            "MB down": cost.down / 1e6,
            "bytes / federated": cost.bytes / plain.bytes,
            "samples at equal bytes": SAMPLES * plain.bytes / cost.bytes,
        }
        for place, cost in {FEDERATED: plain, **costs}.items()
    ]


@dataclass(frozen=True)
class Line:
    """The owner's segments and who is behind them across the link, by place of the cut."""

    name: str
    link: Link
    targets: dict[str, int]  # ports behind the link
    near: dict[str, nn.Module]
    far: dict[str, RemoteFarSide]

    @property
    def cuts(self) -> list[str]:
        return [place for place in self.near if place not in (LOCAL, INPUT)]

    def cost(self, place: str, action: Callable[[], object]) -> Cost:
        """Of an action, repeated for half a second or three times: median CPU time, mean bytes."""
        action()  # connects, allocates, chooses kernels
        before, cpu, end = self._passed(place), list[float](), time.perf_counter() + 0.5
        while len(cpu) < 3 or time.perf_counter() < end:
            began = time.process_time()
            action()
            cpu.append(time.process_time() - began)
        up, down = (b - a for a, b in zip(before, self._passed(place), strict=True))
        return Cost(statistics.median(cpu), up / len(cpu), down / len(cpu))

    def _passed(self, place: str) -> tuple[int, int]:
        return self.link.passed(self.targets[place]) if place in self.targets else (0, 0)


def predicts(line: Line, x: Tensor) -> dict[str, Callable[[], object]]:
    """A prediction of ``x``, for each place of the cut."""
    return {place: asks(near, line.far.get(place), x) for place, near in line.near.items()}


def asks(near: nn.Module, far: FarSide | None, x: Tensor) -> Callable[[], object]:
    @torch.no_grad()
    def ask() -> Tensor:
        z: Tensor = near.eval()(x)
        return z if far is None else far.predict(z)

    return ask


def trains(line: Line, place: str) -> Callable[[], object]:
    """A step of split training."""
    side = Defended(line.near[place], Chain())
    owner = Owner(0, side, optimiser("adam", side, RATE), batch(line.name), root=0)
    index, number = torch.arange(BATCH), count()
    return lambda: owner.step(index, line.far[place], at=At("bench", 0, 0, next(number)))


def trains_all(line: Line) -> Callable[[], object]:
    """A step on the whole network here."""
    model = line.near[LOCAL]
    opt, (x, y) = optimiser("adam", model, RATE), batch(line.name)
    assert opt is not None

    def step() -> float:
        loss = cross_entropy(model.train()(x), y)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        return float(loss.detach())

    return step


def sends_all(line: Line) -> Callable[[], object]:
    """The weights of the whole network, there and back."""
    weights = [p.detach().flatten() for p in line.near[LOCAL].parameters()]
    return lambda: line.far[WEIGHTS].predict(torch.cat(weights)[None])


def batch(name: str) -> tuple[Tensor, Tensor]:
    return torch.rand(BATCH, *NETWORKS[name]), torch.randint(CLASSES, (BATCH,))


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return laid_out(MODELS[name](NETWORKS[name], CLASSES))


def divided(name: str) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Place of the cut, the segment before it and the one behind, none sharing weights."""
    x = torch.rand(2, *NETWORKS[name])
    yield INPUT, nn.Identity(), network(name)
    for point in cut_points(network(name), x):
        near, far = cut(network(name), point.name, x)
        yield point.name, near, far


@contextmanager
def connected(name: str) -> Iterator[Line]:
    """An owner here, a server in a process of its own, and the link between them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = Authority.create(folder / "authority", HUB.federation)
        authority.issue("server", HUB.name, folder / "hub", addresses=["127.0.0.1"])
        authority.issue("owner", "north", folder / "north")
        targets = stack.enter_context(served(name, folder))
        link = stack.enter_context(Link(list(targets.values())))
        near = {LOCAL: network(name)} | {place: segment for place, segment, _ in divided(name)}
        credentials = Credentials.load(folder / "north")
        far = {
            place: stack.enter_context(
                RemoteFarSide(f"127.0.0.1:{link.ports[port]}", credentials, party=HUB)
            )
            for place, port in targets.items()
        }
        yield Line(name, link, targets, near, far)


@contextmanager
def served(name: str, folder: Path) -> Iterator[dict[str, int]]:
    """The server's process; its ports by place of the cut."""
    command = [sys.executable, "-m", __name__, name, str(folder), str(torch.get_num_threads())]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.communicate()  # it ends with its input


def serve(name: str, folder: Path) -> None:
    """What the process of the server does: listen on a port for each place until its input ends."""
    weights = sum(p.numel() for p in network(name).parameters())
    parties = {WEIGHTS: Server(nn.Identity(), None, root=0, shape=(weights,))}
    with torch.no_grad():
        x = torch.rand(2, *NETWORKS[name])
        for place, near, far in divided(name):
            shape = tuple(near.eval()(x).shape[1:])
            parties[place] = Server(far, optimiser("adam", far, RATE), root=0, shape=shape)
    kept = {place: listening(party, folder, place) for place, party in parties.items()}
    ports = {place: port for place, (_, port) in kept.items()}
    print(json.dumps(ports), flush=True)
    sys.stdin.read()


def listening(far: Server, folder: Path, place: str) -> tuple[object, int]:
    """The port on which a party answers, and what has to be held for as long as it does."""
    store = folder / f"at {place}"
    service = Service(
        far,
        session="bench",
        members=Members(owners={"north": 0}),
        order=Sequence(),
        states=States(store / "states", "bench"),
        mailbox=Mailbox(store / "mailbox"),
    )
    revoked = folder / "authority" / "revoked.json"
    hub = Credentials.load(folder / "hub")
    return start(service, hub, address="127.0.0.1:0", revoked_list=revoked)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    serve(sys.argv[1], Path(sys.argv[2]))
