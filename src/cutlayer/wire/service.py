"""The far side of a cut behind a network: answers messages, one by one, and trusts none of them."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import torch
from torch import Tensor

from .far_side import At, FarSide
from .identity import Credentials, Identity, revoked, who
from .message import Kind, Limits, Message, WireError, decode, encode, session_of

EXCHANGE, PREDICT = "/cutlayer.Split/Exchange", "/cutlayer.Split/Predict"
KEEPALIVE = (  # a frozen peer is noticed within 10 s
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 4000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 4000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 4000),
    ("grpc.keepalive_permit_without_calls", 1),
)
_log = logging.getLogger(__name__)


@dataclass
class _Place:
    """Where an owner is in the training: its last message that was answered.

    restored: It was undone and done in another life; its reply is not there to be repeated.
    """

    epoch: int
    step: int
    restored: bool = False

    def may_come(self, epoch: int, step: int) -> bool:
        """Whether a message is that one again, or the next."""
        following = (self.epoch, self.step + 1), (self.epoch + 1, 0)
        again = (epoch, step) == (self.epoch, self.step) and not self.restored
        return again or (epoch, step) in following


class Service:
    """Answers the messages of one training session, and those of who only predicts.

    Args:
        far: What answers them.
        session: Its name; messages of another are refused.
        owners: By the name of a party, the number of an owner who may train.
        users: Names of parties who may predict; owners may as well.
        folder: Where states are saved.
        limits: What is read at all.
    """

    def __init__(
        self,
        far: FarSide,
        *,
        session: str,
        owners: Mapping[str, int],
        users: frozenset[str] = frozenset(),
        folder: Path,
        limits: Limits | None = None,
    ) -> None:
        self.far, self.session, self.owners, self.users = far, session, owners, users
        self.folder, self.limits = folder, limits or Limits()
        self._places: dict[int, _Place] = {}
        self._lock = threading.Lock()  # one message at a time changes the weights

    def answer(self, data: bytes, party: Identity) -> bytes:
        """The reply to a message, a refusal with its reason included. Never raises."""
        try:
            message = decode(data, self.limits)
        except WireError as e:
            return self._refused(Message(Kind.DONE, bytes(16), 0, 0, 0), party, str(e))
        try:
            self._check(message, party)
            with self._lock:
                reply = encode(self._carried_out(message))
                here = _Place(message.epoch, message.step, message.kind == Kind.RESTORE)
                self._places[message.owner] = here
            return reply
        except (ValueError, OSError, RuntimeError) as e:
            return self._refused(message, party, str(e))

    def predicted(self, data: bytes, party: Identity) -> bytes:
        """The reply to a message of who only predicts."""
        try:
            message = decode(data, self.limits)
        except WireError as e:
            return self._refused(Message(Kind.DONE, bytes(16), 0, 0, 0), party, str(e))
        try:
            if party.name not in self.users | self.owners.keys():
                raise WireError(f"a party that may predict wanted: got {party}")
            if message.kind != Kind.PREDICT:
                raise WireError(f"PREDICT wanted here: got {message.kind.name}")
            with self._lock:
                return encode(message.reply(Kind.OUTPUT, self.far.predict(message.tensors[0])))
        except (ValueError, RuntimeError) as e:
            return self._refused(message, party, str(e))

    def _check(self, message: Message, party: Identity) -> None:
        number = self.owners.get(party.name) if party.role == "owner" else None
        if number is None:
            raise WireError(f"an owner of this session wanted: got {party}")
        if message.owner != number:
            raise WireError(f"owner {number} wanted, which is {party}: got {message.owner}")
        if message.session != session_of(self.session):
            raise WireError(f"session {self.session} wanted: got another")

    def _carried_out(self, message: Message) -> Message:
        at = At(self.session, message.owner, message.epoch, message.step)
        if message.kind == Kind.RESTORE:
            self.far.restore(at, self._place_of(at))
            return message.reply(Kind.DONE)
        before = self._places.get(message.owner)
        if before is not None and not before.may_come(message.epoch, message.step):
            raise WireError(
                f"epoch {before.epoch}, step {before.step} or the next wanted: got "
                f"{message.epoch}, {message.step}; restore the last checkpoint"
            )
        if message.kind == Kind.SAVE:
            self._place_of(at).mkdir(parents=True, exist_ok=True)
            self.far.save(at, self._place_of(at))
            return message.reply(Kind.DONE)
        return self._learned(message, at)

    def _learned(self, message: Message, at: At) -> Message:
        first = message.tensors[0] if message.tensors else None
        if first is None:
            raise WireError(f"STEP, FORWARD or BACKWARD wanted: got {message.kind.name}")
        if message.kind == Kind.STEP:
            result = self.far.step(first, _labels(message.tensors[1], len(first)), at=at)
            summed = result.reduction == "sum"
            return message.reply(Kind.RESULT, result.loss, result.gradient, summed=summed)
        asked: dict[Kind, Callable[..., Tensor]] = {
            Kind.FORWARD: self.far.forward,
            Kind.BACKWARD: self.far.backward,
        }
        if message.kind not in asked:
            raise WireError(f"STEP, FORWARD or BACKWARD wanted: got {message.kind.name}")
        return message.reply(Kind.OUTPUT, asked[message.kind](first, at=at))

    def _place_of(self, at: At) -> Path:
        return self.folder / f"{at.owner}-{at.epoch:06d}-{at.step:09d}"

    def _refused(self, message: Message, party: Identity, reason: str) -> bytes:
        _log.warning("refused %s of %s: %s", message.kind.name, party, reason)
        return encode(message.refusal(reason))


def _labels(y: Tensor, n: int) -> Tensor:
    if y.dtype != torch.int64 or y.shape != (n,):
        raise WireError(f"{n} labels of int64 wanted: got {y.dtype} of shape {tuple(y.shape)}")
    return y


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
        return None

    def _exchange(
        self, messages: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        party = self._party(context)
        for message in messages:
            yield self._service.answer(message, party)

    def _predict(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        return self._service.predicted(message, self._party(context))

    def _party(self, context: grpc.ServicerContext) -> Identity:
        (certificate,) = context.auth_context()["x509_pem_cert"]
        try:
            return who(bytes(certificate), without=revoked(self._revoked))
        except ValueError as e:
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
    most = len(service.owners) + len(service.users) + 4  # every stream holds one
    server = grpc.server(ThreadPoolExecutor(most), options=options)
    server.add_generic_rpc_handlers((Handler(service, revoked_list),))
    pair = [(credentials.key, credentials.certificate)]
    tls = grpc.ssl_server_credentials(pair, credentials.authority, require_client_auth=True)
    try:
        port = server.add_secure_port(address, tls)
    except RuntimeError as e:
        raise OSError(f"{address}: an address that is free wanted: {e}") from e
    server.start()
    return server, port
