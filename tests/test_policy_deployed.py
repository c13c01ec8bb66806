"""An audited network is served without training, and asked no more than is allowed."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from audited_place import Place, _stopped_at_once, confidences, listening, place, placed, refused
from test_federation import authority, data, parties

from cutlayer.cli import main
from cutlayer.errors import ConfigError
from cutlayer.federation.allowance import Allowance
from cutlayer.wire import At
from cutlayer.wire.identity import Authority, Credentials
from cutlayer.wire.remote import RemoteFarSide

__all__ = ["_stopped_at_once", "authority", "parties", "place"]  # fixtures
torch.set_num_threads(1)


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
        said = refused(place.words("predict", "u1", *more), capsys)
        assert "20 were asked about, and now 12; have a larger limit audited" in said
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


def test_what_was_trained_before_is_not_served(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its states stay in the store, and are gone on from when the weights are left out again."""
    place.file(owners=["north"])
    asks = place.words("predict", "u1", "--weights", "@owner.safetensors", "--out", "@found.csv")
    with listening(place, monkeypatch):
        assert main(place.words("join", "north")) == 0
        assert main(asks) == 0
    trained = confidences(place.root / "found.csv")
    states = sorted((place.root / "at-hub" / "states").iterdir())
    with listening(place, monkeypatch, "--weights", "@hub.safetensors"):
        assert main(asks) == 0
    given = confidences(place.root / "found.csv")
    with torch.no_grad():
        z = place.parts[0].eval()(data(9, 12)[0])
        expected = place.parts[1].eval()(z).softmax(1).max(1).values.tolist()
    assert given == pytest.approx(expected, abs=1e-4)
    assert given != pytest.approx(trained, abs=1e-3)
    assert sorted((place.root / "at-hub" / "states").iterdir()) == states
