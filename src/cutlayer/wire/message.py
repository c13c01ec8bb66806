"""What crosses a network, as bytes: a header of fixed fields, then raw tensors.

Whoever reads trusts nothing: every field is checked against the rules and against the length of
what really came before any memory is set aside for a tensor. ``docs/wire.md`` says it in words.
"""

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from .far_side import At

MAGIC, VERSION = b"CUTL", 1
MOST_TENSORS, MOST_DIMENSIONS, MOST_TEXT = 4, 8, 1000
_HEADER = struct.Struct("<4sBBBB16sHHII")  # magic … flags, session, owner, zero, epoch, step
_TENSOR = struct.Struct("<BBHQ8I")  # dtype, rank, zero, bytes, sides
_MOST_EMPTY = 2**31  # product of the other sides of a tensor without elements
_SUMMED = 1  # flag: the loss is a sum over samples, not a mean


class Kind(IntEnum):
    """What a message asks for, or answers."""

    STEP = 1  # message, labels -> RESULT
    FORWARD = 2  # message -> OUTPUT
    BACKWARD = 3  # dL/d(output) -> OUTPUT
    PREDICT = 4  # message -> OUTPUT
    SAVE = 5  # -> DONE
    RESTORE = 6  # -> DONE
    HELLO = 7  # steps in an epoch -> DONE
    POST = 8  # subject, sealed letter -> DONE
    FETCH = 9  # subject -> OUTPUT
    RESULT = 16  # loss, gradient
    OUTPUT = 17  # one tensor
    DONE = 18
    LATER = 19  # not yet: ask again
    BEHIND = 20  # epoch and step that are expected: restore a checkpoint
    OUT = 21  # given up for this epoch: what comes in it no longer counts
    REFUSED = 31  # text


# How many tensors a message of each kind has.
COUNTS = {
    Kind.STEP: 2,
    Kind.FORWARD: 1,
    Kind.BACKWARD: 1,
    Kind.PREDICT: 1,
    Kind.SAVE: 0,
    Kind.RESTORE: 0,
    Kind.HELLO: 1,
    Kind.POST: 2,
    Kind.FETCH: 1,
    Kind.RESULT: 2,
    Kind.OUTPUT: 1,
    Kind.DONE: 0,
    Kind.LATER: 0,
    Kind.BEHIND: 1,
    Kind.OUT: 0,
    Kind.REFUSED: 1,
}
_DTYPES: tuple[tuple[torch.dtype, str], ...] = (  # by number on the wire, from 1 on
    (torch.float32, "<f4"),
    (torch.float64, "<f8"),
    (torch.int64, "<i8"),
    (torch.uint8, "u1"),
)


class WireError(ValueError):
    """Bytes that are no message, or a message that was not asked for."""


@dataclass(frozen=True)
class Limits:
    """What a reader is willing to take. bytes: of a whole message; samples: in it."""

    bytes: int = 64 * 2**20
    samples: int = 4096


@dataclass(frozen=True)
class Message:
    """One message. session: 16 bytes, see ``session_of``; summed: how a loss was reduced."""

    kind: Kind
    session: bytes
    owner: int
    epoch: int
    step: int
    tensors: tuple[Tensor, ...] = ()
    summed: bool = False

    @classmethod
    def at(cls, kind: Kind, at: At, *tensors: Tensor, summed: bool = False) -> "Message":
        """A message that belongs to a place in a training."""
        session = session_of(at.session)
        return cls(kind, session, at.owner, at.epoch, at.step, tensors, summed)

    def reply(self, kind: Kind, *tensors: Tensor, summed: bool = False) -> "Message":
        """The answer to this one."""
        place = (self.session, self.owner, self.epoch, self.step)
        return Message(kind, *place, tensors, summed)

    def answers(self, asked: "Message") -> bool:
        """Whether it belongs to the same place."""
        mine, theirs = ((m.session, m.owner, m.epoch, m.step) for m in (self, asked))
        return mine == theirs

    def refusal(self, reason: str) -> "Message":
        """An answer in words, cut where they grow too long."""
        return self.reply(Kind.REFUSED, bytes_tensor(reason.encode()[:MOST_TEXT] or b"?"))

    @property
    def text(self) -> str:
        """The words of a refusal, or of a subject."""
        return tensor_bytes(self.tensors[0][:MOST_TEXT]).decode(errors="replace")


def bytes_tensor(content: bytes) -> Tensor:
    """Bytes as a tensor ``(N,)`` of uint8."""
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())


def tensor_bytes(t: Tensor) -> bytes:
    """The inverse of ``bytes_tensor``.

    Raises:
        WireError: it is of another type or rank.
    """
    if t.dtype != torch.uint8 or t.dim() != 1:
        raise WireError(f"bytes wanted: got {t.dtype} of shape {tuple(t.shape)}")
    return t.numpy().tobytes()


def session_of(name: str) -> bytes:
    """The sixteen bytes that stand for a session's name."""
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


def encode(message: Message) -> bytes:
    """A message as it is sent.

    Raises:
        WireError: tensors of another number, type or rank than can be sent.
    """
    tensors = [t.detach().cpu().contiguous() for t in message.tensors]
    if len(tensors) != COUNTS[message.kind]:
        raise WireError(
            f"message {message.kind.name}: {COUNTS[message.kind]} tensors wanted, "
            f"got {len(tensors)}"
        )
    head = _HEADER.pack(
        *(MAGIC, VERSION, message.kind, len(tensors), _SUMMED if message.summed else 0),
        *(message.session, message.owner, 0, message.epoch, message.step),
    )
    bodies = [t.numpy().reshape(-1).view(np.uint8).data for t in tensors]
    return b"".join([head, *map(_descriptor, tensors), *bodies])


def _descriptor(t: Tensor) -> bytes:
    numbers = [i for i, (dtype, _) in enumerate(_DTYPES, 1) if dtype == t.dtype]
    if not numbers or t.dim() > MOST_DIMENSIONS:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype, _ in _DTYPES)
        raise WireError(
            f"tensors of {known} and at most {MOST_DIMENSIONS} dimensions wanted: got {t.dtype} "
            f"of shape {tuple(t.shape)}"
        )
    sides = [*t.shape, *[0] * (MOST_DIMENSIONS - t.dim())]
    return _TENSOR.pack(numbers[0], t.dim(), 0, t.numel() * t.element_size(), *sides)


def decode(data: bytes, limits: Limits | None = None) -> Message:
    """The message in these bytes. Tensors are copies: they share no memory with ``data``.

    Raises:
        WireError: whatever is wrong with them, the first thing that is.
    """
    limits = limits or Limits()
    if not _HEADER.size <= len(data) <= limits.bytes:
        raise WireError(
            f"message of {_HEADER.size} to {limits.bytes:,} bytes wanted: got {len(data):,}"
        )
    magic, version, kind, count, flags, session, owner, zero, epoch, step = _HEADER.unpack_from(
        data
    )
    if magic != MAGIC or version != VERSION:
        raise WireError(
            f"message {MAGIC.decode()} of version {VERSION} wanted: got {magic!r} of {version}"
        )
    if kind not in COUNTS or count != COUNTS[Kind(kind)]:
        raise WireError(f"message of a known kind and its tensors wanted: got {kind} with {count}")
    if zero or flags & ~_SUMMED:
        raise WireError("message with unused fields at 0 wanted: a later version?")
    tensors = tuple(_tensors(data, count))
    return Message(Kind(kind), session, owner, epoch, step, tensors, bool(flags & _SUMMED))


def _tensors(data: bytes, count: int) -> Iterator[Tensor]:
    start = _HEADER.size + count * _TENSOR.size
    if len(data) < start:
        raise WireError(f"message with {count} descriptions of tensors wanted: it ends before")
    found = [_described(data, _HEADER.size + i * _TENSOR.size) for i in range(count)]
    if start + sum(size for _, _, size in found) != len(data):
        raise WireError(f"message as long as its tensors wanted: got {len(data):,} bytes")
    for (_, code), shape, size in found:
        flat = np.frombuffer(data, code, size // np.dtype(code).itemsize, start)
        yield torch.from_numpy(flat.astype(flat.dtype.newbyteorder("=")).reshape(shape))
        start += size


def _described(data: bytes, at: int) -> tuple[tuple[torch.dtype, str], Sequence[int], int]:
    """Type, shape and bytes of one tensor, checked against one another."""
    number, rank, zero, size, *sides = _TENSOR.unpack_from(data, at)
    if not 1 <= number <= len(_DTYPES) or rank > MOST_DIMENSIONS or zero or any(sides[rank:]):
        raise WireError(f"tensor of a known type and rank wanted: got type {number}, rank {rank}")
    dtype, shape = _DTYPES[number - 1], sides[:rank]
    empty = not size and math.prod(side or 1 for side in shape) > _MOST_EMPTY
    if empty or math.prod(shape) * np.dtype(dtype[1]).itemsize != size:
        raise WireError(f"tensor of shape {tuple(shape)} wanted: got {size:,} bytes for it")
    return dtype, shape, size
