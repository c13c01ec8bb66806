"""Distance correlation against the dcor package, float64 differences, its theory and its edges."""

import math
from collections.abc import Callable

import dcor
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from cutlayer.metrics import (
    bias_corrected_distance_correlation,
    dependence,
    distance_correlation,
    distance_correlation_floor,
)

CLOSE = {
    torch.float64: dict(rtol=1e-9, atol=1e-11),
    torch.float32: dict(rtol=1e-4, atol=1e-5),  # a few hundred roundings of 6e-8
}
Statistic = Callable[..., Tensor]
STATISTICS: list[Statistic] = [distance_correlation, bias_corrected_distance_correlation]
EXPONENTS = [0.3, 1.0, 1.5, 2.0]


def slow(x: Tensor, z: Tensor, exponent: float, *, unbiased: bool) -> Tensor:
    """Obviously correct: every difference, autograd, float64."""

    def centred(t: Tensor) -> Tensor:
        squared = (t[:, None] - t[None]).square().sum(2)
        apart = squared > 0
        d = torch.where(apart, torch.where(apart, squared, 1.0) ** (exponent / 2), 0.0)
        n = len(d)
        if unbiased:
            rows = d.sum(1) / (n - 2)
            a = d - rows - rows[:, None] + d.sum() / ((n - 1) * (n - 2))
            return a * (1 - torch.eye(n, dtype=d.dtype))
        return d - d.mean(0) - d.mean(1, keepdim=True) + d.mean()

    a, b = centred(x.double().flatten(1)), centred(z.double().flatten(1))
    r = (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()
    return r if unbiased else r.sqrt()


def check_against_slow(x: Tensor, z: Tensor, exponent: float, *, unbiased: bool) -> None:
    x, z = x.clone().requires_grad_(), z.clone().requires_grad_()
    value = STATISTICS[unbiased](x, z, exponent=exponent)
    expected = slow(x, z, exponent, unbiased=unbiased)
    assert value.dtype == x.dtype
    assert_close(value.double(), expected, **CLOSE[x.dtype])
    gradients = torch.autograd.grad(value, (x, z))
    wanted = torch.autograd.grad(expected, (x, z))
    for got, want in zip(gradients, wanted, strict=True):
        # by norm: single entries of a gradient cancel
        error = (got.double() - want).norm() / want.norm()
        assert error < (2e-4 if x.dtype == torch.float32 else 1e-9)


def batches(n: int, d: int, k: int, seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    return x, x.sum(1, keepdim=True).sin() + torch.randn(n, k, generator=g, dtype=torch.float64)


SIZES = dict(
    n=st.integers(4, 40), d=st.integers(1, 6), k=st.integers(1, 6), seed=st.integers(0, 2**31)
)


@pytest.mark.filterwarnings("ignore:Distance covariance is not guaranteed")  # exponent 2
@settings(deadline=None, max_examples=40)
@given(**SIZES, exponent=st.sampled_from(EXPONENTS))
def test_agrees_with_dcor(n: int, d: int, k: int, seed: int, exponent: float) -> None:
    x, z = batches(n, d, k, seed)
    args = {"exponent": exponent, "method": "naive"}
    v = dcor.distance_correlation(x.numpy(), z.numpy(), **args)
    u = dcor.u_distance_correlation_sqr(x.numpy(), z.numpy(), **args)
    assert_close(distance_correlation(x, z, exponent=exponent).item(), float(v), **CLOSE[x.dtype])
    got = bias_corrected_distance_correlation(x, z, exponent=exponent)
    assert_close(got.item(), float(u), **CLOSE[x.dtype])


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("shape", [(9, 40, 30), (60, 5, 3)], ids=["wide", "tall"])
def test_value_and_gradients_agree_with_every_difference(
    shape: tuple[int, int, int], exponent: float, unbiased: bool
) -> None:
    check_against_slow(*batches(*shape, seed=1), exponent, unbiased=unbiased)


@settings(deadline=None, max_examples=25)
@given(**SIZES, scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_rotation_shift_and_scale_lose_nothing(
    n: int, d: int, k: int, seed: int, scale: float, shift: float
) -> None:
    x, z = batches(n, d, k, seed)
    rotation, _ = torch.linalg.qr(batches(d, d, 1, seed)[0])
    assert_close(
        distance_correlation(x, scale * x @ rotation + shift).item(), 1.0, rtol=0, atol=1e-9
    )
    for statistic in STATISTICS:
        value = statistic(x, z).item()
        assert_close(statistic(scale * x @ rotation + shift, z).item(), value, rtol=1e-6, atol=1e-9)
        assert -1 <= value <= 1
    assert distance_correlation(x, z) >= 0


def test_sees_what_is_not_linear_unless_asked_not_to() -> None:
    x = torch.linspace(-1, 1, 101, dtype=torch.float64)
    z = x.square()
    assert distance_correlation(x, z) > 0.4
    assert distance_correlation(x, z, exponent=2) < 1e-6  # linear CKA is blind to it


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("n", [25, 26])  # torch.cdist changes algorithm between these two
def test_near_identical_images_survive_float32(n: int, unbiased: bool) -> None:
    x = 0.5 + 1e-3 * torch.randn(n, 3, 16, 16)
    check_against_slow(x, x[:, :, ::2, ::2], 1.0, unbiased=unbiased)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("apart", [1e-2, 1e-4, 1e-6, 0.0])
def test_a_few_nearly_coincident_pairs_survive_float32(apart: float, exponent: float) -> None:
    x, z = torch.randn(20, 30), torch.randn(20, 40)
    x[7] = x[3] + apart * torch.randn(30)
    z[1] = z[0] + apart * torch.randn(40)
    check_against_slow(x, z, exponent, unbiased=False)


@pytest.mark.parametrize("tightness", [0.05, 0.02, 0.01, 0.001])  # across the threshold
def test_tight_clusters_survive_float32(tightness: float) -> None:
    z = torch.randn(4, 100).repeat(12, 1) + tightness * torch.randn(48, 100)
    check_against_slow(torch.randn(48, 50), z, 1.0, unbiased=False)


def test_an_outlier_does_not_blur_the_others() -> None:
    z = torch.randn(30, 20)
    z[4] *= 1e4
    check_against_slow(torch.randn(30, 10), z, 1.0, unbiased=False)


def test_sums_over_a_large_batch_survive_float32() -> None:
    x, z = torch.randn(1500, 20), torch.randn(1500, 10)
    for statistic in STATISTICS:
        expected = statistic(x.double(), z.double())
        assert_close(statistic(x, z).double(), expected, **CLOSE[torch.float32])


def test_long_sums_survive_float32() -> None:
    a = torch.rand(2, 2048, 2048)  # in one float32 sum: 1e-4 off
    got = dependence._inner_products(a)
    assert got[2] == pytest.approx((a[0].double() * a[1].double()).sum().item(), rel=1e-7)


def test_exponent_2_takes_the_feature_form_where_it_is_cheaper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an N x N matrix was made")

    monkeypatch.setattr(dependence, "_by_pairs", refuse)
    x, z = torch.randn(400, 20), torch.randn(400, 10, requires_grad=True)
    distance_correlation(x, z, exponent=2).backward()
    with pytest.raises(AssertionError, match="N x N"):
        distance_correlation(x[:8], z[:8], exponent=2)


def test_no_matrix_is_kept_and_nothing_computed_for_x() -> None:
    x, z = torch.randn(64, 30), torch.randn(64, 20, requires_grad=True)
    saved = distance_correlation(x, z).grad_fn.saved_tensors
    assert saved[0] is None
    assert saved[1].shape == z.shape


GROUPS = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
NOTHING_SHARED = {
    "constant": torch.full((4, 1), 0.3),
    "crossed": torch.tensor([[0.0], [1.0], [0.0], [1.0]]),  # independent of GROUPS, exactly
    "no features": torch.zeros(4, 0),
}


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("z", NOTHING_SHARED.values(), ids=NOTHING_SHARED.keys())
def test_nothing_shared_is_zero_and_pulls_nowhere(z: Tensor, exponent: float) -> None:
    for first, second in ((GROUPS, z), (z, GROUPS)):
        a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
        value = distance_correlation(a, b, exponent=exponent)
        value.backward()
        assert value == 0
        for grad in (a.grad, b.grad):
            assert grad is not None
            assert not grad.any()  # sqrt'(0) is inf, and it is on the path


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_collapsed_cut_is_zero_with_zero_gradient(statistic: Statistic, exponent: float) -> None:
    for n in (7, 200):  # both forms of exponent 2
        x, z = torch.randn(n, 6), (torch.randn(5) * 1e3).repeat(n, 1).requires_grad_()
        value = statistic(x, z, exponent=exponent)
        value.backward()
        assert value == 0
        assert z.grad is not None
        assert not z.grad.any()


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_equal_distances_leave_nothing_after_u_centring(exponent: float) -> None:
    z = (0.3 * torch.eye(12)).requires_grad_()
    value = bias_corrected_distance_correlation(torch.randn(12, 5), z, exponent=exponent)
    value.backward()
    assert value == 0  # otherwise rounding against rounding
    assert z.grad is not None
    assert not z.grad.any()


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("statistic", STATISTICS)
def test_coincident_points_do_not_pull_at_each_other(statistic: Statistic, exponent: float) -> None:
    x, z = torch.randn(12, 4), torch.randn(12, 3).round()
    z[5] = z[9] = z[2]
    z.requires_grad_()
    statistic(x, z, exponent=exponent).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_two_samples_always_correlate() -> None:
    assert_close(distance_correlation(torch.rand(2, 3), torch.rand(2, 5)), torch.tensor(1.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8, torch.float64])
def test_types_are_widened(dtype: torch.dtype) -> None:
    x = (9 * torch.rand(10, 2, 3)).to(dtype)
    z = torch.rand(10, 4)
    value = distance_correlation(x, z)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert_close(value.double(), slow(x, z, 1.0, unbiased=False), **CLOSE[torch.float32])


def test_half_precision_gradients_come_back_in_half_precision() -> None:
    z = torch.randn(10, 4, dtype=torch.bfloat16, requires_grad=True)
    distance_correlation(torch.randn(10, 6), z).backward()
    assert z.grad is not None
    assert z.grad.dtype == torch.bfloat16
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_nan_is_not_hidden(statistic: Statistic, exponent: float) -> None:
    for n in (6, 300):
        z = torch.randn(n, 3)
        z[2, 1] = torch.nan
        assert statistic(torch.randn(n, 3), z, exponent=exponent).isnan()


def test_floor_is_one_reproducible_shuffle() -> None:
    x = torch.randn(128, 50)
    state = torch.get_rng_state()
    floor = distance_correlation_floor(x, x, seed=3)
    assert (torch.get_rng_state() == state).all()
    assert floor == distance_correlation_floor(x, x, seed=3)
    assert floor != distance_correlation_floor(x, x, seed=4)
    assert 0.5 < floor < 0.9  # what independence reads, far from 0 at this size
    assert distance_correlation_floor(x, x, bias_corrected=True).abs() < 0.05


@pytest.mark.parametrize(("n", "d"), [(5, 4), (12, 2)])  # at exponent 2: pairs, features
@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("statistic", STATISTICS)
def test_gradient_is_the_derivative(statistic: Statistic, exponent: float, n: int, d: int) -> None:
    x = torch.randn(n, d, dtype=torch.float64, requires_grad=True)
    z = torch.randn(n, d, dtype=torch.float64, requires_grad=True)

    def f(x: Tensor, z: Tensor) -> Tensor:
        return statistic(x, z, exponent=exponent)

    assert torch.autograd.gradcheck(f, (x, z))
    assert torch.autograd.gradcheck(f, (x.detach(), z))
    assert torch.autograd.gradcheck(f, (x, z.detach()))


def test_unequal_rows_are_refused() -> None:
    message = r"row i of x with row i of z: got 8 rows of x \(8, 4\) and 7 of z \(7, 2\)"
    with pytest.raises(ValueError, match=message):
        distance_correlation(torch.zeros(8, 4), torch.zeros(7, 2))


@pytest.mark.parametrize(("statistic", "least"), [*zip(STATISTICS, (2, 4), strict=True)])
def test_a_batch_too_small_is_refused(statistic: Statistic, least: int) -> None:
    x = torch.zeros(least - 1, 4)
    with pytest.raises(
        ValueError, match=rf"at least {least}: got {least - 1}, x \({least - 1}, 4\)"
    ):
        statistic(x, x)


@pytest.mark.parametrize("exponent", [0.0, -1.0, 2.1, math.nan])
def test_an_exponent_out_of_range_is_refused(exponent: float) -> None:
    with pytest.raises(ValueError, match=r"exponent in \(0, 2\] wanted: got"):
        distance_correlation(torch.rand(4, 2), torch.rand(4, 2), exponent=exponent)
