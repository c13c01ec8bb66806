"""Throw wrong messages at a service while an honest owner trains with it; compare the weights.

``python tests/fuzz.py --messages 100000`` (``make fuzz``). Everything is in one process. The
fuzzer speaks as an owner that was given up, as a user, a relay, a server and strangers; its
messages are valid ones with bits, fields, lengths and shapes changed, or noise. No exception may
escape, every reply has to decode, none may take long, memory may not grow, and the honest owner
has to end with the bits of an undisturbed run. Exit code 1 if anything of this is not so.
"""

import argparse
import logging
import random
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from cutlayer.parties import Server, optimiser
from cutlayer.wire import At
from cutlayer.wire import service as served
from cutlayer.wire.identity import Identity
from cutlayer.wire.mailbox import Mailbox
from cutlayer.wire.members import Members
from cutlayer.wire.message import (
    COUNTS,
    Kind,
    Limits,
    Message,
    bytes_tensor,
    decode,
    encode,
)
from cutlayer.wire.service import Service
from cutlayer.wire.states import States
from cutlayer.wire.turns import Turns

SESSION, STEPS, EPOCHS, WIDTH = "fuzzed", 20, 3, 6
LIMIT = 20_000  # bytes of a message
SLOWEST, SLACK = 1.0, 100 * 2**20  # seconds of a call; bytes of memory beyond some messages
HONEST = Identity("clinics", "owner", "north")
GIVEN_UP = Identity("clinics", "owner", "south")
USER = Identity("clinics", "user", "u1")
HOSTILE = (
    GIVEN_UP,
    USER,
    Identity("clinics", "user", "stranger"),
    Identity("clinics", "owner", "stranger"),
    Identity("clinics", "relay", "north"),
    Identity("clinics", "server", "hub"),
    Identity("hospitals", "user", "north"),
)
SUBJECTS = (
    *(b"start", b"start/1", b"giver", b"starter", b"participants", b"letter/0/0", b"letter/1/0"),
    *(b"final/0", b"final/1", b"certificate/owner/north", b"../x", b"a" * 300, b"", b"\xff\x00"),
)
NUMBERS = (0, 1, 2, 7, 255, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


@dataclass
class Found:
    """What came of it."""

    replies: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    grown: int = 0
    seconds: float = 0.0
    left_out: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("cutlayer").setLevel(logging.CRITICAL)  # it would say all that is refused
    found = fuzz(arguments.messages, arguments.seed)
    for kind, count in found.replies.most_common():
        print(f"{count:9,} {kind}")
    print(f"{found.left_out:9,} left out: the given-up owner's right to come back")
    print(f"{found.seconds:.0f} s, slowest call {found.slowest:.2f} s")
    print(f"memory grew by {found.grown / 2**20:.1f} MiB")
    print("\n".join(found.faults[:20]) or "the honest owner's weights are equal, bit for bit")
    return int(bool(found.faults))


def fuzz(messages: int, seed: int = 0) -> Found:
    """So many messages, from ever new sessions in which one owner trains."""
    served.HOLD = 0.02
    rng, found, started = random.Random(seed), Found(), time.monotonic()
    expected, left = undisturbed(), messages
    memory = resident()
    while left > 0:
        with tempfile.TemporaryDirectory() as folder:
            count = min(left, 5000)
            session(Path(folder), rng, count, expected, found)
            left -= count
    found.grown = resident() - memory
    if found.grown > SLACK + 10 * LIMIT:
        found.faults.append(f"memory grew by {found.grown:,} bytes")
    found.seconds = time.monotonic() - started
    return found


def session(
    folder: Path, rng: random.Random, count: int, expected: dict[str, Tensor], found: Found
) -> None:
    """One training, and so many messages beside it."""
    service = opened(folder)
    ahead = threading.Semaphore(0)  # the honest owner goes on by a step for each of these
    said: list[str] = []
    owner = threading.Thread(target=lambda: said.extend(honest(service, ahead.acquire)))
    owner.start()
    places = EPOCHS * STEPS
    for number in range(count):
        if number * places // count != (number - 1) * places // count:
            ahead.release()
        throw(service, rng, found)
    for _ in range(places):
        ahead.release()
    owner.join(60)
    if owner.is_alive():
        said.append("it does not come to an end")
    found.faults += [f"the honest owner: {fault}" for fault in said]
    if not same(weights(service.far), expected):
        found.faults.append("the weights differ from those of an undisturbed run")


def opened(folder: Path) -> Service:
    """A service in which owner 0 is there and owner 1 was given up."""
    order = Turns(2, EPOCHS, "hand-over", 5)
    service = Service(
        server(),
        session=SESSION,
        members=Members(owners={"north": 0, "south": 1}, users=frozenset({"u1"})),
        order=order,
        states=States(folder / "states", "fuzzed"),
        mailbox=Mailbox(folder / "mailbox"),
        limits=Limits(bytes=LIMIT),
    )
    order.give_up(1)
    return service


def server() -> Server:
    torch.manual_seed(1)
    segment = nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 3))
    return Server(segment, optimiser("adam", segment, 1e-2), root=5, shape=(WIDTH,))


def undisturbed() -> dict[str, Tensor]:
    """The weights of the same training when nobody else speaks."""
    far = server()
    for epoch in range(EPOCHS):
        for step in range(STEPS):
            far.step(*batch(epoch, step), at=At(SESSION, 0, epoch, step))
    return weights(far)


def batch(epoch: int, step: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(100 * epoch + step)
    return torch.rand(8, WIDTH, generator=rng), torch.randint(0, 3, (8,), generator=rng)


def honest(service: Service, wait: Callable[[], object]) -> Iterator[str]:
    """Owner 0's training, step by step; what went wrong."""
    for message in course(wait):
        reply = decode(service.answer(encode(message), HONEST))
        if reply.kind not in (Kind.DONE, Kind.RESULT):
            said = reply.text if reply.kind == Kind.REFUSED else ""
            yield f"{message.kind.name} was answered with {reply.kind.name} {said}"
            return


def course(wait: Callable[[], object]) -> Iterator[Message]:
    """All that it says."""
    yield Message.at(Kind.HELLO, At(SESSION, 0, 0, 0), torch.tensor(STEPS))
    for epoch in range(EPOCHS):
        for step in range(STEPS + 1):
            at = At(SESSION, 0, epoch, step)
            if step % 5 == 0:
                yield Message.at(Kind.SAVE, at)
            if step < STEPS:
                wait()
                yield Message.at(Kind.STEP, at, *batch(epoch, step))
        letter = bytes_tensor(f"letter/0/{epoch}".encode()), bytes_tensor(b"sealed")
        yield Message.at(Kind.POST, At(SESSION, 0, epoch, STEPS), *letter)


def throw(service: Service, rng: random.Random, found: Found) -> None:
    """One message, and what is checked of its answer."""
    party, data = rng.choice((*HOSTILE, *[GIVEN_UP] * 8, *[USER] * 4)), made(rng)
    if party == GIVEN_UP and comes_back(data):
        found.left_out += 1
        return
    waits = rng.random() < 0.03  # else it is told at once to ask again
    asked: dict[bool, Callable[[], bytes]] = {
        True: lambda: service.predicted(data, party),
        False: lambda: service.answer(data, party, lambda: waits),
    }
    started = time.monotonic()
    try:
        reply = decode(asked[rng.random() < (0.8 if party == USER else 0.2)]())
        found.replies[reply.kind.name] += 1
    except Exception as e:
        said = f"{type(e).__name__} escaped: {str(e)[:100]}; {party} said {data[:200].hex()}"
        found.replies[f"escaped: {type(e).__name__}"] += 1
        found.faults.append(said)
    seconds = time.monotonic() - started
    found.slowest = max(found.slowest, seconds)
    if seconds > SLOWEST:
        found.faults.append(f"{seconds:.1f} s for {data[:200].hex()} of {party}")


def comes_back(data: bytes) -> bool:
    """Whether it is a valid HELLO, with which an owner that was given up takes part again."""
    try:
        message = decode(data)
    except ValueError:
        return False
    return message.kind == Kind.HELLO


def made(rng: random.Random) -> bytes:
    """A message: rarely a whole one, mostly one with something changed, or noise."""
    if rng.random() < 0.05:
        return rng.randbytes(rng.choice((0, 1, 35, 36, 37, 200, 5000)))
    data = encode(valid(rng))
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
        data = rng.choice((flipped, cut, extended, numbered, renamed, reshaped))(data, rng)
    return data


def valid(rng: random.Random) -> Message:
    """One of every kind, somewhere in the training or far beside it."""
    kind = rng.choice(list(Kind))
    number = rng.choice((0, *[1] * 8, 2, 65535))
    epoch = rng.choice((*range(EPOCHS + 1), rng.choice(NUMBERS[:9])))
    step = rng.choice((*range(STEPS + 1), rng.choice(NUMBERS[:9])))
    at = At(SESSION if rng.random() < 0.95 else "another", number, epoch, step)
    return Message.at(kind, at, *(tensor(kind, i, rng) for i in range(COUNTS[kind])))


def tensor(kind: Kind, place: int, rng: random.Random) -> Tensor:
    """What such a message has there, or anything at all."""
    if rng.random() < 0.3:
        return anything(rng)
    if kind in (Kind.POST, Kind.FETCH) and place == 0:
        return bytes_tensor(rng.choice(SUBJECTS))
    if kind == Kind.STEP and place == 1:
        return torch.randint(-1, 4, (8,))
    if kind == Kind.HELLO:
        return torch.tensor(rng.choice((STEPS, 0, -1, 2**31 - 1, 2**40)))
    return torch.rand(8, 3 if kind == Kind.BACKWARD else WIDTH)


def anything(rng: random.Random) -> Tensor:
    shape = [rng.choice((0, 1, 2, 3, WIDTH)) for _ in range(rng.choice((0, 1, 2, 3, 4)))]
    dtype = rng.choice((torch.float32, torch.float64, torch.int64, torch.uint8))
    t = (100 * torch.rand(shape)).to(dtype)
    if t.is_floating_point() and rng.random() < 0.3:
        t = t * rng.choice((torch.nan, torch.inf, -torch.inf, 3e38, 1e-45))
    return t


def flipped(data: bytes, rng: random.Random) -> bytes:
    """A byte changed, mostly in front."""
    if not data:
        return data
    at = rng.randrange(min(len(data), rng.choice((36, 124, len(data)))))
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def extended(data: bytes, rng: random.Random) -> bytes:
    return data + rng.randbytes(rng.choice((1, 8, 44, 1000, LIMIT)))


def numbered(data: bytes, rng: random.Random) -> bytes:
    """A number in the header or a description set to one at a limit."""
    code = rng.choice("BHIQ")
    at = rng.choice((24, 28, 32, 36, 37, 38, 40, 48, 52, 56, 76, 80, 84, 92))
    size = struct.calcsize(code)
    number = rng.choice(NUMBERS) % 256**size
    return data[:at] + struct.pack(f"<{code}", number) + data[at + size :]


def renamed(data: bytes, rng: random.Random) -> bytes:
    """Another kind, with its number of tensors or without."""
    kind = rng.choice(list(Kind))
    count = COUNTS[kind] if rng.random() < 0.8 else rng.randrange(6)
    return data[:5] + bytes([kind, count]) + data[7:]


def reshaped(data: bytes, rng: random.Random) -> bytes:
    """The same bytes under other sides, zeros among them."""
    try:
        message = decode(data)
    except ValueError:
        return data
    tensors = tuple(
        t.reshape(rng.choice(([-1], [1, -1], [t.numel(), 1])))
        if t.numel()
        else t.reshape(0, 2**31, 3)
        for t in message.tensors
    )
    return encode(replace(message, tensors=tensors))


def weights(far: object) -> dict[str, Tensor]:
    assert isinstance(far, Server)
    return {k: v.clone() for k, v in far.state().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    sys.exit(main())
