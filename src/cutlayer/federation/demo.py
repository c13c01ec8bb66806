"""``cutlayer demo --network``: real processes train one split network; nothing changes by it."""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from ..assembly import Assembly
from ..config import parse
from ..parties import Owner
from ..parts import each_constructed
from ..tensor_file import load_tensors
from ..training import train
from ..wire.identity import Authority
from ..wire.labels import LabelsHere
from ..wire.states import States
from . import build
from .file import Federation, read

OWNERS = ("north", "south")
DEFENCES = {"north": "laplace:scale=0.2", "south": "laplace:scale=0.4"}  # each its own
VARIANTS: dict[str, dict[str, Any]] = {
    "labels at the server": {},
    "labels at their owners": {"labels": "owner"},
    "three parties, averaged": {
        "cut": ["act1", "act3"],
        "relays": ["middle"],
        "schedule": "average",
    },
}
_ATTEMPTS = 600  # seconds that one training may take


@dataclass(frozen=True)
class Stage:
    """A folder with everything that the parties of one variant need."""

    folder: Path
    federation: Federation

    def command(self, what: str, name: str, *more: str) -> list[str]:
        """The command line of one party."""
        here = [str(self.folder / "federation.yaml"), "--identity", str(self.folder / name)]
        threads = ["--threads", str(torch.get_num_threads())]
        return [sys.executable, "-m", "cutlayer", what, *here, *more, *threads]

    def store(self, name: str) -> Path:
        return self.folder / "stores" / name

    def data(self, name: str) -> str:
        """The data set of one party."""
        return f"arrays:path={self.folder / name}.npz,low=0,high=1"


def run_network_demo(arguments: argparse.Namespace) -> int:
    """All variants; exit code 1 if any weight differs."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    table = Table(title="one split network, trained by processes that talk over mutual TLS")
    for column in ("", "processes", "seconds", "weights as in one process", "predictions"):
        table.add_column(column)
    different = 0
    for name, changes in VARIANTS.items():
        with staged(changes, seed=arguments.seed) as stage:
            started = time.perf_counter()
            said = carried_out(stage)
            seconds = time.perf_counter() - started
            differing = compare(stage)
            different += len(differing)
            found = f"DIFFERENT: {', '.join(differing)}" if differing else "equal, bit for bit"
            count = len(OWNERS) + len(stage.federation.chain) + 1
            table.add_row(name, str(count), f"{seconds:.0f}", found, said)
    Console().print(table)
    return int(different > 0)


@contextmanager
def staged(changes: Mapping[str, Any], *, seed: int = 0) -> Iterator[Stage]:
    """Certificates, data of each party and the file of the federation, while the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="cutlayer-network-"))
    try:
        authority = Authority.create(folder / "authority", "demo")
        here = ["localhost", "127.0.0.1"]
        chain = [*changes.get("relays", []), "hub"]
        for name in chain:
            role = "server" if name == "hub" else "relay"
            authority.issue(role, name, folder / name, addresses=here)  # type: ignore[arg-type]
        for name in OWNERS:
            authority.issue("owner", name, folder / name)
        authority.issue("user", "visitor", folder / "visitor")
        ports = dict(zip(chain, free_ports(len(chain)), strict=True))
        settings = {
            "schema_version": 1,
            "federation": "demo",
            "session": "digits",
            "model": "titcombe",
            "input_shape": [1, 28, 28],
            "outputs": 10,
            "owners": list(OWNERS),
            "users": ["visitor"],
            "server": "hub",
            "addresses": {name: f"localhost:{port}" for name, port in ports.items()},
            "epochs": 2,
            "checkpoint_every": 10,
            "seed": seed,
            **changes,
        }
        (folder / "federation.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        _deal_out(folder, seed)
        yield Stage(folder, read(folder / "federation.yaml"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _deal_out(folder: Path, seed: int) -> None:
    """Give each party a share of the digits."""
    assembly = Assembly.of(parse({"data": "digits", "owners": len(OWNERS), "seed": seed}))
    shares = dict(zip(OWNERS, assembly.shares.owners, strict=True))
    shares["visitor"] = assembly.shares.victims
    for name, index in shares.items():
        x, y = assembly.take(index)
        np.savez(folder / f"{name}.npz", x=x.numpy(), y=y.numpy())


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def carried_out(stage: Stage) -> str:
    """Train, then predict; how many predictions, and how many are right.

    Raises:
        RuntimeError: a process failed; with what it said.
    """
    f = stage.federation
    with ExitStack() as stack:
        for name in reversed(f.chain):
            stack.enter_context(running(listens(stage, name)))
        _run([stage.command("health", "visitor")[:-2]])  # which introduces it to the owners
        _run([joins(stage, name) for name in OWNERS])
        (said,) = _run([stage.command("predict", "visitor", "--data", stage.data("visitor"))])
    count, _, rest = said.strip().splitlines()[-1].partition(" predictions; ")
    return f"{count}, {rest.partition(' ')[0]} right"


def listens(stage: Stage, name: str) -> list[str]:
    """The command line of the server, or of a relay."""
    what = "serve" if name == stage.federation.server else "relay"
    revoked = str(stage.folder / "authority" / "revoked.json")
    return stage.command(what, name, "--store", str(stage.store(name)), "--revoked", revoked)


def joins(stage: Stage, name: str) -> list[str]:
    """The command line of an owner."""
    more = ["--store", str(stage.store(name)), "--data", stage.data(name)]
    return stage.command("join", name, *more, "--defence", DEFENCES[name])


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that listens, and is stopped at the end of the block.

    Raises:
        RuntimeError: it stopped before it listened.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=_environment()
    )
    try:
        if process.stdout is None or "listens" not in process.stdout.readline():
            raise RuntimeError(f"{' '.join(command)}: stopped before it listened")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _run(commands: Sequence[Sequence[str]]) -> list[str]:
    """Run commands side by side to their ends; what each printed."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(c, env=_environment(), **pipes) for c in commands]
    found = []
    for command, process in zip(commands, processes, strict=True):
        out, errors = process.communicate(timeout=_ATTEMPTS)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}: {errors}")
        found.append(out)
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", "GRPC_VERBOSITY": "NONE"}


def compare(stage: Stage) -> list[str]:
    """The parties whose weights are not, bit for bit, those of the same training in one process.

    Owners' secrets are read for it, which only a demo may do.
    """
    f = stage.federation
    owners = [_owner(stage, number) for number in range(len(OWNERS))]
    build.together(owners)
    far = build.whole_chain(f)
    holder, _ = train(build.plan_of(f), owners, far)
    expected = {name: holder.module for name in OWNERS}
    inner: Any = far.far if isinstance(far, LabelsHere) else far
    for name in f.chain:
        expected[name] = inner.module
        inner = getattr(inner, "far", None)
    return [name for name, module in expected.items() if not _same(module, _kept(stage, name))]


def _owner(stage: Stage, number: int) -> Owner:
    f, name = stage.federation, OWNERS[number]
    dataset = build.data_of(f, stage.data(name), None)
    secret = build.own_secret(stage.store(name) / "secret.key")
    defence = each_constructed([DEFENCES[name]])
    return build.owner(f, number, dataset.take(torch.arange(len(dataset))), defence, secret)


def _kept(stage: Stage, name: str) -> dict[str, Tensor]:
    """The weights that a party ended with."""
    store = stage.store(name)
    if name in OWNERS:
        return load_tensors(store / "segment.safetensors")
    newest = next(States(store / "states", stage.federation.identity).newest_first())
    (path,) = newest.folder.glob("*.safetensors")
    found = load_tensors(path)
    mark = "segment."
    return {k.removeprefix(mark): v for k, v in found.items() if k.startswith(mark)}


def _same(module: nn.Module, found: Mapping[str, Tensor]) -> bool:
    wanted = module.state_dict()
    same = (torch.equal(value, found[name]) for name, value in wanted.items() if name in found)
    return wanted.keys() == found.keys() and all(same)
