"""Labels read straight from messages: the network's own, and a private one."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from digits_attacked import VICTIMS, X, Y, two_convolutions, view
from torch import Tensor, nn

from cutlayer.attacks import (
    INFERENCES,
    AnswerInference,
    FarSegmentReads,
    Inference,
    LabelInference,
    about,
)
from cutlayer.attacks.readers import reader, ridge
from cutlayer.defences import Defence, Defended, Laplace
from cutlayer.threat import Observed, View

MODEL = two_convolutions()
AUXILIARY, VALIDATION = slice(800, 1300), slice(1300, 1500)
MANY = slice(1500, 1797)


def prepared(
    *defences: Defence, threat: str = "server-and-owner", m: int = 1
) -> tuple[View, Defended]:
    return view(MODEL, 2, *defences, threat=threat, m=m)


def right(attack: Inference, side: Defended, m: int = 1, y: Tensor = Y) -> float:
    torch.manual_seed(3)
    with torch.no_grad():
        seen = Observed(side.repeats(X[MANY], m))
    scores = attack.score(seen)
    assert scores.isfinite().all()
    return float((scores.argmax(1) == y[MANY]).float().mean())


def test_every_inference_is_under_test() -> None:
    assert set(INFERENCES.values()) == {LabelInference, AnswerInference, FarSegmentReads}


def test_undefended_the_class_is_read_by_anyone() -> None:
    v, side = prepared()
    commonest = float(Y[MANY].bincount().max()) / len(Y[MANY])
    started = time.process_time()
    attack = LabelInference().fit(v)
    assert time.process_time() - started < 10
    assert right(attack, side) > 0.9 > 4 * commonest
    assert right(FarSegmentReads().fit(v), side) > 0.8
    assert set(attack.fitted_["validation_accuracy"]) == {"linear", "network"}
    assert min(attack.fitted_["validation_accuracy"].values()) > 0.85  # either can
    assert attack.converged_ is not None


def test_drowned_in_noise_nobody_reads_anything() -> None:
    v, side = prepared(Laplace(500.0))
    assert right(LabelInference(epochs=10).fit(v), side) < 0.2
    assert right(FarSegmentReads().fit(v), side) < 0.2


@pytest.mark.parametrize(
    ("make", "times"), [(lambda: LabelInference(epochs=12), 2), (FarSegmentReads, 1.3)]
)
def test_averaging_sixteen_messages_reads_more_than_one(
    make: Callable[[], Inference], times: float
) -> None:
    read = {}
    for m in (1, 16):
        v, side = prepared(Laplace(2.0), m=m)
        read[m] = right(make().fit(v), side, m)
    assert read[16] > times * read[1]


def test_it_is_trained_through_the_defended_path() -> None:
    """Told clean messages instead, it would read less of noisy ones."""
    v, side = prepared(Laplace(2.0))
    clean, _ = prepared()
    assert right(LabelInference().fit(v), side) > 1.2 * right(LabelInference().fit(clean), side)


def test_a_random_defence_is_asked_anew_each_epoch_and_a_fixed_one_once() -> None:
    for defence, passes in ((Laplace(1.0), 3), (None, 1)):
        v, _ = prepared(*([defence] if defence else []))
        LabelInference(epochs=3, patience=3).fit(v)
        assert v.counts["queries"] == passes * 500 + 200


def test_a_private_attribute_is_read_where_the_caller_knows_it_of_the_attackers_samples() -> None:
    heavy = (X.flatten(1).mean(1) > X.flatten(1).mean(1).median()).long()  # how much ink
    v, side = prepared(threat="black-box")
    own = about(v, heavy[AUXILIARY], heavy[VALIDATION], values=2)
    assert own.threat == v.threat
    assert right(LabelInference().fit(own), side, y=heavy) > 0.9


def test_an_attribute_that_the_input_does_not_have_is_not_read() -> None:
    coin = torch.randint(2, (len(X),), generator=torch.Generator().manual_seed(1))
    v, side = prepared()
    attack = LabelInference(epochs=10).fit(about(v, coin[AUXILIARY], coin[VALIDATION], values=2))
    assert 0.4 < right(attack, side, y=coin) < 0.6


def test_the_same_seed_reads_the_same() -> None:
    scores = []
    for _ in range(2):
        torch.manual_seed(7)
        v, side = prepared(Laplace(0.5))
        attack = LabelInference(epochs=4).fit(v)
        scores.append(attack.score(Observed(side.repeats(X[VICTIMS], 1))))
    assert torch.equal(*scores)


def test_choosing_looks_at_the_attackers_own_validation_share() -> None:
    v, _ = prepared()
    wrong = replace(v, validation_labels=(Y[VALIDATION] + 1) % 10)
    attack = LabelInference(patience=2).fit(wrong)
    assert attack.fitted_["epochs"] < 40
    assert max(attack.fitted_["validation_accuracy"].values()) < 0.3


@pytest.mark.parametrize(
    "shape", [(12,), (3, 40), (3, 2), (5, 1, 1), (4, 9, 7), (1, 3, 28), (2, 3, 4, 5)]
)
def test_either_reader_fits_any_message(shape: tuple[int, ...]) -> None:
    z, y = torch.randn(30, *shape), torch.randint(3, (30,))
    assert reader(shape, 3)(z).shape == (30, 3)
    assert ridge(z, y, z[:9], y[:9], 3)(z).shape == (30, 3)


def test_the_ridge_is_least_squares_where_there_is_no_noise() -> None:
    """Against the pseudoinverse, by the labels that both name; wide messages, and narrow ones."""
    for width in (5, 60):
        z, y = torch.randn(40, width), torch.randint(3, (40,))
        z[:, :3] += 2 * nn.functional.one_hot(y, 3)
        plain = torch.cat([z, torch.ones(40, 1)], 1).double()
        solved = torch.linalg.pinv(plain) @ nn.functional.one_hot(y, 3).double()
        named = ridge(z, y, z, y, 3)(z).argmax(1)
        assert float((named == (plain @ solved).argmax(1)).float().mean()) >= 0.9


def test_a_missing_label_and_a_common_one() -> None:
    """A label that no sample of the attacker's has is never named; logits know what is common."""
    z, y = torch.randn(200, 4), (torch.rand(200) < 0.1).long()
    made = ridge(z, y, z, y, 3)(z)
    assert set(made.argmax(1).tolist()) <= {0, 1}
    assert made.softmax(1).mean(0)[0] == pytest.approx(0.9, abs=0.06)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: LabelInference().fit(prepared(threat="query-free")[0]),
            "LabelInference needs queries, which threat model 'query-free' withholds",
        ),
        (
            lambda: LabelInference().fit(prepared(threat="black-box")[0]),
            "LabelInference needs labelled auxiliary data, which threat model 'black-box'",
        ),
        (
            lambda: FarSegmentReads().fit(prepared(threat="owner-alone")[0]),
            "FarSegmentReads needs the segment behind the cut",
        ),
        (
            lambda: about(prepared()[0], Y[AUXILIARY], Y[AUXILIARY], values=10),
            "validation: a whole number for each of 200 samples wanted",
        ),
        (
            lambda: about(prepared()[0], Y[AUXILIARY], Y[VALIDATION], values=5),
            "labels in 0..4 wanted: got 0..9",
        ),
        (lambda: LabelInference(epochs=0), "epochs must be at least 1: got 0"),
        (lambda: LabelInference(learning_rate=0), "learning_rate must be > 0: got 0"),
    ],
)
def test_what_is_refused_and_how(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_a_far_segment_with_a_party_of_others_in_it_is_refused() -> None:
    v, _ = prepared()
    parts = nn.Sequential()
    parts.add_module("held2", nn.Linear(4, 4).requires_grad_(False))
    parts.add_module("end3", nn.Linear(4, 4))
    with pytest.raises(ValueError, match="others hold end3; use LabelInference"):
        FarSegmentReads().fit(replace(v, far_segment=parts))
