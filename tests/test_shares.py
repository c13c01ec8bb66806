import json
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cutlayer.data import Dataset, Shares, share_out

NAMES = ("validation", "auxiliary", "attacker_validation", "judge", "victims")


def dataset(n=100, test=0, *, shape=(2,), shuffled=False, bounds=None, x=None):
    x = torch.rand(n + test, *shape, generator=torch.Generator().manual_seed(3)) if x is None else x
    return Dataset(
        name="made-up",
        x=x,
        y=torch.zeros(len(x), dtype=torch.long),
        classes=("only",),
        bounds=bounds,
        parts={"train": (0, n), "test": (n, n + test)} if test else {},
        shuffled=shuffled,
    )


def shares(**changed):
    i = torch.arange(12)
    given = dict(zip(NAMES, i[2:].split(2), strict=True)) | {"owners": (i[:1], i[1:2])} | changed
    return Shares(**given)


def bytes_like_mnist():
    bounds = torch.tensor(0.0), torch.tensor(255.0)
    x = torch.zeros(70_000, 1, dtype=torch.uint8)
    return dataset(60_000, 10_000, x=x, shuffled=True, bounds=bounds)


# Reference: the division as the paper prints it


@pytest.mark.parametrize("plan", ["titcombe2021", "default"])
def test_mnist_is_shared_out_as_titcombe_et_al_did(plan):
    _, s = share_out(bytes_like_mnist(), plan=plan)
    assert s.to_dict() == {
        "owners": [[[0, 40_000]]],
        "auxiliary": [[40_000, 45_000]],
        "attacker_validation": [[45_000, 50_000]],
        "judge": [[50_000, 60_000]],
        "validation": [[60_000, 65_000]],
        "victims": [[65_000, 70_000]],
    }


def test_he_et_al_attack_the_first_test_images():
    """The ten that they show are the first of each class: 61 images hold them all on MNIST."""
    _, s = share_out(bytes_like_mnist(), plan="he2019")
    assert s.to_dict() == {
        "owners": [[[0, 45_000]]],
        "auxiliary": [[45_000, 55_000]],
        "attacker_validation": [[55_000, 57_000]],
        "judge": [[57_000, 60_000]],
        "victims": [[60_000, 65_000]],
        "validation": [[65_000, 70_000]],
    }


def test_one_pool_is_divided_by_the_documented_fractions():
    _, s = share_out(dataset(1797))
    sizes = {name: len(index) for name, index in s}
    assert sizes.pop("victims") == 500  # a fifth would be 359
    for name, fraction in zip(sizes, (0.47, 0.08, 0.25, 0.06, 0.14), strict=True):
        assert abs(sizes[name] - fraction * 1297) <= 1
    assert len(share_out(dataset(10_000))[1].victims) == 2000
    assert len(share_out(dataset(1000))[1].victims) == 300


# Properties

plans = st.one_of(
    st.just("default"),
    st.fixed_dictionaries(
        {n: st.integers(1, 12) for n in ("owners", "auxiliary", "attacker_validation", "victims")},
        optional={n: st.integers(1, 12) for n in ("validation", "judge")},
    ),
)


@given(
    n=st.integers(60, 300),
    test=st.one_of(st.just(0), st.integers(24, 100)),
    owners=st.integers(1, 20),
    plan=plans,
    seed=st.integers(0, 2**32),
    shuffled=st.booleans(),
)
def test_no_sample_is_in_two_shares_and_the_dictionary_restores_them(
    n, test, owners, plan, seed, shuffled
):
    d = dataset(n, test, shuffled=shuffled)
    if plan != "default" and owners > plan["owners"]:
        with pytest.raises(ValueError, match=f"owners must be 1..{plan['owners']}"):
            share_out(d, plan=plan, owners=owners, seed=seed)
        return
    d, s = share_out(d, plan=plan, owners=owners, seed=seed)
    every = torch.cat([index for _, index in s])
    assert len(every.unique()) == len(every)
    s.check(d)
    sizes = [len(o) for o in s.owners]
    assert len(sizes) == owners
    assert max(sizes) - min(sizes) <= 1
    if plan == "default":
        assert len(every) == len(d)  # nothing is left over
    else:
        assert sum(sizes) == plan["owners"]
        assert all(len(getattr(s, k)) == plan.get(k, 0) for k in NAMES)
    if test:
        assert (torch.cat([s.victims, s.validation]) >= n).all()
        assert all((index < n).all() for index in (s.train, s.auxiliary, s.judge))
    back = Shares.from_dict(json.loads(json.dumps(s.to_dict())))
    assert [k for k, _ in back] == [k for k, _ in s]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(s, back, strict=True))


def test_the_seed_decides_and_other_counts_do_not_move_the_victims():
    plan = {"owners": 20, "auxiliary": 10, "attacker_validation": 5, "victims": 10}
    one, other = (share_out(dataset(), seed=s)[1].victims for s in (0, 1))
    assert not torch.equal(one, other)
    assert torch.equal(share_out(dataset(), seed=1)[1].victims, other)
    a = share_out(dataset(), plan=plan)[1].victims
    b = share_out(dataset(), plan=plan | {"owners": 40, "judge": 3})[1].victims
    assert torch.equal(a, b)


# Trap: bounds from anything but the owners' training share


def test_bounds_come_from_the_owners_alone():
    d = dataset(200, shape=(3,))
    _, s = share_out(d)
    spoiled = d.x.clone()
    spoiled[torch.cat([s.victims, s.auxiliary, s.attacker_validation, s.judge, s.validation])] = 9e9
    bounded, _ = share_out(dataset(x=spoiled))
    low, high = bounded.bounds
    assert torch.equal(low, d.x[s.train].amin(0))
    assert torch.equal(high, d.x[s.train].amax(0))
    inside, _ = bounded.take(s.train)
    assert inside.min() == 0
    assert inside.max() == 1


@pytest.mark.parametrize(
    ("shape", "wanted"), [((3,), (3,)), ((2, 7), (2, 1)), ((3, 4, 5), (3, 1, 1))]
)
def test_bounds_are_by_feature_in_tables_and_by_channel_elsewhere(shape, wanted):
    d, s = share_out(dataset(shape=shape))
    assert d.bounds[0].shape == d.bounds[1].shape == wanted
    assert d.take(s.victims)[0].shape == (len(s.victims), *shape)


@pytest.mark.parametrize("constant", [0.0, -7.0, 1e9])
def test_a_constant_feature_becomes_zero(constant):
    x = torch.rand(100, 2)
    x[:, 1] = constant
    d, s = share_out(dataset(x=x))
    assert (d.take(s.victims)[0][:, 1] == 0).all()
    assert (d.bounds[1] > d.bounds[0]).all()


def test_declared_bounds_are_kept():
    bounds = torch.tensor(-1.0), torch.tensor(3.0)
    d, _ = share_out(dataset(bounds=bounds))
    assert d.bounds == bounds


def test_order_is_permuted_unless_it_is_random_already():
    _, s = share_out(dataset(shuffled=True))
    assert s.to_dict()["victims"] == [[0, 30]]
    _, s = share_out(dataset(100, 40))
    assert len(s.to_dict()["victims"]) > 5
    assert s.victims.min() >= 100


# Edge


def test_overlap_is_found_fast_and_ranges_are_runs():
    _, s = share_out(bytes_like_mnist(), owners=3)
    assert s.to_dict()["owners"] == [[[0, 13334]], [[13334, 26667]], [[26667, 40000]]]
    begin = time.perf_counter()
    with pytest.raises(ValueError, match="disjoint"):
        Shares(s.owners, s.validation, s.train[:5], s.attacker_validation, s.judge, s.victims)
    assert time.perf_counter() - begin < 10


def test_validation_and_judge_may_be_empty():
    none = torch.empty(0, dtype=torch.long)
    s = shares(validation=none, judge=none)
    assert Shares.from_dict(s.to_dict()).judge.dtype == torch.int64


# Messages


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"victims": torch.tensor([1, 20])}, r"sample 1 is in owners\[1\] and victims"),
        ({"auxiliary": torch.tensor([5, 2])}, "sample 2 is in validation and auxiliary"),
        ({"judge": torch.tensor([30, 30])}, "sample 30 is in judge twice"),
        ({"owners": ()}, "at least one owner wanted"),
        ({"owners": (torch.empty(0, dtype=torch.long),)}, r"share owners\[0\]: at least one"),
        ({"victims": torch.empty(0, dtype=torch.long)}, "share victims: at least one sample"),
        ({"victims": torch.tensor([-1])}, "share victims: indices >= 0 wanted: got -1"),
        ({"victims": torch.tensor([1.5])}, "int64 indices .* wanted: got torch.float32"),
        (
            {"victims": torch.tensor([[99]])},
            r"int64 indices \(n,\) wanted: got torch.int64 \(1, 1\)",
        ),
    ],
)
def test_bad_shares_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        shares(**changed)


def test_shares_of_another_data_set_are_refused():
    with pytest.raises(ValueError, match=r"share victims: indices below 11 .* made-up: got 11"):
        shares().check(dataset(11))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"victim": []}, "share 'victim': unknown, did you mean 'victims'"),
        ({"victims": [[3, 3]]}, r"share victims: ranges .* got \[3, 3\]"),
        ({"victims": [[-2, 3]]}, r"got \[-2, 3\]"),
        ({"victims": [[0, 1.5]]}, r"got \[0, 1.5\]"),
        ({"victims": "all"}, "got 'all'"),
        ({"owners": 3}, "a list of shares wanted: got 3"),
    ],
)
def test_a_bad_dictionary_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        Shares.from_dict(shares().to_dict() | changed)


def test_a_dictionary_without_a_share_is_refused():
    with pytest.raises(ValueError, match="judge, victims missing"):
        Shares.from_dict({k: [] for k in ("owners", *NAMES[:3])})


FULL = {"owners": 20, "auxiliary": 10, "attacker_validation": 5, "victims": 10}


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("titcomb", "plan 'titcomb': unknown, did you mean 'titcombe2021'"),
        ("he2019", "wants published train and test parts: .* has none; take plan default"),
        ("titcombe2021", "wants train 60000 and test 10000 .* has all 100; take plan default"),
        (FULL | {"jugde": 1}, "share 'jugde': unknown, did you mean 'judge'"),
        (FULL | {"judge": 0}, "share judge: a count >= 1 wanted: got 0"),
        (FULL | {"judge": -4}, "got -4"),
        (FULL | {"judge": 1.5}, "got 1.5"),
        (FULL | {"judge": 56}, r"made-up has 100 samples: got shares of 101 \(victims 10, owners"),
        ({"owners": 3}, "auxiliary, attacker_validation, victims missing"),
    ],
)
def test_a_bad_plan_is_refused(plan, message):
    with pytest.raises(ValueError, match=message):
        share_out(dataset(), plan=plan)


def test_a_share_larger_than_its_part_is_refused():
    with pytest.raises(
        ValueError, match=r"the test part of made-up has 9 samples: got shares of 10"
    ):
        share_out(dataset(100, 9), plan=FULL)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_too_few_samples_are_refused(n):
    with pytest.raises(ValueError, match=f"without a sample: it has {n} samples"):
        share_out(dataset(n))


@pytest.mark.parametrize("owners", [0, -1, 34])
def test_more_owners_than_samples_are_refused(owners):
    with pytest.raises(ValueError, match=rf"owners must be 1..33, .* got {owners} owners"):
        share_out(dataset(), owners=owners)
