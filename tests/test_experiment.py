"""The whole flow, small, through the public door and the command line."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer import experiment, trained
from cutlayer.assembly import Assembly
from cutlayer.attacks import Reconstruction
from cutlayer.checks import across
from cutlayer.cli import main
from cutlayer.config import parse
from cutlayer.data import Dataset
from cutlayer.defences import Defence
from cutlayer.errors import ConfigError
from cutlayer.evaluation import Truth, per_sample
from cutlayer.experiment import (
    carry_out,
    duplicated,
    load_network,
    run_attack,
    run_training,
    view_of,
)
from cutlayer.network import bare_model
from cutlayer.record import Record, Store
from cutlayer.report.command import command_line
from cutlayer.threat import View
from cutlayer.trained import as_built, trained_judge

SETTINGS = {
    "model": "mlp:width=24",
    "epochs": 12,
    "learning_rate": 1e-2,
    "attack": "inverse-network:epochs=25",
    "threads": 1,
    "shares": "owners=400,validation=50,auxiliary=250,attacker_validation=50,judge=200,victims=150",
}


def blobs(n: int = 1200, seed: int = 0, side: int = 12, name: str = "blobs") -> Dataset:
    """Ten smooth 12×12 prototypes, every sample bent smoothly in its own way."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(10, (n,), generator=g)
    coarse = torch.rand(10, 1, 3, 3, generator=g)[y] + 0.2 * torch.randn(n, 1, 3, 3, generator=g)
    x = nn.functional.interpolate(coarse, size=side, mode="bilinear").clamp(0, 1)
    bounds = (torch.tensor(0.0), torch.tensor(1.0))
    return Dataset(name=name, x=x, y=y, classes=tuple("0123456789"), bounds=bounds)


def others(n: int = 1200, side: int = 12) -> Dataset:
    """The same kind of samples from elsewhere: other prototypes."""
    return blobs(n, seed=1, side=side, name="others")


def assembly(**changes: object) -> Assembly:
    return Assembly.of(parse({**SETTINGS, **changes}), blobs())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def undefended(store: Store) -> Record:
    return run_attack(assembly(), store)


def value(r: Record, name: str) -> float:
    found = (r.leakage | r.utility)[name].value
    assert found is not None
    return found


def test_an_undefended_split_leaks_far_beyond_every_floor(undefended: Record) -> None:
    assert set(undefended.flags) <= {"small-n", "attack-not-converged"}
    assert value(undefended, "accuracy") > 0.8  # the classes overlap
    floors = [f["mse"].value for k, f in undefended.floors.items() if "mse" in f]
    assert len(floors) == 3
    assert value(undefended, "mse") < 0.5 * min(f for f in floors if f is not None)
    assert undefended.advantage["mse"] is not None
    assert value(undefended, "top1") > 0.5
    assert value(undefended, "read") > 0.9


def test_drowning_noise_stops_the_leak_and_says_at_what_cost(
    store: Store, undefended: Record
) -> None:
    drowned = run_attack(assembly(defence="laplace:scale=50,active=serve"), store)
    assert {"no-utility", "randomised-defence-single-query"} <= set(drowned.flags)
    floor = drowned.floors["mean"]["mse"].value
    assert floor is not None
    assert 0.8 * floor < value(drowned, "mse") < 1.2 * floor
    assert drowned.victim == undefended.victim  # one trained network, served at another strength
    assert drowned.defence["noise_to_message"] > 10


def test_a_halved_rate_is_another_network() -> None:
    a = assembly()
    assert "halve_every" not in a.network_identity()
    assert assembly(halve_every=5).network_run != a.network_run
    given = {"weights": __file__, "epochs": 0}  # nothing is trained: nothing is halved
    assert assembly(**given, halve_every=5).network_run == assembly(**given).network_run
    owners, far = assembly(halve_every=5).parties(assembly().segments())
    for party in (*owners, far):
        assert party.optimiser.param_groups[0]["halve_every"] == 5  # type: ignore[attr-defined, union-attr]


def test_what_was_trained_once_is_never_trained_again(store: Store, undefended: Record) -> None:
    started = time.process_time()
    assert run_attack(assembly(), store) == undefended
    assert run_training(assembly(), store).id == undefended.victim
    assert time.process_time() - started < 2


def test_the_same_seed_gives_the_same_record(tmp_path: Path, undefended: Record) -> None:
    assert run_attack(assembly(), Store(tmp_path)).findings() == undefended.findings()


def test_a_longer_attack_does_not_change_the_victim(store: Store, undefended: Record) -> None:
    longer = run_attack(assembly(attack="inverse-network:epochs=26"), store)
    assert longer.victim == undefended.victim
    assert longer.utility == undefended.utility
    assert longer.leakage["mse"] != undefended.leakage["mse"]


def test_an_attack_has_a_seed_of_its_own(store: Store, undefended: Record) -> None:
    """The same network and samples, another attacker's luck."""
    again = run_attack(assembly(attack_seed=1), store)
    assert again.victim == undefended.victim
    assert again.id != undefended.id
    assert again.leakage["mse"] != undefended.leakage["mse"]
    assert value(again, "mse") == pytest.approx(value(undefended, "mse"), rel=0.3)
    assert "--attack-seed 1" in command_line(again)
    assert assembly(attack_seed=0).attack_run == undefended.id
    noisy = [
        run_attack(assembly(defence="gaussian:scale=1,active=serve", attack_seed=s), store)
        for s in (0, 1)
    ]
    assert noisy[0].utility["accuracy"] != noisy[1].utility["accuracy"]  # other noise was heard
    assert [f for r in (undefended, again) for f in across([undefended, again])[r.id]] == []


def test_the_served_messages_are_what_the_attack_was_given(
    store: Store, undefended: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tap on the serving side hears the very tensors that the attack reconstructs."""
    from cutlayer.attacks import Reconstruction
    from cutlayer.wire import Tap

    taps, given = [], []
    load, reconstruct = experiment.load_network, Reconstruction.reconstruct

    def tapped(*arguments: object) -> object:
        network = load(*arguments)  # type: ignore[arg-type]
        taps.append(Tap(network.far))
        object.__setattr__(network, "far", taps[-1])
        return network

    def listening(self: Reconstruction, seen: object) -> torch.Tensor:
        if type(self).__name__ == "InverseNetwork":
            given.append(seen.messages[:, 0])  # type: ignore[attr-defined]
        return reconstruct(self, seen)  # type: ignore[arg-type]

    monkeypatch.setattr(experiment, "load_network", tapped)
    monkeypatch.setattr(Reconstruction, "reconstruct", listening)
    run_attack(assembly(defence="laplace:scale=0.3,active=serve"), store)
    assert torch.equal(torch.cat(taps[0].seen), torch.cat(given))


def test_several_owners_several_cuts_and_defences_in_training(tmp_path: Path) -> None:
    a = assembly(
        owners=3,
        schedule="average",
        cut=["act1", "act2"],
        defence=["nopeek:weight=0.1", "clip-norm:norm=5", "student-t:scale=0.1"],
    )
    r = run_attack(a, Store(tmp_path))
    assert value(r, "accuracy") > 0.5
    assert len(r.training["epochs"]) == 12
    assert r.threat["auxiliary"] == 250


# What a training may be told


def weights(store: Store, run: str, *, last: int = 1) -> dict[str, torch.Tensor]:
    parts = ["owner", "defence", *(f"far{i}" for i in range(last))]
    return {f"{p}.{k}": v for p in parts for k, v in store.tensors(run, p).items()}


def assert_bit_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k], b[k])] == []


class Wearing(Defence):
    """Wears out: after 20 messages in training it serves nothing but zeros."""

    age: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("age", torch.tensor(0))

    def forward(self, t: torch.Tensor, *, x: torch.Tensor | None = None) -> torch.Tensor:
        if self.phase == "train":
            self.age += 1
            return t
        return t * (self.age <= 20)


STEPS = 10  # an epoch, of two owners together
FICKLE = {  # the last two epochs are worse than the four before them
    "epochs": 6,
    "learning_rate": 2e-2,
    "keep": "best",
    "defence": "test_experiment:Wearing",
    "owners": 2,
    "schedule": "average",
    "cut": ["act1", "act2"],
    "shares": "owners=300,validation=150,auxiliary=250,attacker_validation=50,victims=150",
}


def accuracies(record: Record) -> list[float]:
    return [row["validation_accuracy"] for row in record.training["epochs"]]


@pytest.fixture(scope="module")
def fickle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    store = Store(tmp_path_factory.mktemp("fickle"))
    return store, run_training(assembly(**FICKLE), store)


def test_the_best_epoch_is_kept(tmp_path: Path, fickle: tuple[Store, Record]) -> None:
    store, best = fickle
    measured = accuracies(best)
    assert value(best, "accuracy") == max(measured) > 0.3 > max(measured[4:])
    a = assembly(**FICKLE)
    network = load_network(a, store, best.id)
    x, y = a.take(a.shares.validation)
    hits = network.far.predict(network.defended(x)).argmax(1) == y
    assert float(hits.float().mean()) == pytest.approx(max(measured))
    # The first of the best: the same training, stopped there.
    count = measured.index(max(measured)) + 1
    stopped = run_training(assembly(**FICKLE | {"keep": "last", "epochs": count}), Store(tmp_path))
    expected = weights(Store(tmp_path), stopped.id, last=2)
    assert_bit_equal(weights(store, best.id, last=2), expected)


@pytest.mark.parametrize("epochs_after_the_best", [0, 1, 2])
def test_the_best_epoch_is_kept_by_a_killed_training_too(
    tmp_path: Path, fickle: tuple[Store, Record], epochs_after_the_best: int
) -> None:
    """The newest checkpoint is from before the best epoch ended, or from after that."""
    undisturbed, record = fickle
    best = accuracies(record).index(max(accuracies(record)))
    store, stop = Store(tmp_path), STEPS * (best + epochs_after_the_best) + 4

    def kill(stage: str, done: int, total: int) -> None:
        assert total == 6 * STEPS
        if done == stop:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run_training(assembly(**FICKLE), store, every=3, on_progress=kill)
    resumed = run_training(assembly(**FICKLE), store, every=3)
    assert resumed.findings() == record.findings()
    assert_bit_equal(weights(store, resumed.id, last=2), weights(undisturbed, record.id, last=2))
    assert not (tmp_path / ".training" / resumed.id).exists()


def test_no_best_epoch_without_a_validation_share() -> None:
    shares = "owners=400,auxiliary=250,attacker_validation=50,victims=150"
    with pytest.raises(ConfigError, match=r"keep: best is by accuracy on validation: .* is empty"):
        assembly(keep="best", shares=shares)
    assert assembly(shares=shares).experiment.keep == "last"


@pytest.mark.parametrize(
    "change", [{"order": "stored"}, {"keep": "best"}, {"precision": "bfloat16"}], ids=str
)
def test_how_it_was_trained_belongs_to_the_networks_name(
    change: dict[str, str], tmp_path: Path
) -> None:
    plain, other = assembly(), assembly(**change)
    assert plain.network_run != other.network_run
    assert plain.judge_run == other.judge_run
    path = tmp_path / "w.safetensors"
    path.touch()
    given = {"weights": str(path), "epochs": None}  # nothing is trained
    if "keep" not in change:
        assert assembly(**given).network_run == assembly(**change, **given).network_run


def test_a_network_trained_in_bfloat16_is_another_one_and_serves(
    store: Store, undefended: Record
) -> None:
    r = run_training(assembly(precision="bfloat16"), store)
    assert value(r, "accuracy") > 0.7
    assert undefended.victim
    rounded, exact = weights(store, r.id), weights(store, undefended.victim)
    assert {t.dtype for t in rounded.values()} == {torch.float32}
    assert not any(torch.equal(rounded[k], exact[k]) for k in exact)


def test_whether_noise_of_training_serves_as_well_makes_another_run() -> None:
    """Validation is served: its accuracy, and with ``keep=best`` the network, hang on it."""
    ids = {assembly(defence=f"laplace:scale=3,active={a}").network_run for a in ("train", "both")}
    assert len(ids) == 2


def test_a_network_is_attacked_behind_other_defences_than_it_was_trained_with(
    tmp_path: Path,
) -> None:
    noisy, store = assembly(defence="laplace:scale=3", epochs=1), Store(tmp_path)
    trained = run_training(noisy, store)
    silent = noisy.variant(defence=parse({"defence": "laplace:scale=3,active=train"}).defence)
    outcome = carry_out(silent, store, trained=trained)
    assert outcome.record.victim == trained.id
    assert outcome.record.defence["noise_deviation"] == 0
    assert [r.kind for r in store].count("train") == 1


def deep() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 10), *(nn.Linear(10, 10) for _ in range(10)))


def test_the_best_epoch_of_more_than_ten_segments_is_kept(tmp_path: Path) -> None:
    """The name ``far10`` begins with ``far1``."""
    cuts = [str(i) for i in range(11)]
    a = assembly(model="test_experiment:deep", cut=cuts, keep="best", epochs=2)
    record = run_training(a, Store(tmp_path))
    best = max(row["validation_accuracy"] for row in record.training["epochs"])
    assert value(record, "accuracy") == pytest.approx(best)


@pytest.mark.parametrize(
    ("module", "maker", "wanted"),
    [
        (trained, "_train", run_training),
        (trained, "_train_judge", trained_judge),
        (experiment, "carry_out", run_attack),
    ],
    ids=["network", "judge", "attack"],
)
def test_those_who_want_one_run_at_once_make_it_once(
    module: ModuleType,
    maker: str,
    wanted: Callable[[Assembly, Store], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, begun, found = getattr(module, maker), [], []

    def slowly(*arguments: object, **more: object) -> object:
        begun.append(threading.current_thread())
        time.sleep(0.5)  # long enough for the other one to come
        return real(*arguments, **more)

    monkeypatch.setattr(module, maker, slowly)
    a = assembly(epochs=1, attack="inverse-network:epochs=1")
    threads = [
        threading.Thread(target=lambda: found.append(wanted(a, Store(tmp_path)))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 1
    assert len(found) == 3


# Who attacks, and with which samples


def rows(x: torch.Tensor) -> set[bytes]:
    return {sample.numpy().tobytes() for sample in x}


def untrained_view(a: Assembly) -> View:
    return view_of(a, as_built(a))


def test_samples_of_another_data_set_are_the_attackers(store: Store, undefended: Record) -> None:
    abroad = assembly(auxiliary="test_experiment:others")
    v = untrained_view(abroad)
    theirs = rows(others().x)
    assert (len(v.auxiliary), len(v.validation)) == (250, 50)
    assert rows(v.auxiliary) | rows(v.validation) <= theirs
    assert not rows(v.auxiliary) & rows(v.validation)
    labels = {x.numpy().tobytes(): int(y) for x, y in zip(others().x, others().y, strict=True)}
    assert v.auxiliary_labels is not None
    assert all(
        labels[x.numpy().tobytes()] == y
        for x, y in zip(v.auxiliary, v.auxiliary_labels.tolist(), strict=True)
    )
    r = run_attack(abroad, store)
    assert r.id != undefended.id
    assert r.victim == undefended.victim
    assert r.threat["auxiliary_from"] == "others"
    assert undefended.threat["auxiliary_from"] == "blobs"
    assert r.floors == undefended.floors  # what needs no attack at all knows the owners' data
    assert value(r, "mse") > value(undefended, "mse")


def test_a_smaller_data_set_is_taken_in_the_proportion_of_the_shares() -> None:
    v = untrained_view(assembly(auxiliary="test_experiment:others:n=60"))
    assert (len(v.auxiliary), len(v.validation)) == (50, 10)
    with pytest.raises(ConfigError, match=r"shape \(1, 12, 12\) wanted.*got \(1, 9, 9\)"):
        untrained_view(assembly(auxiliary="test_experiment:others:side=9"))


def test_the_data_that_is_attacked_is_not_another_data_set() -> None:
    """It would hold the victims."""
    with pytest.raises(ConfigError, match="another data set"):
        untrained_view(assembly(auxiliary="test_experiment:blobs"))


def doubled() -> Dataset:
    """The very samples that are attacked, on another scale."""
    here = blobs(name="doubled")
    return replace(here, x=2 * here.x, bounds=(torch.tensor(0.0), torch.tensor(2.0)))


def test_victims_among_samples_from_elsewhere_are_counted() -> None:
    a = assembly(auxiliary="test_experiment:doubled")
    v = untrained_view(a)
    theirs = rows(v.auxiliary) | rows(v.validation)
    found = rows(a.take(a.victims)[0]) & theirs
    assert duplicated(a) == len(found) > 10
    assert duplicated(assembly(auxiliary="test_experiment:others")) == 0
    assert duplicated(assembly()) == 0


def test_an_attacker_may_have_the_very_samples_that_were_trained_on(tmp_path: Path) -> None:
    own, same = assembly(), assembly(auxiliary_share="owners")
    v = untrained_view(same)
    x, y = same.take(same.shares.train[:300])
    assert torch.equal(v.auxiliary, x[:250])
    assert torch.equal(v.validation, x[250:])
    assert v.auxiliary_labels is not None
    assert torch.equal(v.auxiliary_labels, y[:250])
    assert same.auxiliary.source.endswith(", the training data")
    assert same.network_run == own.network_run
    assert same.attack_run != own.attack_run
    with pytest.raises(ConfigError, match="owners wanted, and another data set"):
        assembly(auxiliary_share="owners", auxiliary="noise")


def test_an_attacker_may_have_nothing_but_noise() -> None:
    v = untrained_view(assembly(auxiliary="noise:shape=1x12x12,samples=400"))
    assert v.auxiliary.shape == (250, 1, 12, 12)
    assert v.auxiliary.min() == 0
    assert v.auxiliary.max() == 1


@pytest.mark.parametrize("source", [None, "test_experiment:others"])
def test_an_attacker_may_have_fewer_samples(source: str | None) -> None:
    v = untrained_view(assembly(auxiliary=source, auxiliary_samples=40))
    every = untrained_view(assembly(auxiliary=source))
    assert (len(v.auxiliary), len(v.validation)) == (40, 8)
    assert torch.equal(v.auxiliary, every.auxiliary[:40])
    assert assembly(auxiliary_samples=40).network_run == assembly().network_run
    assert assembly(auxiliary_samples=40).attack_run != assembly().attack_run
    with pytest.raises(ConfigError, match="at most 250 wanted, what the attacker has: got 251"):
        untrained_view(assembly(auxiliary=source, auxiliary_samples=251))


@pytest.mark.parametrize(
    "change", [{"auxiliary": "test_experiment:others:side=9"}, {"auxiliary_samples": 251}], ids=str
)
def test_samples_that_cannot_be_had_are_missed_before_anything_is_trained(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match="wanted"):
        run_attack(assembly(**change), Store(tmp_path))
    assert list(Store(tmp_path)) == []


def test_an_owner_who_attacks_alone_has_its_own_training_data() -> None:
    a = assembly(threat="owner-alone", owners=2)
    v = untrained_view(a)
    own, victims = (rows(a.take(i)[0]) for i in (a.shares.owners[0], a.victims))
    assert (len(v.auxiliary), len(v.validation)) == (200 * 5 // 6, 200 - 200 * 5 // 6)
    assert rows(v.auxiliary) | rows(v.validation) == own
    assert not rows(v.auxiliary) & rows(v.validation)
    assert not own & victims
    assert a.auxiliary.source == "blobs, owner 0"
    together = untrained_view(assembly(threat="server-and-owner", owners=2))
    only_one = untrained_view(assembly(threat="owner-alone"))
    assert torch.equal(together.auxiliary, only_one.auxiliary)  # the attacker's share
    assert rows(only_one.auxiliary) == rows(a.take(a.shares.auxiliary)[0])
    elsewhere = assembly(threat="owner-alone", owners=2, auxiliary="test_experiment:others")
    assert rows(untrained_view(elsewhere).auxiliary) <= rows(others().x)


def test_an_attack_carried_out_is_what_an_attack_run_records(
    store: Store, undefended: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, before, fitted = assembly(), len(list(store)), []
    fit = experiment.fitted_attack

    def fitting(*given: object) -> Reconstruction:
        fitted.append(fit(*given))  # type: ignore[arg-type]
        return fitted[-1]

    monkeypatch.setattr(experiment, "fitted_attack", fitting)
    out = carry_out(a, store)
    assert len(list(store)) == before  # nothing is kept
    assert out.record.findings() == undefended.findings()
    assert torch.equal(out.x, a.take(a.victims)[0])
    error = (out.x - out.x_hat).square().flatten(1).mean(1)
    torch.testing.assert_close(out.values["mse"], error)
    assert value(out.record, "mse") == pytest.approx(float(error.mean()), rel=1e-5)
    again = carry_out(a, store, fitted=fitted[0])
    assert len(fitted) == 1
    assert torch.equal(again.x_hat, out.x_hat)
    assert again.record.leakage == out.record.leakage


def test_within_its_class_a_reconstruction_has_fewer_rivals() -> None:
    x, y = torch.tensor([[0.0], [0.1], [0.9]]), torch.tensor([0, 1, 0])
    x_hat = torch.tensor([[0.09], [0.1], [0.2]])  # each nearest to the second sample
    found = per_sample(Truth(x, y, x, {}), x_hat)
    assert found["top1"].tolist() == [0, 1, 0]
    assert found["top1_in_class"].tolist() == [1, 1, 0]


def test_repeats_are_averaged(store: Store) -> None:
    once = run_attack(assembly(defence="gaussian:scale=1,active=serve"), store)
    often = run_attack(assembly(defence="gaussian:scale=1,active=serve", repeats=16), store)
    assert value(often, "mse") < value(once, "mse")
    assert "randomised-defence-single-query" not in often.flags


class Stripes(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Any torch data set will do; its arguments come from the command line."""

    classes = ("flat", "steep")

    def __init__(self, count: int = 400) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        if i >= self.count:
            raise IndexError(i)
        g = torch.Generator().manual_seed(i)
        return (torch.rand(6, generator=g) + (i % 2)) / 2, i % 2


def test_a_torch_data_set_of_the_users_own_by_import_path(tmp_path: Path) -> None:
    raw = {"data": "test_experiment:Stripes:count=300", "model": "mlp", "epochs": 60, "threads": 1}
    record = run_training(Assembly.of(parse(raw)), Store(tmp_path))
    assert record.data["classes"] == ["flat", "steep"]
    assert record.data["samples"] == 300
    assert record.utility["accuracy"].value is not None
    assert record.utility["accuracy"].value > 0.9


class Gain(Defence):
    """A defence of the user's own with something to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(()).abs() + 1)

    def forward(self, t: torch.Tensor, *, x: torch.Tensor | None = None) -> torch.Tensor:
        return t * self.gain


class Both(Defence):
    """Not a site that this release perturbs."""

    site = "weights"


def test_what_a_defence_learned_in_training_is_served(tmp_path: Path) -> None:
    a, store = assembly(defence="test_experiment:Gain", epochs=3), Store(tmp_path)
    trained = run_training(a, store)
    learned = store.tensors(trained.id, "defence")["members.0.gain"]
    served = load_network(a, store, trained.id).defended.defence.members[0].gain
    assert torch.equal(served, learned)
    assert not torch.equal(a.defence().members[0].gain, learned)  # it did learn
    with pytest.raises(ConfigError, match="site input, cut or output wanted, got 'weights'"):
        assembly(defence="test_experiment:Both")


class Served(Gain):
    """Acts while serving only, so that it belongs to no trained network."""

    active = "serve"


class Broken(Served):
    """Fails when it is used, not when it is made."""

    def forward(self, t: torch.Tensor, *, x: torch.Tensor | None = None) -> torch.Tensor:
        raise RuntimeError("not finished")


def test_a_defence_that_only_serves_is_tried_first_and_trains_nothing_anew(tmp_path: Path) -> None:
    assert assembly(defence="test_experiment:Served").network_run == assembly().network_run
    with pytest.raises(ConfigError, match="Broken: RuntimeError: not finished"):
        run_training(assembly(defence="test_experiment:Broken"), Store(tmp_path))
    assert not [p for p in tmp_path.iterdir() if not p.name.startswith(".")]


def test_a_network_that_does_not_end_in_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one output for each of 10 classes wanted"):
        run_training(assembly(model="test_experiment:narrow", cut="0"), Store(tmp_path))


def narrow() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 4))


def test_weights_of_the_users_own(tmp_path: Path, store: Store, undefended: Record) -> None:
    """Exported, converted, brought back: the same accuracy, no training."""
    assert undefended.victim
    network = load_network(assembly(), store, undefended.victim)
    state = {**network.defended.segment.state_dict(), **network.far_segment.state_dict()}
    named = dict(bare_model(parse(SETTINGS), (1, 12, 12), 10).state_dict())
    renamed = dict(zip(named, state.values(), strict=True))
    torch.save({"state_dict": renamed}, tmp_path / "mine.pt")
    assert main(["convert", str(tmp_path / "mine.pt")]) == 0
    a = assembly(weights=str(tmp_path / "mine.safetensors"), epochs=None)
    assert run_attack(a, Store(tmp_path / "r")).utility == undefended.utility


def test_a_broken_attack_is_recorded_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cutlayer.attacks import InverseNetwork

    monkeypatch.setattr(
        InverseNetwork,
        "_reconstruct",
        lambda self, seen: torch.full((len(seen.messages), 1, 12, 12), torch.nan),
    )
    r = run_attack(assembly(), Store(tmp_path))
    assert {"non-finite-reconstruction", "attack-below-floor"} <= set(r.flags)
    assert r.leakage["mse"].value is None


@pytest.fixture
def table(tmp_path: Path) -> str:
    g = np.random.default_rng(0)
    y = g.integers(0, 2, 300)
    np.savez(tmp_path / "t.npz", x=(g.normal(size=(300, 6)) + 2 * y[:, None]), y=y)
    return f"arrays:path={tmp_path / 't.npz'}"


def run(*argv: str) -> int:
    return main([*argv])


def test_the_commands_in_a_row(
    tmp_path: Path, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "runs")
    common = ["--data", table, "--model", "mlp", "--threads", "1", "--store", store]
    assert run("train", *common, "--epochs", "2") == 0
    assert "accuracy on the validation share" in capsys.readouterr().out
    attack = ["attack", *common, "--epochs", "2", "--attack", "inverse-network:epochs=3"]
    assert run(*attack, "--dry-run", "--defence", "laplace:scale=1") == 0
    assert "memory: about" in capsys.readouterr().out
    assert run(*attack, "--defence", "laplace:scale=1,active=serve") == 0
    out = capsys.readouterr().out
    assert "undefended" in out  # the reference comes along
    assert run("report", "--store", store, "--out", str(tmp_path / "page")) == 0
    assert (tmp_path / "page" / "index.html").stat().st_size < 8e6
    assert run("runs", "list", "--store", store) == 0
    capsys.readouterr()
    ids = [r.id for r in Store(store)]
    attacks = [i for i in ids if i.startswith("attack")]
    assert run("runs", "show", attacks[0], "--store", store) == 0
    assert json.loads(capsys.readouterr().out)["id"] == attacks[0]
    assert run("runs", "diff", *attacks, "--store", store) == 0
    assert "leakage.mse.value" in capsys.readouterr().out
    assert run("runs", "remove", *ids, "--store", store) == 0
    assert list(Store(store)) == []


@pytest.mark.parametrize("model", ["titcombe", "lenet"])
def test_cuts_lists_all_and_checks_them(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cuts", "--model", model, "--input-shape", "1,28,28") == 0
    assert "all bit-equal" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "'trian': unknown, did you mean 'train'?"),
        (["train", "--epocs", "3"], "--epocs: unknown, did you mean '--epochs'?"),
        (["train", "--data", "mnits"], "data 'mnits': unknown, did you mean 'mnist'?"),
        (["train", "--cut", "act9"], "cut points of this model are"),
        (["train", "--shares", "owners=99999,auxiliary=9,attacker_validation=9,victims=5"], "1797"),
        (["train", "--shares", "titcombe2021"], "titcombe2021"),
        (["train", "--data", "arrays:path=none.npz"], "none.npz"),
        (["train", "--weights", "none.safetensors"], "cannot read"),
        (["train", "--model", "ecg"], "model ecg:"),
        (["attack", "--threat", "query-free", "--model", "mlp", "--epochs", "1"], "withholds"),
        (["attack", "--victims", "9999"], "at most 500 wanted"),
        (["attack", "--auxiliary", "mnits"], "data 'mnits': unknown, did you mean 'mnist'?"),
        (
            [
                "train",
                "--keep",
                "best",
                "--shares",
                "owners=9,auxiliary=9,attacker_validation=9,victims=5",
            ],
            "keep: best is by accuracy on validation",
        ),
        (["train", "--precision", "float16"], "precision"),
        (["train", "--device", "cuda"], "no CUDA device here"),
        (["runs", "show", "zzz"], "no such run"),
        (["report"], "at least one attack run wanted"),
        (["convert", "none.pt"], "cannot read"),
        (["cuts", "--input-shape", "a,b"], "whole numbers like 3,32,32 wanted"),
    ],
)
def test_bad_input_is_refused_with_a_way_out(
    argv: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if argv == ["train", "--device", "cuda"] and torch.cuda.is_available():
        pytest.skip("there is one")
    monkeypatch.chdir(tmp_path)
    assert run(*argv) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


def test_a_file_that_would_run_code_is_not_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "m.pt")
    assert run("convert", str(tmp_path / "m.pt")) == 2
    assert "nothing in it was run" in capsys.readouterr().err


def test_an_unwritable_store_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run("train", "--store", str(tmp_path / "file" / "runs")) == 2
    assert "cutlayer:" in capsys.readouterr().err


def test_help_is_quick_and_complete() -> None:
    """No torch, no plotting: the heavy modules are not imported for help."""
    code = (
        "import sys, cutlayer.cli as c\n"
        "try: c.main(['attack', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'plotly', 'matplotlib', 'rich', 'jsonargparse'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--defence" in done.stdout
    assert run("train", "--model", "help") == 0


def test_ctrl_c_keeps_what_is_finished(
    tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cutlayer import console

    real, calls = console.run_attack, []

    def second_is_stopped(*arguments: object, **more: object) -> Record:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(console, "run_attack", second_is_stopped)
    store = str(tmp_path / "runs")
    argv = ["attack", "--data", table, "--model", "mlp", "--epochs", "1", "--store", store]
    assert (
        run(*argv, "--attack", "inverse-network:epochs=1", "--defence", "gaussian:scale=1") == 130
    )
    assert "partial report" in capsys.readouterr().out
    assert "stopped" in (tmp_path / "runs" / "partial-report" / "index.html").read_text()
