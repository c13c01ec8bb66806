"""Carry out one task and keep what it found: a JSON file and, of attacks, a strip of pictures."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..assembly import Assembly
from ..config import parse
from ..evaluation import gallery
from ..experiment import Outcome
from ..record import Record, Store, store_at, to_json
from .findings import Found, is_done, write
from .paper import Options, Paper
from .task import Task


@dataclass(frozen=True)
class Job:
    """A task, those it comes after, its experiment with the data read, and where things are."""

    task: Task
    after: Sequence[Task]
    assembly: Assembly
    store: Store
    results: Path


def perform_task(
    paper: Paper,
    runs: Mapping[str, Callable[[Job], Found]],
    key: str,
    context: Mapping[str, Any],
) -> None:
    """Carry out the task of that key, unless what it would find is there already.

    Args:
        runs: By ``Task.run``, what carries such a task out. ``seconds`` in what it returns count
            instead of those measured here.
        context: ``settings`` and ``options`` for the paper's tasks; ``store``, where networks are
            kept; ``results``, the folder of the findings.

    Raises:
        KeyError: no such task, or nothing that carries it out.
        ConfigError, ValueError, OSError: as ``run_training`` and ``run_attack``.
    """
    every = {t.key: t for t in paper.tasks(context["settings"], Options(**context["options"]))}
    task, results = every[key], Path(context["results"])
    if is_done(task, results):
        return
    store = store_at(Path(context["store"]))
    started, cpu = time.perf_counter(), time.process_time()
    after, assembly = [every[k] for k in task.after], Assembly.of(parse(task.experiment))
    found = runs[task.run](Job(task, after, assembly, store, results))
    seconds = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    seconds |= found.pop("seconds", {})
    write(task, results, found, seconds)


def plain(record: Record) -> Found:
    """A record as JSON values, without what the findings say beside it."""
    found: Found = json.loads(to_json(record))
    for name in ("seconds", "environment"):
        found.pop(name)
    return found


def keep_strip(outcome: Outcome, results: Path, key: str) -> None:
    """The first victim of each class, originals above reconstructions, as one small PNG."""
    if outcome.x.dim() != 4:
        return
    from PIL import Image

    from ..report.pictures import pixels

    shown = gallery(outcome.x, outcome.y, outcome.x_hat, {}, show=10)
    rows = [torch.cat(list(shown[f"typical.{k}"]), dim=2) for k in ("x", "x_hat")]
    path = results / f"{key}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(torch.cat(rows, dim=1)).numpy()).save(path, optimize=True)
