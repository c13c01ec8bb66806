"""A service on a port: gRPC over TLS in which both sides show a certificate."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import torch

from .identity import Credentials, Identity, revoked, who
from .message import Kind
from .remote import EXCHANGE, HEALTH, KEEPALIVE, PREDICT
from .service import Service

MOST_REFUSED = 100  # in a row, on one stream
_log = logging.getLogger(__name__)


class Handler(grpc.GenericRpcHandler):
    """The service as gRPC sees it."""

    def __init__(self, service: Service, revoked_list: Path) -> None:
        self._service, self._revoked = service, revoked_list

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
        _log.info("%s is here", party)
        for message in messages:
            reply = self._service.answer(message, party, context.is_active)
            refused = refused + 1 if reply[5] == Kind.REFUSED else 0
            yield reply
            if refused == MOST_REFUSED:
                said = f"{refused} messages in a row were refused"
                _log.warning("hung up on %s: %s", party, said)
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, said)
        _log.info("%s hung up", party)

    def _predict(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        return self._service.predicted(message, self._party(context))

    def _health(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self._party(context)
        return json.dumps(self._service.health()).encode()

    def _party(self, context: grpc.ServicerContext) -> Identity:
        (certificate,) = context.auth_context()["x509_pem_cert"]
        try:
            party = who(bytes(certificate), without=revoked(self._revoked))
            if party.role == "owner" or party.role == "user":
                self._service.mailbox.introduce(party, bytes(certificate))
            return party
        except (ValueError, OSError) as e:
            _log.warning("refused %s: %s", context.peer(), e)
            context.abort(grpc.StatusCode.PERMISSION_DENIED, str(e))
            raise


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
        2 * streams + 16, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)
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
