"""An audited network, the parties that serve it and ask it, and their command lines."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from test_federation import BASE, authority, data, parties
from torch import nn

from cutlayer.cli import main
from cutlayer.federation import build, command
from cutlayer.federation.demo import free_ports
from cutlayer.federation.file import Federation, read
from cutlayer.policy import Policy, Weights
from cutlayer.tensor_file import save_tensors
from cutlayer.wire.identity import Authority, Credentials

__all__ = ["authority", "parties"]  # fixtures
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


@pytest.fixture(autouse=True)
def _stopped_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who listens where it should refuse to, does not hold the tests up."""
    stopped = threading.Event()
    stopped.set()
    monkeypatch.setattr(command, "_stopped", lambda: stopped)


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
