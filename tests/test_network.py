"""Between real parties: over a network nothing changes, and nobody gets in who should not."""

import datetime
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import torch
from torch import Tensor, nn

from cutlayer.cli import main
from cutlayer.defences import Chain, Defended, Laplace
from cutlayer.parties import Owner, Server, optimiser
from cutlayer.training import Checkpoints, Plan, train
from cutlayer.wire import At
from cutlayer.wire.identity import Authority, Credentials, Identity, revoked, who
from cutlayer.wire.listen import start
from cutlayer.wire.mailbox import Mailbox
from cutlayer.wire.members import Members
from cutlayer.wire.message import Kind, Limits, Message, WireError, encode
from cutlayer.wire.remote import BehindError, RemoteFarSide, UnreachableError
from cutlayer.wire.service import Service
from cutlayer.wire.states import States
from cutlayer.wire.turns import Sequence

torch.set_num_threads(1)
SESSION = "a-training"
PLAN = Plan(session=SESSION, epochs=2, batch_size=8)


def server() -> Server:
    torch.manual_seed(1)
    segment = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3))
    return Server(segment, optimiser("adam", segment, 1e-2), root=5, shape=(6,))


def owners(count: int = 1) -> list[Owner]:
    torch.manual_seed(2)
    first, found = nn.Sequential(nn.Linear(4, 6), nn.Tanh()), []
    for number in range(count):
        data = torch.rand(30, 4), torch.randint(0, 3, (30,))
        defended = Defended(nn.Sequential(*first), Chain(Laplace(0.1)))
        found.append(Owner(number, defended, optimiser("adam", defended, 1e-2), data, root=5))
    return found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"), "clinics")


@pytest.fixture(scope="module")
def folders(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a server, two owners, a user and a relay."""
    root = tmp_path_factory.mktemp("parties")
    authority.issue("server", "hub", root / "hub", addresses=["localhost", "127.0.0.1"])
    for role, name in (("owner", "north"), ("owner", "south"), ("user", "u1"), ("relay", "r")):
        authority.issue(role, name, root / name)
    return root


def credentials(folders: Path, name: str) -> Credentials:
    return Credentials.load(folders / name)


def service(far: Server, states: Path) -> Service:
    return Service(
        far,
        session=SESSION,
        members=Members(owners={"north": 0, "south": 1}, users=frozenset({"u1"})),
        order=Sequence(),
        states=States(states / "states", "any"),
        mailbox=Mailbox(states / "mailbox"),
        limits=Limits(bytes=100_000),
    )


class Listening:
    """A server that can be stopped and started again on the same port."""

    def __init__(self, far: Server, folders: Path, authority: Authority, states: Path) -> None:
        self.service = service(far, states)
        self.folders, self.list = folders, authority.folder / "revoked.json"
        self.port = 0
        self.start()

    def start(self) -> None:
        hub = credentials(self.folders, "hub")
        address = f"localhost:{self.port}"
        self.server, self.port = start(self.service, hub, address=address, revoked_list=self.list)

    def stop(self) -> None:
        self.server.stop(None).wait()

    def reached_by(self, name: str, **more: float) -> RemoteFarSide:
        return RemoteFarSide(
            f"localhost:{self.port}",
            credentials(self.folders, name),
            **more,  # type: ignore[arg-type]
        )


@pytest.fixture
def listening(folders: Path, authority: Authority, tmp_path: Path) -> Iterator[Listening]:
    found = Listening(server(), folders, authority, tmp_path / "states")
    yield found
    found.stop()


def at(step: int = 0, *, owner: int = 0, epoch: int = 0, session: str = SESSION) -> At:
    return At(session, owner, epoch, step)


def sample(n: int = 4) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 6), torch.zeros(n, dtype=torch.int64)


# Nothing changes


def test_a_training_over_the_network_ends_with_the_same_bits(listening: Listening) -> None:
    here, there = owners(), owners()
    inside, outside = server(), listening.service.far
    assert isinstance(outside, Server)
    train(PLAN, here, inside)
    with listening.reached_by("north") as far:
        train(PLAN, there, far)
    for a, b in ((here[0].module, there[0].module), (inside.module, outside.module)):
        for (name, one), other in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            assert torch.equal(one, other), name


def test_a_lost_connection_is_made_again_and_nothing_is_learned_twice(
    listening: Listening,
) -> None:
    inside, outside = server(), listening.service.far
    assert isinstance(outside, Server)
    z, y = sample()
    with listening.reached_by("north", patience=20) as far:
        for step in range(3):
            expected = inside.step(z, y, at=at(step))
            listening.stop()
            listening.start()
            assert torch.equal(far.step(z, y, at=at(step)).gradient, expected.gradient)
            far.close()  # as if the reply had been lost: asked again
            assert torch.equal(far.step(z, y, at=at(step)).gradient, expected.gradient)
    for one, other in zip(inside.module.parameters(), outside.module.parameters(), strict=True):
        assert torch.equal(one, other)


def test_labels_may_stay_with_the_owner(listening: Listening) -> None:
    inside, (z, _) = server(), sample()
    with listening.reached_by("north") as far:
        out = far.forward(z, at=at())
        assert torch.equal(out, inside.forward(z, at=at()))
        dh = torch.rand_like(out)
        assert torch.equal(far.backward(dh, at=at()), inside.backward(dh, at=at()))


def test_a_checkpoint_is_kept_on_both_sides(listening: Listening, tmp_path: Path) -> None:
    uninterrupted = owners()
    train(PLAN, uninterrupted, server())

    class Stop(Exception):  # noqa: N818
        pass

    def on_step(progress: object) -> None:
        if getattr(progress, "done", 0) == 6:
            raise Stop

    checkpoints = Checkpoints(tmp_path / "owner", every=2, identity="x")
    with listening.reached_by("north") as far:
        with pytest.raises(Stop):
            train(PLAN, owners(), far, checkpoints=checkpoints, on_step=on_step)
        listening.stop()
        # a new process of the server: it knows only its files
        listening.service = service(server(), listening.service.mailbox.folder.parent)
        listening.service.resume()
        listening.start()
        holder, _ = train(PLAN, owners(), far, checkpoints=checkpoints)
    pairs = zip(
        uninterrupted[0].module.state_dict().values(),
        holder.module.state_dict().values(),
        strict=True,
    )
    assert all(torch.equal(a, b) for a, b in pairs)


def test_what_was_restored_is_not_learned_again(listening: Listening, tmp_path: Path) -> None:
    with listening.reached_by("north") as far:
        far.step(*sample(), at=at(0))
        far.save(at(1), tmp_path)
        far.step(*sample(), at=at(1))
        far.restore(at(1), tmp_path)
        far.restore(at(1), tmp_path)  # its answer may have been lost
        with pytest.raises(BehindError, match="step 1 is expected"):
            far.step(*sample(), at=at(0))
        far.step(*sample(), at=at(1))


def test_who_only_uses_the_model_predicts(listening: Listening) -> None:
    z, _ = sample(5)
    with listening.reached_by("u1") as far:
        assert torch.equal(far.predict(z), server().predict(z))
        with pytest.raises(WireError, match="an owner or a relay wanted"):
            far.step(*sample(), at=at())


# Nobody gets in who should not


def test_a_party_cannot_speak_for_another(listening: Listening) -> None:
    with listening.reached_by("north") as far, pytest.raises(WireError, match="owner 0 wanted"):
        far.step(*sample(), at=at(owner=1))


@pytest.mark.parametrize(
    ("step", "epoch"), [(2, 0), (3, 2), (5, 1)], ids=["skipped", "an epoch skipped", "within"]
)
def test_steps_cannot_be_skipped_or_go_back(listening: Listening, step: int, epoch: int) -> None:
    with listening.reached_by("north") as far:
        far.step(*sample(), at=at(0))
        with pytest.raises(BehindError, match="step 1 is expected"):
            far.step(*sample(), at=at(step, epoch=epoch))
        far.step(*sample(), at=at(1))
        with pytest.raises(BehindError, match="restore the last checkpoint"):
            far.step(*sample(), at=at(0))


@pytest.mark.parametrize(
    ("z", "y", "said"),
    [
        (torch.zeros(4, 7), torch.zeros(4).long(), "shape"),
        (torch.full((4, 6), torch.nan), torch.zeros(4).long(), "finite"),
        (torch.zeros(4, 6), torch.zeros(3).long(), "4 labels"),
        (torch.zeros(4, 6), torch.zeros(4), "4 labels"),
        (torch.zeros(4, 6), torch.full((4,), 99), "out of bounds"),
        (torch.zeros(50_000, 6), torch.zeros(50_000).long(), "100,000 bytes|larger than max"),
    ],
)
def test_what_is_wrong_is_refused_and_the_session_goes_on(
    listening: Listening, z: Tensor, y: Tensor, said: str
) -> None:
    before = [p.clone() for p in listening.service.far.module.parameters()]  # type: ignore[attr-defined]
    with listening.reached_by("south") as bad, listening.reached_by("north") as good:
        with pytest.raises(WireError, match=said):
            bad.step(z, y, at=at(owner=1))
        after = listening.service.far.module.parameters()  # type: ignore[attr-defined]
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        good.step(*sample(), at=at())


def test_garbage_is_answered_with_a_refusal(
    listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    party = Identity("clinics", "owner", "north")
    reply = listening.service.answer(b"GET / HTTP/1.1\r\n\r\n", party)
    assert reply[5] == Kind.REFUSED
    wrong = encode(Message.at(Kind.STEP, at(session="another"), *sample()))
    assert b"session a-training wanted" in listening.service.answer(wrong, party)
    assert "refused STEP of spiffe://clinics/owner/north" in caplog.text


def test_another_authority_with_the_right_names_is_not_believed(
    listening: Listening, tmp_path: Path
) -> None:
    other = Authority.create(tmp_path / "ca", "clinics")
    other.issue("owner", "north", tmp_path / "north")
    stranger = Credentials.load(tmp_path / "north")
    mixed = Credentials(
        stranger.key, stranger.certificate, credentials(listening.folders, "hub").authority
    )
    for shown in (stranger, mixed):
        far = RemoteFarSide(f"localhost:{listening.port}", shown, patience=0.3)
        with far, pytest.raises(UnreachableError):
            far.step(*sample(), at=at())


def test_without_a_certificate_nobody_gets_in(listening: Listening) -> None:
    authority = credentials(listening.folders, "hub").authority
    with (
        grpc.secure_channel(
            f"localhost:{listening.port}", grpc.ssl_channel_credentials(authority)
        ) as channel,
        pytest.raises(grpc.RpcError),
    ):
        channel.unary_unary("/cutlayer.Split/Predict")(b"", timeout=5)


def test_what_was_taken_back_no_longer_counts(folders: Path, tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca", "clinics")
    authority.issue("server", "hub", tmp_path / "hub", addresses=["localhost"])
    authority.issue("owner", "north", tmp_path / "north")
    listening = Listening(server(), tmp_path, authority, tmp_path / "states")
    try:
        with listening.reached_by("north") as far:
            far.step(*sample(), at=at())
        authority.revoke((tmp_path / "north/certificate.pem").read_bytes())
        far = listening.reached_by("north", patience=1)
        with far, pytest.raises(WireError, match="was revoked"):
            far.step(*sample(), at=at(1))
    finally:
        listening.stop()


def test_a_far_side_that_is_away_is_waited_for_no_longer_than_asked(folders: Path) -> None:
    far = RemoteFarSide("localhost:1", credentials(folders, "north"), patience=0.5)
    with far, pytest.raises(UnreachableError, match=r"within 0\.5 s wanted"):
        far.predict(sample()[0])


def test_an_overdue_answer_is_given_up(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:

    def slow(*args: object, **more: object) -> None:
        time.sleep(2)
        raise ValueError("too late")

    monkeypatch.setattr(listening.service.far, "step", slow)
    with listening.reached_by("north", deadline=0.3, patience=0.3) as far:
        started = time.monotonic()
        with pytest.raises(UnreachableError):
            far.step(*sample(), at=at())
        assert time.monotonic() - started < 1.9


# Names and certificates


def test_a_name_says_who_and_is_checked(folders: Path, authority: Authority) -> None:
    north = (folders / "north/certificate.pem").read_bytes()
    assert str(who(north)) == "spiffe://clinics/owner/north"
    assert (folders / "north/key.pem").stat().st_mode & 0o077 == 0
    assert revoked(authority.folder / "revoked.json") == frozenset()
    for bad in ("North", "no/rth", "", "é", "-"):
        with pytest.raises(ValueError, match="wanted"):
            Identity("clinics", "owner", bad)
    for uri in ("https://x/owner/y", "spiffe://x/owner", "spiffe://x/king/y"):
        with pytest.raises(ValueError, match=r"wanted|must be"):
            Identity.parse(uri)


def test_nothing_is_overwritten(authority: Authority, folders: Path) -> None:
    with pytest.raises(ValueError, match="without an authority"):
        Authority.create(authority.folder, "clinics")
    with pytest.raises(ValueError, match="without a key"):
        authority.issue("owner", "north", folders / "north")


def test_a_certificate_that_is_over_says_so(authority: Authority, tmp_path: Path) -> None:
    authority.issue("owner", "old", tmp_path / "old", life=datetime.timedelta(seconds=1))
    with pytest.raises(ValueError, match="in force wanted: it is from"):
        Credentials.load(tmp_path / "old")
    with pytest.raises(ValueError, match="identity issue"):
        Credentials.load(tmp_path)


def test_a_port_that_is_taken_says_so(listening: Listening, folders: Path) -> None:
    with pytest.raises(OSError, match="that is free wanted"):
        start(
            listening.service,
            credentials(folders, "hub"),
            address=f"localhost:{listening.port}",
            revoked_list=listening.list,
        )


def test_the_command_makes_issues_and_revokes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["identity", "create", "clinics"]) == 0
    assert main(["identity", "issue", "server", "hub", "--address", "localhost"]) == 0
    assert main(["identity", "issue", "owner", "north", "--days", "3", "--out", "n"]) == 0
    assert "spiffe://clinics/owner/north: n, in force until 2" in capsys.readouterr().out
    assert str(who((tmp_path / "n/certificate.pem").read_bytes())).endswith("/owner/north")
    assert main(["identity", "revoke", "n/certificate.pem"]) == 0
    taken_back, numbers = tmp_path / "n/certificate.pem", tmp_path / "authority/revoked.json"
    with pytest.raises(ValueError, match="was revoked"):
        who(taken_back.read_bytes(), without=revoked(numbers))
    for wrong, said in (
        (["create", "clinics"], "without an authority"),
        (["issue", "king", "x"], "'king': unknown"),
        (["issue", "owner", "No"], "small letters"),
        (["issue", "owner", "x", "--authority", "away"], "'cutlayer identity create' makes one"),
        (["revoke", "n/key.pem"], "cutlayer:"),
    ):
        assert main(["identity", *wrong]) == 2
        assert said in capsys.readouterr().err
