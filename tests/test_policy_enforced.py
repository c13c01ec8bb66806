"""Under a policy nobody sends, serves or trains what it does not cover."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from audited_place import Place, _stopped_at_once, listening, place, placed, refused
from test_federation import authority, parties

from cutlayer.cli import main
from cutlayer.tensor_file import load_tensors, save_tensors
from cutlayer.wire.identity import Authority, Credentials

__all__ = ["_stopped_at_once", "authority", "parties", "place"]  # fixtures
torch.set_num_threads(1)


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
