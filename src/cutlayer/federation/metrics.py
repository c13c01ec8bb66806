"""Metrics for Prometheus: what a server is asked, and how much of its inputs an owner sends.

``prometheus_client`` is imported only where metrics are asked for.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..defences import Defended
from ..errors import ConfigError
from ..metrics import bias_corrected_distance_correlation
from ..roles import Role
from ..wire import At, FarSide, StepResult
from ..wire.identity import Identity
from ..wire.members import Exchange
from ..wire.message import Kind
from .file import Federation

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

OTHER = "other"  # who is no member; what asks for nothing
LEAST = 4  # pairs that a distance correlation without bias needs
# Up to the time for which who has to wait for its turn is held.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_log = logging.getLogger(__name__)


class ServerMetrics:
    """Counts what is asked of the server or a relay, and what it answers: pass it as ``watch``.

    Who has a certificate but does not stand in the federation's file is counted as "other", and
    so is a message that cannot be read: nobody can make up a label.

    Attributes:
        registry: What to show.
    """

    def __init__(self, f: Federation) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self.registry = CollectorRegistry()
        self._members = _members(f)

        def counter(name: str, text: str) -> Counter:
            return Counter(f"cutlayer_{name}", text, ("party", "kind"), registry=self.registry)

        self._requests = counter("requests", "Messages that came.")
        self._refused = counter("refused", "Messages that were answered with a refusal.")
        self._received = counter("received_bytes", "Bytes of the messages that came.")
        self._sent = counter("sent_bytes", "Bytes of the answers.")
        self._seconds = Histogram(
            "cutlayer_answer_seconds",
            "Seconds from a message to its answer, waiting for its turn included.",
            ("kind",),
            buckets=_SECONDS,
            registry=self.registry,
        )

    def __call__(self, exchange: Exchange) -> None:
        party = str(exchange.party)
        kind = exchange.kind.name if exchange.kind < Kind.RESULT else OTHER
        labels = (party if party in self._members else OTHER, kind)
        self._requests.labels(*labels).inc()
        self._refused.labels(*labels).inc(exchange.answer == Kind.REFUSED)
        self._received.labels(*labels).inc(exchange.received)
        self._sent.labels(*labels).inc(exchange.sent)
        self._seconds.labels(kind).observe(exchange.seconds)


def _members(f: Federation) -> frozenset[str]:
    """The full names of all that stand in the file."""
    named: dict[Role, tuple[str, ...]] = {
        "owner": f.owners,
        "user": f.users,
        "relay": f.relays,
        "server": (f.server,),
    }
    pairs = [(role, name) for role, names in named.items() for name in names]
    return frozenset(str(Identity(f.federation, role, name)) for role, name in pairs)


class LeakageMeter:
    """Wraps any far side and measures how much of its inputs an owner's messages show.

    It keeps the last inputs and what was sent for them, of each input only the last message: the
    same input twice would pass for dependence. Inputs never leave it but as one number. It draws
    nothing at random and changes nothing that is sent. Put it next to the network, inside
    ``LabelsHere``: what it counts is then what crosses.

    Args:
        far: Who gets the messages.
        defended: The owner's side, where the inputs are overheard.
        every: Messages from one measurement to the next; each costs time and memory of ``most²``.
        most: Pairs that are kept.

    Attributes:
        registry: What to show. The gauge is NaN until something has been measured.

    Raises:
        ValueError: a count that is too low.
    """

    def __init__(
        self, far: FarSide, defended: Defended, *, every: int = 50, most: int = 256
    ) -> None:
        if every < 1 or most < LEAST:
            raise ValueError(f"every >= 1 and most >= {LEAST} wanted: got {every} and {most}")
        self.far, self.every, self.most = far, every, most
        self._x: Tensor | None = None  # of the message that is about to be sent
        self._pairs: dict[int, tuple[Tensor, Tensor]] = {}  # by input, oldest first
        self._crossed = 0
        self._build_metrics()
        # The chain is called with the input on every path to a message, the segment is not.
        self._hook = defended.defence.register_forward_hook(self._overhear, with_kwargs=True)

    def _build_metrics(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self.registry = CollectorRegistry()

        def counter(name: str, text: str) -> Counter:
            return Counter(f"cutlayer_cut_{name}", text, registry=self.registry)

        self._messages = counter("messages", "Messages with tensors that were sent.")
        self._samples = counter("samples", "Samples in the messages that were sent.")
        self._bytes = counter("bytes", "Bytes of the tensors that were sent.")
        self._leaked = Gauge(
            "cutlayer_distance_correlation_sent",
            "Bias-corrected squared distance correlation of inputs and what was sent for them, "
            "from 0 to 1; higher means more leaked. In records: dcor_x_z_corrected.",
            registry=self.registry,
        )
        self._leaked.set(float("nan"))
        self._measured = Gauge(
            "cutlayer_distance_correlation_samples",
            "Samples that the distance correlation was measured on.",
            registry=self.registry,
        )

    def close(self) -> None:
        """Overhear no more."""
        self._hook.remove()
        self._x = None

    def _overhear(
        self, chain: nn.Module, args: tuple[Any, ...], more: dict[str, Tensor | None], sent: Tensor
    ) -> None:
        self._x = more.get("x")

    def _count(self, *tensors: Tensor) -> None:
        self._messages.inc()
        self._bytes.inc(sum(t.numel() * t.element_size() for t in tensors))

    def _crosses(self, z: Tensor) -> None:
        """Take down a message to the far side, and measure when it is time."""
        x, self._x = self._x, None
        if x is not None and 0 < len(x) == len(z):
            self._keep(x[-self.most :], z[-self.most :])
        self._samples.inc(len(z))
        self._crossed += 1
        if self._crossed % self.every == 0 and len(self._pairs) >= LEAST:
            self._measure()

    def _keep(self, x: Tensor, z: Tensor) -> None:
        x, z = x.detach().cpu().clone(), z.detach().cpu().clone()
        contents = x.reshape(len(x), -1).contiguous().view(torch.uint8).numpy()
        for content, x_i, z_i in zip(contents, x, z, strict=True):
            key = hash(content.tobytes())
            self._pairs.pop(key, None)
            self._pairs[key] = (x_i, z_i)
        for old in list(self._pairs)[: -self.most]:
            del self._pairs[old]

    def _measure(self) -> None:
        inputs, sent = zip(*self._pairs.values(), strict=True)
        x, z = torch.stack(inputs), torch.stack(sent)
        found = float(bias_corrected_distance_correlation(x, z))
        self._leaked.set(max(found, 0.0))  # this way round, NaN stays NaN
        self._measured.set(len(x))

    def step(self, z: Tensor, y: Tensor, *, at: At) -> StepResult:
        self._count(z, y)
        self._crosses(z)
        return self.far.step(z, y, at=at)

    def forward(self, z: Tensor, *, at: At) -> Tensor:
        self._count(z)
        self._crosses(z)
        return self.far.forward(z, at=at)

    def backward(self, dh: Tensor, *, at: At) -> Tensor:
        self._count(dh)
        return self.far.backward(dh, at=at)

    def predict(self, z: Tensor) -> Tensor:
        self._count(z)
        self._crosses(z)
        return self.far.predict(z)

    def save(self, at: At, folder: Path) -> None:
        self.far.save(at, folder)

    def restore(self, at: At, folder: Path) -> None:
        self.far.restore(at, folder)


@contextmanager
def shown(registry: "CollectorRegistry", address: str) -> Iterator[int]:
    """Serve ``/metrics`` over plain HTTP while the block runs; yields the port.

    Whoever reaches the port reads it: it asks for no certificate.

    Args:
        address: HOST:PORT, or PORT for 127.0.0.1; port 0 for any.

    Raises:
        ConfigError: no such address.
        OSError: the address cannot be had, or is in use.
    """
    from prometheus_client import start_http_server

    host, port = _host_and_port(address)
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, UnicodeError) as e:
        raise OSError(
            f"metrics at {address}: an address of this machine that is free wanted: {e}; take "
            "another port, or 0 for any"
        ) from e
    _log.info("metrics at http://%s:%d/metrics", host, server.server_port)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _host_and_port(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else "127.0.0.1"
    if not host or not (port.isascii() and port.isdigit()) or int(port) >= 2**16:
        raise ConfigError(
            f"metrics: HOST:PORT or PORT wanted, a port from 0 to 65,535: got {address!r}; "
            "127.0.0.1:9464, say"
        )
    return host, int(port)
