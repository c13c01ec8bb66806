"""An attack that has seen its victims elsewhere is found out; one that has not, is not."""

from pathlib import Path
from typing import ClassVar

import pytest
import torch
from test_experiment import SETTINGS, assembly, blobs
from torch import Tensor

from cutlayer.assembly import Assembly
from cutlayer.attacks import ATTACKS, InverseNetwork, Reconstruction
from cutlayer.config import parse
from cutlayer.experiment import carry_out, listening_post, load_network, run_attack, run_training
from cutlayer.overhear import Heard
from cutlayer.placebo import by_chance, copies, placebo, suspicion, untouched
from cutlayer.record import Record, Store
from cutlayer.threat import Observed, View

KNOWS = "attack-knows-victims"
NOISE = "laplace:scale=0.5,active=serve"


def victims() -> Tensor:
    """What no attack may look at: the experiment's data set, read again."""
    a = Assembly.of(parse(SETTINGS), blobs())
    return a.take(a.victims)[0]


class Oracle(Reconstruction):
    """Reads the data set itself, and pretends to have understood the messages."""

    def _fit(self, view: View) -> None:
        self.truth_ = victims()

    def _reconstruct(self, seen: Observed) -> Tensor:
        return self.truth_[: len(seen.messages)]


class Counting(Oracle):
    """Hands out the victims in their order, a call after the other."""

    def _fit(self, view: View) -> None:
        self.truth_, self.given = victims(), 0

    def _reconstruct(self, seen: Observed) -> Tensor:
        self.given += len(seen.messages)
        return self.truth_[self.given - len(seen.messages) : self.given]


class Faint(Oracle):
    """Spoils the truth: its error is large, and every victim is in it."""

    def _reconstruct(self, seen: Observed) -> Tensor:
        return 0.4 * super()._reconstruct(seen)


class LooksUp(Reconstruction):
    """Finds the victim whose message is nearest: honest to messages of others."""

    needs = frozenset({"query"})

    def _fit(self, view: View) -> None:
        assert view.query is not None
        self.truth_ = victims()
        self.messages_ = view.query(self.truth_).mean(1).flatten(1)

    def _reconstruct(self, seen: Observed) -> Tensor:
        return self.truth_[torch.cdist(seen.messages.mean(1).flatten(1), self.messages_).argmin(1)]


class Honest(InverseNetwork):
    """One of the user's own."""

    asked: ClassVar[list[int]] = []

    def _reconstruct(self, seen: Observed) -> Tensor:
        self.asked.append(len(seen.messages))
        return super()._reconstruct(seen)


class Locked(Honest):
    """Cannot be copied."""

    def __deepcopy__(self, memo: object) -> "Locked":
        raise TypeError("locked")


class Once(Counting):
    """Has nothing left after the victims, and cannot be copied."""

    def __deepcopy__(self, memo: object) -> "Once":
        raise TypeError("once")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("runs"))


def attacked(store: Store, name: str, **changes: object) -> Record:
    own = f"test_placebo:{name}" + (":epochs=8" if issubclass(globals()[name], Honest) else "")
    return carry_out(assembly(attack=own, **changes), store).record


@pytest.mark.parametrize("name", ["Oracle", "Counting", "Faint"])
@pytest.mark.parametrize("defence", [None, NOISE])
def test_an_attack_that_reads_the_data_set_is_flagged(
    store: Store, name: str, defence: str | None
) -> None:
    record = attacked(store, name, **({"defence": defence} if defence else {}))
    assert KNOWS in record.flags
    found = record.attack["placebo"]
    assert found["knows"]
    assert found["victims"] == 32
    assert found["found_again"] > 0.5


def test_copies_through_loud_noise_are_flagged_though_the_placebo_finds_nothing(
    store: Store,
) -> None:
    loud = "laplace:scale=2,active=serve"
    record = attacked(store, "LooksUp", defence=loud, repeats=4)
    assert not record.attack["placebo"]["knows"]
    assert record.attack["copies"] > 20
    assert KNOWS in record.flags
    quiet = attacked(store, "LooksUp", defence="laplace:scale=0.001,active=serve")
    assert quiet.attack["copies"] == 0  # through next to no noise even an honest one might
    assert KNOWS not in quiet.flags


@pytest.mark.parametrize("defence", [None, NOISE, "laplace:scale=50,active=serve"])
def test_an_honest_attack_of_the_users_own_is_not_flagged(
    store: Store, defence: str | None
) -> None:
    Honest.asked.clear()
    record = attacked(store, "Honest", **({"defence": defence} if defence else {}))
    assert KNOWS not in record.flags
    assert Honest.asked == [150, 32]
    found = record.attack["placebo"]
    assert found["mse"] > 0.9 * found["floor"]
    assert record.attack["copies"] == 0


def test_one_that_cannot_be_copied_is_tested_all_the_same(store: Store) -> None:
    record = attacked(store, "Locked")
    assert record.attack["placebo"]["victims"] == 32
    assert KNOWS not in record.flags


def test_a_run_does_not_die_of_an_attack_that_fails_at_the_placebo(store: Store) -> None:
    record = attacked(store, "Once")
    assert record.attack["placebo"] is None
    assert record.leakage["mse"].value == 0


def test_nothing_else_changes_by_being_tested(store: Store) -> None:
    """The built-in attack of the same settings finds the same, and is not tested."""
    own = attacked(store, "Honest", defence=NOISE)
    built_in = carry_out(assembly(defence=NOISE, attack="inverse-network:epochs=8"), store).record
    assert "placebo" not in built_in.attack
    assert own.leakage == built_in.leakage
    assert own.floors == built_in.floors
    assert own.flags == built_in.flags


BUILT_IN = {
    "inverse-network": {"attack": "inverse-network:epochs=10"},
    "affine-inverse": {"attack": "affine-inverse"},
    "maximum-likelihood": {"attack": "maximum-likelihood:steps=20"},
    "shadow": {"attack": "shadow:epochs=2,steps=20", "threat": "query-free"},
    "confidence-inversion": {
        "attack": "confidence-inversion:epochs=5",
        "threat": "prediction-api",
    },
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_of_ours_knows_its_victims(store: Store, name: str) -> None:
    a = assembly(**BUILT_IN[name]).variant(victims=40)
    outcome = carry_out(a, store)
    network = load_network(a, store, run_training(a, store).id)
    mean = a.take(a.shares.auxiliary)[0].mean(0).expand_as(outcome.x)
    heard = Heard({"attack": outcome.x_hat, "mean": mean}, mean, mean, 1.0)
    post = listening_post(a, network)
    found = suspicion(a, network, post, untouched(outcome.attack), outcome.x, heard)
    assert found.placebo is not None
    assert not found.knows
    assert found.placebo.mse is not None
    assert found.placebo.mse > found.placebo.floor


def test_too_few_samples_tell_nothing(tmp_path: Path) -> None:
    shares = "owners=200,auxiliary=60,attacker_validation=20,victims=5"
    record = run_attack(
        assembly(attack="test_placebo:Oracle", shares=shares, epochs=1), Store(tmp_path)
    )
    assert record.attack["placebo"] is None
    assert KNOWS not in record.flags


# The numbers


def test_the_order_decides_and_the_samples_alone_do_not() -> None:
    x = victims()[:32]
    mean = x.mean(0).expand_as(x)
    assert placebo(x, x, mean).knows
    assert not placebo(x, x.roll(1, 0), mean).knows
    assert not placebo(x, mean, mean).knows
    assert not placebo(x[:7], x[:7], mean[:7]).knows
    broken = placebo(x, torch.full_like(x, torch.nan), mean)
    assert (broken.mse, broken.knows, broken.found_again) == (None, False, 0)


def test_knowing_only_what_kind_of_victim_it_is_is_noticed() -> None:
    """Two kinds that are nearly alike inside: nobody is found again, and the error is small."""
    kind = torch.randint(2, (32,), generator=torch.Generator().manual_seed(0))
    centres, g = torch.rand(2, 50), torch.Generator().manual_seed(1)
    x, x_hat = ((centres[kind] + 0.01 * torch.randn(32, 50, generator=g)).clamp(0, 1) for _ in "ab")
    found = placebo(x, x_hat, x.mean(0).expand_as(x))
    assert by_chance(32, round(32 * found.found_again)) > 1e-3
    assert found.knows


def test_answers_drawn_by_chance_are_hardly_ever_suspected() -> None:
    every, g = blobs().x, torch.Generator().manual_seed(5)
    mean = every.mean(0)
    for _ in range(300):
        x, x_hat = every[torch.randperm(len(every), generator=g)[:64]].split(32)
        assert not placebo(x, x_hat, mean.expand_as(x)).knows


def test_the_chance_of_being_found_again_is_that_of_the_binomial_law() -> None:
    draws = torch.rand(200_000, 8, generator=torch.Generator().manual_seed(0)) < 1 / 8
    assert by_chance(8, 3) == pytest.approx(float((draws.sum(1) >= 3).float().mean()), abs=3e-3)


def test_a_copy_of_the_attackers_own_sample_is_no_copy_of_a_victim() -> None:
    x = torch.rand(5, 3)
    x_hat = torch.cat([x[:3], torch.rand(2, 3)])
    assert copies(x, x_hat, torch.rand(4, 3)) == 3
    assert copies(x, x_hat, x[:1]) == 2
    assert copies(x, x + 1e-7, torch.rand(4, 3)) == 0
