"""Under a policy nobody sends, serves or trains what it does not cover."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from test_federation import BASE, authority, data, parties
from torch import nn

from cutlayer.cli import main
from cutlayer.errors import ConfigError
from cutlayer.federation import build, command
from cutlayer.federation.allowance import Allowance
from cutlayer.federation.demo import free_ports
from cutlayer.federation.file import Federation, read
from cutlayer.policy import Policy, Weights
from cutlayer.tensor_file import load_tensors, save_tensors
from cutlayer.wire import At
from cutlayer.wire.identity import Authority, Credentials
from cutlayer.wire.remote import RemoteFarSide

__all__ = ["authority", "parties"]  # fixtures
torch.set_num_threads(1)
DEFENCE = ("clip-norm:norm=2", "laplace:scale=0.001")


@dataclass
class Place:
    """A folder with an audited network, the file of the federation, data, and a policy."""

    root: Path
    parties: Path
    authority: Authority
    parts: list[nn.Module]
    settings: dict[str, Any]

    @property
    def f(self) -> Federation:
        return read(self.root / "federation.yaml")

    def file(self, **changes: Any) -> None:
        settings = self.settings | changes
        (self.root / "federation.yaml").write_text(yaml.safe_dump(settings))

    def policy(self, **changes: Any) -> Policy:
        settings: dict[str, Any] = {
            "model": "mlp",
            "input_shape": (6,),
            "outputs": 3,
            "cut": tuple(self.settings["cut"]),
            "defence": DEFENCE,
            "weights": Weights.of(self.parts),
            "audit": {"protect": "individual"},
        }
        made = Policy(**settings | changes)
        return made.write(self.root / "policy.json", Credentials.load(self.parties / "eve"))

    def training_policy(self, **changes: Any) -> Policy:
        return self.policy(weights=None, phases=("train", "serve"), **changes)

    def words(self, what: str, name: str, *more: str) -> list[str]:
        """The command line of a party."""
        here = [str(self.root / "federation.yaml"), "--identity", str(self.parties / name)]
        if what in ("serve", "relay"):
            here += ["--revoked", str(self.authority.folder / "revoked.json")]
        if what in ("serve", "relay", "join"):
            here += ["--store", str(self.root / f"at-{name}")]
        if what in ("join", "predict"):
            here += ["--data", f"arrays:path={self.root / 'data.npz'},low=0,high=1"]
        return [what, *here, *(w.replace("@", f"{self.root}/") for w in more)]


@pytest.fixture
def place(tmp_path: Path, authority: Authority, parties: Path) -> Place:
    return placed(tmp_path, authority, parties)


def placed(
    root: Path, authority: Authority, parties: Path, cut: Sequence[str] = ("act1",)
) -> Place:
    if not (parties / "eve").exists():
        authority.issue("auditor", "eve", parties / "eve")
    chain = ["middle", "hub"][-len(cut) :]
    ports = dict(zip(chain, free_ports(len(chain)), strict=True))
    addresses = {name: f"localhost:{port}" for name, port in ports.items()}
    settings = BASE | {"cut": list(cut), "relays": chain[:-1], "addresses": addresses}
    found = Place(root, parties, authority, [], settings)
    found.file()
    found.parts = build.segments(found.f, 7)
    for part, name in zip(found.parts, ("owner", *chain), strict=True):
        save_tensors(part.state_dict(), root / f"{name}.safetensors")
    other = build.segments(found.f, 8)
    for part, name in zip(other, ("owner", *chain), strict=True):
        save_tensors(part.state_dict(), root / f"other-{name}.safetensors")
    x, y = data(9, 12)
    np.savez(root / "data.npz", x=x.numpy(), y=y.numpy())
    for path in parties.glob("*/asked-*"):
        path.unlink()
    return found


@contextmanager
def listening(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    *more: str,
    what: str = "serve",
    name: str = "hub",
) -> Iterator[None]:
    """The command in a thread, from when it can be reached until the end of the block."""
    stop, codes = threading.Event(), list[int]()
    monkeypatch.setattr(command, "_stopped", lambda: stop)
    words = place.words(what, name, *more)
    thread = threading.Thread(target=lambda: codes.append(main(words)), daemon=True)
    thread.start()
    port = int(place.settings["addresses"][name].rpartition(":")[2])
    try:
        until = time.monotonic() + 30
        while not reachable(port):
            assert thread.is_alive(), "stopped before it listened"
            assert time.monotonic() < until
            time.sleep(0.05)
        yield
    finally:
        stop.set()
        thread.join(20)
    assert codes == [0]


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0


def refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that does not do it."""
    capsys.readouterr()
    assert main(words) == 2
    return capsys.readouterr().err


def confidences(path: Path) -> list[float]:
    return [float(line.split(",")[2]) for line in path.read_text().splitlines()[1:]]


# Deployed as audited


def test_an_audited_network_is_served_without_training(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = place.policy()
    asks = place.words("predict", "u1", "--weights", "@owner.safetensors", "--out", "@found.csv")
    with listening(place, monkeypatch, "--weights", "@hub.safetensors", "--policy", "@policy.json"):
        assert main([*asks, "--policy", str(place.root / "policy.json")]) == 0
        assert main([*asks, "--out", str(place.root / "bare.csv")]) == 0  # without: undefended
        health = place.words("health", "u1")
        assert main(health) == 0
    said = capsys.readouterr().out
    assert f"under policy {policy.identity}" in said
    assert '"state": "serving"' in said
    x = data(9, 12)[0]
    with torch.no_grad():
        z = place.parts[0].eval()(x)
        clipped = z * (2 / z.norm(dim=1).clamp_min(2))[:, None]
        expected, bare = (place.parts[1].eval()(t).softmax(1).max(1).values for t in (clipped, z))
    assert (z.norm(dim=1) > 2).any(), "a defence that does something wanted"
    assert confidences(place.root / "found.csv") == pytest.approx(expected.tolist(), abs=0.01)
    assert confidences(place.root / "bare.csv") == pytest.approx(bare.tolist(), abs=1e-4)


def test_what_serves_given_weights_is_taught_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(place, monkeypatch, "--weights", "@hub.safetensors"):
        said = refused(place.words("join", "north"), capsys)
        assert "trains nothing; 'cutlayer predict' asks it" in said
    assert not list((place.root / "at-hub").glob("states/*"))


def test_a_chain_serves_what_was_audited(
    tmp_path: Path,
    authority: Authority,
    parties: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = placed(tmp_path, authority, parties, cut=["act1", "act2"])
    place.policy()
    under = ["--policy", "@policy.json"]
    other = place.words("relay", "middle", "--weights", "@other-middle.safetensors", *under)
    assert "weights of checksum" in refused(other, capsys)
    asks = ["--weights", "@owner.safetensors", "--out", "@found.csv", *under]
    with (
        listening(place, monkeypatch, "--weights", "@hub.safetensors", *under),
        listening(
            place,
            monkeypatch,
            *("--weights", "@middle.safetensors", *under),
            what="relay",
            name="middle",
        ),
    ):
        assert main(place.words("predict", "u1", *asks)) == 0
    with torch.no_grad():
        z = place.parts[0].eval()(data(9, 12)[0])
        z = z * (2 / z.norm(dim=1).clamp_min(2))[:, None]
        for part in place.parts[1:]:
            z = part.eval()(z)
    expected = z.softmax(1).max(1).values.tolist()
    assert confidences(tmp_path / "found.csv") == pytest.approx(expected, abs=0.01)


# The federation's file


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"model": "mlp:width=65"},
            "model mlp:width=64 wanted in the federation's file: got mlp:w",
        ),
        ({"cut": ["act2"]}, "cut act1 wanted in the federation's file: got act2"),
        ({"input_shape": [2, 3]}, "input_shape 6 wanted in the federation's file: got 2, 3"),
        ({"outputs": 4}, "outputs 3 wanted in the federation's file: got 4"),
        ({"bounds": [0, 2]}, "bounds none wanted in the federation's file: got 0.0, 2.0"),
    ],
)
@pytest.mark.parametrize("what", ["serve", "relay", "join", "predict"])
def test_a_file_that_was_not_audited_is_refused(
    what: str,
    changes: dict[str, Any],
    said: str,
    place: Place,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if what == "join":
        place.training_policy()
    else:
        place.policy()
    place.file(**changes)
    names = {"serve": "hub", "relay": "middle", "join": "north", "predict": "u1"}
    more = [] if what == "join" else ["--weights", "@hub.safetensors"]
    if what == "relay":
        place.file(**changes | {"relays": ["middle"], "cut": ["act1", "act2"]})
        said = "cut act1 wanted in the federation's file: got act1, act2"
    words = place.words(what, names[what], *more, "--policy", "@policy.json")
    assert f"policy: {said}" in refused(words, capsys)


def test_all_that_differs_is_said_at_once(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.policy(bounds=(0, 1))
    place.file(model="mlp:width=3", cut=["act2"], outputs=4, bounds=[0, 2])
    err = refused(place.words("join", "north", "--policy", "@policy.json"), capsys)
    assert err.count("wanted in the federation's file") == 4
    assert "one that covers training wanted" in err


def test_a_policy_of_others_is_refused(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = place.words(
        "predict", "u1", "--weights", "@owner.safetensors", "--policy", "@policy.json"
    )
    assert "cannot read" in refused(words, capsys)
    made = place.policy()
    made.write(place.root / "policy.json")
    assert "nobody has signed" in refused(words, capsys)
    authority = Authority.create(tmp_path / "a", "clinics")
    authority.issue("auditor", "eve", tmp_path / "eve")
    made.write(place.root / "policy.json", Credentials.load(tmp_path / "eve"))
    assert "signed by the federation's authority wanted" in refused(words, capsys)
    place.policy(release="0.1.0")
    assert "release: an audit by cutlayer" in refused(words, capsys)


def test_a_revoked_auditor_counts_nowhere(
    tmp_path: Path, parties: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority.create(tmp_path / "authority", "clinics")
    for role, name in (("server", "hub"), ("auditor", "eve"), ("user", "u1"), ("owner", "north")):
        authority.issue(role, name, tmp_path / name)  # type: ignore[arg-type]
    place = placed(tmp_path, authority, tmp_path)
    place.policy()
    authority.revoke((tmp_path / "eve" / "certificate.pem").read_bytes())
    revoked = ["--revoked", str(tmp_path / "authority" / "revoked.json")]
    under = ["--policy", "@policy.json"]
    for words in (
        place.words("serve", "hub", "--weights", "@hub.safetensors", *under),
        place.words("predict", "u1", "--weights", "@owner.safetensors", *under, *revoked),
        place.words("join", "north", *under, *revoked),
    ):
        assert "was revoked" in refused(words, capsys)


# Weights and defences


def test_swapped_weights_are_neither_served_nor_used(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.policy()
    under = ["--policy", "@policy.json"]
    bad = place.words("serve", "hub", "--weights", "@other-hub.safetensors", *under)
    assert "weights of checksum" in refused(bad, capsys)
    with listening(place, monkeypatch, "--weights", "@hub.safetensors", *under):
        asks = place.words("predict", "u1", "--weights", "@other-owner.safetensors", *under)
        assert "weights of checksum" in refused(asks, capsys)
        state = load_tensors(place.root / "owner.safetensors")
        name = next(iter(state))
        state[name].view(-1)[0] += 1e-3
        save_tensors(state, place.root / "other-owner.safetensors")
        assert "weights of checksum" in refused(asks, capsys)
    assert not (place.root / "at-hub" / "queries.json").exists()


@pytest.mark.parametrize(
    "defence",
    [
        ["laplace:scale=0.001"],
        ["laplace:scale=0.001", "clip-norm:norm=2"],
        ["clip-norm:norm=2", "laplace:scale=0.0009"],
        ["clip-norm:norm=2", "laplace:scale=0.001,active=train"],
        ["clip-norm:norm=2", "laplace:scale=0.001,site=input"],
        ["clip-norm:norm=2", "gaussian:scale=0.001"],
        ["clip-norm:norm=3", "laplace:scale=0.001"],
        ["clip-norm:norm=2", "laplace:scale=0.001", "clip-norm:norm=2"],
    ],
    ids=", ".join,
)
def test_no_defence_but_the_policys(
    defence: list[str],
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = [word for spec in defence for word in ("--defence", spec)]
    under = [*more, "--policy", "@policy.json"]
    place.training_policy()
    assert "defence clip-norm:norm=2" in refused(place.words("join", "north", *under), capsys)
    place.policy()
    words = place.words("predict", "u1", "--weights", "@owner.safetensors", *under)
    said = refused(words, capsys)
    assert "policy: defence clip-norm:norm=2" in said
    assert "only what was audited is sent" in said


def test_what_a_letter_brings_has_to_be_what_was_audited(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.training_policy()
    place.file(owners=["north"])
    under = ["--policy", "@policy.json"]
    asks = place.words("predict", "u1", *under)
    with listening(place, monkeypatch, *under):
        assert "no owner has left" in refused(asks, capsys)
        assert main(place.words("join", "north", *under)) == 0  # with the policy's defences
        about = json.loads((place.root / "at-north" / "about.json").read_text())
        assert about["defence"] == list(place.training_policy().defence)
        assert main(asks) == 0
        place.policy()
        assert "weights of checksum" in refused(asks, capsys)
        place.training_policy(defence=("laplace:scale=0.2",))
        assert "by the owner's letter" in refused(asks, capsys)
        own = ["--weights", "@at-north/segment.safetensors", *under]  # as join wrote it
        assert main(place.words("predict", "north", *own)) == 0


def test_training_needs_a_policy_that_covers_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.policy()
    under = ["--policy", "@policy.json"]
    for words in (place.words("join", "north", *under), place.words("serve", "hub", *under)):
        assert "one that covers training wanted" in refused(words, capsys)
    place.training_policy(audit={"protect": "class"})
    for words in (place.words("join", "north", *under), place.words("serve", "hub", *under)):
        assert "labels: owner wanted in the federation's file" in refused(words, capsys)


def test_a_defence_goes_with_weights(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(place, monkeypatch, "--weights", "@hub.safetensors"):
        words = place.words("predict", "u1", "--defence", "laplace:scale=1")
        assert "--weights wanted with it" in refused(words, capsys)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("@none.safetensors", "cannot read"),
        ("@policy.json", "cannot read"),
        ("@owner.safetensors", "this party's segment alone is wanted"),
        ("@broken.safetensors", "finite values wanted"),
    ],
)
def test_weights_that_will_not_do(
    file: str, said: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.policy()
    state = load_tensors(place.root / "hub.safetensors")
    next(iter(state.values())).view(-1)[0] = torch.nan
    save_tensors(state, place.root / "broken.safetensors")
    assert said in refused(place.words("serve", "hub", "--weights", file), capsys)


# How much is asked


def test_the_limit_holds_over_runs(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = place.policy(queries=20)
    more = ["--weights", "@owner.safetensors", "--policy", "@policy.json", "--batch-size", "5"]
    with listening(place, monkeypatch, "--weights", "@hub.safetensors"):
        assert main(place.words("predict", "u1", *more)) == 0
        count = place.parties / "u1" / f"asked-{policy.identity}.json"
        assert json.loads(count.read_text()) == {"samples": 12}
        said = refused(place.words("predict", "u1", *more), capsys)
        assert "at most 20 samples wanted: 12 were asked about, and now 12; --first 8" in said
        place.policy(queries=20, issued=policy.issued)  # signed again: the same policy
        assert "12 were asked about" in refused(place.words("predict", "u1", *more), capsys)
        assert main(place.words("predict", "u1", *more, "--first", "8")) == 0
        assert "20 were asked" in refused(place.words("predict", "u1", *more), capsys)
        assert main(place.words("predict", "north", *more)) == 0  # each party its own
        count.write_text("{")
        assert "a count of samples" in refused(place.words("predict", "u1", *more), capsys)
        count.write_text('{"samples": -5}')
        assert "a count of samples" in refused(place.words("predict", "u1", *more), capsys)


def test_the_server_goes_by_the_smaller_limit(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.policy(queries=13)
    asks = place.words("predict", "u1", "--weights", "@owner.safetensors")
    under = ["--weights", "@hub.safetensors", "--policy", "@policy.json"]
    place.file(queries=100)
    with listening(place, monkeypatch, *under):
        assert main(asks) == 0
        assert "at most 13 samples for each party wanted" in refused(asks, capsys)
    place.file(queries=12)
    with listening(place, monkeypatch, *under):
        assert "at most 12 samples for each party wanted" in refused(asks, capsys)


def test_two_calls_at_once_share_one_limit(tmp_path: Path) -> None:
    refusals = list[ConfigError]()

    def ask() -> None:
        allowance = Allowance(tmp_path, "p", 100)
        for _ in range(40):
            try:
                allowance.take(1)
            except ConfigError as e:
                refusals.append(e)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refusals) == 60
    assert json.loads((tmp_path / "asked-p.json").read_text()) == {"samples": 100}


def test_nothing_is_sent_uncounted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is sent uncounted"):
        Allowance(tmp_path / "none", "p", 100).take(1)
    Allowance(tmp_path / "none", "p", 0).take(1)  # no limit, no count


# An auditor is nobody else


def test_an_auditor_is_let_in_by_nobody(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.file(owners=["eve", "north"], users=["u1"])
    with listening(place, monkeypatch, "--weights", "@hub.safetensors"):
        remote = RemoteFarSide(
            place.settings["addresses"]["hub"],
            Credentials.load(place.parties / "eve"),
            patience=1.0,
            party=replace(place.f.owner(0), role="server", name="hub"),
        )
        with remote:
            for ask in (
                remote.health,
                lambda: remote.predict(torch.zeros(1, 64)),
                lambda: remote.look_up("final/0"),
                lambda: remote.hello(At(place.f.agreed, 0, 0, 0), 1),
            ):
                with pytest.raises(Exception, match="member of this federation wanted"):
                    ask()
    for what in ("join", "serve"):
        assert "wanted" in refused(place.words(what, "eve"), capsys)
