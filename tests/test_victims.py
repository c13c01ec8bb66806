"""Victims of another kind than the network was made for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_experiment import assembly, blobs, rows, untrained_view

from cutlayer.data import Dataset
from cutlayer.errors import ConfigError
from cutlayer.experiment import (
    carry_out,
    duplicated,
    fitted_attack,
    load_network,
    run_attack,
    run_training,
    view_of,
)
from cutlayer.record import Record, Store, from_json, to_json
from cutlayer.report.command import command_line
from cutlayer.report.page import write
from cutlayer.report.reading import settings

KINDS = "test_victims:kinds"


def kinds(n: int = 600, classes: int = 30, *, bounds: bool = True) -> Dataset:
    """Stripes, of classes that the network has never heard of."""
    g = torch.Generator().manual_seed(7)
    level = torch.rand(n, 2, 1, 1, 1, generator=g)
    stripes = (torch.arange(12) // 3 % 2).float().expand(n, 1, 12, 12)
    x = level[:, 0] + (level[:, 1] - level[:, 0]) * stripes
    found = Dataset(
        name="kinds",
        x=3 * x if bounds else x,
        y=torch.randint(classes, (n,), generator=g),
        classes=tuple(f"kind {k}" for k in range(classes)),
    )
    return found.with_bounds(torch.tensor(0.0), torch.tensor(3.0)) if bounds else found


def unscaled() -> Dataset:
    return replace(kinds(), bounds=None)


def doubled() -> Dataset:
    """The network's own data, on another scale."""
    here = blobs(name="doubled")
    return replace(here, x=2 * here.x, bounds=(torch.tensor(0.0), torch.tensor(2.0)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def own(store: Store) -> Record:
    return run_attack(assembly(), store)


@pytest.fixture(scope="module")
def foreign(store: Store, own: Record) -> Record:
    return run_attack(assembly(victims_from=KINDS), store)


def test_runs_without_it_are_what_they_were() -> None:
    a = assembly()
    assert a.attacked.known_kind
    assert "victims_from" not in a.attack_identity()
    assert torch.equal(a.victims, a.shares.victims)
    assert torch.equal(a.attacked.others, a.shares.auxiliary)
    assert "victims_from" not in a.described_attacked()
    assert a.described_attacked() == a.described_data()


def test_the_network_is_the_same_and_the_attack_another() -> None:
    a, b = assembly(), assembly(victims_from=KINDS)
    assert a.network_run == b.network_run
    assert a.attack_run != b.attack_run
    assert a.as_trained().plain() == b.as_trained().plain()
    other = assembly(victims_from=f"{KINDS}:n=500")
    assert len({x.attack_run for x in (b, other, assembly(victims_from=KINDS, victims=9))}) == 3
    assert b.attack_run != assembly(victims_from="test_victims:unscaled").attack_run


def test_nothing_is_computed_against_labels_of_another_meaning(foreign: Record) -> None:
    assert foreign.utility == {}
    for name in ("read", "read_by_victim", "top1_in_class"):
        assert foreign.leakage[name].value is None
    assert set(foreign.floors) == {"mean", "nearest-auxiliary", "shuffled"}
    assert not any(
        {"read", "read_by_victim", "top1_in_class"} & set(f) for f in foreign.floors.values()
    )
    assert foreign.attack["judge"] == {"id": "none"}
    assert "no-utility" not in foreign.flags


def test_pixels_and_people_are_still_measured(foreign: Record, own: Record) -> None:
    for name in ("mse", "psnr", "ssim", "top1", "top5", "dcor_x_z"):
        assert foreign.leakage[name].value is not None
    assert foreign.leakage["mse"].n == 150
    assert foreign.advantage.keys() == own.advantage.keys() - {
        *("read", "read_by_victim", "top1_in_class")
    }


def test_the_record_says_where_they_come_from(foreign: Record) -> None:
    assert foreign.data["name"] == "blobs"
    origin = foreign.data["victims_from"]
    assert origin["name"] == "kinds"
    assert origin["checksum"] == kinds().checksum
    assert origin["classes"][29] == "kind 29"
    assert origin["scaling"] == [0.0, 3.0]
    taken = foreign.data["shares"]["victims"]
    assert (taken["count"], taken["of"]) == (150, "kinds")
    assert foreign.config["experiment"]["victims_from"]["kind"] == KINDS
    assert from_json(to_json(foreign)) == foreign
    assert f"--victims-from {KINDS}" in command_line(foreign)


def test_what_the_attacker_learned_does_not_depend_on_them(store: Store, foreign: Record) -> None:
    a = assembly()
    trained = run_training(a, store)
    view = view_of(a, load_network(a, store, trained.id))
    fitted = fitted_attack(a, view, lambda *_: None)
    again = carry_out(assembly(victims_from=KINDS), store, fitted=fitted)
    assert again.record.leakage == foreign.leakage


def test_the_floors_know_the_kind_and_no_victim() -> None:
    a = assembly(victims_from=KINDS)
    assert len(a.victims) == 150
    assert len(a.attacked.others) == 450
    assert not set(a.victims.tolist()) & set(a.attacked.others.tolist())
    few = assembly(victims_from=f"{KINDS}:n=60")
    assert len(few.victims) == len(few.attacked.others) == 30


def test_of_the_first_so_many_the_rest_stays_the_same() -> None:
    every, few = assembly(victims_from=KINDS), assembly(victims_from=KINDS, victims=20)
    assert torch.equal(few.victims, every.victims[:20])
    assert torch.equal(few.attacked.others, every.attacked.others)


def test_an_attacker_who_has_the_same_kind_has_no_victim() -> None:
    a = assembly(victims_from=KINDS, auxiliary=KINDS)
    v = untrained_view(a)
    victims = rows(a.take(a.victims, a.attacked.dataset)[0])
    assert not (rows(v.auxiliary) | rows(v.validation)) & victims
    assert (len(v.auxiliary), len(v.validation)) == (250, 50)
    assert duplicated(a) == 0
    raw = untrained_view(
        assembly(victims_from="test_victims:unscaled", auxiliary="test_victims:unscaled")
    )
    assert raw.auxiliary.max() == 1  # on the network's scale, as the victims are, not their own


def test_victims_that_stand_in_the_networks_data_are_counted() -> None:
    a = assembly(victims_from="test_victims:doubled")
    held = torch.cat([i for name, i in a.shares if name != "victims"])
    theirs = rows(a.take(held)[0])
    found = rows(a.take(a.victims, a.attacked.dataset)[0]) & theirs
    assert duplicated(a) == len(found) > 100
    assert duplicated(assembly(victims_from=KINDS)) == 0


def test_without_bounds_they_are_scaled_as_the_network_scales() -> None:
    a = assembly(victims_from="test_victims:unscaled")
    x, _ = a.take(a.victims, a.attacked.dataset)
    assert torch.equal(x, unscaled().x[a.victims].clamp(0, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"victims_from": "test_experiment:blobs"}, "another data set wanted than that of the"),
        ({"victims_from": "noise:shape=1x9x9"}, r"shape \(1, 12, 12\) wanted.*got \(1, 9, 9\)"),
        ({"victims_from": f"{KINDS}:n=60", "victims": 31}, "1 to 30 wanted, got 31"),
        ({"victims_from": f"{KINDS}:n=1"}, "1 to 0 wanted, got all"),
        ({"victims_from": KINDS, "victims": 151}, "victims: at most 150 wanted"),
        ({"victims_from": "checkerbord"}, "did you mean 'checkerboard'"),
    ],
    ids=str,
)
def test_what_is_refused_before_anything_is_trained(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_attack(assembly(**change), Store(tmp_path))
    assert list(Store(tmp_path)) == []


def test_the_report_tells_them_apart(
    store: Store, own: Record, foreign: Record, tmp_path: Path
) -> None:
    (setting,) = settings([own, foreign])
    assert "victims of kinds" in setting.labels[foreign.id]
    assert "victims of" not in setting.labels[own.id]
    assert len(setting.configurations()) == 2  # neither is a stronger attacker than the other
    samples = {r.id: store.tensors(r.id, "samples") for r in (own, foreign)}
    page = write([own, foreign], samples, tmp_path).read_text()
    assert "class kind 3" in page
    assert "victims of another kind, from kinds" in page
    assert "victims of kinds</th>" in page  # the indices
