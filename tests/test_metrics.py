"""Reconstruction, identity, utility and intervals, against other implementations."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.testing import assert_close

from cutlayer.metrics import (
    METRICS,
    accuracy,
    bootstrap,
    expected_calibration_error,
    expected_calibration_error_interval,
    mse,
    psnr,
    reidentification_rank,
    ssim,
    ssim_applies,
)

SHAPES = [(1, 11, 11), (1, 28, 28), (3, 32, 20)]


def pair(shape: tuple[int, ...], n: int = 6, noise: float = 0.2) -> tuple[Tensor, Tensor]:
    x = torch.rand(n, *shape)
    strength = noise * torch.linspace(0, 1, n).reshape(-1, *[1] * len(shape))
    return x, (x + strength * torch.randn(n, *shape)).clamp(0, 1)


def skimage_ssim(a: Tensor, b: Tensor) -> float:
    return float(
        structural_similarity(
            a.double().numpy(),
            b.double().numpy(),
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
        )
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_is_skimage(shape: tuple[int, ...]) -> None:
    x, x_hat = pair(shape)
    x[1], x_hat[1] = 0.9, 0.9001  # flat: where float32 variances are all rounding
    x[2], x_hat[2] = 0.0, 1.0
    wanted = torch.tensor([skimage_ssim(a, b) for a, b in zip(x, x_hat, strict=True)])
    assert_close(ssim(x, x_hat), wanted, rtol=0, atol=1e-6)


def test_psnr_is_skimage() -> None:
    x, x_hat = pair((3, 8, 8))
    wanted = [
        peak_signal_noise_ratio(a.double().numpy(), b.double().numpy(), data_range=1)
        for a, b in zip(x[1:], x_hat[1:], strict=True)
    ]
    assert_close(psnr(x, x_hat), torch.tensor([100.0, *map(float, wanted)]), rtol=1e-5, atol=0)


def test_rank_is_a_sort() -> None:
    x, x_hat = torch.rand(40, 5), torch.rand(40, 5)
    labels = torch.arange(40) % 3
    for given_labels in (None, labels):
        got = reidentification_rank(x, x_hat, labels=given_labels)
        assert got.dtype == torch.int64
        for i in range(40):
            same = torch.ones(40) > 0 if given_labels is None else labels == labels[i]
            order = (x - x_hat[i]).norm(dim=1)[same].argsort()
            assert got[i] == (same.nonzero()[:, 0][order] == i).nonzero()


def slow_calibration_error(p: Tensor, y: Tensor, bins: int) -> float:
    """Guo et al., equation 3, in words."""
    confidence, prediction = p.double().max(1)
    total = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            right = (prediction == y)[inside].double().mean()
            total += inside.double().mean() * (right - confidence[inside].mean()).abs()
    return float(total)


@given(st.integers(1, 60), st.integers(2, 6), st.integers(1, 20), st.integers(0, 2**31))
def test_calibration_error_is_the_papers(n: int, classes: int, bins: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    p = torch.randn(n, classes, generator=g).mul(2).softmax(1)
    y = torch.randint(classes, (n,), generator=g)
    got = expected_calibration_error(p, y, bins=bins).item()
    assert got == pytest.approx(slow_calibration_error(p, y, bins), abs=1e-9)


def test_interval_is_scipys_and_the_normal_one() -> None:
    values = torch.randn(300) + 5
    low, high = bootstrap(values)
    other = stats.bootstrap(
        (values.numpy(),), np.mean, n_resamples=2000, method="percentile", rng=1
    ).confidence_interval
    error = values.std().item() / math.sqrt(300)
    for got, scipy, normal in ((low, other.low, -1.96), (high, other.high, 1.96)):
        assert got == pytest.approx(scipy, abs=0.15 * error)  # two draws of 2,000
        assert got == pytest.approx(values.mean().item() + normal * error, abs=0.2 * error)


@given(st.integers(0, 2**31))
def test_ssim_is_symmetric_bounded_and_one_for_the_same(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    x, y = torch.rand(2, 3, 2, 13, 12, generator=g)
    assert_close(ssim(x, y), ssim(y, x))
    assert (ssim(x, y).abs() <= 1).all()
    assert_close(ssim(x, x), torch.ones(3))


@pytest.mark.parametrize("metric", ["mse", "psnr", "ssim"])
def test_one_value_per_sample_and_the_perfect_one(metric: str) -> None:
    entry = METRICS[metric]
    assert entry.per_sample is not None
    x, x_hat = pair((3, 12, 14))
    assert_close(entry.per_sample(x, x), torch.full((6,), entry.perfect))
    got = entry.per_sample(x, x_hat)
    order = got if entry.leaks == "low" else -got
    assert (order.diff() > 0).all()  # more noise leaks less
    # a sample's value does not depend on the batch that it came in
    assert_close(
        torch.cat(
            [entry.per_sample(a, b) for a, b in zip(x.split(1), x_hat.split(1), strict=True)]
        ),
        got,
    )


def test_signals_and_tables_have_an_error_too() -> None:
    for shape in ((1, 187), (30,)):
        x, x_hat = pair(shape)
        assert_close(mse(x, x_hat), (x - x_hat).square().reshape(6, -1).mean(1))
        assert not ssim_applies(shape)


def test_a_padded_frame_would_flatter_the_mean_image() -> None:
    x = torch.zeros(8, 1, 28, 28)
    for i in range(8):
        x[i, 0, 8:20, 6 + i : 10 + i] = 1.0
    mean = x.mean(0, keepdim=True).expand_as(x)
    wide = torch.nn.functional.pad
    assert (ssim(wide(x, [5] * 4), wide(mean, [5] * 4)) > ssim(x, mean) + 0.1).all()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, x_hat = pair((1, 14, 14), n=9)
    values, ranks = ssim(x, x_hat), reidentification_rank(x, x_hat)
    interval = bootstrap(values, resamples=50)
    for module in ("reconstruction", "identity", "interval"):
        monkeypatch.setattr(f"cutlayer.metrics.{module}._CHUNK", 1)
    assert_close(ssim(x, x_hat), values)
    assert (reidentification_rank(x, x_hat) == ranks).all()
    assert bootstrap(values, resamples=50)[0] < interval[1]


def test_near_identical_originals_are_told_apart() -> None:
    x = 0.5 + 1e-4 * torch.randn(50, 784)
    assert not reidentification_rank(x, x).any()


def test_ties_count_against_the_attacker() -> None:
    x = torch.rand(6, 40)
    x[4] = x[1]
    x_hat = x.clone()
    assert reidentification_rank(x, x_hat).tolist() == [0, 1, 0, 0, 1, 0]
    same = torch.full((6, 40), 0.3)
    assert reidentification_rank(same, same).tolist() == [5] * 6
    x_hat[2] = torch.nan
    assert reidentification_rank(x, x_hat)[2] == 5


def test_ties_do_not_hang_on_the_rounding_of_a_product() -> None:
    x = torch.rand(67, 333).repeat(3, 1)  # every original three times
    x_hat = torch.rand(67, 333).repeat(3, 1)
    assert (reidentification_rank(x, x_hat) % 3 == 2).all()


def test_one_reconstruction_for_all_identifies_one() -> None:
    x = torch.rand(30, 10)
    ranks = reidentification_rank(x, x.mean(0, keepdim=True).expand_as(x))
    assert sorted(ranks.tolist()) == list(range(30))


def test_accuracy_takes_logits_and_probabilities_and_no_nan() -> None:
    logits = torch.tensor([[9.0, 1.0], [0.0, 1.0], [math.nan, 1.0]])
    y = torch.tensor([0, 0, 0])
    assert accuracy(logits, y).tolist() == [1.0, 0.0, 0.0]
    assert accuracy(logits.softmax(1), y).tolist() == [1.0, 0.0, 0.0]


def test_bins_are_closed_above() -> None:
    p = torch.tensor([[0.5, 0.5], [0.1, 0.9]])  # .5 belongs to (0, .5], .9 to (.5, 1]
    assert expected_calibration_error(p, torch.tensor([1, 1]), bins=2).item() == pytest.approx(0.3)


def test_calibration_interval_holds_the_error_of_a_miscalibrated_model() -> None:
    y = torch.randint(2, (800,))
    p = torch.full((800, 2), 0.05)
    p[torch.arange(800), torch.where(torch.rand(800) < 0.7, y, 1 - y)] = 0.95
    error = expected_calibration_error(p, y).item()
    low, high = expected_calibration_error_interval(p, y)
    assert low < error < high
    half = 1.96 * math.sqrt(0.7 * 0.3 / 800)  # one bin: the error is |accuracy - 0.95|
    assert high - low == pytest.approx(2 * half, rel=0.15)


@pytest.mark.parametrize("values", [torch.tensor([3.5]), torch.full((40,), 3.5)])
def test_no_spread_no_width(values: Tensor) -> None:
    assert bootstrap(values) == (3.5, 3.5)


def test_intervals_are_reproducible_and_leave_the_random_state() -> None:
    values, state = torch.rand(50), torch.get_rng_state()
    assert bootstrap(values) == bootstrap(values) != bootstrap(values, seed=1)
    assert (torch.get_rng_state() == state).all()
    assert bootstrap(values, level=0.5)[0] > bootstrap(values)[0]
    assert all(map(math.isnan, bootstrap(torch.tensor([1.0, math.nan]), resamples=100)))


def test_a_broken_sample_is_nan_alone() -> None:
    x, x_hat = pair((1, 12, 12))
    x_hat[3, 0, 5, 5] = torch.nan
    for metric in (mse, psnr, ssim):
        assert metric(x, x_hat).isnan().tolist() == [False] * 3 + [True] + [False] * 2


X = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("metric", [mse, psnr, ssim])
@pytest.mark.parametrize(
    ("x", "x_hat", "message"),
    [
        (X, X[:3], r"like with like.*got x \(4, 1, 12, 12\) and x_hat \(3, 1, 12, 12\)"),
        (X, X * 2 - 1, r"wants x_hat in \[0, 1\], neither normalised.*got values from -"),
        (X * 255, X, r"wants x in \[0, 1\], .* to 25[\d.]+; undo"),
    ],
    ids=["shapes", "normalised", "bytes"],
)
def test_what_cannot_be_compared_is_refused(
    metric: Callable[..., Tensor], x: Tensor, x_hat: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metric(x, x_hat)


@pytest.mark.parametrize("shape", [(4, 1, 10, 28), (4, 28, 28), (4, 784)])
def test_ssim_of_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"wants images .* of at least 11 pixels"):
        ssim(torch.rand(shape), torch.rand(shape))


def test_other_refusals_say_what_came() -> None:
    p, y = torch.tensor([[0.2, 0.8]]), torch.tensor([1])
    with pytest.raises(ValueError, match=r"got values from -3 to 5.*apply softmax"):
        expected_calibration_error(torch.tensor([[5.0, -3.0]]), y)
    with pytest.raises(ValueError, match="at least one bin: got 0"):
        expected_calibration_error(p, y, bins=0)
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(3,\)"):
        accuracy(p, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"N >= 1: got \(0,\)"):
        bootstrap(torch.zeros(0))
    with pytest.raises(ValueError, match="at least one resample wanted: got 0"):
        bootstrap(torch.zeros(3), resamples=0)
    with pytest.raises(ValueError, match=r"such as 0\.95: got 95"):
        bootstrap(torch.zeros(3), level=95)
    with pytest.raises(ValueError, match=r"row i of x_hat in x: got x \(3, 2\) and x_hat \(4, 2\)"):
        reidentification_rank(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"got \(2,\) labels and x \(3, 2\)"):
        reidentification_rank(torch.zeros(3, 2), torch.zeros(3, 2), labels=torch.zeros(2))
    both = {"labels": torch.zeros(3), "others": torch.zeros(1, 2)}
    with pytest.raises(ValueError, match="labels or others"):
        reidentification_rank(torch.zeros(3, 2), torch.zeros(3, 2), **both)


def test_a_gallery_may_hold_more_than_was_attacked() -> None:
    x = torch.rand(40, 3, generator=torch.Generator().manual_seed(1))
    x_hat = x + 0.2 * torch.rand(40, 3, generator=torch.Generator().manual_seed(2))
    whole = reidentification_rank(x, x_hat)
    assert (reidentification_rank(x[:9], x_hat[:9], others=x[9:]) == whole[:9]).all()
