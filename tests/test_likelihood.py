"""The search attacks: exact where algebra allows, better than the floor where it does not."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from digits_attacked import VICTIMS, X, Y, error, floor, two_convolutions, view
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cutlayer.attacks import (
    ATTACKS,
    GaussianPrior,
    MaximumLikelihood,
    Reconstruction,
    Shadow,
    total_variation,
)
from cutlayer.attacks.least_squares import is_affine, least_squares
from cutlayer.defences import Chain, Defence, Defended, Dropout, Gaussian, Laplace
from cutlayer.encoders import encoder
from cutlayer.threat import THREATS, Observed, build_view, threat_model


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    return two_convolutions()


def attacked(
    model: nn.Sequential, cut: int, *defences: Defence, m: int = 1, **arguments: object
) -> float:
    v, side = view(model, cut, *defences, m=m)
    torch.manual_seed(1)
    attack = MaximumLikelihood(**{"steps": 150, **arguments})  # type: ignore[arg-type]
    return error(attack.fit(v), side, m)


# Total variation


@pytest.mark.parametrize("beta", [1, 2])
def test_total_variation_is_the_sum_that_equation_3_prints(beta: int) -> None:
    image = torch.rand(1, 2, 4, 5, dtype=torch.float64)
    total = 0.0
    for c in range(2):
        for i in range(4):
            for j in range(5):
                down = float(image[0, c, i + 1, j] - image[0, c, i, j]) if i < 3 else 0.0
                right = float(image[0, c, i, j + 1] - image[0, c, i, j]) if j < 4 else 0.0
                total += (down**2 + right**2) ** (beta / 2)
    ours = total_variation(image, beta=beta)  # type: ignore[arg-type]
    assert float(ours) * image.numel() == pytest.approx(total, rel=1e-4)


@given(st.floats(-3, 3), st.sampled_from([(1, 6), (3, 4, 4), (1, 2, 3, 2)]))
@settings(max_examples=20, deadline=None)
def test_what_does_not_change_has_no_variation(level: float, shape: tuple[int, ...]) -> None:
    flat = torch.full((2, *shape), level)
    assert torch.equal(total_variation(flat), torch.zeros(2))
    assert torch.equal(total_variation(torch.rand(3, 7)), torch.zeros(3))  # a table has no sides


def test_variation_has_a_gradient_where_it_is_zero() -> None:
    x = torch.zeros(1, 1, 3, 3, requires_grad=True)
    total_variation(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


# The normal law


@pytest.mark.parametrize("directions", [5, 40])
def test_a_gaussian_prior_is_the_distance_of_mahalanobis(
    directions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    samples = torch.randn(500, 5) @ torch.randn(5, 40) + torch.rand(40)  # flat in 35 directions
    monkeypatch.setattr("cutlayer.attacks.prior._EXACT", 0 if directions == 5 else 4096)
    prior = GaussianPrior(samples, directions=directions)
    covariance = np.cov(samples.numpy().T.astype("float64"), bias=True)
    inverse = np.linalg.inv(covariance + float(prior.least) * np.eye(40))
    x = samples[:3] + 0.1 * torch.randn(3, 40)
    away = (x - samples.mean(0)).numpy().astype("float64")
    wanted = np.einsum("ni,ij,nj->n", away, inverse, away) / 40
    np.testing.assert_allclose(prior(x).numpy(), wanted, rtol=2e-3)


def test_samples_like_those_given_are_about_as_likely_as_they(model: nn.Sequential) -> None:
    prior = GaussianPrior(X[:1000])
    assert 0.3 < prior(X[1000:]).mean() < 3
    assert prior(torch.rand(9, 1, 8, 8)).min() > 2 * prior(X[1000:]).mean()


# Least squares


def dense(f: nn.Module, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """An affine map as a matrix and an offset."""
    size = int(np.prod(shape))
    with torch.no_grad():
        at_zero = f(torch.zeros(1, *shape)).flatten(1).double()
        columns = f(torch.eye(size).view(size, *shape)).flatten(1).double() - at_zero
    return columns.T.numpy(), at_zero[0].numpy()


@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("outputs", [40, 12])  # more equations than unknowns, and fewer
def test_least_squares_is_what_the_matrix_gives(outputs: int, damping: float) -> None:
    torch.manual_seed(0)
    f = nn.Linear(20, outputs)
    matrix, offset = dense(f, (20,))
    x, prior = torch.rand(3, 20), torch.rand(20)
    target = f(x).detach() + 0.1 * torch.randn(3, outputs)
    ridge = damping * np.linalg.norm(matrix, 2) ** 2
    left = np.concatenate([matrix, ridge**0.5 * np.eye(20)])
    away = target.double().numpy() - offset - matrix @ prior.double().numpy()
    right = np.concatenate([away.T, np.zeros((20, 3))])
    wanted = prior.numpy() + np.linalg.lstsq(left, right, rcond=None)[0].T
    found, arrived = least_squares(f, target, prior, damping=torch.full((3,), damping))
    assert arrived.all()
    # The largest stretch is found by power iteration, to about a percent.
    assert np.abs(found.numpy() - wanted).max() < (1e-5 if not damping else 2e-2)


def ill_conditioned(elements: int, smallest: float) -> nn.Linear:
    """A map that stretches one direction by 1, another by ``smallest``, the others between."""
    torch.manual_seed(0)
    f = nn.Linear(elements, elements)
    turns = [torch.linalg.qr(torch.randn(elements, elements)).Q for _ in range(2)]
    stretch = torch.logspace(0, math.log10(smallest), elements)
    f.weight.data = turns[0] @ stretch.diag() @ turns[1]
    return f.requires_grad_(False)


def test_a_solution_says_whether_it_came_to_the_end() -> None:
    f, x, prior = ill_conditioned(40, 1e-4), torch.rand(3, 40), torch.full((40,), 0.5)
    damping = torch.tensor([0.1, 0.0, 0.0])
    short = least_squares(f, f(x), prior, damping=damping, rounds=1)
    assert short.arrived.tolist() == [True, False, False]
    whole = least_squares(f, f(x), prior, damping=damping)
    assert whole.arrived.all()
    wrong = [(s.x - x)[1:].square().mean() for s in (short, whole)]
    assert wrong[1] < 1e-3 * wrong[0]
    # Who arrives early is left alone, and waits for nobody.
    alone = least_squares(f, f(x[:1]), prior, damping=damping[:1])
    torch.testing.assert_close(whole.x[:1], alone.x)


def test_least_squares_that_were_cut_off_have_not_converged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    segment = nn.Sequential(ill_conditioned(64, 1e-3))
    side, x = Defended(segment, Chain()).eval(), X.flatten(1)
    v = build_view(
        threat_model("white-box"),
        auxiliary=(x[800:1300], Y[800:1300]),
        validation=(x[1300:1500], Y[1300:1500]),
        send=side.repeats,
        stochastic=False,
        owner_segment=segment,
        far_segment=nn.Identity(),
        defence=(),
        repeats=1,
        classes=10,
    )
    attack = MaximumLikelihood(solver="least-squares", weight=0.0)
    assert attack.fit(v).converged_ is True
    monkeypatch.setattr("cutlayer.attacks.least_squares.ROUND", 20)
    monkeypatch.setattr("cutlayer.attacks.least_squares.ROUNDS", (1, 1))
    assert attack.fit(v).converged_ is False


class Coarse(nn.Linear):
    """Multiplies float32 as some devices do, with few digits."""

    def forward(self, input: Tensor) -> Tensor:
        if input.dtype == torch.float32:
            coarse, weight = input.bfloat16().float(), self.weight.bfloat16().float()
            return nn.functional.linear(coarse, weight, self.bias)
        return super().forward(input)


def test_a_segment_is_as_straight_on_every_device() -> None:
    x = X[:8].flatten(1)
    assert is_affine(Coarse(64, 30), x)
    assert not is_affine(nn.Sequential(Coarse(64, 30), nn.ReLU()), x)


def test_only_straight_segments_count_as_affine(model: nn.Sequential) -> None:
    x = X[:8]
    assert is_affine(model[:1], x)
    assert not is_affine(model[:2], x)
    always_on = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    nn.init.constant_(always_on[0].bias, 20.0)  # type: ignore[arg-type]  # on images, never zero
    assert not is_affine(always_on, x)


def test_a_first_convolution_is_inverted_exactly(model: nn.Sequential) -> None:
    assert attacked(model, 1) < 1e-10
    v, _ = view(model, 1)
    attack = MaximumLikelihood().fit(v)
    assert attack.fitted_["solver"] == "least-squares"
    assert attack.converged_ is True


# Maximum likelihood


def test_no_normal_law_is_fitted_where_none_is_tried(
    model: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dear(samples: Tensor) -> GaussianPrior:
        raise AssertionError("a large decomposition")

    monkeypatch.setattr("cutlayer.attacks.likelihood.GaussianPrior", dear)
    MaximumLikelihood().fit(view(model, 1)[0])  # exact by algebra
    MaximumLikelihood(steps=2, prior="variation").fit(view(model, 4)[0])
    with pytest.raises(AssertionError, match="a large decomposition"):
        MaximumLikelihood(steps=2).fit(view(model, 4)[0])


def test_undefended_it_is_under_a_fifth_of_the_floor(model: nn.Sequential) -> None:
    assert attacked(model, 4) < 0.2 * floor(model)


def test_drowned_in_noise_it_stays_near_the_floor(model: nn.Sequential) -> None:
    assert 0.8 * floor(model) < attacked(model, 4, Laplace(1e3), m=1) < 1.2 * floor(model)


def test_sixteen_messages_say_more_than_one(model: nn.Sequential) -> None:
    noise = Gaussian(1.0)
    assert attacked(model, 4, noise, m=16) < 0.6 * attacked(model, 4, noise)


def test_the_prior_is_fitted_to_the_noise_by_an_attacker_who_knows_of_it(
    model: nn.Sequential,
) -> None:
    noise = Laplace(0.5)
    assert attacked(model, 4, noise) < 0.8 * attacked(model, 4, noise, aware=False)


def test_after_dropout_zeros_are_not_believed(model: nn.Sequential) -> None:
    hidden = attacked(model, 4, Dropout(0.5), aware=False)
    assert attacked(model, 4, Dropout(0.5)) < 0.5 * hidden
    v, _ = view(model, 4, Dropout(0.5))
    assert MaximumLikelihood(steps=50).fit(v).fitted_["nonzero_only"]
    clean, _ = view(model, 4)
    assert not MaximumLikelihood(steps=50).fit(clean).fitted_["nonzero_only"]


def test_a_disturbed_input_is_searched_for_with_draws_of_ones_own(model: nn.Sequential) -> None:
    noise = Gaussian(0.3, site="input")
    v, _ = view(model, 4, noise)
    assert MaximumLikelihood(steps=20).fit(v).moves_
    assert attacked(model, 4, noise) < attacked(model, 4, noise, aware=False)


def test_no_victim_changes_anothers_answer(model: nn.Sequential) -> None:
    v, side = view(model, 4)
    attack = MaximumLikelihood(steps=60, weight=0.03).fit(v)
    messages = side.repeats(X[VICTIMS], 1)
    together = attack.reconstruct(Observed(messages))
    alone = torch.cat([attack.reconstruct(Observed(z)) for z in messages[:8].split(1)])
    torch.testing.assert_close(together[:8], alone, rtol=0, atol=1e-3)  # convolutions by batch size


def test_more_starts_end_no_higher(model: nn.Sequential) -> None:
    one, four = (attacked(model, 4, restarts=k, weight=0.01, steps=60) for k in (1, 4))
    assert four < 1.2 * one


@pytest.mark.parametrize("shape", [(30,), (2, 16), (1, 4, 4, 4)])
def test_any_shape_of_input(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    low = torch.rand(400, 4) @ torch.rand(4, int(np.prod(shape))) / 4
    x, y = low.view(400, *shape), torch.randint(2, (400,))
    segment = nn.Sequential(nn.Flatten(), nn.Linear(low.shape[1], 40), nn.Tanh()).eval()
    v = build_view(
        threat_model("white-box"),
        auxiliary=(x[:200], y[:200]),
        validation=(x[200:300], y[200:300]),
        send=lambda t, m: segment(t)[:, None],
        stochastic=False,
        owner_segment=segment,
        far_segment=nn.Linear(40, 2),
        defence=(),
        repeats=1,
        classes=2,
    )
    attack = MaximumLikelihood(steps=200).fit(v)
    found = attack.reconstruct(Observed(segment(x[300:])[:, None]))
    floor = (x[:200].mean(0) - x[300:]).square().mean()
    assert (found - x[300:]).square().mean() < 0.5 * floor


# What is refused

VARIANTS: dict[str, Callable[[], Reconstruction]] = {
    **{name: kind for name, kind in ATTACKS.items()},
    "shadow by queries": lambda: Shadow(learn_from="queries"),
    "shadow of unknown structure": lambda: Shadow(structure="auto"),
}


@pytest.mark.parametrize("threat", sorted(THREATS))
@pytest.mark.parametrize("attack", sorted(VARIANTS))
def test_an_attack_is_refused_what_its_threat_model_withholds(
    attack: str, threat: str, model: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, (v, _) = VARIANTS[attack](), view(model, 2, threat=threat)
    monkeypatch.setattr(type(made), "_fit", lambda self, view: None)
    if made.needs <= THREATS[threat].has:
        assert made.fit(v) is made
        return
    with pytest.raises(ValueError, match=f"{type(made).__name__} needs .* {threat!r} withholds"):
        made.fit(v)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaximumLikelihood(steps=0), "steps must be at least 1: got 0"),
        (lambda: MaximumLikelihood(weight=-1), "weight must be >= 0: got -1"),
        (lambda: MaximumLikelihood(learning_rate=float("nan")), "learning_rate must be > 0"),
        (lambda: MaximumLikelihood(solver="newton"), "auto, descent or least-squares"),  # type: ignore[arg-type]
        (lambda: MaximumLikelihood(beta=3), "beta must be 1 or 2"),  # type: ignore[arg-type]
        (lambda: Shadow(structure="knwon"), "did you mean 'known'"),
        (lambda: Shadow(learn_from="hearsay"), "must be labels or queries"),  # type: ignore[arg-type]
        (lambda: Shadow(steps=0), "steps must be at least 1"),
        (lambda: Shadow(epochs=0), "epochs must be at least 1"),
        (lambda: encoder("autoo", (1,), (1,)), "did you mean 'auto'"),
        (lambda: encoder("he-lenet-conv1", (1, 28, 28), (500,)), "made for another cut"),
    ],
)
def test_bad_arguments(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_least_squares_wants_a_straight_segment(model: nn.Sequential) -> None:
    v, _ = view(model, 2)
    with pytest.raises(ValueError, match="wants an affine segment, and this one bends"):
        MaximumLikelihood(solver="least-squares").fit(v)


def test_the_counted_queries_of_an_attacker_who_searches(model: nn.Sequential) -> None:
    v, _ = view(model, 4, m=3)
    MaximumLikelihood(steps=5).fit(v)
    assert v.counts["queries"] == 16 * 3


def test_steps_that_help_are_taken_unless_they_are_given(
    model: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cutlayer.attacks import likelihood

    monkeypatch.setattr(likelihood, "FEW", 15)
    monkeypatch.setattr(likelihood, "MANY", 100)
    v, _ = view(model, 4)
    few = MaximumLikelihood(steps=15, weight=0.01, prior="variation").fit(v)
    left_open = MaximumLikelihood(weight=0.01, prior="variation").fit(v)
    assert few.fitted_["steps"] == 15
    assert not few.converged_
    assert 15 < left_open.fitted_["steps"] <= 100
    assert left_open.fitted_["validation_mse"][0] < 0.95 * few.fitted_["validation_mse"][0]
    again = left_open.fit(v)
    assert again.fitted_["steps"] == left_open.fitted_["steps"]
