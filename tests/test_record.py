"""Records are strict JSON; the store keeps whole runs or none."""

import errno
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cutlayer.checks import FLAGS, across, of_run
from cutlayer.record import Estimate, Record, Store, address, from_json, to_json


def record(run: str = "attack-0123456789ab", **more: object) -> Record:
    base = Record(
        id=run,
        kind="attack",
        name="undefended",
        config={"experiment": {"seed": 0, "defence": [], "threat": "black-box"}},
        threat={"name": "black-box"},
        leakage={"ssim": Estimate(value=0.5, low=0.4, high=0.6, n=9), "mse": Estimate(value=None)},
        floors={"mean": {"ssim": Estimate(value=0.1)}},
    )
    return replace(base, **more)  # type: ignore[arg-type]


def test_round_trip() -> None:
    assert from_json(to_json(record())) == record()


def test_no_nan_is_ever_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(record(leakage={"mse": Estimate(value=float("nan"))}))


def test_findings_leave_time_and_host_out() -> None:
    a, b = record(seconds={"attack": 1.0}), record(environment={"host": "x"})
    assert a != b
    assert a.findings() == b.findings()


def test_the_address_does_not_depend_on_the_order_of_keys() -> None:
    assert address({"a": [1, {"c": 2, "b": 3}]}) == address({"a": [1, {"b": 3, "c": 2}]})
    assert address({"a": 1}) != address({"a": 1.5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "JSON wanted"),
        ("[]", "a cutlayer record wanted"),
        ('{"schema_version": 99}', "schema_version 1 wanted, got 99"),
        ('{"schema_version": 1, "evil": 1}', "fields of a record wanted: got evil"),
    ],
)
def test_what_is_no_record_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(text, source="f.json")


def test_the_store_keeps_and_finds(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(record(), samples={"x": torch.arange(3.0)})
    assert record().id in store
    assert store.record("0123") == record()
    assert torch.equal(store.tensors("attack-01", "samples")["x"], torch.arange(3.0))
    assert list(store) == [record()]
    with pytest.raises(ValueError, match=r"no such run; runs in .*attack-0123456789ab"):
        store.find("train-77")
    store.write(record("attack-0199"))
    with pytest.raises(ValueError, match="several runs start so"):
        store.find("01")


def test_a_full_disk_harms_no_earlier_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.write(record(), samples={"x": torch.ones(2)})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cutlayer.record.save_tensors", full)
    for run in (record(name="newer"), record("attack-ffff")):
        with pytest.raises(OSError, match="No space"):
            store.write(run, samples={"x": torch.ones(2)})
    assert store.record("0123").name == "undefended"
    assert [p.name for p in tmp_path.iterdir()] == [record().id]


def test_a_network_that_was_attacked_is_not_removed_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(record("train-aa", kind="train"))
    store.write(record(victim="train-aa"))
    with pytest.raises(ValueError, match="attacked by attack-0123456789ab; remove them first"):
        store.remove("train-aa")
    assert store.remove("attack-01") > 0
    assert store.remove("train-aa") > 0
    assert list(tmp_path.iterdir()) == []


def made_at_once(root: Path, *runs: str, patience: float = 0.1) -> int:
    """How many of them are being made at the same time, at most; each is asked for on its own."""
    inside, most, all_of_them = list[str](), list[int](), threading.Event()

    def make(run: str) -> None:
        with Store(root).making(run):
            inside.append(run)
            most.append(len(inside))
            if len(inside) == len(runs):
                all_of_them.set()
            all_of_them.wait(patience)
            inside.remove(run)

    threads = [threading.Thread(target=make, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == len(runs)
    return max(most)


def test_one_run_is_made_by_one_at_a_time_and_different_runs_side_by_side(tmp_path: Path) -> None:
    assert made_at_once(tmp_path, "train-aa", "train-aa", "train-aa") == 1
    assert made_at_once(tmp_path, "train-aa", "train-bb", patience=60) == 2
    assert list(Store(tmp_path)) == []  # what is being made is not there yet


def test_who_fails_to_make_a_run_lets_the_next_one_try(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Store(tmp_path).making("train-aa"):
        raise KeyboardInterrupt
    assert made_at_once(tmp_path, "train-aa") == 1


def test_without_locks_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutlayer.record.fcntl", None)
    assert made_at_once(tmp_path, "train-aa", "train-aa", patience=60) == 2


GOOD = dict(
    leakage={"mse": Estimate(value=0.01)},
    floors={"mean": {"mse": Estimate(value=0.05)}},
    utility={"accuracy": Estimate(value=0.9)},
    chance=0.1,
    victims=500,
    finite=True,
    converged=True,
    stochastic=False,
    repeats=1,
    duplicates=0,
)


BY_CLASS = {"class-mean": {"mse": Estimate(value=0.001)}}


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({}, None),
        ({"leakage": {"mse": Estimate(value=0.06)}}, "attack-below-floor"),
        ({"leakage": {"mse": Estimate(value=None)}}, "attack-below-floor"),
        ({"converged": False}, "attack-not-converged"),
        ({"converged": None}, None),
        ({"utility": {"accuracy": Estimate(value=0.12)}}, "no-utility"),
        ({"stochastic": True}, "randomised-defence-single-query"),
        ({"stochastic": True, "repeats": 16}, None),
        ({"victims": 499}, "small-n"),
        ({"finite": False}, "non-finite-reconstruction"),
        ({"duplicates": 1}, "overlapping-data"),
        ({"floors": BY_CLASS}, None),
        ({"floors": BY_CLASS, "tells_label": True}, "attack-below-floor"),
    ],
)
def test_flags_of_one_run(change: dict[str, object], flag: str | None) -> None:
    found = of_run(**{**GOOD, **change})  # type: ignore[arg-type]
    assert found == ([flag] if flag else [])
    assert set(found) <= FLAGS.keys()


def config(**more: object) -> dict[str, object]:
    return {"experiment": {"seed": 0, "defence": [], "threat": "black-box", "attack": "a"} | more}


def test_flags_that_show_side_by_side() -> None:
    noisy = record("attack-n", config=config(defence=["l"]), defence={"parts": ["l"]})
    plain, again = record("attack-p", config=config()), record("attack-q", config=config(seed=1))
    assert across([noisy]) == {"attack-n": ["one-seed", "no-undefended-reference"]}
    assert across([noisy, plain])["attack-n"] == ["one-seed"]
    assert across([plain, again]) == {"attack-p": [], "attack-q": []}
    white = record(
        "attack-w",
        config=config(threat="white-box"),
        threat={"name": "white-box"},
        leakage={"mse": Estimate(value=0.5, low=0.4, high=0.6)},
    )
    black = replace(plain, leakage={"mse": Estimate(value=0.1, low=0.05, high=0.2)})
    assert "black-box-beats-white-box" in across([white, black])["attack-w"]
    assert json.loads(to_json(white))["threat"]["name"] == "white-box"
