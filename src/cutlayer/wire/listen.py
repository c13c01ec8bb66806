"""A service on a port: gRPC over TLS in which both sides show a certificate."""

import json
import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import torch

from .identity import Credentials, Identity, number_of, revoked, who
from .message import Kind
from .remote import EXCHANGE, HEALTH, KEEPALIVE, PREDICT
from .service import Service

MOST_REFUSED = 100  # in a row, on one stream
MOST_STREAMS = 2  # of one party: each holds a thread; a third one displaces the first
MOST_CALLS = 64  # of one party at once
_log = logging.getLogger(__name__)


class Handler(grpc.GenericRpcHandler):
    """The service as gRPC sees it."""

    def __init__(self, service: Service, revoked_list: Path) -> None:
        self._service, self._taken_back = service, _TakenBack(revoked_list)
        self._streams: dict[Identity, list[grpc.ServicerContext]] = defaultdict(list)
        self._calls: Counter[Identity] = Counter()
        self._lock = threading.Lock()

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        if details.method == EXCHANGE:
            return grpc.stream_stream_rpc_method_handler(self._exchange)
        if details.method == PREDICT:
            return grpc.unary_unary_rpc_method_handler(self._predict)
        if details.method == HEALTH:
            return grpc.unary_unary_rpc_method_handler(self._health)
        return None

    def _exchange(
        self, messages: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        party, refused = self._party(context), 0
        if party.role not in ("owner", "relay"):
            self._refuse(context, f"an owner or a relay wanted: got {party}")
        self._displace(party, context)
        _log.info("%s is here", party)
        number = number_of(_certificate(context))
        for message in messages:
            if number in self._taken_back.numbers():  # since it came
                self._refuse(context, f"a certificate in force wanted: {number} was revoked")
            reply = self._service.answer(message, party, context.is_active)
            refused = refused + 1 if reply[5] == Kind.REFUSED else 0
            yield reply
            if refused == MOST_REFUSED:
                said = f"{refused} messages in a row were refused"
                _log.warning("hung up on %s: %s", party, said)
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, said)
        _log.info("%s hung up", party)

    def _displace(self, party: Identity, context: grpc.ServicerContext) -> None:
        with self._lock:
            streams = [c for c in self._streams[party] if c.is_active()]
            for old in streams[: len(streams) + 1 - MOST_STREAMS]:
                old.cancel()
            self._streams[party] = [*streams, context][-MOST_STREAMS:]

    def _predict(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        party = self._party(context)
        with self._lock:
            self._calls[party] += 1
            many = self._calls[party] > MOST_CALLS
        try:
            if many:
                said = f"at most {MOST_CALLS} calls of one party at once wanted"
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, said)
            return self._service.predicted(message, party)
        finally:
            with self._lock:
                self._calls[party] -= 1

    def _health(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self._party(context)
        return json.dumps(self._service.health()).encode()

    def _party(self, context: grpc.ServicerContext) -> Identity:
        """Who calls: a member of the federation whose certificate was not taken back."""
        certificate = _certificate(context)
        try:
            party = who(certificate, without=self._taken_back.numbers())
            if not self._service.members.knows(party):
                raise ValueError(f"a member of this federation wanted: got {party}")
            if party.role in ("owner", "user"):
                self._service.mailbox.introduce(party, certificate)
            return party
        except (ValueError, OSError) as e:
            self._refuse(context, str(e))
            raise

    def _refuse(self, context: grpc.ServicerContext, said: str) -> None:
        _log.warning("refused %s: %s", context.peer(), said)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, said)


def _certificate(context: grpc.ServicerContext) -> bytes:
    (certificate,) = context.auth_context()["x509_pem_cert"]
    return bytes(certificate)


class _TakenBack:
    """The list of revoked certificates, read anew when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, (0, frozenset[int]())

    def numbers(self) -> frozenset[int]:
        """All of them.

        Raises:
            ValueError: the list is not there, or is none.
        """
        try:
            changed = self._path.stat().st_mtime_ns
        except OSError as e:
            raise ValueError(f"{self._path}: a list of revoked certificates wanted: {e}") from e
        if changed != self._read[0]:
            self._read = (changed, revoked(self._path))
        return self._read[1]


def start(
    service: Service,
    credentials: Credentials,
    *,
    address: str,
    revoked_list: Path,
) -> tuple[grpc.Server, int]:
    """A server that listens, and its port.

    Args:
        address: HOST:PORT; port 0 for any.

    Raises:
        OSError: the address cannot be had, or is in use.
        ValueError: the list of revoked certificates cannot be read.
    """
    revoked(revoked_list)
    size = service.limits.bytes + 1024
    options = [
        *KEEPALIVE,
        ("grpc.max_receive_message_length", size),
        ("grpc.max_send_message_length", size),
        ("grpc.so_reuseport", 0),
    ]
    members = service.members
    streams = len(members.owners) + len(members.relays)  # each holds a thread
    # A new thread starts with as many threads of arithmetic as the machine has cores, whatever the
    # process was told: that changes last digits.
    workers = ThreadPoolExecutor(
        MOST_STREAMS * streams + 2 * MOST_CALLS,
        initializer=torch.set_num_threads,
        initargs=(torch.get_num_threads(),),
    )
    server = grpc.server(workers, options=options)
    server.add_generic_rpc_handlers((Handler(service, revoked_list),))
    pair = [(credentials.key, credentials.certificate)]
    tls = grpc.ssl_server_credentials(pair, credentials.authority, require_client_auth=True)
    try:
        port = server.add_secure_port(address, tls)
    except RuntimeError as e:
        raise OSError(f"{address}: an address that is free wanted: {e}") from e
    server.start()
    return server, port
