"""Parties on networks of their own: cut a link in the middle of a training, freeze the server.

``python tests/namespaces.py``, as root, on Linux with iproute2. The server, two owners and a model
user each get a network namespace with an address of its own, all on one bridge. Prints what it
did and when; exit code 1 if a weight differs from an undisturbed run in one process, or if a peer
that is frozen or cut off is noticed too late. Afterwards namespaces and bridge are gone.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from cutlayer.federation.demo import OWNERS, Stage, compare, joins, listens, staged
from cutlayer.federation.file import read
from cutlayer.federation.serve import reached
from cutlayer.wire import At
from cutlayer.wire.identity import Credentials
from cutlayer.wire.message import WireError
from cutlayer.wire.remote import UnreachableError

PARTIES = ("hub", *OWNERS, "visitor")
ADDRESSES = {name: f"10.77.0.{number}" for number, name in enumerate(PARTIES, 1)}
PORT = 7443
NOTICED = 10.0  # seconds until somebody who is frozen counts as gone
DEADLINE = 60.0  # seconds after which an owner asks again at the latest
MOST = 600.0  # seconds to wait for anything
_BEGAN = time.monotonic()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--schedule", choices=("average", "hand-over"), default="average")
    parser.add_argument("--away", type=float, default=30.0, help="seconds that the link is cut")
    arguments = parser.parse_args()
    check_permitted()
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    changes = {"epochs": arguments.epochs, "checkpoint_every": 4, "schedule": arguments.schedule}
    with staged(changes) as stage, network() as net:
        return disturbed(at_their_addresses(stage), net, arguments.away)


def disturbed(stage: Stage, net: "Network", away: float) -> int:
    """Train, with one link cut for a while, and predict; then how soon a peer is missed."""
    with ExitStack() as stack:
        hub = stack.enter_context(net.running("hub", listens(stage, "hub"), stage.folder))
        hub.says("listens")
        tell(f"hub listens on {ADDRESSES['hub']}")
        if not net.reaches("visitor", "hub"):
            raise SystemExit("the bridge passes nothing on: does a firewall look at bridges?")
        net.run("visitor", stage.command("health", "visitor")[:-2])  # introduces the user
        north, south = (
            stack.enter_context(net.running(name, joins(stage, name), stage.folder))
            for name in OWNERS
        )
        south.says("epoch 1 of")
        tell("south has done an epoch")
        cut_off(net, south, hub, away)
        all_end(north, south)
        tell("both owners are done")
        predicts = stage.command("predict", "visitor", "--data", stage.data("visitor"))
        tell(f"visitor: {net.run('visitor', predicts).strip().splitlines()[-1]}")
        late = [missed(stage, net, hub, how) > NOTICED for how in ("frozen", "cut off")]
    differing = compare(stage)
    tell(f"DIFFERENT: {', '.join(differing)}" if differing else "weights equal, bit for bit")
    return int(bool(differing) or any(late))


def cut_off(net: "Network", owner: "Running", hub: "Running", away: float) -> None:
    """Take an owner's link away for some seconds, in the middle of its training.

    Raises:
        SystemExit: that disturbed nothing.
    """
    came, done = hub.said("is here"), owner.said("loss")
    with net.unplugged(owner.name):
        tell(f"cut the link of {owner.name} for {away:g} s")
        time.sleep(away / 2)
        if net.reaches(owner.name, "hub"):
            raise SystemExit(f"{owner.name} still reaches hub: no link was cut")
        time.sleep(away / 2)
        meanwhile = owner.said("loss") - done
    tell(f"restored it; {owner.name} ended {meanwhile} epochs meanwhile")
    if owner.process.poll() is not None:
        raise SystemExit(f"{owner.name} was done before: more --epochs wanted")
    owner.waits(lambda: hub.said("is here") > came, "a new connection")
    tell("a new connection at hub")


def all_end(*owners: "Running") -> None:
    """Wait for good ends; a bad one is told at once, whoever waits for that owner."""
    while going := [owner for owner in owners if owner.process.poll() != 0]:
        for owner in going:
            if owner.process.poll() is not None or len(going) == 1:
                owner.ends()
        time.sleep(0.1)


def missed(stage: Stage, net: "Network", hub: "Running", how: str) -> float:
    """Seconds until an owner gives up its stream to a server that is silent from now on."""
    probe = [sys.executable, __file__, "--probe", str(stage.folder), "north"]
    with net.running("north", probe, stage.folder) as asking:
        asking.says("answered")
        began = time.monotonic()
        with stopped(hub.process) if how == "frozen" else net.unplugged("north"):
            asking.waits(lambda: asking.said("gave up") > 0, "to give up", 2 * DEADLINE)
        asking.ends()
        seconds = float(asking.read().split("gave up at ")[1].split()[0]) - began
    tell(f"a server that is {how} is given up after {seconds:.1f} s ({NOTICED:g} s wanted)")
    return seconds


@contextmanager
def stopped(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """It is frozen while the block runs: its kernel answers, it does not."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def probe(folder: Path, name: str) -> int:
    """An owner that asks over its stream, again and again, until it gives the stream up."""
    f = read(folder / "federation.yaml")
    with reached(f, f.chain[0], Credentials.load(folder / name)) as remote:
        remote.patience = 0.0  # the first connection that is lost is told
        at = At(f.agreed, f.owners.index(name), 0, 0)
        while True:
            try:
                with suppress(WireError):  # another number of steps than before: an answer too
                    remote.hello(at, 1)
            except UnreachableError as e:
                print(f"gave up at {time.monotonic()} ({e})", flush=True)
                return 0
            print("answered", flush=True)
            time.sleep(0.5)


@dataclass
class Running:
    """A party's process; what it prints and logs goes into a file."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def read(self) -> str:
        return self.log.read_text()

    def said(self, text: str) -> int:
        """How often."""
        return self.read().count(text)

    def says(self, text: str) -> None:
        """Wait until it does."""
        self.waits(lambda: self.said(text) > 0, f"'{text}'")

    def waits(self, until: Callable[[], object], what: str, most: float = MOST) -> None:
        """Wait until something holds.

        Raises:
            SystemExit: it ended before, or that took too long.
        """
        end = time.monotonic() + most
        while not until():
            ended = self.process.poll() is not None
            if (ended and not until()) or time.monotonic() > end:
                raise SystemExit(f"{self.name}: {what} wanted within {most:g} s:\n{self.read()}")
            time.sleep(0.1)

    def ends(self) -> None:
        """Wait for a good end."""
        self.waits(lambda: self.process.poll() == 0, "exit code 0")


@dataclass(frozen=True)
class Network:
    """A bridge, and a namespace linked to it for each party. tag: what all names begin with."""

    tag: str

    def space(self, name: str) -> str:
        return f"{self.tag}-{name}"

    def plug(self, name: str) -> str:
        """A link's end at the bridge. A name has at most 15 characters."""
        return f"{self.tag}p{PARTIES.index(name)}"

    def lay(self, name: str) -> None:
        """The namespace of a party, and its link."""
        space, inner = self.space(name), f"{self.tag}e{PARTIES.index(name)}"
        ip("netns", "add", space)
        ip("link", "add", self.plug(name), "type", "veth", "peer", "name", inner, "netns", space)
        ip("link", "set", self.plug(name), "master", self.tag, "up")
        ip("-n", space, "address", "add", f"{ADDRESSES[name]}/24", "dev", inner)
        for device in ("lo", inner):
            ip("-n", space, "link", "set", device, "up")

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.space(name), *command]

    @contextmanager
    def running(self, name: str, command: Sequence[str], folder: Path) -> Iterator[Running]:
        """A process in a party's namespace, ended with the block."""
        log = folder / f"{name}-{time.monotonic_ns()}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                self.inside(name, command), stdout=file, stderr=file, env=environment()
            )
        try:
            yield Running(name, process, log)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, name: str, command: Sequence[str]) -> str:
        """A process in a party's namespace, to its end; what it printed.

        Raises:
            SystemExit: it failed.
        """
        given: Mapping[str, Any] = {"capture_output": True, "text": True, "env": environment()}
        done = subprocess.run(self.inside(name, command), timeout=MOST, **given)
        if done.returncode:
            raise SystemExit(f"{name}: exit code {done.returncode}: {done.stderr}")
        return str(done.stdout)

    def reaches(self, name: str, other: str) -> bool:
        """Whether a connection can be made."""
        target = f"({ADDRESSES[other]!r}, {PORT})"
        attempt = f"import socket; socket.create_connection({target}, timeout=3)"
        command = self.inside(name, [sys.executable, "-c", attempt])
        return subprocess.run(command, capture_output=True).returncode == 0

    @contextmanager
    def unplugged(self, name: str) -> Iterator[None]:
        """A party's link is down while the block runs."""
        ip("link", "set", self.plug(name), "down")
        try:
            yield
        finally:
            ip("link", "set", self.plug(name), "up")


@contextmanager
def network() -> Iterator[Network]:
    """The bridge and all namespaces, while the block runs."""
    net = Network(f"cut{os.getpid()}")
    try:
        ip("link", "add", net.tag, "type", "bridge")
        ip("link", "set", net.tag, "up")
        for name in PARTIES:
            net.lay(name)
        yield net
    finally:
        for name in PARTIES:
            _attempt("link", "delete", net.plug(name))
            _attempt("netns", "delete", net.space(name))
        _attempt("link", "delete", net.tag)


def check_permitted() -> None:
    """Make a namespace and a bridge, and delete them.

    Raises:
        SystemExit: this machine does not let this user do that; with what it said.
    """
    if shutil.which("ip") is None:
        raise SystemExit("iproute2 wanted, which has ip: apt-get install iproute2")
    if os.geteuid() != 0:
        raise SystemExit("root wanted, to make network namespaces: sudo python tests/namespaces.py")
    name = f"cut{os.getpid()}-probe"
    for command in (("netns", "add", name), ("link", "add", name[:14], "type", "bridge")):
        done = _attempt(*command)
        if done.returncode:
            _attempt("netns", "delete", name)
            raise SystemExit(f"'ip {' '.join(command)}' is not permitted here: {done.stderr}")
    _attempt("link", "delete", name[:14])
    _attempt("netns", "delete", name)


def ip(*command: str) -> None:
    """Run ip.

    Raises:
        SystemExit: it failed; with what it said.
    """
    done = _attempt(*command)
    if done.returncode:
        raise SystemExit(f"ip {' '.join(command)}: {done.stderr.strip()}")


def _attempt(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["ip", *command], capture_output=True, text=True)


def at_their_addresses(stage: Stage) -> Stage:
    """The same federation with an address on the bridge, which decides no weight."""
    path = stage.folder / "federation.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["addresses"] = {"hub": f"{ADDRESSES['hub']}:{PORT}"}
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return replace(stage, federation=read(path))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", "GRPC_VERBOSITY": "NONE"}


def tell(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN:6.1f} s  {text}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--probe"]:
        sys.exit(probe(Path(sys.argv[2]), sys.argv[3]))
    sys.exit(main())
