"""A whole audit, on a network whose truth is planted: one cut copies, one shows the label alone."""

import json
from pathlib import Path

import numpy as np
import planted
import pytest
import torch

import cutlayer
from cutlayer.auditing import attackers
from cutlayer.auditing.attackers import _Kind
from cutlayer.auditing.deliver import deliver
from cutlayer.auditing.limits import Limits
from cutlayer.auditing.request import Request
from cutlayer.auditing.result import Audit, to_json
from cutlayer.auditing.run import carry_out
from cutlayer.auditing.subject import Subject
from cutlayer.config import parse
from cutlayer.data import DATASETS
from cutlayer.defences import Defence
from cutlayer.policy import checksum, sign
from cutlayer.record import Store
from cutlayer.tensor_file import load_tensors, save_tensors
from cutlayer.wire.identity import Authority, Credentials


class OffInEval(Defence):
    """Noise that is secretly off when the network serves."""

    stochastic = True
    active = "serve"

    def forward(self, t: torch.Tensor, *, x: torch.Tensor | None = None) -> torch.Tensor:
        return t + torch.randn_like(t) if self.training else t

    def noise_deviation(self) -> float:
        return 1.0


@pytest.fixture(scope="module", autouse=True)
def short() -> object:
    """Shorter attacks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            attackers,
            "_THOROUGH",
            (
                _Kind("affine-inverse", "affine map", "affine-inverse"),
                _Kind("inverse-network", "inverse network", "inverse-network:epochs=3"),
            ),
        )
        patch.setattr(
            attackers, "_QUICK", (_Kind("affine-inverse", "affine map", "affine-inverse"),)
        )
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("planted")
    network = planted.build((1, 28, 28), 10)
    save_tensors(network.state_dict(), found / "planted.safetensors")
    return found


@pytest.fixture(scope="module")
def outcome(folder: Path) -> tuple[Audit, Subject]:
    weights = str(folder / "planted.safetensors")
    e = parse({"data": "digits", "model": "planted:build", "weights": weights})
    request = Request(
        experiment=e,
        threats=("black-box",),
        families=("laplace", "test_audit_planted:OffInEval"),
        limits=Limits(accuracy_loss=0.02),
        most_victims=128,
        repeats=4,
    )
    return carry_out(request, store=Store(folder / "runs"))


def test_the_cut_that_copies_is_found_and_named(outcome: tuple[Audit, Subject]) -> None:
    audit, _ = outcome
    copies = audit.configuration("copy/undefended")
    assert copies.leakage("individual").value == 1.0
    assert any(n.startswith("copy shows everything") for n in audit.notes)
    assert any(n.startswith("the weights were given") for n in audit.notes)


def test_the_cut_that_shows_only_the_label_is_found_and_recommended(
    outcome: tuple[Audit, Subject],
) -> None:
    audit, _ = outcome
    bare = audit.configuration("only_label/undefended")
    worst = bare.worst("individual")
    assert worst is not None
    assert (worst.leakage["individual"].value or 1) < 0.15  # ten classes, 128 victims
    assert any(n.startswith("only_label shows nothing") for n in audit.notes)
    assert audit.recommendation.key is not None
    assert audit.recommendation.key.startswith("only_label/")
    assert "Cut after only_label" in audit.recommendation.words


def test_what_only_reshapes_is_left_out(outcome: tuple[Audit, Subject]) -> None:
    (flat,) = [p for p in outcome[0].places if p.name == "flat"]
    assert flat.ruled_out == "sends what copy sends"


def test_a_defence_that_is_secretly_off_is_named(outcome: tuple[Audit, Subject]) -> None:
    audit, _ = outcome
    found = [c for c in audit.configurations if "OffInEval" in c.key]
    assert found
    assert all("defence-off-when-serving" in c.flags for c in found)


def test_no_policy_is_written_for_a_network_of_ones_own(
    outcome: tuple[Audit, Subject], folder: Path
) -> None:
    audit, what = outcome
    said = deliver(audit, what, folder / "out", store=Store(folder / "runs"))
    assert "no policy: it can name built-in networks only" in said
    assert (folder / "out" / "index.html").is_file()
    assert json.loads((folder / "out" / "audit.json").read_text()) == json.loads(to_json(audit))


def test_a_network_that_is_handed_over_is_audited_and_its_policy_signed(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "authority", "clinics")
    authority.issue("auditor", "ann", tmp_path / "ann")
    found = cutlayer.audit(
        "mlp",
        "digits",
        epochs=2,
        threats=["black-box"],
        defences=["laplace"],
        cuts=["act1"],
        victims=64,
        store=tmp_path / "runs",
        out=tmp_path / "out",
        identity=tmp_path / "ann",
        queries=1000,
        owner_flops="100%",
    )
    assert found.recommendation.key is not None
    policy = sign(tmp_path / "out" / "policy.json", Credentials.load(tmp_path / "ann"))
    assert (policy.cut, policy.queries, policy.federation) == (("act1",), 1000, "clinics")
    owner = load_tensors(tmp_path / "out" / "owner.safetensors")
    assert policy.weights is not None
    assert policy.weights.owner == checksum(owner)
    assert policy.audit["protect"] == "individual"
    assert "<table" in found._repr_html_()


def test_a_private_attribute_is_what_is_read(tmp_path: Path, folder: Path) -> None:
    labels = DATASETS["digits"]().y
    np.save(tmp_path / "odd.npy", (labels % 2).numpy())
    network = planted.build((1, 28, 28), 10)
    found = cutlayer.audit(
        network,
        "digits",
        protect="attribute",
        attribute=tmp_path / "odd.npy",
        threats=["server-and-owner"],
        defences=[],
        cuts=["classify"],
        victims=128,
        store=tmp_path / "runs",
    )
    (c,) = found.configurations
    worst = c.worst("attribute")
    assert worst is not None
    assert worst.name == "classifier of messages"
    assert (worst.leakage["attribute"].low or 0) > worst.floors["attribute"]
