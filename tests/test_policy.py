"""A policy: what is written is read back, and nothing else passes for it."""

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cutlayer import policy as policy_module
from cutlayer.cli import main
from cutlayer.errors import ConfigError
from cutlayer.policy import Policy, Weights, checksum, read, sign
from cutlayer.wire import signed_file
from cutlayer.wire.identity import Authority, Credentials, number_of
from cutlayer.wire.members import Members

WEIGHTS = Weights("0" * 64, ("f" * 64,))
BASE: dict[str, Any] = {
    "model": "mlp",
    "input_shape": (6,),
    "outputs": 3,
    "cut": ("act1",),
    "bounds": (0, 1),
    "defence": ("clip-norm:norm=2", "laplace:scale=0.5,active=serve"),
    "queries": 100,
    "weights": WEIGHTS,
    "audit": {"protect": "class", "leakage": {"value": 0.3, "low": 0.2, "high": 0.4}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Credentials of an auditor, of another party, and of another authority's auditor."""
    root = tmp_path_factory.mktemp("identities")
    clinics = Authority.create(root / "authority", "clinics")
    other = Authority.create(root / "other", "clinics")
    banks = Authority.create(root / "banks", "banks")
    clinics.issue("auditor", "eve", root / "eve")
    clinics.issue("auditor", "late", root / "late", life=timedelta(minutes=1))  # over by now
    clinics.issue("owner", "eve", root / "owner")
    other.issue("auditor", "eve", root / "stranger")
    banks.issue("auditor", "eve", root / "banker")
    return root


def shown(folder: Path, name: str) -> Credentials:
    files = ("key.pem", "certificate.pem", "authority.pem")
    return Credentials(*((folder / name / file).read_bytes() for file in files))


def policy(**changes: Any) -> Policy:
    return Policy(**BASE | changes)


def written(folder: Path, path: Path, name: str = "eve", **changes: Any) -> Policy:
    return policy(**changes).write(path, shown(folder, name))


def read_by(folder: Path, path: Path, **more: Any) -> Policy:
    return read(path, authority=(folder / "authority" / "authority.pem").read_bytes(), **more)


# What is written is read back

texts = st.text(max_size=20)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | numbers | texts
found = leaves | st.lists(leaves, max_size=3) | st.dictionaries(texts, st.lists(leaves), max_size=3)
laplace = st.floats(0, 1e9).map("laplace:scale={!r}".format)
clip = st.floats(1e-9, 1e9).map("clip-norm:norm={!r}".format)
sums = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(
    defence=st.lists(laplace | clip, max_size=3),
    bounds=st.none() | st.tuples(st.floats(-1e9, 0), st.floats(0.1, 1e9)),
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    cut=st.lists(texts.filter(bool), min_size=1, max_size=3),
    audit=st.dictionaries(texts, found, max_size=3),
    sums=st.lists(sums, min_size=4, max_size=4),
    queries=st.integers(0, 2**40),
    trains=st.booleans(),
)
def test_what_write_gives_read_gives_back(
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    defence: list[str],
    bounds: Any,
    shape: list[int],
    cut: list[str],
    audit: dict[str, Any],
    sums: list[str],
    queries: int,
    trains: bool,
) -> None:
    path = tmp_path_factory.getbasetemp() / "policy.json"
    weights = None if trains else Weights(sums[0], tuple(sums[1 : len(cut) + 1]))
    phases = ("train", "serve") if trains else ("serve",)
    changes = {"defence": defence, "bounds": bounds, "input_shape": shape, "cut": cut}
    changes |= {"audit": audit, "queries": queries, "weights": weights, "phases": phases}
    made = policy(**changes)
    there = made.write(path, shown(folder, "eve"))
    assert read_by(folder, path) == there
    assert there.federation == "clinics"
    assert Policy.from_plain(there.plain()) == there
    assert there.write(path, shown(folder, "eve")).identity == there.identity  # signed again


def test_arguments_are_written_out() -> None:
    made = policy()
    assert made.model == "mlp:width=64"
    assert made.defence == (
        "clip-norm:norm=2,order=2,active=both",
        "laplace:scale=0.5,active=serve,site=cut",
    )


def test_a_checksum_is_of_names_types_shapes_and_bytes() -> None:
    base = {"a": torch.zeros(2, 3), "b": torch.tensor(3), "c": torch.tensor([True, False])}
    others = [
        base | {"a": torch.zeros(3, 2)},
        base | {"a": torch.zeros(2, 3, dtype=torch.float64)},
        base | {"a": torch.tensor([[0.0, 0, 0], [0, 0, 1e-45]])},
        base | {"a": -torch.zeros(2, 3)},
        base | {"b": torch.tensor([3])},
        base | {"b": torch.tensor(3).view(torch.float64)},  # the same bytes
        {"A" if k == "a" else k: v for k, v in base.items()},
        base | {"d": torch.zeros(0)},
        {"a": base["a"]},
    ]
    assert len({checksum(s) for s in (base, *others)}) == 1 + len(others)
    four = torch.arange(24.0).view(1, 2, 3, 4)
    laid = four.to(memory_format=torch.channels_last)
    assert checksum({"a": laid}) == checksum({"a": four})


# Nobody else's, and nothing else


def test_an_unsigned_policy_is_refused_until_it_is_signed(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    assert policy().write(path).federation is None
    with pytest.raises(ConfigError, match=r"nobody has signed this one; .*identity sign"):
        read_by(folder, path)
    there = sign(path, shown(folder, "eve"))
    assert read_by(folder, path) == there


@pytest.mark.parametrize("field", [*Policy.__dataclass_fields__])
def test_every_field_is_signed(field: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    there = written(folder, path).plain()
    other = policy(
        model="mlp:width=65",
        input_shape=(7,),
        outputs=4,
        cut=("act2",),
        bounds=(0, 2),
        defence=("laplace:scale=0.4,active=serve",),
        queries=0,
        weights=Weights("1" * 64, ("f" * 64,)),
        audit={},
        federation="banks",
        release=there["release"] + ".1",
        issued="2026-01-01T00:00:00+00:00",
    ).plain()
    other |= {"phases": ["train", "serve"], "schema_version": 2}
    assert other[field] != there[field]
    envelope = json.loads(path.read_text())
    for change in ({field: other[field]}, {field: None}, {"more": 1}):
        raw = there | change
        if raw == there:  # None was there
            continue
        path.write_text(json.dumps(envelope | {"policy": raw}))
        with pytest.raises(ConfigError, match="as spiffe://clinics/auditor/eve signed it wanted"):
            read_by(folder, path)
    path.write_text(
        json.dumps(envelope | {"policy": {k: v for k, v in there.items() if k != field}})
    )
    with pytest.raises(ConfigError, match="altered"):
        read_by(folder, path)


@pytest.mark.parametrize(
    ("signer", "said"),
    [
        ("owner", "an auditor's signature wanted: got that of spiffe://clinics/owner/eve"),
        ("stranger", "signed by the federation's authority wanted"),
        ("banker", "signed by the federation's authority wanted"),
        ("late", "in force wanted"),
    ],
)
def test_only_an_auditor_of_the_federation_signs(
    signer: str, said: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policy.json"
    with monkeypatch.context() as patched:  # whoever wishes to, can leave our own checks out
        patched.setattr(policy_module, "_auditor", lambda party: party)
        if signer == "late":
            patched.setattr(signed_file, "sign", lambda *a, **k: b"")
            patched.setattr(
                signed_file,
                "signer",
                lambda c: policy_module.Identity("clinics", "auditor", "late"),
            )
        written(folder, path, signer)
    with pytest.raises(ConfigError, match=said):
        read_by(folder, path)


def test_nobody_else_can_be_made_to_sign(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    with pytest.raises(ConfigError, match=r"auditor's signature wanted: got that of .*/owner/eve"):
        written(folder, path, "owner")
    with pytest.raises(ConfigError, match="in force wanted"):
        written(folder, path, "late")
    with pytest.raises(ConfigError, match="an auditor of banks wanted: got spiffe://clinics"):
        written(folder, path, federation="banks")
    eve = shown(folder, "eve")
    mixed = Credentials(shown(folder, "owner").key, eve.certificate, eve.authority)
    with pytest.raises(ConfigError, match="the key of this certificate wanted"):
        policy().write(path, mixed)
    assert not path.exists()


def test_a_revoked_auditor_is_none(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    written(folder, path)
    number = number_of(shown(folder, "eve").certificate)
    with pytest.raises(ConfigError, match=f"{number} was revoked"):
        read_by(folder, path, revoked=[number])
    assert read_by(folder, path, revoked=[number + 1])


def test_another_certificate_does_not_help(folder: Path, tmp_path: Path) -> None:
    """A signature holds under the key that made it alone."""
    path = tmp_path / "policy.json"
    written(folder, path)
    envelope = json.loads(path.read_text())
    for name in ("owner", "late", "stranger"):
        certificate = shown(folder, name).certificate.decode()
        path.write_text(json.dumps(envelope | {"certificate": certificate}))
        with pytest.raises(ConfigError, match="signature: "):
            read_by(folder, path)
    authority = (folder / "authority" / "authority.pem").read_text()
    path.write_text(json.dumps(envelope | {"certificate": authority}))
    with pytest.raises(ConfigError, match="signature: "):
        read_by(folder, path)


def test_a_signature_for_something_else_is_none(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    plain = policy(federation="clinics").plain()
    signed_file.write(path, "letter", plain, shown(folder, "eve"))
    path.write_text(path.read_text().replace('"letter"', '"policy"', 1))
    with pytest.raises(ConfigError, match="altered"):
        read_by(folder, path)


def test_an_auditor_is_let_in_as_nothing_else(folder: Path) -> None:
    members = Members(owners={"eve": 0}, users=frozenset({"eve"}), relays=frozenset({"eve"}))
    party = policy_module.Identity("clinics", "auditor", "eve")
    assert not members.knows(party)
    assert not members.may_predict(party)
    with pytest.raises(ValueError, match="an owner of this session wanted"):
        members.number_of(party, 0)


# What an auditor signed is not believed either


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "os:system"}, "model: a built-in model wanted: got 'os:system'"),
        ({"model": "mlp:wide=3"}, "model: mlp.wide: unknown"),
        ({"model": "mlp:width=" + "9" * 2000}, "at most 1,000 signs wanted"),
        ({"model": "lenet:mean=" + "[" * 400 + "]" * 400}, "model: "),
        ({"defence": ["os:system"]}, "defence: a built-in defence wanted: got 'os:system'"),
        ({"defence": ["my.package:Nothing"]}, "built-in defence wanted"),
        ({"defence": ["rounding:decimals=1"]}, "one at the input or the cut wanted"),
        ({"defence": ["laplace:scale=-1,active=both,site=cut"]}, "scale must be >= 0"),
        ({"defence": [["laplace"]]}, "defence: text wanted"),
        ({"defence": ["laplace:scale=1"]}, "laplace:scale=1,active=both,site=cut'] wanted"),
        ({"input_shape": []}, "input_shape: 1 to 4 sides"),
        ({"outputs": True}, "outputs: a whole number"),
        ({"bounds": [1, 0]}, "bounds: low < high"),
        ({"bounds": [0, 1]}, "as cutlayer writes it"),
        ({"cut": []}, "cut: at least one layer"),
        ({"phases": ["train"]}, "phases: [serve] or [train, serve] wanted"),
        ({"phases": ["train", "serve"]}, "weights: none wanted where a training is covered"),
        ({"phases": ["train", "serve"]}, "defence: one that acts in training as well wanted"),
        ({"queries": -1}, "queries: a whole number"),
        ({"weights": None}, "weights: checksums of the audited ones wanted"),
        ({"weights": {"owner": "0" * 64, "far": []}}, "weights: 1 far segments wanted"),
        ({"weights": {"owner": "0" * 63, "far": []}}, "weights: SHA-256"),
        ({"weights": {"owner": "0" * 64}}, "weights: checksums of owner and far wanted"),
        ({"audit": []}, "audit: names and what was found"),
        ({"audit": {"a": [[[[[[[[[1]]]]]]]]]}}, "levels deep"),
        ({"federation": None}, "federation: that of spiffe://clinics/auditor/eve"),
        ({"federation": "banks"}, "federation: that of spiffe://clinics/auditor/eve"),
        ({"federation": "../x"}, "federation: name of a federation"),
        ({"release": "0.1.9"}, "release: an audit by cutlayer"),
        ({"release": "1"}, "release: a release such as 0.2.0 wanted"),
        ({"issued": "yesterday"}, "issued: a time such as"),
        ({"issued": "2026-01-01T00:00:00+01:00"}, "issued: a time in UTC"),
        ({"schema_version": 2}, "schema_version: 1 wanted: got 2"),
        ({"schema_version": True}, "schema_version: 1 wanted: got True"),
        ({"defense": []}, "'defense': unknown, did you mean 'defence'?"),
    ],
)
def test_what_is_signed_is_checked(
    changes: dict[str, Any], said: str, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "policy.json"
    raw = policy(federation="clinics").plain() | changes
    signed_file.write(path, "policy", raw, shown(folder, "eve"))
    with pytest.raises(ConfigError) as e:
        read_by(folder, path)
    assert said in str(e.value)
    assert all(line.startswith(f"policy {path}: ") for line in str(e.value).splitlines())


def test_all_faults_are_said_at_once(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    raw = policy(federation="clinics").plain() | {"outputs": 0, "queries": -1, "more": 1}
    raw["defence"] = ["laplas:scale=1", "laplace:scale=-1"]
    del raw["cut"]
    signed_file.write(path, "policy", raw, shown(folder, "eve"))
    with pytest.raises(ConfigError) as e:
        read_by(folder, path)
    lines = [line.removeprefix(f"policy {path}: ") for line in str(e.value).splitlines()]
    wanted = ["'more': unknown", "cut: missing", "outputs", "defence: ", "defence: ", "queries"]
    assert len(lines) == len(wanted)
    assert all(any(line.startswith(start) for line in lines) for start in wanted)


def test_a_whole_file_of_the_wrong_kind_is_no_reason_to_sign(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"policy": {"model": "os:system"}, "certificate": null, "signature": null}')
    before = path.read_text()
    with pytest.raises(ConfigError, match="built-in model wanted"):
        sign(path, shown(folder, "eve"))
    assert path.read_text() == before


# The command


def test_identity_sign_says_what_it_signs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "policy.json"
    policy().write(path)
    assert main(["identity", "sign", str(path), "--identity", str(folder / "eve")]) == 0
    said = capsys.readouterr().out
    assert "laplace:scale=0.5,active=serve" in said
    assert "signed by spiffe://clinics/auditor/eve" in said
    assert read_by(folder, path).queries == 100
    assert main(["identity", "sign", str(path), "--identity", str(folder / "owner")]) == 2
    assert "an auditor's signature wanted" in capsys.readouterr().err
    raw = json.loads(path.read_text())
    assert base64.b64decode(raw["signature"])
