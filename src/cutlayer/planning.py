"""What a run would cost, from a few steps of it: minutes, memory, bytes."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from .assembly import Assembly
from .experiment import view_of
from .parts import resolve
from .record import Store
from .trained import as_built
from .training import steps_per_epoch
from .wire import At

TRIAL_STEPS = 4


@dataclass(frozen=True)
class Cost:
    """Of one stage.

    run: what it would make. wire: bytes both ways between the parties. disk: bytes kept.
    """

    stage: str
    run: str
    steps: int
    seconds: float
    wire: int = 0
    disk: int = 0
    note: str = ""


def estimate(assembly: Assembly, store: Store, *, attack: bool) -> tuple[list[Cost], int]:
    """Each stage's cost, and the peak memory in bytes; trains a few steps on throw-away copies."""
    costs = [_training(assembly, store)]
    if attack:
        costs.append(_attack(assembly, store))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return costs, peak * (1 if sys.platform == "darwin" else 1024)


def _training(assembly: Assembly, store: Store) -> Cost:
    e, run = assembly.experiment, assembly.network_run
    if run in store:
        return Cost("train", run, 0, 0.0, note=f"already in the store as {run}")
    segments = assembly.segments()
    size = sum(p.numel() * p.element_size() for s in segments for p in s.parameters())
    steps = e.passes * steps_per_epoch([len(i) for i in assembly.shares.owners], e.batch_size)
    owners, far = assembly.parties(segments)
    index = torch.arange(min(e.batch_size, len(owners[0].data[1])))

    def step(i: int) -> None:
        owners[0].step(index, far, at=At("trial", 0, 0, i))

    seconds = _median(step) * steps
    message = torch.Size(assembly.message_shapes(segments)[0]).numel() * 4
    samples = e.passes * len(assembly.shares.train)
    note = "in steps of a few hundred; resumes where it was stopped"
    return Cost("train", run, steps, seconds, 2 * message * samples, 7 * size, note)


def _attack(assembly: Assembly, store: Store) -> Cost:
    e, run = assembly.experiment, assembly.attack_run
    if run in store:
        return Cost("attack", run, 0, 0.0, note=f"already in the store as {run}")
    epochs = int(e.attack.args.get("epochs", 1))
    batch = int(e.attack.args.get("batch_size", 32))
    short = dict(e.attack.args) | ({"epochs": 1} if "epochs" in e.attack.args else {})
    view = view_of(assembly, as_built(assembly))
    x = view.auxiliary[: TRIAL_STEPS * batch]
    view = replace(view, auxiliary=x, validation=view.validation[:batch])
    started = time.perf_counter()
    resolve("attack", e.attack.kind)(**short).fit(view)
    once = (time.perf_counter() - started) / len(x)
    total = once * len(assembly.shares.auxiliary) * epochs
    steps = epochs * -(-len(assembly.shares.auxiliary) // batch)
    return Cost(
        "attack",
        run,
        steps,
        total,
        note="at most; grading and the judge come on top",
    )


def _median(step: Callable[[int], Any]) -> float:
    times = []
    for i in range(TRIAL_STEPS + 1):
        started = time.perf_counter()
        step(i)
        times.append(time.perf_counter() - started)
    return sorted(times[1:])[TRIAL_STEPS // 2]
