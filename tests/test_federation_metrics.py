"""What Prometheus is shown: counts that are right, names that are bounded, and nothing changed."""

import math
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from prometheus_client import CollectorRegistry
from torch import Tensor, nn

from cutlayer.defences import Chain, Defence, Defended, Laplace
from cutlayer.errors import ConfigError
from cutlayer.federation import build, serve
from cutlayer.federation.file import Federation, from_plain
from cutlayer.federation.letters import Correspondence
from cutlayer.federation.member import Member
from cutlayer.federation.metrics import LeakageMeter, ServerMetrics, shown
from cutlayer.federation.user import Served
from cutlayer.metrics import bias_corrected_distance_correlation
from cutlayer.parties import Owner, Server, optimiser
from cutlayer.parts import Part
from cutlayer.training import Plan, dealt, train
from cutlayer.wire import At, FarSide, Tap
from cutlayer.wire.identity import Authority, Credentials, Identity
from cutlayer.wire.labels import LabelsHere
from cutlayer.wire.members import Exchange
from cutlayer.wire.message import Kind, Message, WireError, encode
from cutlayer.wire.states import States

torch.set_num_threads(1)
BASE: dict[str, Any] = {
    "schema_version": 1,
    "federation": "clinics",
    "session": "first",
    "model": "mlp",
    "cut": ["act1"],
    "input_shape": [6],
    "outputs": 3,
    "owners": ["north"],
    "users": ["u1"],
    "server": "hub",
    "epochs": 2,
    "batch_size": 8,
}
SAMPLES, SENT = 30, 64  # of the owner; numbers in one message for a sample, behind act1
STEPS = (8, 8, 8, 6)  # samples in each step of an epoch
DCOR = "cutlayer_distance_correlation_sent"
NORTH, USER, CUT = "owner/north", "user/u1", "cutlayer_cut_"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"), "clinics")


@pytest.fixture(scope="module")
def parties(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a server, an owner, a user, and a user who is not in the file."""
    root = tmp_path_factory.mktemp("parties")
    authority.issue("server", "hub", root / "hub", addresses=["localhost", "127.0.0.1"])
    for role, name in (("owner", "north"), ("user", "u1"), ("user", "u2")):
        authority.issue(role, name, root / name)
    return root


@pytest.fixture
def metrics() -> ServerMetrics:
    return ServerMetrics(from_plain(BASE))


@pytest.fixture
def served(
    parties: Path, authority: Authority, metrics: ServerMetrics, tmp_path: Path
) -> Iterator[Federation]:
    """A federation whose server is there, and counts."""
    taken_back = authority.folder / "revoked.json"
    with serve.listening(
        from_plain(BASE),
        parties / "hub",
        taken_back,
        tmp_path / "hub",
        address="localhost:0",
        watch=metrics,
    ) as found:
        yield from_plain(BASE | {"addresses": {"hub": f"localhost:{found.port}"}})


def data(n: int, width: int = 6) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(n)
    return torch.rand(n, width, generator=rng), torch.randint(0, 3, (n,), generator=rng)


def take_part(f: Federation, parties: Path, folder: Path, **more: Any) -> tuple[Owner, Any]:
    """Train to the end; the owner, and its meter if ``more`` says what kind."""
    noise = (Part("laplace", {"scale": 0.2}),)
    owner = build.owner(f, 0, data(SAMPLES), noise, bytes(32))
    credentials = Credentials.load(parties / "north")
    with serve.reached(f, "hub", credentials) as remote:
        meter = LeakageMeter(remote, owner.defended, **more) if more else None
        letters = Correspondence(f, 0, credentials, remote)
        states = States(folder / "north", f.identity)
        far = build.as_labels_are(f, meter or remote)
        Member(f, owner, remote, far, letters, states).train()
    return owner, meter


def scraped(registry: CollectorRegistry, address: str = "127.0.0.1:0") -> str:
    """The page as Prometheus gets it."""
    with shown(registry, address) as port:
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())


def value(page: str, name: str, *labels: str) -> float:
    """The one sample of that name and these labels."""
    found = [
        line.rsplit(" ", 1)
        for line in page.splitlines()
        if line.startswith((f"{name} ", f"{name}{{"))
        and all(f'"{label}"' in line for label in labels)
    ]
    assert len(found) == 1, (name, labels, found)
    return float(found[0][1])


def of(page: str, name: str, party: str, kind: str) -> float:
    return value(page, f"cutlayer_{name}_total", f"spiffe://clinics/{party}", kind)


# A server


def test_a_session_is_counted_by_party_and_kind(
    served: Federation, metrics: ServerMetrics, parties: Path, tmp_path: Path
) -> None:
    take_part(served, parties, tmp_path)
    user = Credentials.load(parties / "u1")
    with serve.reached(served, "hub", user) as remote:
        output = remote.predict(torch.zeros(5, SENT))
        with pytest.raises(WireError, match="an owner or a relay wanted"):  # at the door
            remote.step(torch.zeros(4, SENT), torch.zeros(4).long(), at=At("first", 0, 0, 0))
    page = scraped(metrics.registry)
    steps = 2 * len(STEPS)
    assert of(page, "requests", NORTH, "STEP") == steps
    assert of(page, "refused", NORTH, "STEP") == 0
    assert of(page, "requests", NORTH, "HELLO") == 1
    at = At("first", 0, 0, 0)
    asked = [
        encode(Message.at(Kind.STEP, at, torch.zeros(n, SENT), torch.zeros(n).long()))
        for n in STEPS
    ]
    assert of(page, "received_bytes", NORTH, "STEP") == 2 * sum(map(len, asked))
    told = [
        encode(Message.at(Kind.RESULT, at, torch.zeros(()), torch.zeros(n, SENT))) for n in STEPS
    ]
    assert of(page, "sent_bytes", NORTH, "STEP") == 2 * sum(map(len, told))
    assert of(page, "requests", USER, "PREDICT") == 1
    answer = encode(Message.at(Kind.OUTPUT, at, output))
    assert of(page, "sent_bytes", USER, "PREDICT") == len(answer)
    assert value(page, "cutlayer_answer_seconds_count", "STEP") == steps
    assert 0 < value(page, "cutlayer_answer_seconds_sum", "STEP") < 60


def test_who_is_no_member_and_what_cannot_be_read_share_a_line(
    metrics: ServerMetrics,
) -> None:
    stranger = Identity("clinics", "user", "u2")
    for kind in (Kind.PREDICT, Kind.SAVE, Kind.DONE):  # the last of what cannot be read
        metrics(Exchange(stranger, kind, Kind.REFUSED, 10, 20, 0.1))
    page = scraped(metrics.registry)
    assert "u2" not in page
    for kind in ("PREDICT", "SAVE"):
        labels = ("other", kind)
        assert value(page, "cutlayer_requests_total", *labels) == 1, kind
        assert value(page, "cutlayer_refused_total", *labels) == 1, kind
    unread = 'cutlayer_refused_total{kind="other",party="other"} 1.0'
    assert unread in page


def test_labels_cannot_be_made_up(metrics: ServerMetrics) -> None:
    known = [("owner", "north"), ("user", "u1"), ("server", "hub")]
    unknown = [("user", "north"), ("owner", "u1"), *(("user", f"u{i}") for i in range(2, 99))]
    for role, name in [*known, *unknown]:
        party = Identity("clinics", role, name)  # type: ignore[arg-type]
        for kind in Kind:
            metrics(Exchange(party, kind, Kind.REFUSED, 1, 1, 0.1))
    metrics(Exchange(Identity("others", "owner", "north"), Kind.STEP, Kind.DONE, 1, 1, 0.1))
    lines = scraped(metrics.registry).splitlines()
    refused = [line for line in lines if line.startswith("cutlayer_refused_total")]
    asked = [kind for kind in Kind if kind < Kind.RESULT]
    assert len(refused) == (len(known) + 1) * (len(asked) + 1)
    assert not any("others" in line or "owner/u1" in line for line in lines)


# An owner


def server(width: int = 6) -> Server:
    torch.manual_seed(1)
    segment = nn.Sequential(nn.Linear(width, 3))
    return Server(segment, optimiser("adam", segment, 1e-2), root=5, shape=(width,))


def owner_of(n: int, *defences: Defence, secret: bytes | None = None) -> Owner:
    torch.manual_seed(2)
    defended = Defended(nn.Sequential(nn.Linear(6, 6), nn.Tanh()), Chain(*defences))
    own = optimiser("adam", defended, 1e-2)
    return Owner(0, defended, own, data(n), root=5, secret=secret)


def plan(epochs: int = 2) -> Plan:
    return Plan(session="first", epochs=epochs, batch_size=32)


def different(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of what is not bit for bit the same."""
    names = one.keys() | other.keys()
    return [k for k in names if not torch.equal(one[k], other[k])]


@contextmanager
def metered(far: FarSide, owner: Owner, **more: int) -> Iterator[LeakageMeter]:
    meter = LeakageMeter(far, owner.defended, **more)
    try:
        yield meter
    finally:
        meter.close()


def last_of_each(owner: Owner, tap: Tap, epochs: int, most: int) -> tuple[Tensor, Tensor]:
    """The last inputs, each once, with the last message for it; by a slower way."""
    index = torch.cat([i for epoch in range(epochs) for i in dealt(plan(), owner, epoch)])
    sent, found = torch.cat(tap.seen), dict[int, Tensor]()
    for i, z in zip(reversed(index.tolist()), sent.flip(0), strict=True):
        if len(found) < most:
            found.setdefault(i, z)
    return owner.data[0][list(found)], torch.stack(list(found.values()))


@pytest.mark.parametrize("n", [40, 300, 700])  # fewer than are kept, and more
def test_the_meter_shows_the_metric(n: int) -> None:
    owner, tap = owner_of(n, Laplace(0.3)), Tap(server())
    with metered(tap, owner, every=1) as meter:
        train(plan(), [owner], meter)
    x, z = last_of_each(owner, tap, 2, 256)
    page = scraped(meter.registry)
    expected = float(bias_corrected_distance_correlation(x, z))
    assert 0.05 < expected < 0.95
    assert value(page, DCOR) == pytest.approx(expected, abs=1e-5)
    assert value(page, "cutlayer_distance_correlation_samples") == len(x) == min(n, 256)


def test_more_noise_reads_lower_and_never_below_zero() -> None:
    found = []
    for scale in (0.0, 0.2, 1000.0):
        owner = owner_of(300, Laplace(scale))
        with metered(server(), owner, every=10) as meter:
            train(plan(), [owner], meter)
        found.append(value(scraped(meter.registry), DCOR))
    assert 1 >= found[0] > 0.5 > found[1] > 0.1 > found[2] >= 0


def test_a_negative_estimate_is_shown_as_none() -> None:
    x = torch.arange(16.0).reshape(4, 4)
    z = torch.tensor([[1.0], [0.0], [0.0], [1.0]])
    assert bias_corrected_distance_correlation(x, z) < 0
    defended = Defended(nn.Identity(), Chain())
    meter = LeakageMeter(Tap(server(1)), defended, every=1)
    defended(x)
    meter.predict(z)  # as if this had been made of x
    assert value(scraped(meter.registry), DCOR) == 0


def test_nothing_measured_is_not_nothing_leaked() -> None:
    owner = owner_of(60)
    with metered(server(), owner) as meter:
        assert math.isnan(value(scraped(meter.registry), DCOR))
        train(plan(), [owner], meter)  # 4 messages: not yet the fiftieth
        page = scraped(meter.registry)
        assert math.isnan(value(page, DCOR))
        assert value(page, f"{CUT}messages_total") == 4
        train(plan(25), [owner], meter)
        page = scraped(meter.registry)
        assert value(page, DCOR) > 0
        assert value(page, "cutlayer_distance_correlation_samples") == 60


@pytest.mark.parametrize("secret", [None, bytes(32)], ids=["stream", "secret"])
@pytest.mark.parametrize("labels", ["server", "owner"])
def test_the_meter_changes_no_bit(secret: bytes | None, labels: str) -> None:
    states = []
    for with_meter in (False, True):
        owner, far = owner_of(100, Laplace(0.3), secret=secret), server()
        torch.manual_seed(9)
        with ExitStack() as stack:
            line: FarSide = far
            if with_meter:
                line = stack.enter_context(metered(far, owner, every=1))
            train(plan(3), [owner], LabelsHere(line) if labels == "owner" else line)
        states.append(owner.state() | {f"far.{k}": v for k, v in far.state().items()})
        states[-1]["random"] = torch.get_rng_state()
    assert different(*states) == []


def test_what_crosses_is_counted_with_labels_and_without() -> None:
    n, z = 70, 70 * 6 * 4
    for labels, messages, size in (("server", 3, z + n * 8), ("owner", 6, z + n * 3 * 4)):
        owner = owner_of(n)
        with metered(server(), owner) as meter:
            far = LabelsHere(meter) if labels == "owner" else meter
            train(plan(1), [owner], far)
        page = scraped(meter.registry)
        assert value(page, f"{CUT}messages_total") == messages, labels
        assert value(page, f"{CUT}samples_total") == n, labels
        assert value(page, f"{CUT}bytes_total") == size, labels


def test_who_serves_is_metered_too() -> None:
    defended, tap, x = owner_of(1, Laplace(0.3)).defended, Tap(server()), data(50)[0]
    meter = LeakageMeter(tap, defended, every=2)
    list(Served(defended, (), bytes(32)).predict(x, meter, batch_size=25))
    expected = float(bias_corrected_distance_correlation(x, torch.cat(tap.seen)))
    page = scraped(meter.registry)
    assert value(page, DCOR) == pytest.approx(expected, abs=1e-5)
    assert value(page, f"{CUT}samples_total") == 50


def test_a_message_sent_again_is_measured_once() -> None:
    defended, x = owner_of(1, Laplace(0.3)).defended, data(50)[0]
    tap = Tap(server())
    meter = LeakageMeter(tap, defended, every=1)
    for _ in range(3):  # as after going back to a checkpoint
        meter.predict(defended(x))
    expected = float(bias_corrected_distance_correlation(x, tap.seen[-1]))
    assert value(scraped(meter.registry), DCOR) == pytest.approx(expected, abs=1e-5)


def test_what_is_empty_or_came_another_way_is_not_paired() -> None:
    defended = owner_of(1).defended
    meter = LeakageMeter(Tap(server()), defended, every=1)
    meter.predict(defended(torch.zeros(0, 6)))
    defended(torch.rand(9, 6))
    meter.predict(torch.rand(8, 6))  # not what was made of the nine
    meter.close()
    meter.predict(defended(torch.rand(9, 6)))
    assert math.isnan(value(scraped(meter.registry), DCOR))
    assert not defended.defence._forward_hooks


def test_over_the_network_the_owner_ends_with_the_same_bits(
    served: Federation, parties: Path, tmp_path: Path
) -> None:
    owner, meter = take_part(served, parties, tmp_path, every=8)
    page = scraped(meter.registry)
    assert value(page, f"{CUT}samples_total") == 2 * SAMPLES
    assert 0 < value(page, DCOR) <= 1
    noise = (Part("laplace", {"scale": 0.2}),)
    inside = build.owner(served, 0, data(SAMPLES), noise, bytes(32))
    train(build.plan_of(served), [inside], build.whole_chain(served))
    assert different(owner.state(), inside.state()) == []


def test_counts_that_are_too_low_are_refused() -> None:
    for every, most in ((0, 256), (50, 3)):
        with pytest.raises(ValueError, match="every >= 1 and most >= 4 wanted: got"):
            LeakageMeter(server(), owner_of(1).defended, every=every, most=most)


# The page


def test_a_port_alone_is_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, bind = [], socket.socket.bind
    monkeypatch.setattr(
        socket.socket, "bind", lambda self, to: (asked.append(to[0]), bind(self, to))[1]
    )
    assert "# EOF" not in scraped(CollectorRegistry(), "0")
    assert asked == ["127.0.0.1"]


@pytest.mark.parametrize("address", ["", ":9464", "localhost", "localhost:x", "h:65536", "h:-1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    wanted = "HOST:PORT or PORT wanted, a port from 0 to 65,535: got "
    with pytest.raises(ConfigError, match=wanted), shown(CollectorRegistry(), address):
        pass


def test_a_port_in_use_is_refused_and_given_back() -> None:
    with shown(CollectorRegistry(), "127.0.0.1:0") as port:
        again = shown(CollectorRegistry(), str(port))
        with pytest.raises(OSError, match=f"metrics at {port}: .* free wanted: .*; take"), again:
            pass

    class Stop(Exception):  # noqa: N818
        pass

    for _ in range(2):  # free again, however the block ended
        with pytest.raises(Stop), shown(CollectorRegistry(), str(port)):
            raise Stop


@pytest.mark.parametrize("host", ["203.0.113.7", "no..name"])
def test_a_host_that_is_another_is_refused(host: str) -> None:
    again = shown(CollectorRegistry(), f"{host}:0")
    with pytest.raises(OSError, match="an address of this machine"), again:
        pass


def test_nothing_is_imported_until_metrics_are_asked_for() -> None:
    code = (
        "import sys, cutlayer.federation.metrics, cutlayer.federation.serve\n"
        "assert 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
