"""A far side across a network: to an owner it is like one in the same process."""

import json
import queue
import threading
import time
from pathlib import Path
from typing import Any, Protocol, Self

import grpc
import numpy as np
import torch
from torch import Tensor

from .far_side import At, StepResult
from .identity import Credentials, Identity
from .message import Kind, Limits, Message, WireError, bytes_tensor, decode, encode, tensor_bytes

EXCHANGE, PREDICT, HEALTH = (
    f"/cutlayer.Split/{name}" for name in ("Exchange", "Predict", "Health")
)
KEEPALIVE = (  # a frozen peer is noticed within 10 s
    ("grpc.keepalive_time_ms", 4000),
    ("grpc.keepalive_timeout_ms", 4000),
    ("grpc.http2.ping_timeout_ms", 4000),  # what newer versions go by; a minute by default
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 3000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 3000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class BehindError(WireError):
    """The far side is elsewhere in the training: go back to a checkpoint, no later than that.

    Attributes:
        epoch, step: What it expects next.
    """

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__(f"epoch {epoch}, step {step} is expected; restore the last checkpoint")
        self.epoch, self.step = epoch, step


class OutError(WireError):
    """This owner was given up for the epoch: what it does in it no longer counts."""


class UnreachableError(ConnectionError):
    """Nobody answers, or the connection was lost; the same message may be sent again."""


class RemoteFarSide:
    """Implements ``FarSide`` over one stream with mutual TLS.

    A message that is not answered is sent again over a new connection, as it was: the far side
    repeats its reply and learns nothing twice.

    Args:
        address: HOST:PORT.
        credentials: Of this party.
        deadline: Seconds to wait for each answer.
        patience: Seconds to go on trying to reach a far side that is away.
        party: Who is to answer there. Without it, whoever has a certificate of the authority for
            that host name.

    Raises:
        UnreachableError: no answer within that time.
        WireError: an answer that is a refusal, or none at all to what was asked.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        *,
        deadline: float = 60.0,
        patience: float = 120.0,
        limits: Limits | None = None,
        party: Identity | None = None,
    ) -> None:
        self.party = party
        self.address, self.deadline, self.patience = address, deadline, patience
        self.limits = limits or Limits()
        self._tls = grpc.ssl_channel_credentials(
            credentials.authority, credentials.key, credentials.certificate
        )
        self._line: _Line | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def step(self, z: Tensor, y: Tensor, *, at: At) -> StepResult:
        reply = self._asked(Message.at(Kind.STEP, at, z, y), Kind.RESULT)
        loss, gradient = reply.tensors
        if loss.shape or gradient.shape != z.shape:
            raise WireError(
                f"a loss and a gradient of shape {tuple(z.shape)} wanted: got "
                f"{tuple(loss.shape)} and {tuple(gradient.shape)}"
            )
        return StepResult(_finite(loss), "sum" if reply.summed else "mean", _finite(gradient))

    def forward(self, z: Tensor, *, at: At) -> Tensor:
        return _finite(self._asked(Message.at(Kind.FORWARD, at, z), Kind.OUTPUT).tensors[0])

    def backward(self, dh: Tensor, *, at: At) -> Tensor:
        return _finite(self._asked(Message.at(Kind.BACKWARD, at, dh), Kind.OUTPUT).tensors[0])

    def predict(self, z: Tensor) -> Tensor:
        message = Message.at(Kind.PREDICT, At("", 0, 0, 0), z)
        output = self._asked(message, Kind.OUTPUT, alone=True).tensors[0]
        if output.dim() < 2 or len(output) != len(z):
            raise WireError(f"{len(z)} outputs wanted: got shape {tuple(output.shape)}")
        return output

    def save(self, at: At, folder: Path) -> None:
        """The far side keeps its state in its own place."""
        self._asked(Message.at(Kind.SAVE, at), Kind.DONE)

    def restore(self, at: At, folder: Path) -> None:
        self._asked(Message.at(Kind.RESTORE, at), Kind.DONE)

    def hello(self, at: At, steps: int) -> None:
        """Say that this owner is there, and how many steps its epoch has."""
        self._asked(Message.at(Kind.HELLO, at, torch.tensor(steps)), Kind.DONE)

    def post(self, at: At, subject: str, letter: bytes) -> None:
        """Leave a sealed letter for others."""
        tensors = bytes_tensor(subject.encode()), bytes_tensor(letter)
        self._asked(Message.at(Kind.POST, at, *tensors), Kind.DONE)

    def fetch(self, at: At, subject: str) -> bytes:
        """What is there under a subject; waits until it is."""
        message = Message.at(Kind.FETCH, at, bytes_tensor(subject.encode()))
        return tensor_bytes(self._asked(message, Kind.OUTPUT).tensors[0])

    def look_up(self, subject: str) -> bytes | None:
        """The same for who only predicts, without waiting: ``None`` if it is not there."""
        message = Message.at(Kind.FETCH, At("", 0, 0, 0), bytes_tensor(subject.encode()))
        reply = self._reply(message, alone=True)
        return None if reply.kind == Kind.LATER else tensor_bytes(reply.tensors[0])

    def health(self) -> dict[str, Any]:
        """How the far side is, see ``Service.health``."""
        found: dict[str, Any] = json.loads(self._exchanged(b"", HEALTH))
        return found

    def _reply(self, message: Message, *, alone: bool = False) -> Message:
        """What comes back, whatever it is, but for refusals."""
        method = PREDICT if alone else EXCHANGE
        reply = decode(self._exchanged(encode(message), method), self.limits)
        if not reply.answers(message):
            raise WireError(f"an answer to {message.kind.name} wanted: got one to another message")
        if reply.kind == Kind.BEHIND:
            if reply.tensors[0].shape != (2,) or reply.tensors[0].is_floating_point():
                raise WireError("an epoch and a step wanted: got something else")
            raise BehindError(*map(int, reply.tensors[0]))
        if reply.kind == Kind.OUT:
            raise OutError(f"{self.address}: skipped in epoch {message.epoch}: it took too long")
        if reply.kind == Kind.REFUSED:
            raise WireError(f"{self.address} refused {message.kind.name}: {reply.text}")
        return reply

    def _asked(self, message: Message, wanted: Kind, *, alone: bool = False) -> Message:
        """The answer of that kind, however long it takes until it is this party's turn."""
        reply = self._reply(message, alone=alone)
        while reply.kind == Kind.LATER:
            reply = self._reply(message, alone=alone)
        if reply.kind != wanted:
            raise WireError(f"{wanted.name} wanted for {message.kind.name}: got {reply.kind.name}")
        return reply

    def _exchanged(self, data: bytes, method: str) -> bytes:
        """The answer to these bytes, over as many connections as it takes."""
        until, wait = time.monotonic() + self.patience, 0.1
        while True:
            try:
                if self._line is None:
                    self._line = _Line(self.address, self._tls, self.limits, self.party)
                if method == EXCHANGE:
                    return self._line.along(data, self.deadline)
                return self._line.alone(data, method, self.deadline)
            except StopIteration:  # it hung up, and said no more
                self.close()
                self._pause(until, wait, "it hung up")
            except grpc.RpcError as e:
                self.close()
                code, details = e.code(), e.details() or ""
                if code not in _AGAIN:
                    raise WireError(f"{self.address}: {code.name.lower()}: {details}") from e
                self._pause(until, wait, details)
            wait = min(2 * wait, 2.0)

    def _pause(self, until: float, wait: float, details: str) -> None:
        if time.monotonic() + wait > until:
            raise UnreachableError(
                f"{self.address}: an answer within {self.patience:g} s wanted: {details}"
            )
        time.sleep(wait)


_AGAIN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)


class _Stream(Protocol):
    """Answers, in the order of what was sent."""

    def __next__(self) -> bytes: ...

    def cancel(self) -> object: ...


class _Line:
    """One connection."""

    def __init__(
        self, address: str, tls: grpc.ChannelCredentials, limits: Limits, party: Identity | None
    ) -> None:
        size = limits.bytes + 1024
        options: list[tuple[str, int | str]] = [
            *KEEPALIVE,
            ("grpc.max_receive_message_length", size),
            ("grpc.max_send_message_length", size),
        ]
        if party is not None:
            options.append(("grpc.ssl_target_name_override", party.host))
        self._channel = grpc.secure_channel(address, tls, options=options)
        self._sent: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._call: _Stream | None = None  # a stream holds a thread over there
        self._due, self._closed = float("inf"), threading.Event()

    def _opened(self) -> _Stream:
        if self._call is None:
            stream: grpc.StreamStreamMultiCallable[bytes, bytes]
            stream = self._channel.stream_stream(EXCHANGE)
            self._call = stream(iter(self._sent.get, None))
            threading.Thread(target=self._watch, args=(self._call,), daemon=True).start()
        return self._call

    def along(self, data: bytes, deadline: float) -> bytes:
        """Over the stream, one after the other."""
        call = self._opened()
        self._due = time.monotonic() + deadline
        self._sent.put(data)
        try:
            reply: bytes = next(call)
        finally:
            self._due = float("inf")
        return reply

    def alone(self, data: bytes, method: str, deadline: float) -> bytes:
        """As a call of its own."""
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(method)
        return ask(data, timeout=deadline)

    def close(self) -> None:
        self._closed.set()
        self._sent.put(None)
        self._channel.close()

    def _watch(self, call: _Stream) -> None:
        """Give the stream up when an answer is overdue: it has no deadline for each message."""
        while not self._closed.wait(0.2):
            if time.monotonic() > self._due:
                call.cancel()


def _finite(t: Tensor) -> Tensor:
    # By NumPy: 20 times as fast as t.isfinite() on a CPU, where this would be half of our own work.
    if not np.isfinite(t.numpy()).all():
        raise WireError("finite values wanted from the far side: got NaN or infinity")
    return t
