"""Several owners over a network: as in one process, and nobody reads what is not for it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cutlayer.errors import ConfigError
from cutlayer.federation import build, serve
from cutlayer.federation.file import Federation, from_plain
from cutlayer.federation.letters import Correspondence, final_letter
from cutlayer.federation.member import Member
from cutlayer.federation.user import Served, about_final
from cutlayer.parts import Part
from cutlayer.tensor_file import load_tensors
from cutlayer.training import train
from cutlayer.wire.identity import Authority, Credentials
from cutlayer.wire.letters import LetterError
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
    "owners": ["north", "south"],
    "users": ["u1"],
    "server": "hub",
    "epochs": 2,
    "batch_size": 8,
    "checkpoint_every": 2,
    "patience": 2.0,
}
STRENGTHS = (0.2, 0.4, 0.1)  # each owner's own


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"), "clinics")


@pytest.fixture(scope="module")
def parties(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parties")
    here = ["localhost", "127.0.0.1"]
    authority.issue("server", "hub", root / "hub", addresses=here)
    authority.issue("relay", "middle", root / "middle", addresses=here)
    for role, name in (("owner", "north"), ("owner", "south"), ("owner", "east"), ("user", "u1")):
        authority.issue(role, name, root / name)
    return root


def data(number: int, n: int = 30) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(number)
    return torch.rand(n, 6, generator=rng), torch.randint(0, 3, (n,), generator=rng)


def owner(f: Federation, number: int, n: int = 30) -> Any:
    noise = (Part("laplace", {"scale": STRENGTHS[number]}),)
    return build.owner(f, number, data(number, n), noise, secret_of(number))


def secret_of(number: int) -> bytes:
    return bytes(range(number, number + 32))


def in_one_process(f: Federation, sizes: Sequence[int]) -> tuple[nn.Module, Any]:
    owners = [owner(f, i, n) for i, n in enumerate(sizes)]
    build.together(owners)
    far = build.whole_chain(f)
    holder, _ = train(build.plan_of(f), owners, far)
    return holder.module, far


@contextmanager
def served(
    f: Federation,
    parties: Path,
    authority: Authority,
    folder: Path,
    *,
    address: str = "localhost:0",
) -> Iterator[tuple[Federation, list[serve.Listening]]]:
    """The chain, from the server to the first relay, each on a port of its own."""
    addresses: dict[str, str] = {}
    with ExitStack() as stack:
        found = []
        for name in reversed(f.chain):
            known = from_plain(plain(f) | {"addresses": addresses})
            one = serve.listening(
                known,
                parties / name,
                authority.folder / "revoked.json",
                folder / name,
                address=address,
            )
            found.append(stack.enter_context(one))
            addresses = addresses | {name: f"localhost:{found[-1].port}"}
        yield from_plain(plain(f) | {"addresses": addresses}), found[::-1]


def plain(f: Federation) -> dict[str, Any]:
    """The values of its file."""
    own = {"owners": list(f.owners), "relays": list(f.relays), "labels": f.labels}
    rules = {"absent": f.absent, "patience": f.patience, "queries": f.queries}
    e = f.experiment
    return BASE | own | rules | {"cut": list(e.cut), "schedule": e.schedule, "epochs": e.passes}


def federation(**changes: Any) -> Federation:
    return from_plain(BASE | changes)


@contextmanager
def taking_part(
    f: Federation, number: int, parties: Path, folder: Path, n: int = 30
) -> Iterator[Member]:
    credentials = Credentials.load(parties / f.owners[number])
    with serve.reached(f, f.chain[0], credentials) as remote:
        yield Member(
            f,
            owner(f, number, n),
            remote,
            build.as_labels_are(f, remote),
            Correspondence(f, number, credentials, remote),
            States(folder / f.owners[number], f.identity),
        )


def together(jobs: Sequence[Callable[[], Any]], seconds: float = 40) -> list[Any]:
    """Run them side by side; what each returned or raised."""
    found: list[Any] = [TimeoutError() for _ in jobs]

    def run(i: int) -> None:
        try:
            found[i] = jobs[i]()
        except BaseException as e:
            found[i] = e

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    return found


def trained(f: Federation, parties: Path, folder: Path, sizes: Sequence[int]) -> list[Any]:
    """Every owner's final module, or what it raised."""

    def job(member: Member) -> Callable[[], Any]:
        return lambda: (member.train(), member.owner.module)[1]

    with ExitStack() as stack:
        # One after the other: networks cannot be traced in two threads at once.
        members = [
            stack.enter_context(taking_part(f, i, parties, folder, n)) for i, n in enumerate(sizes)
        ]
        return together([job(member) for member in members])


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


# Nothing changes


@pytest.mark.parametrize("schedule", ["hand-over", "average"])
@pytest.mark.parametrize("labels", ["server", "owner"])
@pytest.mark.parametrize("sizes", [(30, 20), (17, 40, 9)], ids=str)
def test_several_owners_end_with_the_bits_of_one_process(
    schedule: str,
    labels: str,
    sizes: tuple[int, ...],
    parties: Path,
    authority: Authority,
    tmp_path: Path,
) -> None:
    names = ["north", "south", "east"][: len(sizes)]
    f = federation(schedule=schedule, labels=labels, owners=names)
    inside, far = in_one_process(f, sizes)
    with served(f, parties, authority, tmp_path) as (known, listening):
        found = trained(known, parties, tmp_path, sizes)
        for module in found:
            assert isinstance(module, nn.Module), module
            assert same(module, inside)
        outside = listening[0].service.far
        inner = far.far if labels == "owner" else far
        assert same(outside.module, inner.module)  # type: ignore[attr-defined]
        assert listening[0].service.finished.is_set()


def test_a_chain_of_three_parties_too(parties: Path, authority: Authority, tmp_path: Path) -> None:
    f = federation(cut=["act1", "act2"], relays=["middle"])
    inside, far = in_one_process(f, (30, 20))
    with served(f, parties, authority, tmp_path) as (known, listening):
        found = trained(known, parties, tmp_path, (30, 20))
        assert all(isinstance(m, nn.Module) and same(m, inside) for m in found), found
        relay, server = (one.service.far for one in listening)
        assert same(relay.module, far.module)  # type: ignore[attr-defined]
        assert same(server.module, far.far.module)  # type: ignore[attr-defined]


# Nobody reads what is not for it


@pytest.mark.parametrize("schedule", ["hand-over", "average"])
def test_the_server_keeps_nothing_that_is_the_owners(
    schedule: str, parties: Path, authority: Authority, tmp_path: Path
) -> None:
    f = federation(schedule=schedule)
    with served(f, parties, authority, tmp_path) as (known, _):
        found = trained(known, parties, tmp_path, (30, 20))
    assert isinstance(found[0], nn.Module)
    kept = {p: p.read_bytes() for p in (tmp_path / "hub").rglob("*") if p.is_file()}
    assert any("letter" in p.parts for p in kept)
    states = [p for name in f.owners for p in (tmp_path / name).rglob("*.safetensors")]
    theirs = [v.numpy().tobytes()[:64] for p in states for v in load_tensors(p).values()]
    theirs += [t.numpy().tobytes()[:64] for t in found[0].state_dict().values()]
    theirs = [part for part in theirs if len(part) == 64]
    assert len(theirs) > 20
    for path, content in kept.items():
        assert not any(part in content for part in theirs), path
        assert not any(secret_of(n) in content for n in range(2)), path
    assert all(any(part in p.read_bytes() for p in states) for part in theirs[:4])


def test_a_user_gets_segment_and_defence_and_draws_noise_of_its_own(
    parties: Path, authority: Authority, tmp_path: Path
) -> None:
    f, x = federation(), data(9, 12)[0]
    with served(f, parties, authority, tmp_path) as (known, listening):
        visitor = Credentials.load(parties / "u1")
        with serve.reached(known, "hub", visitor) as remote:
            with pytest.raises(LetterError, match="no owner has left"):
                final_letter(known, visitor, remote, frozenset())
            found = trained(known, parties, tmp_path, (30, 20))
            assert isinstance(found[1], nn.Module)
            with taking_part(known, 1, parties, tmp_path, 20) as south:
                about = about_final(["laplace:scale=0.4"], ("a", "b", "c"))
                assert south.letters.leave_final(found[1].state_dict(), about) == ["u1"]
            letter = final_letter(known, visitor, remote, frozenset())
            used = [Served.opened(known, *letter, bytes(range(n, n + 32))) for n in range(2)]
            calls = [torch.cat(list(u.predict(x, remote))) for u in (used[0], *used)]
            assert used[0].classes == ("a", "b", "c")
            assert not torch.equal(calls[0], calls[1])  # the same user, asking again
            assert not torch.equal(calls[0], calls[2])
            quiet = found[1].segment(x)
            exact = listening[0].service.far.predict(quiet).softmax(1)
            assert (calls[0] - exact).abs().max() < 0.3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"defence": ["os:system"]}, "a built-in defence wanted"),
        ({"defence": ["rounding:decimals=1"]}, "one at the input or the cut"),
        ({"defence": "laplace"}, "names defences and classes"),
        ({"classes": [1]}, "names defences and classes"),
        ({"defence": ["laplace:scale=nan"]}, "scale"),
    ],
)
def test_an_owners_letter_is_not_believed_either(changes: dict[str, Any], said: str) -> None:
    f = federation()
    state = owner(f, 0).module.state_dict()
    about = about_final(["laplace:scale=0.4"], ("a",))
    Served.opened(f, state, about, bytes(32))
    with pytest.raises(ConfigError, match=said):
        Served.opened(f, state, about | changes, bytes(32))
    with pytest.raises(ConfigError, match="the owner's letter"):
        Served.opened(f, {"x": torch.zeros(1)}, about, bytes(32))
