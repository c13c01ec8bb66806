"""The audit of what a prediction API releases: defences of answers, their clients, both scopes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audit_made import made

import cutlayer
from cutlayer.assembly import Assembly
from cutlayer.auditing import attackers
from cutlayer.auditing.answers import AnswerScale
from cutlayer.auditing.attackers import _Kind
from cutlayer.auditing.attackers import attackers as crew
from cutlayer.auditing.command import failed
from cutlayer.auditing.deliver import _for_answers, deliver
from cutlayer.auditing.families import FAMILIES, Loudness, is_random, of_answers
from cutlayer.auditing.limits import ANSWERS, AT_CUTS, OF_ANSWERS, Limits
from cutlayer.auditing.request import Request, checked, scopes
from cutlayer.auditing.result import Audit, Configuration, Recommendation, from_json, to_json
from cutlayer.auditing.run import carry_out
from cutlayer.auditing.search import _about
from cutlayer.auditing.subject import Subject
from cutlayer.auditing.verdict import Verdict
from cutlayer.auditing.worth import kept
from cutlayer.config import parse
from cutlayer.data import DATASETS
from cutlayer.defences import Chain
from cutlayer.errors import ConfigError
from cutlayer.parts import Part, constructed, each_constructed, resolve
from cutlayer.record import Estimate, Store
from cutlayer.release import Release
from cutlayer.trained import load_network, run_training

CLIENT = "prediction-api"
DIGITS = {"data": "digits", "model": "mlp", "epochs": 8}


@pytest.fixture(scope="module", autouse=True)
def short() -> object:
    """Shorter attacks."""
    kinds = (
        _Kind("affine-inverse", "affine map", "affine-inverse"),
        _Kind("confidence-inversion", "inverse of the answers", "confidence-inversion:epochs=15"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attackers, "_QUICK", kinds)
        patch.setattr(attackers, "_THOROUGH", kinds)
        yield


def asked(**changes: Any) -> Request:
    return checked(Request(experiment=parse(DIGITS), **changes))


# --- the two scopes -----------------------------------------------------------------


def test_each_scope_has_what_concerns_it() -> None:
    limits = Limits(message_bytes=100, leakage=0.1)
    cuts, answers = scopes(asked(threats=(CLIENT, "black-box"), cuts=("act1",), limits=limits))
    assert cuts.threats == ("black-box",)
    assert cuts.families == AT_CUTS
    assert cuts.limits == Limits(message_bytes=100, leakage=0.1, accuracy_loss=0.02)
    assert answers.threats == (CLIENT,)
    assert answers.families == OF_ANSWERS
    assert answers.limits == Limits(leakage=0.1, accuracy_loss=0.02, distortion=0.02)


def test_without_clients_answers_are_none_of_its_business() -> None:
    (only,) = scopes(asked())
    assert only.families == AT_CUTS
    assert only.limits.distortion is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"limits": Limits(distortion=0.1)}, f"it takes threat {CLIENT}"),
        ({"limits": Limits(distortion=3)}, "distortion: a number from 0 to 2 wanted, got 3"),
        ({"threats": (CLIENT,), "cuts": ("act1",)}, "cut: of a cut"),
        ({"threats": (CLIENT,), "limits": Limits(owner_flops="50%")}, "owner_flops: of a cut"),
        ({"threats": (CLIENT,), "protect": "class"}, "an answer is there to tell the class"),
        ({"threats": (CLIENT,), "families": ("laplace",)}, "defence 'laplace': at a cut"),
        ({"families": ("rounding:decimals=2",)}, "defence 'rounding:decimals=2': of what is"),
    ],
)
def test_what_concerns_nobody_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked(**changes)
    assert said in str(caught.value)


# --- the defences -------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_ANSWERS)
def test_every_rung_defends_answers_without_chance(name: str) -> None:
    rungs = FAMILIES[name].ladder(Loudness(rms=0.3, l1=1.0, l2=0.9, size=100))
    assert len({r.name for r in rungs}) == len(rungs)
    for rung in rungs:
        (spec,) = rung.defence
        part = constructed(Part.parse(spec))
        assert resolve("defence", part.kind)(**part.args).site == "output"
        assert of_answers(spec)
        assert not is_random(spec)


def test_noise_that_is_drawn_anew_is_random() -> None:
    assert is_random("output-noise:repeatable=false")
    assert is_random("laplace:scale=1")
    assert not of_answers("laplace:scale=1")


def test_rounding_takes_no_more_than_half_of_its_budget() -> None:
    for size, decimals in ((10, 3), (100, 4)):
        (first, *_) = FAMILIES["rounded-noise"].ladder(Loudness(1, 1, 1, size))
        assert first.defence == (f"output-noise:budget=0.02,decimals={decimals}",)


# --- what answers are worth ---------------------------------------------------------


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> AnswerScale:
    store = Store(tmp_path_factory.mktemp("runs"))
    assembly = Assembly.of(parse(DIGITS | {"cut": "act1"}))
    network = load_network(assembly, store, run_training(assembly, store).id)
    return AnswerScale(assembly, network)


def behind(scale: AnswerScale, *specs: str) -> Chain:
    return scale.assembly.variant(defence=each_constructed(specs)).defence()


def test_how_far_answers_move_is_measured_as_they_are_released(scale: AnswerScale) -> None:
    bare, rounded = scale.worth(Chain()), scale.worth(behind(scale, "rounding:decimals=1"))
    assert bare.distortion is not None
    assert bare.distortion.value == 0
    assert rounded.distortion is not None
    x = scale.assembly.take(scale.index)[0]
    p = scale.network.without_defences(x).softmax(1)
    moved = scale.released(behind(scale, "rounding:decimals=1"))
    assert torch.allclose(moved * 10, (moved * 10).round(), atol=1e-5)
    expected = float((p - moved).abs().sum(1).mean())
    assert rounded.distortion.value == pytest.approx(expected, abs=1e-5)
    assert rounded.accuracy == bare.accuracy  # no label is changed
    assert rounded.lost.value == 0


def test_a_defence_that_is_prepared_works_in_it(scale: AnswerScale) -> None:
    found = scale.worth(behind(scale, "adversarial-noise:budget=0.05,steps=2,samples=64"))
    assert found.distortion is not None
    assert 0 < (found.distortion.value or 0) <= 0.05 + 1e-6


def test_the_limit_on_distortion_bounds_the_bad_end(scale: AnswerScale) -> None:
    worth = scale.worth(behind(scale, "rounding:decimals=1"))
    assert worth.distortion is not None
    high = worth.distortion.high
    assert high is not None
    assert kept(worth, {"distortion": high, "accuracy_loss": 0.02})
    assert not kept(worth, {"distortion": high - 1e-6, "accuracy_loss": 0.02})


# --- who listens --------------------------------------------------------------------


def test_clients_are_attacked_by_through_their_answers_alone() -> None:
    found = crew("thorough", (CLIENT,), protect="individual", most_victims=9)
    assert {a.attack.partition(":")[0] for a in found} == {"confidence-inversion"}


def test_who_wants_an_attribute_knows_its_own() -> None:
    """A server without labels of classes still has what it is after of its own samples."""
    found = crew("quick", ("black-box", CLIENT), protect="attribute", most_victims=9)
    assert {a.name: a.threats for a in found} == {
        "label-inference": ("black-box",),
        "answer-inference": (CLIENT,),
    }


def test_an_attribute_is_read_from_answers(tmp_path: Path) -> None:
    np.save(tmp_path / "odd.npy", (DATASETS["digits"]().y % 2).numpy())
    found = cutlayer.audit(
        "mlp",
        "digits",
        epochs=8,
        protect="attribute",
        attribute=tmp_path / "odd.npy",
        threats=[CLIENT],
        defences=[],
        victims=128,
        store=tmp_path / "runs",
    )
    (c,) = found.configurations
    worst = c.worst("attribute")
    assert worst is not None
    assert worst.name == "classifier of answers"
    assert (worst.leakage["attribute"].low or 0) > worst.floors["attribute"] + 0.1


# --- the whole ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Subject, Store]:
    store = Store(tmp_path_factory.mktemp("runs"))
    request = Request(
        experiment=parse(DIGITS),
        threats=("black-box", CLIENT),
        cuts=("act1",),
        families=("laplace", "rounding", "label-only", "temperature:temperature=1"),
        most_victims=128,
        repeats=4,
    )
    return (*carry_out(request, store=store), store)


def test_cuts_and_answers_are_judged_apart(outcome: tuple[Audit, Subject, Store]) -> None:
    audit = outcome[0]
    assert {c.cut for c in audit.configurations} == {"act1"}
    assert not audit.of_answers
    assert audit.released is not None
    assert audit.released.of_answers
    assert {c.cut for c in audit.released.configurations} == {ANSWERS}
    assert audit.released.recommendation.words.startswith("Release the answers")
    assert all(a.threats == (CLIENT,) for c in audit.released.configurations for a in c.attacks)


def test_undefended_answers_beat_guessing(outcome: tuple[Audit, Subject, Store]) -> None:
    released = outcome[0].released
    assert released is not None
    worst = released.configuration(f"{ANSWERS}/undefended").worst("individual")
    assert worst is not None
    assert (worst.leakage["individual"].low or 0) > worst.floors["individual"]


def test_a_defence_that_moves_no_answer_is_named(outcome: tuple[Audit, Subject, Store]) -> None:
    released = outcome[0].released
    assert released is not None
    flags = {c.key: c.flags for c in released.configurations}
    assert flags[f"{ANSWERS}/temperature:temperature=1"] == ("defence-off-when-serving",)
    assert not flags[f"{ANSWERS}/undefended"]


def test_both_go_into_one_record_and_two_pages(
    outcome: tuple[Audit, Subject, Store], tmp_path: Path
) -> None:
    audit, what, store = outcome
    deliver(audit, what, tmp_path, store=store)
    assert from_json((tmp_path / "audit.json").read_text()) == audit
    assert from_json(to_json(audit)).released == audit.released
    page = (tmp_path / "index.html").read_text()
    assert 'href="released/index.html"' in page
    own = (tmp_path / "released" / "index.html").read_text()
    assert "mean L1 distance of the answers" in own
    assert "Cut after" not in own
    assert "What is released:" in audit._repr_html_()


def test_the_ceiling_holds_for_both(outcome: tuple[Audit, Subject, Store]) -> None:
    audit = outcome[0]
    assert audit.released is not None
    assert failed(audit, 1.0) == 0
    assert failed(audit.released, 0.001) == 1
    assert failed(audit, 0.001) == 1


def test_answers_alone_have_a_page_and_no_policy(
    outcome: tuple[Audit, Subject, Store], tmp_path: Path
) -> None:
    store = outcome[2]
    request = Request(experiment=parse(DIGITS), threats=(CLIENT,), families=("rounding",))
    audit, what = carry_out(request, store=store)
    assert audit.of_answers
    assert audit.released is None
    said = deliver(audit, what, tmp_path / "page", store=store)
    assert not (tmp_path / "page" / "policy.json").exists()
    path = tmp_path / "page" / "defence.safetensors"
    assert said[-1] == f"defence of answers, secret: {path}"
    served, p = Release.load(path), torch.softmax(torch.randn(50, 10), 1)
    chosen = audit.configuration(audit.recommendation.key or "")
    assert f"rounding:decimals={served.members[0].decimals}" in chosen.defence
    assert not torch.equal(served(p), p)


def test_delivered_twice_the_keys_stay(
    outcome: tuple[Audit, Subject, Store], tmp_path: Path
) -> None:
    """New ones would be a second draw for clients to average; another defence has its own."""
    audit, what, store = outcome
    path = tmp_path / "defence.safetensors"
    assert audit.released is not None
    (bare,) = [c for c in audit.released.configurations if not c.defence]

    def delivered(*defence: str) -> tuple[str, dict[str, torch.Tensor]]:
        c = replace(bare, key="chosen", defence=defence)
        of = replace(
            audit.released, configurations=(c,), recommendation=Recommendation(key="chosen")
        )
        said = _for_answers(of, what, tmp_path, store)
        return said[0], Release.load(path).keys() if path.exists() else {}

    keys = [delivered(f"output-noise:budget={b}")[1]["members.0.key"] for b in (0.1, 0.1, 0.2)]
    assert torch.equal(keys[0], keys[1])
    assert not torch.equal(keys[1], keys[2])
    said, found = delivered("output-noise:budget=0.1,repeatable=false")
    assert "make it repeatable" in said
    assert not found


def test_what_was_recommended_once_is_not_left_lying(
    outcome: tuple[Audit, Subject, Store], tmp_path: Path
) -> None:
    audit, what, store = outcome
    assert audit.released is not None
    old = tmp_path / "released" / "defence.safetensors"
    said = deliver(audit, what, tmp_path, store=store)
    best = audit.released.configuration(audit.released.recommendation.key or "")
    assert old.exists() == bool(best.defence)
    assert any("defence of answers" in line for line in said)
    old.touch()
    nothing = replace(audit.released, recommendation=Recommendation(key=None))
    deliver(replace(audit, released=nothing), what, tmp_path, store=store)
    assert not old.exists()
    (bare,) = [c for c in audit.released.configurations if not c.defence]
    undefended = replace(audit.released, recommendation=Recommendation(key=bare.key))
    said = deliver(replace(audit, released=undefended), what, tmp_path, store=store)
    assert "no defence of answers: they are best released as they are" in said


def test_what_was_left_out_is_named_by_its_whole_name() -> None:
    kind, subject = _about(f"thorough/{ANSWERS}/rounding-2/confidence-inversion")
    assert subject.partition(" to ")[0] == f"{ANSWERS}/rounding-2"
    assert kind == "the strongest attackers"


def test_the_least_moved_of_equals_is_released() -> None:
    """Where intervals do not tell leaks apart, the answers that move least."""
    leak = Estimate(value=0.05, low=0.04, high=0.06, n=500)
    far, close = (_moved(value, leak) for value in (0.05, 0.01))
    verdict = Verdict("individual", ("black-box",))
    assert verdict.best([far, close]) is close
    assert verdict.front([far, close]) == [close]


def _moved(value: float, leak: Estimate) -> Configuration:
    (attacked, *_) = made().configurations[0].attacks
    attacked = replace(attacked, threats=("black-box",), leakage={"individual": leak})
    moved = Estimate(value=value, low=value, high=value, n=500)
    return replace(made().configurations[0], distortion=moved, attacks=(attacked,))
