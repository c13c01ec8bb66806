"""A session that is attacked: two honest owners train over a network, stopped in the middle.

What a test does inside ``beside`` happens between two messages of one owner; then the others go on.
Nothing of it may be seen in the weights.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import torch
from test_federation import BASE, in_one_process, owner, same, together
from torch import Tensor, nn

from cutlayer.federation import build, serve
from cutlayer.federation.file import Federation, from_plain
from cutlayer.federation.letters import Correspondence
from cutlayer.federation.member import Member
from cutlayer.wire import At
from cutlayer.wire.identity import Authority, Credentials, Identity
from cutlayer.wire.members import Exchange
from cutlayer.wire.message import Kind, Message, decode, encode
from cutlayer.wire.remote import EXCHANGE, PREDICT
from cutlayer.wire.service import Service
from cutlayer.wire.states import States

SIZES = (24, 20)  # samples of each owner: 3 steps in an epoch
STEPS = 3
LIMIT = 200_000  # bytes of a message
OFFICES = {"north": "owner", "south": "owner", "east": "owner", "u1": "user", "u2": "user"}
Reply = Message | grpc.StatusCode


def federation(**changes: Any) -> Federation:
    return from_plain(BASE | {"message_bytes": LIMIT, "patience": 60.0} | changes)


def issue(authority: Authority, folder: Path) -> Path:
    """Credentials of a server, a relay, two owners and a user of the session, and of strangers."""
    here = ["localhost", "127.0.0.1"]
    authority.issue("server", "hub", folder / "hub", addresses=here)
    authority.issue("relay", "middle", folder / "middle")
    for name, role in OFFICES.items():
        authority.issue(role, name, folder / name)  # type: ignore[arg-type]
    return folder


class Attacked:
    """One session, and ways to speak to its server.

    Args:
        pause: After how many answers to which owner the training stops, for ``beside``.
    """

    def __init__(self, parties: Path, authority: Authority, folder: Path, **changes: Any) -> None:
        self.parties, self.authority, self.folder = parties, authority, folder
        self.federation = federation(**changes)
        self.pause = ("south", 7)  # hello, giver, letter, save, two steps, save
        self._heard, self._here, self._go_on = 0, threading.Event(), threading.Event()

    @contextmanager
    def listening(self) -> Iterator["Attacked"]:
        revoked = self.authority.folder / "revoked.json"
        more = {"address": "localhost:0", "watch": self._watch}
        with serve.listening(
            self.federation, self.parties / "hub", revoked, self.folder / "hub", **more
        ) as found:
            self.service: Service = found.service
            self.port = found.port
            yield self

    def _watch(self, exchange: Exchange) -> None:
        """Holds an owner's answer back while the attack goes on."""
        name, count = self.pause
        if exchange.party.name != name or exchange.answer in (Kind.LATER, Kind.REFUSED):
            return
        self._heard += 1
        if self._heard == count:
            self._here.set()
            self._go_on.wait(120)

    @contextmanager
    def beside(self, seconds: float = 30) -> Iterator[At]:
        """The honest training, stopped in the middle: where ``pause`` says. Then its weights."""
        inside, far = in_one_process(self.federation, SIZES)
        with ExitStack() as stack:
            members = [stack.enter_context(self._member(number)) for number in range(len(SIZES))]
            jobs = [self._job(member) for member in members]
            found: list[Any] = []
            runner = threading.Thread(target=lambda: found.extend(together(jobs, 60)), daemon=True)
            runner.start()
            assert self._here.wait(30), "the honest owners came nowhere"
            try:
                yield self.next
            finally:
                self._go_on.set()
                runner.join(seconds)
            assert found, "the honest owners were not served any more"
        for module in found:
            assert isinstance(module, nn.Module), module
            assert same(module, inside)
        served: Any = self.service.far
        assert same(served.module, getattr(far, "far", far).module)

    @property
    def next(self) -> At:
        """What the paused owner does next."""
        number = self.federation.owners.index(self.pause[0])
        following = self.service.order.next_of(number)
        assert following is not None
        return At(self.federation.agreed, *following[1:])

    @contextmanager
    def _member(self, number: int) -> Iterator[Member]:
        f, name = self.federation, self.federation.owners[number]
        shown = Credentials.load(self.parties / name)
        known = replace(f, addresses={"hub": f"localhost:{self.port}"})
        with serve.reached(known, "hub", shown) as remote:
            yield Member(
                f,
                owner(f, number, SIZES[number]),
                remote,
                build.as_labels_are(f, remote),
                Correspondence(f, number, shown, remote),
                States(self.folder / name, f.identity),
            )

    @staticmethod
    def _job(member: Member) -> Any:
        return lambda: (member.train(), member.owner.module)[1]

    @contextmanager
    def channel(self, shown: Credentials | str) -> Iterator[grpc.Channel]:
        """A connection with somebody's credentials."""
        found = Credentials.load(self.parties / shown) if isinstance(shown, str) else shown
        tls = grpc.ssl_channel_credentials(found.authority, found.key, found.certificate)
        with grpc.secure_channel(f"localhost:{self.port}", tls) as channel:
            yield channel

    def say(self, name: str, *messages: Message | bytes, method: str = EXCHANGE) -> list[Reply]:
        """What each message is answered with, over one connection; or the code at its end."""
        found: list[Reply] = []
        data = [m if isinstance(m, bytes) else encode(m) for m in messages]
        with self.channel(name) as channel:
            try:
                if method == PREDICT:
                    ask: Any = channel.unary_unary(method)
                    found.extend(decode(ask(one, timeout=20)) for one in data)
                else:
                    stream: Any = channel.stream_stream(method)
                    found.extend(decode(one) for one in stream(iter(data), timeout=20))
            except grpc.RpcError as e:
                found.append(e.code())
        return found

    def weights(self) -> dict[str, Tensor]:
        """The server's weights and buffers, as they are now."""
        served: Any = self.service.far
        return {k: v.clone() for k, v in served.module.state_dict().items()}


def same_values(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def tree(attacked: Attacked) -> dict[str, int]:
    """All files of the session, and their sizes."""
    found = (p for p in attacked.folder.rglob("*") if p.is_file())
    return {str(p.relative_to(attacked.folder)): p.stat().st_size for p in found}


def party(name: str, federation: str = "clinics") -> Identity:
    return Identity(federation, OFFICES[name], name)  # type: ignore[arg-type]


def sample(n: int = 8) -> tuple[Tensor, Tensor]:
    """A message as the cut promises it, and labels."""
    return torch.rand(n, 64), torch.zeros(n, dtype=torch.int64)


def words(reply: Reply) -> str:
    """What a refusal says."""
    assert isinstance(reply, Message), reply
    assert reply.kind == Kind.REFUSED, reply.kind
    return reply.text


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
