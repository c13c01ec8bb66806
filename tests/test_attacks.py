"""Attacks meet their victim through the View; undefended they succeed, drowned they do not."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cutlayer.adversary import Seat
from cutlayer.attacks import (
    ATTACKS,
    FLOORS,
    AffineInverse,
    ClassMean,
    ConfidenceInversion,
    InverseNetwork,
    MaximumLikelihood,
    MeanSample,
    NearestAuxiliary,
    Reconstruction,
    Shadow,
)
from cutlayer.decoders import DECODERS, decoder
from cutlayer.defences import Chain, Defended, Laplace, OwnerSide
from cutlayer.threat import CAPABILITIES, THREATS, Bare, Observed, View, build_view, threat_model

PROTOTYPES = torch.rand(4, 12, generator=torch.Generator().manual_seed(0))


def samples(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four prototypes and a smooth variation of each: enough to learn, nothing to memorise."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (n,), generator=g)
    return (PROTOTYPES[y] + 0.2 * torch.randn(n, 12, generator=g)).clamp(0, 1), y


def owner_side(scale: float = 0.0) -> Defended:
    torch.manual_seed(1)
    segment = nn.Sequential(nn.Linear(12, 16), nn.Tanh())
    return Defended(segment, Chain(Laplace(scale))).eval().requires_grad_(False)


def view(side: Defended, threat: str = "server-and-owner", repeats: int = 1) -> View:
    return build_view(
        threat_model(threat),
        auxiliary=samples(300, 2),
        validation=samples(60, 3),
        send=side.repeats,
        stochastic=side.defence.noise_deviation() > 0,
        owner_segment=side.segment,
        far_segment=nn.Linear(16, 4),
        defence=("laplace",),
        repeats=repeats,
        classes=4,
        owner_side=OwnerSide(side),
        imitate=lambda segment: Seat(side, [], (2,)).imitate(segment, repeats),
    )


def overheard(side: Defended, x: Tensor, repeats: int = 1) -> Tensor:
    return torch.stack([side(x) for _ in range(repeats)], dim=1)


def error(attack: Reconstruction, side: Defended, repeats: int = 1) -> float:
    x, y = samples(200, 4)
    seen = Observed(overheard(side, x, repeats), y)
    return float((attack.reconstruct(seen) - x).square().mean())


def fitted(side: Defended, repeats: int = 1) -> InverseNetwork:
    return InverseNetwork(epochs=30).fit(view(side, repeats=repeats))


def test_undefended_the_inverse_network_is_under_half_the_floors_error() -> None:
    side = owner_side()
    floor = error(MeanSample().fit(view(side)), side)
    attack = fitted(side)
    assert error(attack, side) < 0.5 * floor
    assert attack.converged_ is not None


def test_drowned_in_noise_it_is_no_better_than_the_floor() -> None:
    side = owner_side(100.0)
    floor = error(MeanSample().fit(view(side)), side)
    assert 0.8 * floor < error(fitted(side), side) < 1.2 * floor


def test_averaging_sixteen_messages_reads_more_than_one() -> None:
    side = owner_side(1.0)
    assert error(fitted(side, 16), side, 16) < 0.8 * error(fitted(side), side)


def test_it_is_trained_through_the_defended_path() -> None:
    """Told clean messages instead, it would do worse on noisy ones."""
    side, clean = owner_side(1.0), owner_side(0.0)
    ignorant = InverseNetwork(epochs=30).fit(view(clean))
    assert error(fitted(side), side) < 0.8 * error(ignorant, side)


def test_a_random_defence_is_asked_anew_each_epoch_and_a_fixed_one_once() -> None:
    seen: list[int] = []

    def count(side: Defended, *, renew: bool = True) -> int:
        v = view(side)
        InverseNetwork(epochs=3, renew=renew).fit(v)
        seen.append(v.counts["queries"])
        return seen[-1]

    assert count(owner_side(0.0)) == 300 + 60
    assert count(owner_side(0.5)) == 3 * 300 + 60
    assert count(owner_side(0.5), renew=False) == 300 + 60


def test_a_decoder_of_convolutions_can_give_back_what_differs_from_place_to_place() -> None:
    """It cannot, if the mean of every place is taken off the message before."""
    torch.manual_seed(0)
    ramp = torch.linspace(0, 0.8, 9).expand(1, 9, 9)
    x, y = ramp + 0.2 * torch.rand(400, 1, 9, 9), torch.zeros(400, dtype=torch.long)
    segment = nn.Conv2d(1, 64, 1).requires_grad_(False)
    v = build_view(
        threat_model("black-box"),
        auxiliary=(x[:300], y[:300]),
        validation=(x[300:], y[300:]),
        send=lambda t, m: segment(t)[:, None],
        stochastic=False,
        owner_segment=segment,
        far_segment=nn.Identity(),
        defence=(),
        repeats=1,
        classes=1,
    )
    network = InverseNetwork(epochs=1).fit(v).network_
    message = segment(x[:1])
    standard = network[0](message)  # type: ignore[index, operator]
    assert standard.mean((2, 3)).abs().max() < 0.2  # no channel stands out
    assert standard.std((2, 3)).min() > 0.5 * segment.weight.abs().min()
    across = standard.mean(2)[0]  # (channels, columns): the ramp is still there
    assert (across[:, -1] - across[:, 0]).abs().median() > 1


def test_the_affine_inverse_is_exact_where_the_segment_is_affine() -> None:
    torch.manual_seed(2)
    segment = nn.Linear(12, 16).requires_grad_(False)
    side = Defended(segment, Chain()).eval()
    attack = AffineInverse().fit(view(side, "black-box"))
    assert error(attack, side) < 1e-8
    x, y = torch.rand(50, 12), torch.zeros(50, dtype=torch.long)  # nothing like the victims
    strange = replace(view(side, "black-box"), auxiliary=x, auxiliary_labels=y, validation=x)
    assert error(AffineInverse().fit(strange), side) < 1e-8


def test_the_affine_inverse_is_ridge_regression_elsewhere() -> None:
    side = owner_side(0.1)
    floor = error(MeanSample().fit(view(side)), side)
    attack = AffineInverse(samples=200).fit(view(side))
    assert error(attack, side) < 0.7 * floor
    assert attack.fitted_["ridge"] > 1e-10  # noise is not fitted
    assert attack.fitted_["samples"] == 200
    assert 0.8 * floor < error(AffineInverse().fit(view(owner_side(100.0))), side) < 1.5 * floor


def test_stopping_looks_at_the_attackers_own_validation_share() -> None:
    side = owner_side()
    v = view(side)
    broken = replace(v, validation=torch.rand_like(v.validation))  # nothing can be learned there
    attack = InverseNetwork(epochs=40, patience=3).fit(broken)
    assert attack.fitted_["epochs"] < 40


def test_floors_say_what_they_claim() -> None:
    side, (x, y) = owner_side(), samples(200, 4)
    v = view(side)
    seen = Observed(overheard(side, x), y)
    assert torch.equal(MeanSample().fit(v).reconstruct(seen)[5], v.auxiliary.mean(0))
    assert v.auxiliary_labels is not None
    expected = v.auxiliary[v.auxiliary_labels == y[5]].mean(0)
    assert torch.equal(ClassMean().fit(v).reconstruct(seen)[5], expected)
    own = Observed(overheard(side, v.auxiliary[:9]), None)
    assert torch.equal(NearestAuxiliary().fit(v).reconstruct(own), v.auxiliary[:9])


def test_a_class_without_auxiliary_samples_gets_the_mean_of_all() -> None:
    v = view(owner_side())
    assert v.auxiliary_labels is not None
    kept = v.auxiliary_labels != 2
    poorer = replace(v, auxiliary=v.auxiliary[kept], auxiliary_labels=v.auxiliary_labels[kept])
    seen = Observed(torch.zeros(1, 1, 16), torch.tensor([2]))
    mean = ClassMean().fit(poorer).reconstruct(seen)[0]
    torch.testing.assert_close(mean, poorer.auxiliary.mean(0))


@pytest.mark.parametrize("threat", sorted(THREATS))
def test_a_view_hands_out_what_its_threat_model_grants_and_nothing_else(threat: str) -> None:
    v = view(owner_side(), threat)
    held = {
        "auxiliary_labels": v.auxiliary_labels,
        "query": v.query,
        "owner_segment": v.owner_segment,
        "owner_structure": v.owner_structure,
        "far_segment": v.far_segment,
        "defence": v.defence,
        "imitate": None if v.imitate is Bare else v.imitate,
        "owner_side": v.owner_side,
    }
    of = {"imitate": {"defence"}, "owner_side": {"defence", "owner_segment"}}
    granted = {name for name in held if of.get(name, {name}) <= THREATS[threat].has}
    assert {k for k, value in held.items() if value is not None} == granted
    unsaid = {"owner_structure"} if "owner_segment" in v.threat.has else set()  # it is implied
    assert len(v.threat.in_words()) == len(v.threat.has - unsaid)


def test_what_is_handed_out_is_a_copy_and_the_structure_comes_without_weights() -> None:
    side = owner_side()
    known, guessed = view(side).owner_segment, view(side, "query-free").owner_structure
    assert known is not None
    assert guessed is not None
    own = side.segment.state_dict()
    assert all(torch.equal(v, own[k]) for k, v in known.state_dict().items())
    assert not any(torch.equal(v, own[k]) for k, v in guessed.state_dict().items())
    with torch.no_grad():
        next(known.parameters()).zero_()
    assert side.segment.state_dict()["0.weight"].abs().sum() > 0


def test_an_attacker_who_holds_the_segment_reads_more_through_noise() -> None:
    """It knows the range of clean messages; a black-box attacker does not."""
    side, (x, y) = owner_side(1.5), samples(400, 4)
    seen = Observed(overheard(side, x), y)
    inside, outside = (
        InverseNetwork(epochs=30).fit(view(side, threat)).reconstruct(seen)
        for threat in ("white-box", "black-box")
    )
    assert (inside - x).square().mean() < (outside - x).square().mean()


def test_a_diverging_attack_stops_and_answers_with_the_mean() -> None:
    attack = InverseNetwork(learning_rate=1e30, epochs=3).fit(view(owner_side()))
    assert attack.converged_ is False
    assert attack.fitted_["answers_with"] == "mean auxiliary sample"
    assert all(e is None or math.isfinite(e) for e in attack.fitted_["validation_mse"])


def test_every_capability_is_granted_by_some_model_and_no_other_is() -> None:
    assert set().union(*(m.has for m in THREATS.values())) == set(CAPABILITIES)


@pytest.mark.parametrize(
    ("message", "inputs"),
    [
        ((500,), (1, 28, 28)),
        ((16, 8, 8), (1, 28, 28)),
        ((8, 24, 24), (1, 28, 28)),
        ((64, 32, 32), (3, 32, 32)),
        ((128, 1, 1), (3, 17, 40)),
        ((16, 32), (1, 128)),
        ((16, 50), (1, 201)),
        ((65, 8), (3, 32, 32)),
        ((7,), (1, 1, 1)),
        ((3, 4), (30,)),
        ((12,), (2, 3)),
    ],
)
def test_the_automatic_decoder_fits_any_two_shapes(
    message: tuple[int, ...], inputs: tuple[int, ...]
) -> None:
    made = decoder("auto", message, inputs)(torch.randn(2, *message))
    assert made.shape == (2, *inputs)
    assert made.min() >= 0
    assert made.max() <= 1


FITS = {
    "titcombe": ((500,), (1, 28, 28)),
    "titcombe-affine": ((500,), (1, 28, 28)),
    "he-lenet-conv1": ((8, 24, 24), (1, 28, 28)),
    "he-lenet-relu2": ((16, 8, 8), (1, 28, 28)),
    "he-cifar-conv11": ((64, 32, 32), (3, 32, 32)),
    "he-cifar-relu22": ((128, 16, 16), (3, 32, 32)),
    "he-cifar-relu32": ((128, 8, 8), (3, 32, 32)),
}


def test_the_papers_decoders_fit_the_papers_cuts() -> None:
    assert FITS.keys() == DECODERS.keys() - {"auto"}
    for name, (message, inputs) in FITS.items():
        assert decoder(name, message, inputs)(torch.randn(2, *message)).shape == (2, *inputs)


def test_the_published_decoder_without_activations_is_affine_and_ours_is_not() -> None:
    a, b = torch.randn(2, 1, 500)
    for name, affine in (("titcombe-affine", True), ("titcombe", False)):
        f = decoder(name, (500,), (1, 28, 28))
        bend = (f((a + b) / 2) - (f(a) + f(b)) / 2).abs().max()
        assert (bend < 1e-5) == affine


def test_every_attack_and_floor_is_under_test() -> None:
    # The others are in test_likelihood.py, test_shadow.py and test_prediction_api.py.
    known = {InverseNetwork, AffineInverse, MaximumLikelihood, Shadow, ConfidenceInversion}
    assert set(ATTACKS.values()) == known
    assert set(FLOORS.values()) == {MeanSample, ClassMean, NearestAuxiliary}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: InverseNetwork().fit(view(owner_side(), "query-free")),
            "InverseNetwork needs queries, which threat model 'query-free' withholds",
        ),
        (
            lambda: ClassMean().fit(view(owner_side(), "black-box")),
            "ClassMean needs labelled auxiliary data",
        ),
        (lambda: threat_model("black-bocks"), "unknown, did you mean 'black-box'"),
        (lambda: decoder("titcomb", (1,), (1,)), "unknown, did you mean 'titcombe'"),
        (lambda: decoder("titcombe", (500,), (3, 32, 32)), "made for another cut.*use 'auto'"),
        (lambda: decoder("he-lenet-relu2", (500,), (1, 28, 28)), "made for another cut"),
        (lambda: InverseNetwork(decoder="titcomb"), "unknown, did you mean 'titcombe'"),
        (lambda: AffineInverse(samples=1), "samples must be at least 2: got 1"),
        (lambda: InverseNetwork(epochs=0), "epochs must be at least 1: got 0"),
        (lambda: InverseNetwork(learning_rate=math.nan), "learning_rate must be > 0: got nan"),
        (
            lambda: (
                ClassMean()
                .fit(view(owner_side()))
                .reconstruct(Observed(torch.zeros(1, 1, 16), None))
            ),
            "needs the labels of the victims",
        ),
    ],
)
def test_what_is_refused_and_how(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
