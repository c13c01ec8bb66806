"""Connections that speak no gRPC, too slowly, or are too many."""

import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from attacked import LIMIT, Attacked, party, resident, sample

from cutlayer.wire import At
from cutlayer.wire.mailbox import Mailbox
from cutlayer.wire.message import Kind, Message, decode, encode
from cutlayer.wire.remote import EXCHANGE, HEALTH, PREDICT

GARBAGE = {
    "HTTP/1": b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n",
    "HTTP/2 in the clear": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "a TLS record of noise": b"\x16\x03\x01\xff\xff" + os.urandom(65_000),
    "a greeting of SSH": b"SSH-2.0-x\r\n",
    "zeros": bytes(100_000),
    "noise": os.urandom(100_000),
    "nothing": b"",
}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """One of HTTP/2."""
    return (
        len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content
    )


def opened(method: str, stream: int = 1) -> bytes:
    """Frames that begin a call, up to its first message."""
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":path": method,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    pairs = ((k.encode(), v.encode()) for k, v in fields.items())
    block = b"".join(b"\0" + bytes([len(k)]) + k + bytes([len(v)]) + v for k, v in pairs)
    return PREFACE + frame(4, 0, 0, b"") + frame(1, 4, stream, block)


@contextmanager
def plain(attacked: Attacked) -> Iterator[socket.socket]:
    with socket.create_connection(("localhost", attacked.port), timeout=10) as found:
        yield found


@contextmanager
def secured(attacked: Attacked, name: str, speaks: str = "h2") -> Iterator[ssl.SSLSocket]:
    """A raw connection with a valid certificate."""
    folder: Path = attacked.parties / name
    context = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    context.set_alpn_protocols([speaks])
    with (
        plain(attacked) as below,
        context.wrap_socket(below, server_hostname="localhost") as found,
    ):
        yield found


def until_closed(connection: socket.socket, seconds: float = 5) -> bytes:
    """What comes until the other side hangs up, or says nothing more."""
    connection.settimeout(seconds)
    found = b""
    try:
        while more := connection.recv(65_536):
            found += more
    except OSError:
        pass
    return found


@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_no_tls_gets_nowhere(attacked: Attacked, name: str) -> None:
    with attacked.beside(), plain(attacked) as connection:
        with ExitStack() as stack:
            for _ in range(10):
                other = stack.enter_context(plain(attacked))
                other.sendall(GARBAGE[name])
        connection.sendall(GARBAGE[name])
        if GARBAGE[name]:
            assert b"200 OK" not in until_closed(connection)


@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_no_grpc_gets_nowhere_with_a_certificate_either(
    attacked: Attacked, name: str
) -> None:
    with attacked.beside(), secured(attacked, "u1") as connection:
        try:
            connection.sendall(GARBAGE[name])
        except OSError:  # it has hung up before the end
            return
        if GARBAGE[name]:
            assert b"grpc-status" not in until_closed(connection)


def test_half_a_message_and_then_silence_holds_nobody_up(
    attacked: Attacked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with attacked.beside() as at, ExitStack() as stack:
        before = resident()
        content = encode(Message.at(Kind.STEP, at, *sample()))
        promised = b"\0" + LIMIT.to_bytes(4, "big")  # one message of gRPC
        for length in (0, 1, 5, 20, 40, 1000):
            connection = stack.enter_context(secured(attacked, "south"))
            connection.sendall(opened(EXCHANGE) + frame(0, 0, 1, (promised + content)[:length]))
        connection.sendall((opened(EXCHANGE, 3))[: len(PREFACE) + 20])  # half a frame
        time.sleep(0.5)
        assert healthy(attacked, "north")
        assert resident() - before < 50 * 2**20
    assert caplog.text.count("owner/south is here") >= 1 + 6  # its own, and those


def test_a_message_that_promises_gigabytes_to_grpc_is_refused_at_once(attacked: Attacked) -> None:
    with attacked.beside(), secured(attacked, "u1") as connection:
        before = resident()
        promised = b"\0" + (2**32 - 1).to_bytes(4, "big")
        connection.sendall(opened(PREDICT) + frame(0, 0, 1, promised + bytes(100)))
        said = until_closed(connection, 2)
        assert b"larger than max" in said
        assert resident() - before < 50 * 2**20


def test_many_idle_connections_hold_nobody_up(attacked: Attacked) -> None:
    with attacked.beside(), ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(plain(attacked))
        for _ in range(30):
            stack.enter_context(secured(attacked, "u2"))
        assert healthy(attacked, "north")


def test_many_predictions_at_once_hold_no_training_up(attacked: Attacked) -> None:
    message = encode(Message.at(Kind.PREDICT, at_start(attacked), torch.rand(700, 64)))
    with attacked.beside(), attacked.channel("u1") as channel:
        ask: Any = channel.unary_unary(PREDICT)
        waiting = [ask.future(message, timeout=30) for _ in range(100)]
        assert healthy(attacked, "north")
        for one in waiting:
            assert decode(one.result()).kind == Kind.OUTPUT


@pytest.mark.parametrize("name", ["u1", "u2", "south"])
@pytest.mark.parametrize("apart", [False, True], ids=["one connection", "many connections"])
def test_many_open_streams_of_one_party_hold_nobody_up(
    attacked: Attacked, name: str, apart: bool
) -> None:
    with attacked.beside(), ExitStack() as stack:
        for _ in range(40):
            if apart or not _:
                channel = stack.enter_context(attacked.channel(name))
            stack.enter_context(idle(channel))
        time.sleep(0.5)
        assert healthy(attacked, "north", seconds=3)


@contextmanager
def idle(channel: grpc.Channel) -> Iterator[None]:
    """A stream on which nothing is said."""
    sent: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    open_stream: Any = channel.stream_stream(EXCHANGE)
    call = open_stream(iter(sent.get, None))
    try:
        yield
    finally:
        call.cancel()
        sent.put(None)


def healthy(attacked: Attacked, name: str, seconds: float = 10) -> bool:
    """Whether somebody who comes now is answered."""
    with attacked.channel(name) as channel:
        ask: Any = channel.unary_unary(HEALTH)
        try:
            return b"session" in ask(b"", timeout=seconds)
        except grpc.RpcError:
            return False


def at_start(attacked: Attacked) -> At:
    return At(attacked.federation.agreed, 0, 0, 0)


def test_a_party_that_connects_twice_at_once_is_let_in_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, write = threading.Barrier(2), Path.write_bytes

    def together(path: Path, content: Any) -> int:
        written = write(path, content)
        with suppress(threading.BrokenBarrierError):  # one after the other is right, too
            both.wait(0.5)
        return written

    monkeypatch.setattr(Path, "write_bytes", together)
    found: list[Exception] = []

    def come() -> None:
        try:
            Mailbox(tmp_path).introduce(party("north"), b"certificate")
        except OSError as e:
            found.append(e)

    threads = [threading.Thread(target=come) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not found
