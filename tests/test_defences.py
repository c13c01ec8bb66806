"""What every defence promises, then what each one claims."""

import math
from pathlib import Path
from typing import Literal

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from cutlayer import Assembly, Store, parse
from cutlayer.defences import (
    DEFENCES,
    PHASES,
    Chain,
    ClipNorm,
    Defence,
    Defended,
    Dropout,
    Gaussian,
    Kept,
    Laplace,
    MutualInformation,
    Noise,
    NoPeek,
    StudentT,
    Uniform,
    in_phase,
)
from cutlayer.experiment import load_network, run_training
from cutlayer.metrics import distance_correlation

EVERY = [
    Laplace(0.5),
    Gaussian(0.5),
    Uniform(0.5),
    StudentT(0.5),
    ClipNorm(1.0),
    NoPeek(0.1),
    MutualInformation(0.1),
    MutualInformation(0.1, active="both"),
    Dropout(0.3),
]
NOISES = [
    (Laplace(0.5), stats.laplace(scale=0.5)),
    (Gaussian(0.5), stats.norm(scale=0.5)),
    (Uniform(0.5), stats.uniform(-0.5, 1.0)),
    (StudentT(0.5), stats.t(3, scale=0.5)),
]


def test_every_defence_is_under_test() -> None:
    known = {d for d in DEFENCES.values() if d.site != "output"}  # of which test_output_defences.py
    assert {type(d) for d in EVERY} == known


@pytest.mark.parametrize("defence", EVERY, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("phase", ["train", "serve"])
@pytest.mark.parametrize("training", [True, False], ids=["train()", "eval()"])
def test_contract(defence: Defence, dtype: torch.dtype, phase: str, training: bool) -> None:
    x = torch.rand(5, 1, 4, 4, dtype=dtype)
    z = torch.randn(5, 2, 3, 3, dtype=dtype, requires_grad=True)
    defence.train(training)
    with in_phase(defence, phase):  # type: ignore[arg-type]
        sent = defence(z)
        penalty = defence.penalty(x, z, sent)
    assert (sent.shape, sent.dtype, sent.device) == (z.shape, z.dtype, z.device)
    (sent.square().sum() + penalty).backward()
    assert penalty.shape == ()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert defence.phase == "serve"  # what every attack and evaluation finds


@pytest.mark.parametrize(("noise", "law"), NOISES, ids=[type(n).__name__ for n, _ in NOISES])
def test_noise_follows_its_law(noise: Noise, law: stats.rv_continuous) -> None:
    drawn = noise(torch.zeros(20_000, dtype=torch.float64)).numpy()
    # p < 1e-6 is one false alarm in a million seeds; the seed is fixed, so this cannot flake
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-6
    assert noise.noise_deviation() == pytest.approx(law.std())


@pytest.mark.parametrize("active", ["train", "serve", "both"])
@pytest.mark.parametrize("phase", ["train", "serve"])
@pytest.mark.parametrize("training", [True, False])
def test_noise_acts_in_its_phase_only(active: str, phase: str, training: bool) -> None:
    noise = Laplace(1.0, active=active).train(training)  # type: ignore[arg-type]
    z = torch.zeros(50)
    with in_phase(noise, phase):  # type: ignore[arg-type]
        assert torch.equal(noise(z), z) == (active not in ("both", phase))


def test_scale_zero_is_nothing() -> None:
    z = torch.randn(7, 3)
    assert all(torch.equal(law(0.0)(z), z) for law in (Laplace, Gaussian, Uniform, StudentT))


def test_laplace_noise_is_never_infinite_where_the_generator_returns_an_exact_zero() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert Laplace(1.0)(torch.zeros(2_000_000)).isfinite().all()


def test_clipping_bounds_the_norm_and_leaves_small_messages_alone() -> None:
    z = torch.randn(64, 4, 5) * torch.logspace(-2, 2, 64)[:, None, None]
    for order in (1, 2):
        clipped = ClipNorm(2.0, order=order)(z)
        before = torch.linalg.vector_norm(z.flatten(1), order, dim=1)
        after = torch.linalg.vector_norm(clipped.flatten(1), order, dim=1)
        assert (after <= 2.0 * (1 + 1e-6)).all()
        assert torch.equal(clipped[before <= 2.0], z[before <= 2.0])
    assert torch.equal(ClipNorm(1.0)(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_dropout_does_not_rescale_and_acts_while_serving() -> None:
    kept = Dropout(0.4).eval()(torch.ones(50_000))
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert kept.mean().item() == pytest.approx(0.6, abs=0.01)
    with in_phase(dropout := Dropout(0.4), "train"):
        assert torch.equal(dropout(torch.ones(100)), torch.ones(100))
    assert torch.equal(Dropout(1.0)(torch.ones(9)), torch.zeros(9))


def test_nopeek_is_its_weight_times_the_metric_applied_once() -> None:
    x, z = torch.rand(9, 1, 4, 4), torch.randn(9, 6)
    sent = z + torch.randn_like(z)
    assert torch.equal(NoPeek(0.3).penalty(x, z, sent), 0.3 * distance_correlation(x, sent))
    clean = NoPeek(0.3, on="clean", exponent=2.0).penalty(x, z, sent)
    assert torch.equal(clean, 0.3 * distance_correlation(x, z, exponent=2.0))
    assert torch.equal(NoPeek(0.3)(z), z)
    assert NoPeek(0.0).penalty(x[:1], z[:1], z[:1]) == 0


def test_a_bottleneck_penalises_half_the_squared_norm_whatever_is_sent() -> None:
    x, z = torch.rand(2, 3), torch.tensor([[[3.0, 4.0]], [[0.0, 1.0]]])
    assert MutualInformation(0.5).penalty(x, z, z + 7) == pytest.approx(0.5 * (25 + 1) / 2 / 2)
    assert MutualInformation(0.0).penalty(x, z, z) == 0
    unit = torch.distributions.Normal(0.0, 1.0)
    moved = torch.distributions.Normal(z.double(), 1.0)
    divergence = torch.distributions.kl_divergence(moved, unit).sum((1, 2)).mean()
    assert MutualInformation(1.0).penalty(x, z.double(), z) == pytest.approx(float(divergence))


@pytest.mark.parametrize(("active", "noisy"), [("train", {"train"}), ("both", {"train", "serve"})])
def test_a_bottleneck_draws_in_training_and_while_serving_if_told(
    active: Literal["train", "both"], noisy: set[str]
) -> None:
    z, chain = torch.zeros(20_000), Chain(MutualInformation(0.1, active=active))
    for phase in PHASES:
        with in_phase(chain, phase):
            sent = chain(z)
            assert chain.is_stochastic() == (phase in noisy)
            assert chain.noise_deviation() == (phase in noisy)
        if phase in noisy:
            assert stats.kstest(sent.numpy(), "norm").pvalue > 1e-6
        else:
            assert torch.equal(sent, z)


def test_a_bottleneck_makes_messages_short(tmp_path: Path) -> None:
    def size(weight: float) -> float:
        usual = {"data": "digits", "model": "mlp", "cut": "fc2", "epochs": 3, "threads": 1}
        a = Assembly.of(parse({**usual, "device": "cpu", "defence": f"mid:weight={weight}"}))
        network = load_network(a, Store(tmp_path), run_training(a, Store(tmp_path)).id)
        with torch.no_grad():
            return float(network.defended(a.take(a.victims[:50])[0]).norm(dim=1).mean())

    assert size(10.0) < 0.3 * size(0.0)


def test_a_chain_applies_in_order_and_gives_every_penalty_the_final_message() -> None:
    x, z = torch.rand(6, 4), torch.randn(6, 5)
    chain = Chain(ClipNorm(1.0), Chain(NoPeek(0.5)), Laplace(0.3), NoPeek(0.25, on="clean"))
    with in_phase(chain, "train"):
        torch.manual_seed(5)
        sent = chain(z)
        torch.manual_seed(5)
        assert torch.equal(sent, Laplace(0.3)(ClipNorm(1.0)(z)))
        expected = 0.5 * distance_correlation(x, sent) + 0.25 * distance_correlation(x, z)
        torch.testing.assert_close(chain.penalty(x, z, sent), expected)
        assert all(m.phase == "train" for m in chain.members)
    assert torch.equal(Chain()(z), z)


def test_phases_decide_what_is_random_and_what_is_penalised() -> None:
    chain = Chain(Laplace(1.0, active="serve"), NoPeek(1.0))
    x, z = torch.rand(4, 3), torch.randn(4, 3)
    assert chain.is_stochastic()
    assert chain.noise_deviation() == pytest.approx(math.sqrt(2))
    assert chain.penalty(x, z, z) == 0  # serving: nothing is trained
    with in_phase(chain, "train"):
        assert not chain.is_stochastic()
        assert chain.penalty(x, z, z) > 0


def test_input_noise_goes_in_front_of_the_segment() -> None:
    segment = torch.nn.Linear(3, 3)
    side = Defended(segment, Chain(Gaussian(5.0, site="input"), Laplace(0.1)))
    x = torch.zeros(200, 3)
    z, sent = side.emit(x)
    assert (z - segment(x)).std() > 1
    assert 0.05 < (sent - z).std() < 0.5
    assert torch.equal(Defended(segment, Chain())(x), segment(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Laplace(-1.0), r"Laplace scale must be >= 0, in units of the activation: got -1"),
        (lambda: Gaussian(math.nan), "Gaussian scale must be >= 0.*got nan"),
        (lambda: Uniform(math.inf), "got inf"),
        (lambda: Laplace(1.0, active="never"), "one of train, serve, both: got 'never'"),  # type: ignore[arg-type]
        (lambda: Laplace(1.0, site="output"), "one of input, cut: got 'output'"),  # type: ignore[arg-type]
        (lambda: ClipNorm(0.0), "must be > 0"),
        (lambda: ClipNorm(1.0, order=3), "one of 1, 2: got 3"),
        (lambda: Dropout(1.1), "a probability, 0 to 1: got 1.1"),
        (lambda: Dropout(math.nan), "got nan"),
        (lambda: NoPeek(-0.1), "NoPeek weight must be >= 0: got -0.1"),
        (lambda: MutualInformation(-0.1), "MutualInformation weight must be >= 0: got -0.1"),
        (lambda: MutualInformation(math.nan), "got nan"),
        (lambda: MutualInformation(math.inf), "got inf"),
        (lambda: MutualInformation(1.0, active="serve"), "one of train, both: got 'serve'"),  # type: ignore[arg-type]
        (lambda: NoPeek(1.0, exponent=0.0), r"in \(0, 2\]: got 0"),
        (lambda: NoPeek(1.0, exponent=math.nan), "got nan"),
        (
            lambda: NoPeek(1.0).penalty(torch.rand(1, 3), torch.rand(1, 3), torch.rand(1, 3)),
            "at least 2 wanted: got 1; raise the batch size",
        ),
    ],
)
def test_what_is_refused_and_how(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_what_the_segment_made_is_kept_until_the_input_changes() -> None:
    calls = []

    class Segment(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return 2 * x

    side, kept = Defended(Segment(), Chain(Laplace(0.5))).eval(), Kept()
    x = torch.rand(10, 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = [side.repeats(part, 2, kept=kept) for part in x.split(4)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        again = [side.repeats(part, 2, kept=kept) for part in x.split(4)]
        other = [side.repeats(part, 2, kept=kept) for part in x.split(4)]
    assert calls == [4, 4, 2]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])  # the noise is drawn anew
    x[0] += 1
    changed = side.repeats(x[:4], 1, kept=kept)
    assert calls == [4, 4, 2, 4]
    assert (changed[0, 0] - 2 * x[0]).abs().max() < 20
    assert (changed[0, 0] - 2 * x[0]).abs().mean() < 2
    small = Kept(room=8)
    assert torch.equal(small.of(x, lambda t: t + 1), x + 1)
    assert not small._made


def test_kept_is_not_used_where_the_input_is_perturbed() -> None:
    side, kept = Defended(nn.Identity(), Chain(Laplace(1.0, site="input"))).eval(), Kept()
    x = torch.zeros(5, 2)
    assert not torch.equal(side.repeats(x, 1, kept=kept), side.repeats(x, 1, kept=kept))
