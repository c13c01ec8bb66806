"""Defences of confidence vectors keep their promises on any vector."""

from collections.abc import Callable, Mapping
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cutlayer.defences import DEFENCES
from cutlayer.defences.outputs import (
    AdversarialNoise,
    Budgeted,
    Codebook,
    LabelFlippingPoisoning,
    LabelOnly,
    LabelPreservingPoisoning,
    OutputDefence,
    OutputNoise,
    PoisoningGenerator,
    Private,
    Purification,
    Rounding,
    SameClassSwap,
    Temperature,
    TopK,
    is_label_kept,
    project,
)
from cutlayer.defences.outputs.poisoning import flip

torch.set_num_threads(1)
SIDE = 4
PRESERVING: tuple[Callable[[], OutputDefence], ...] = (
    lambda: Rounding(3),
    lambda: TopK(2),
    Temperature,
    LabelOnly,
    OutputNoise,
    lambda: OutputNoise(0.3, law="laplace", repeatable=False),
    SameClassSwap,
    lambda: Codebook(0.05),
    lambda: LabelPreservingPoisoning(0.05, steps=3, surrogate_epochs=(1,)),
    lambda: AdversarialNoise(0.05, steps=3, surrogate_epochs=(1,)),
    lambda: Purification(epochs=2),
    lambda: PoisoningGenerator(0.05, steps=2, epochs=1, samples=64),
)
ROUNDED: dict[str, Callable[[float, int], Budgeted]] = {
    "noise": lambda b, k: OutputNoise(b, decimals=k),
    "fresh": lambda b, k: OutputNoise(b, law="laplace", repeatable=False, decimals=k),
    "swap": lambda b, k: SameClassSwap(b, decimals=k),
    "lpa": lambda b, k: LabelPreservingPoisoning(b, steps=2, surrogate_epochs=(1,), decimals=k),
    "generator": lambda b, k: PoisoningGenerator(b, steps=2, epochs=1, samples=64, decimals=k),
}


def test_every_output_defence_is_under_test() -> None:
    known = {d for d in DEFENCES.values() if d.site == "output"}
    assert {type(make()) for make in PRESERVING} | {LabelFlippingPoisoning} == known


def vectors(n: int, classes: int, *, seed: int = 0, sharpness: float = 4.0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.softmax(sharpness * torch.randn(n, classes, generator=rng), 1)


def awkward(classes: int) -> Tensor:
    """One-hot, nearly one-hot, uniform, and tied vectors."""
    eye = torch.eye(classes)
    uniform = torch.full((1, classes), 1 / classes)
    tied = torch.zeros(2, classes)
    tied[0, :2] = 0.5
    tied[1, -2:] = 0.5
    near = 0.999999 * eye[:2] + 1e-6 / classes
    return torch.cat([eye[:5], uniform, tied, near])


def private(classes: int, n: int = 96) -> Private:
    rng = torch.Generator().manual_seed(1)
    p = vectors(n, classes)
    return Private(torch.rand(n, 1, SIDE, SIDE, generator=rng), p.argmax(1), p)


def inputs(n: int) -> Tensor:
    return torch.rand(n, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("classes", [2, 10, 530])
@pytest.mark.parametrize("make", PRESERVING)
def test_labels_sums_and_budgets_are_kept(make: Callable[[], OutputDefence], classes: int) -> None:
    torch.manual_seed(0)
    defence = make().fit(private(classes))
    n = 5000 if classes == 10 else 500
    p = torch.cat([vectors(n, classes), vectors(n, classes, sharpness=0.1), awkward(classes)])
    q = defence(p, x=inputs(len(p)))
    assert q.shape == p.shape
    assert q.dtype == p.dtype
    assert is_label_kept(p, q).all()
    assert (q >= 0).all()
    assert float((q.double().sum(1) - 1).abs().max()) < 1e-6
    assert float((q.double() - p.double()).abs().sum(1).max()) <= defence.budget


@given(
    classes=st.integers(2, 12),
    seed=st.integers(0, 10**6),
    sharpness=st.floats(0.01, 60),
    budget=st.floats(0, 2),
    size=st.floats(1e-6, 1e3),
)
@settings(max_examples=60, deadline=None)
def test_any_proposal_is_brought_inside(
    classes: int, seed: int, sharpness: float, budget: float, size: float
) -> None:
    p = vectors(50, classes, seed=seed, sharpness=sharpness)
    proposed = p + size * torch.randn(p.shape, generator=torch.Generator().manual_seed(seed))
    q = project(p, proposed, budget)
    assert is_label_kept(p, q).all()
    assert (q >= 0).all()
    assert float((q.double().sum(1) - p.double().sum(1)).abs().max()) < 2e-7
    assert float((q.double() - p.double()).abs().sum(1).max()) <= budget


def test_a_feasible_proposal_is_taken_as_it_is() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1]])
    goal = torch.tensor([[0.69, 0.22, 0.09]])
    torch.testing.assert_close(project(p, goal, 0.1), goal)


def test_a_vector_that_cannot_move_is_returned_unchanged() -> None:
    stuck = torch.cat([awkward(10)[5:8], torch.tensor([[0.3003, 0.2999] + [0.05] * 8])[:, :10]])
    assert torch.equal(project(stuck, torch.rand(len(stuck), 10), 0.5), stuck)
    tied = torch.tensor([[0.5, 0.5, 0.0]])
    away = torch.tensor([[0.5, 0.1, 0.0]])
    assert torch.equal(project(tied, away, 0.5), tied)
    p = vectors(4, 10)
    assert torch.equal(project(p, torch.full_like(p, torch.nan), 0.5), p)
    assert torch.equal(project(p, torch.rand(4, 10), 0.0), p)


@pytest.mark.parametrize("make", [m for m in PRESERVING if not getattr(m(), "stochastic", False)])
def test_an_answer_hangs_on_its_own_query_alone(make: Callable[[], OutputDefence]) -> None:
    torch.manual_seed(0)
    defence = make().fit(private(10))
    p, x = vectors(40, 10), inputs(40)
    whole = defence(p, x=x)
    order = torch.randperm(40)
    parts = [defence(p[i], x=x[i]) for i in order.split(7)]
    torch.testing.assert_close(torch.cat(parts), whole[order], atol=1e-6, rtol=0)
    assert torch.equal(defence(p, x=x), whole)  # asked again, it says the same


def test_fresh_noise_differs_and_keyed_noise_does_not() -> None:
    p = vectors(10, 10)
    kept, fresh = OutputNoise().fit(private(10)), OutputNoise(repeatable=False).fit(private(10))
    assert torch.equal(kept(p), kept(p))
    assert not torch.equal(fresh(p), fresh(p))
    assert not torch.equal(kept(p), OutputNoise().fit(private(10))(p)), "another key"
    for alike in (p.T.contiguous().T, p.repeat(2, 2)[:10, :10], p.clone().requires_grad_()):
        assert torch.equal(kept(alike), kept(p)), "however it lies in memory"


def test_rounding_leaves_whole_units_that_add_to_one() -> None:
    units = Rounding(2)(vectors(200, 10)).double() * 100
    torch.testing.assert_close(units, units.round(), atol=1e-4, rtol=0)
    assert (units.round().sum(1) == 100).all()


@st.composite
def hard_to_round(draw: st.DrawFn, least: Mapping[int, int]) -> tuple[Tensor, int]:
    """Vectors, and the decimals that they are hard on, no fewer than those given by class count.

    Awkward ones, softmaxes, and whole units, many of them equal, with remainders on top that are
    equal, but for the label's in every second.
    """
    classes = draw(st.sampled_from(sorted(least)))
    decimals = draw(st.integers(least[classes], min(6, least[classes] + 3)))
    unit, seed = 10**decimals, draw(st.integers(0, 10**6))
    missing = draw(st.integers(0, min(classes, unit) - 1))
    ahead = -(-(unit - missing) // draw(st.integers(1, classes)))
    before = ahead * torch.arange(classes + 1, dtype=torch.float64)
    whole = before.clamp_max(unit - missing).diff().repeat(2, 1)
    share = torch.full((2, classes), missing / classes, dtype=torch.float64)
    share[1, 0], share[1, 1:] = 0.0, missing / (classes - 1)
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))
    hard = (whole + share)[:, order] / unit
    soft = vectors(5, classes, seed=seed, sharpness=draw(st.sampled_from([0.01, 1.0, 10.0])))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    return torch.cat([hard, soft, awkward(classes)]).to(dtype), decimals


def far(p: Tensor, q: Tensor) -> float:
    return float((q.double() - p.double()).abs().sum(1).max())


@given(case=hard_to_round({k: 1 for k in (2, 3, 7, 10, 100, 530)}))
@settings(max_examples=300)
def test_rounding_moves_no_vector_further_than_its_worst_case(case: tuple[Tensor, int]) -> None:
    p, decimals = case
    rounding = Rounding(decimals)
    q = rounding(p)
    assert is_label_kept(p, q).all()
    assert (q >= 0).all()
    assert far(p, q) <= rounding.worst_case(p.shape[1])


@pytest.mark.parametrize("classes", [2, 3, 10, 11, 100, 101, 530])
def test_the_worst_case_of_rounding_happens(classes: int) -> None:
    """All remainders alike, all but the last ahead together: a rival has to give its unit up."""
    rounding, unit = Rounding(4), 10_000
    missing = (classes + 1) // 2 if classes > 2 else 0
    ahead = -(-(unit - missing) // classes)
    whole = torch.full((1, classes), float(ahead), dtype=torch.float64)
    whole[0, -1] = unit - missing - (classes - 1) * ahead
    p = (whole + missing / classes) / unit
    assert far(p, rounding(p)) == pytest.approx(
        rounding.worst_case(classes), rel=0, abs=7e-8 * (classes + 16)
    )


@cache
def fitted(name: str, classes: int, decimals: int, room: float) -> Budgeted:
    """With as much budget as rounding takes at worst, and some room."""
    torch.manual_seed(0)
    budget = min(2.0, Rounding(decimals).worst_case(classes) + room)
    return ROUNDED[name](budget, decimals).fit(private(classes))


@pytest.mark.parametrize("name", ROUNDED)
@given(case=hard_to_round({2: 1, 10: 2, 100: 3, 530: 4}), room=st.sampled_from([2e-5, 0.003, 0.3]))
@settings(max_examples=60)
def test_what_is_rounded_stays_inside_the_budget(
    name: str, case: tuple[Tensor, int], room: float
) -> None:
    p, decimals = case[0].float(), case[1]
    defence = fitted(name, p.shape[1], decimals, room)
    q = defence(p, x=inputs(len(p)))
    assert is_label_kept(p, q).all()
    assert (q >= 0).all()
    assert far(p, q) <= defence.budget
    units = q.double() * 10**decimals
    torch.testing.assert_close(units, units.round(), atol=0.04, rtol=0)  # 6 decimals in float32
    assert (units.round().sum(1) == 10**decimals).all()
    assert float((q.double().sum(1) - 1).abs().max()) < 1e-7


@pytest.mark.parametrize("name", ROUNDED)
def test_a_label_ahead_by_less_than_a_unit_stays_ahead(name: str) -> None:
    p = torch.tensor(
        [[0.33341, 0.33329, 0.3333], [0.40001, 0.4, 0.19999], [0.3334, 0.3333, 0.3333]]
    )
    p = torch.cat([p, p.flip(1)])
    torch.manual_seed(0)
    defence = ROUNDED[name](0.1, 2).fit(private(3))
    q = defence(p, x=inputs(len(p)))
    assert is_label_kept(p, q).all()
    assert (q.topk(2).values.diff() < -0.009).all()


def test_what_cannot_move_is_rounded_too() -> None:
    tied = torch.tensor([[0.4444, 0.4444, 0.1112]])
    assert torch.equal(SameClassSwap(0.1).fit(private(3))(tied), tied)
    q = SameClassSwap(0.1, decimals=2).fit(private(3))(tied)
    torch.testing.assert_close(q, torch.tensor([[0.45, 0.44, 0.11]]))


@pytest.mark.parametrize("name", ROUNDED)
def test_a_budget_that_rounding_takes_up_is_refused(name: str) -> None:
    said = (
        "budget must be at least 0.05102 for 100 entries rounded to 3 decimals.*"
        "got 0.02; raise the decimals or the budget"
    )
    with pytest.raises(ValueError, match=said):
        ROUNDED[name](0.02, 3).fit(private(100))
    with pytest.raises(ValueError, match=said):
        ROUNDED[name](0.02, 3).room(100)
    assert ROUNDED[name](0.02, 4).room(100) == pytest.approx(0.02 - 0.0051, abs=1e-5)
    assert ROUNDED[name](0.05102, 3).room(100) >= 1e-5


def test_poison_turns_gradients_the_way_the_defender_wants() -> None:
    torch.manual_seed(0)
    own = private(10, 400)
    defence = LabelPreservingPoisoning(0.2, surrogate_epochs=(3,)).fit(own)
    before = defence.misalignment(own.p[:50], own.x[:50])
    after = defence.misalignment(defence(own.p[:50], x=own.x[:50]), own.x[:50])
    assert ((after < before) | (before - after).abs().lt(1e-6)).float().mean() > 0.9
    assert after.mean() < before.mean()


def test_a_sample_gradient_is_what_autograd_says() -> None:
    torch.manual_seed(0)
    own = private(10, 64)
    surrogate = LabelPreservingPoisoning(surrogate_epochs=(1,)).fit(own).surrogates_[0]
    parameters = [v for layer in surrogate.network.layers for v in (layer.weight, layer.bias)]
    target = torch.cat([t.flatten() for pair in surrogate.target for t in pair])
    for v in parameters:
        v.requires_grad_(True)
    for i in range(3):
        error = (surrogate.network(own.p[i : i + 1]) - own.x[i : i + 1]).square().mean()
        found = torch.cat([g.flatten() for g in torch.autograd.grad(error, parameters)])
        wanted = 1 - torch.cosine_similarity(found, target, dim=0)
        p = own.p[i : i + 1].clone().requires_grad_(True)
        got = surrogate.misalignment(p, own.x[i : i + 1])
        torch.testing.assert_close(got[0].detach(), wanted, atol=1e-5, rtol=0)


def test_flipping_changes_a_chosen_few_and_nothing_else() -> None:
    torch.manual_seed(0)
    own = private(10, 400)
    defence = LabelFlippingPoisoning(0.1, steps=3, surrogate_epochs=(2,)).fit(own)
    p, x = vectors(300, 10, seed=5), inputs(300)
    q = defence(p, x=x)
    changed = (q != p).any(1)
    assert 0 < float(changed.float().mean()) < 0.4
    runner_up = p.topk(2, 1).indices[:, 1]
    assert torch.equal(q.argmax(1)[changed], runner_up[changed])
    moved = (q.double() - flip(p).double()).abs().sum(1)[changed]
    assert float(moved.max()) <= defence.budget


def test_what_needs_the_input_says_so() -> None:
    with pytest.raises(RuntimeError, match="inputs of the queries"):
        LabelPreservingPoisoning().fit(private(10, 32))(vectors(2, 10))
    with pytest.raises(RuntimeError, match="fitted"):
        LabelPreservingPoisoning()(vectors(2, 10), x=inputs(2))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Rounding(0), "Rounding decimals must be between 1 and 6"),
        (lambda: OutputNoise(decimals=7), "decimals must be between 1 and 6: got 7"),
        (lambda: TopK(0), "at least 1"),
        (lambda: Temperature(0.0), "between 0.01 and 100"),
        (lambda: OutputNoise(float("nan")), "OutputNoise budget"),
        (lambda: OutputNoise(law="cauchy"), "law must be one of gaussian, laplace"),
        (lambda: LabelPreservingPoisoning(loss="up"), "negative, swap"),
        (lambda: LabelFlippingPoisoning(1.0), "between 0 and 1"),
        (lambda: LabelPreservingPoisoning(surrogate_epochs=()), "surrogate_epochs"),
    ],
)
def test_bad_arguments_are_refused(make: Callable[[], OutputDefence], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


# Codebook


def near_the_corners(n: int, classes: int = 5) -> Private:
    """Most vectors sure of their label, a few not."""
    generator = torch.Generator().manual_seed(3)
    sure = 3 + 6 * torch.rand(n, 1, generator=generator)
    p = (sure * torch.randn(n, classes, generator=generator)).softmax(1)
    return Private(torch.rand(n, 1, SIDE, SIDE, generator=generator), p.argmax(1), p)


def test_the_book_gives_few_answers_and_moves_most_hardly() -> None:
    private = near_the_corners(600)
    book = Codebook(0.1).fit(private)
    answers = book(private.p)
    distinct = len(answers.unique(dim=0))
    rounded = len(Rounding(2)(private.p).unique(dim=0))
    assert distinct <= len(book.entries) + 2 < rounded  # those hardly ahead are rounded
    moved = (answers.double() - private.p.double()).abs().sum(1)
    assert moved.max() <= 0.1
    assert moved.mean() < 0.03
    assert is_label_kept(private.p, answers).all()


def test_an_answer_is_an_entry_or_else_rounded() -> None:
    private = near_the_corners(100)
    book = Codebook(0.02).fit(private)
    others = near_the_corners(300).p[100:]
    answers = book(others)
    known = (answers[:, None] == book.entries).all(2).any(1)
    assert 0 < known.sum() < len(others)
    assert book.rounding is not None
    assert book.rounding.decimals == 3
    assert torch.equal(answers[~known], book.rounding(others[~known]))


def test_no_entry_says_more_of_a_private_sample_than_a_rounded_answer() -> None:
    private = near_the_corners(200)
    book = Codebook(0.02).fit(private)
    thousandths = book.entries.double() * 1000
    torch.testing.assert_close(thousandths, thousandths.round(), atol=1e-4, rtol=0)


def test_a_book_wants_a_budget_with_room_for_rounding() -> None:
    with pytest.raises(ValueError, match="for 50 classes must be above"):
        Codebook(1e-5).fit(near_the_corners(20, 50))


def test_of_equals_the_label_is_the_one_shown() -> None:
    tied = torch.tensor([[0.4, 0.4, 0.1, 0.1], [0.1, 0.4, 0.1, 0.4]])
    assert TopK(1)(tied).argmax(1).tolist() == [0, 1]


def test_the_first_entry_in_reach_answers_not_the_nearest() -> None:
    book = Codebook(0.5).fit(near_the_corners(50, 2))
    book.entries = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    asked = torch.tensor([[0.8, 0.2], [0.45, 0.55], [0.3, 0.7]])
    answers = book(asked)
    assert answers[0].tolist() == pytest.approx([0.9, 0.1])
    assert answers[2].tolist() == pytest.approx([0.1, 0.9])
    assert is_label_kept(asked, answers).all()


def test_a_label_that_no_private_vector_has_is_answered_all_the_same() -> None:
    private = near_the_corners(50)
    only = Private(private.x, private.y, private.p[:1].expand(50, -1).contiguous())
    book = Codebook(0.02).fit(only)
    answers = book(private.p)
    assert len(book.entries) == 1
    assert is_label_kept(private.p, answers).all()
