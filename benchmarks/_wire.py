"""The parties of ``benchmarks.wire`` that need a process of their own.

``python -m benchmarks._wire PARTY FOLDER``; whoever listens says so once it does.
"""

import socket
import ssl
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from torch import Tensor

from cutlayer.federation import build
from cutlayer.federation.demo import free_ports
from cutlayer.federation.file import Federation, read
from cutlayer.federation.letters import Correspondence
from cutlayer.federation.member import Member
from cutlayer.federation.serve import reached
from cutlayer.memory import keep_freed_memory
from cutlayer.parties import Owner
from cutlayer.training import Progress, train
from cutlayer.wire import At, StepResult
from cutlayer.wire.identity import Authority, Credentials, Identity
from cutlayer.wire.listen import start
from cutlayer.wire.mailbox import Mailbox
from cutlayer.wire.members import Members
from cutlayer.wire.service import Service
from cutlayer.wire.states import States
from cutlayer.wire.turns import Sequence

NAME, HUB, OWNER = "bench", "hub", "north"
SHAPE, CLASSES, BATCH = (1, 28, 28), 10, 128
LENGTH = struct.Struct("<Q")


def set_up(folder: Path, *, users: int, steps: int) -> Federation:
    """Certificates, the federation's file, and addresses of who listens: the hub, echo and raw."""
    authority = Authority.create(folder / "authority", NAME)
    names = [f"user{i}" for i in range(users)]
    authority.issue("server", HUB, folder / HUB)
    authority.issue("owner", OWNER, folder / OWNER)
    for name in names:
        authority.issue("user", name, folder / name)
    ports = dict(zip((HUB, "echo", "raw"), free_ports(3), strict=True))
    for name, port in ports.items():
        (folder / f"{name}.port").write_text(str(port))
    settings = {
        "schema_version": 1,
        "federation": NAME,
        "session": "first",
        "model": "titcombe",
        "input_shape": list(SHAPE),
        "outputs": CLASSES,
        "owners": [OWNER],
        "users": names,
        "server": HUB,
        "addresses": {HUB: f"localhost:{ports[HUB]}"},
        "epochs": 1,
        "batch_size": BATCH,
        "seed": 0,
    }
    (folder / "federation.yaml").write_text(yaml.safe_dump(settings))
    (folder / "steps").write_text(str(steps))
    return read(folder / "federation.yaml")


def port_of(folder: Path, name: str) -> int:
    return int((folder / f"{name}.port").read_text())


class Echo:
    """A far side that answers at once, with a gradient of the message's shape."""

    def step(self, z: Tensor, y: Tensor, *, at: At) -> StepResult:
        return StepResult(torch.zeros(()), "mean", z)

    def forward(self, z: Tensor, *, at: At) -> Tensor:
        return z

    def backward(self, dh: Tensor, *, at: At) -> Tensor:
        return dh

    def predict(self, z: Tensor) -> Tensor:
        return z

    def save(self, at: At, folder: Path) -> None: ...

    def restore(self, at: At, folder: Path) -> None: ...


def echo(folder: Path) -> None:
    """Our service over ``Echo``."""
    service = Service(
        Echo(),
        session=NAME,
        members=Members(owners={OWNER: 0}),
        order=Sequence(),
        states=States(folder / "echo" / "states", NAME),
        mailbox=Mailbox(folder / "echo" / "mailbox"),
    )
    address = f"localhost:{port_of(folder, 'echo')}"
    revoked = folder / "authority" / "revoked.json"
    hub = Credentials.load(folder / HUB)
    server, _ = start(service, hub, address=address, revoked_list=revoked)
    print("listens", flush=True)
    server.wait_for_termination()


def raw(folder: Path) -> None:
    """One connection whose bytes go back as they came: a length, then so many."""
    context = tls(ssl.PROTOCOL_TLS_SERVER, folder, HUB)
    with socket.create_server(("localhost", port_of(folder, "raw"))) as listening:
        print("listens", flush=True)
        connection, _ = listening.accept()
        with context.wrap_socket(connection, server_side=True) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            buffer = bytearray()
            while length := received(line, bytearray(LENGTH.size)):
                (size,) = LENGTH.unpack(length)
                if len(buffer) != size:
                    buffer = bytearray(size)
                received(line, buffer)
                line.sendall(length)
                line.sendall(buffer)


def tls(side: int, folder: Path, name: str) -> ssl.SSLContext:
    """Both sides show a certificate, as over gRPC."""
    context = ssl.SSLContext(side)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(folder / name / "authority.pem")
    context.load_cert_chain(folder / name / "certificate.pem", folder / name / "key.pem")
    return context


def received(line: ssl.SSLSocket, buffer: bytearray) -> bytearray:
    """The buffer, full; empty if nobody is there any more."""
    view = memoryview(buffer)
    while view:
        count = line.recv_into(view)
        if not count:
            return bytearray()
        view = view[count:]
    return buffer


def raw_line(folder: Path) -> ssl.SSLSocket:
    """To ``raw``."""
    connection = socket.create_connection(("localhost", port_of(folder, "raw")))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    host = Identity(NAME, "server", HUB).host
    return tls(ssl.PROTOCOL_TLS_CLIENT, folder, OWNER).wrap_socket(connection, server_hostname=host)


def join(folder: Path) -> None:
    """An owner trains over the network, as ``cutlayer join`` does."""
    f, credentials = read(folder / "federation.yaml"), Credentials.load(folder / OWNER)
    losses: list[float] = []

    def on_step(epoch: int, done: int, steps: int, loss: float) -> None:
        losses.append(loss)
        pause(sum(losses))

    with reached(f, f.server, credentials) as remote:
        states = States(folder / "joined", f.identity)
        letters = Correspondence(f, 0, credentials, remote)
        member = Member(f, owner(f, folder), remote, remote, letters, states, on_step)
        sys.stdin.readline()
        member.train()


def alone(folder: Path) -> None:
    """The same training in one process."""
    f = read(folder / "federation.yaml")
    owners, far = [owner(f, folder)], build.whole_chain(f)

    def on_step(progress: Progress) -> None:
        pause(progress.loss_sum)

    sys.stdin.readline()
    train(build.plan_of(f), owners, far, on_step=on_step)


def owner(f: Federation, folder: Path) -> Owner:
    """One with random data and no defence, the same in every process."""
    torch.manual_seed(0)
    n = BATCH * int((folder / "steps").read_text())
    data = torch.rand(n, *SHAPE), torch.randint(CLASSES, (n,))
    return build.owner(f, 0, data, (), bytes(32))


def pause(loss: float) -> None:
    """Say how it stands, and wait for a line; at the end of the lines, stop."""
    print(loss, flush=True)
    if not sys.stdin.readline():
        raise SystemExit


PARTIES: dict[str, Callable[[Path], None]] = {
    "echo": echo,
    "raw": raw,
    "join": join,
    "alone": alone,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_freed_memory()
    PARTIES[sys.argv[1]](Path(sys.argv[2]))
