"""What serves every paper: tasks, their findings, statistics."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cutlayer.papers.findings import finding, is_done
from cutlayer.papers.measure import by_class, spread
from cutlayer.papers.task import Task


def test_an_address_holds_what_decides_and_not_where_it_runs() -> None:
    raw = {"data": "digits", "data_root": "/a", "device": "cpu", "weights": "/a/w.safetensors"}
    task = Task("a/b/c", "run", raw, ("a/b/d",), {"n": 1}, revision=1)
    same = {"data_root": "/b", "device": "cuda", "weights": "/b/w.safetensors"}
    assert replace(task, key="a/b/e", after=(), experiment=raw | same).address == task.address
    others = [
        replace(task, run="other"),
        replace(task, revision=2),
        replace(task, options={"n": 2}),
        replace(task, experiment=raw | {"seed": 1}),
    ]
    assert len({t.address for t in [task, *others]}) == 5
    assert task.address == "c2c00df7f73c"  # another one, and all that was found is done anew


def test_a_key_has_three_parts() -> None:
    with pytest.raises(ValueError, match="place/kind/name: got 'classifier'"):
        Task("classifier", "run", {}, revision=1)


def test_a_finding_belongs_to_its_task_alone(tmp_path: Path) -> None:
    task = Task("a/b/c", "run", {}, revision=1)
    assert not is_done(task, tmp_path)
    path = tmp_path / "a" / "b" / "c.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schema_version": 1, "address": task.address, "found": {}}))
    assert is_done(task, tmp_path)
    assert not is_done(replace(task, revision=2), tmp_path)


def test_a_damaged_finding_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.json").write_text('{"schema_')
    with pytest.raises(ValueError, match="delete the file and run again"):
        finding("a/b", tmp_path)
    (tmp_path / "a" / "b.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(ValueError, match="written by another release"):
        finding("a/b", tmp_path)


def test_spread_counts_directions() -> None:
    line = torch.randn(500, 1) @ torch.ones(1, 20)
    assert spread(line)["effective_dimensions"] == pytest.approx(1.0, rel=1e-3)
    assert spread(torch.randn(5000, 20))["effective_dimensions"] > 19


def test_a_class_without_samples_has_no_mean() -> None:
    assert by_class(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2]), 3) == [2.0, None, 5.0]
