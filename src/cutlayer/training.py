"""Algorithm 1 as a loop: owners in turn or in parallel, checkpoints, resume.

The loop does not know whether its far side is in this process or across a network.
"""

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from .parties import Owner
from .streams import generator
from .wire import At, FarSide

Schedule = Literal["hand-over", "average"]
Order = Literal["shuffled", "stored"]
SCHEMA_VERSION = 1  # of a checkpoint

Validate = Callable[[Owner, Sequence[Mapping[str, Any]]], float | None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained for how long. Everything here changes the weights.

    schedule: "hand-over": in every epoch each owner in turn trains on its own data and hands the
        segment on, optimiser moments included. "average": all owners train side by side against
        one server, each on its own copy; after every epoch the copies are averaged.
    order: "shuffled" anew in every epoch, or as the samples are "stored".
    """

    session: str
    epochs: int
    batch_size: int
    schedule: Schedule = "hand-over"
    order: Order = "shuffled"


@dataclass
class Progress:
    """How far a training is; kept with every checkpoint."""

    done: int = 0  # two-party steps
    loss_sum: float = 0.0  # of the present epoch
    loss_steps: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)  # by epoch: loss, validation


class Checkpoints:
    """The last two agreed states of all parties, each whole or not there at all.

    Args:
        folder: Where; belongs to one training alone.
        every: Steps between two checkpoints; 0 for none.
        identity: Address of what is trained; a checkpoint of anything else is refused.
    """

    def __init__(self, folder: Path, *, every: int, identity: str) -> None:
        self.folder, self.every, self.identity = folder, every, identity

    def due(self, done: int) -> bool:
        """Whether one is to be taken after that many steps."""
        return self.every > 0 and done % self.every == 0

    def save(self, progress: Progress, at: At, owners: Sequence[Owner], far: FarSide) -> None:
        name = f"{progress.done:09d}"
        aside = self.folder / f".{name}.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            for owner in owners:
                owner.save(at, aside)
            far.save(at, aside)
            manifest = {
                "schema_version": SCHEMA_VERSION,
                "identity": self.identity,
                "at": asdict(at),
                "owners": [o.number for o in owners],
                "progress": asdict(progress),
            }
            (aside / "manifest.json").write_text(json.dumps(manifest))
            shutil.rmtree(self.folder / name, ignore_errors=True)
            with suppress(FileExistsError):  # the same state, by another process
                aside.rename(self.folder / name)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        for old in self._complete()[:-2]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self, owners: Sequence[Owner], far: FarSide) -> Progress:
        """Load the newest checkpoint into the parties; a fresh ``Progress`` where there is none.

        Raises:
            ValueError: it belongs to another training or another network.
        """
        complete = self._complete()
        if not complete:
            return Progress()
        manifest = self._manifest(complete[-1])
        at = At(**manifest["at"])
        for owner in owners:
            if owner.number in manifest["owners"]:
                owner.restore(at, complete[-1])
        far.restore(at, complete[-1])
        return Progress(**manifest["progress"])

    def _manifest(self, folder: Path) -> dict[str, Any]:
        way_out = "choose another --store or delete that folder"
        try:
            manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
            found = (manifest["schema_version"], manifest["identity"])
        except (json.JSONDecodeError, KeyError, TypeError) as e:
            raise ValueError(f"checkpoint {folder}: a whole manifest wanted; {way_out}") from e
        if found != (SCHEMA_VERSION, self.identity):
            raise ValueError(
                f"checkpoint {folder}: training {self.identity} of version {SCHEMA_VERSION} "
                f"wanted, got {found[1]} of {found[0]}; {way_out}"
            )
        return manifest

    def clear(self) -> None:
        """Drop them all: the training is finished and stored."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _complete(self) -> list[Path]:
        found = [p.parent for p in self.folder.glob("*/manifest.json")]
        return sorted(p for p in found if not p.name.startswith("."))


def batches(n: int, size: int, rng: torch.Generator | None) -> list[Tensor]:
    """``n`` samples in batches; a last batch of one joins the one before it.

    One sample alone has no variance for BatchNorm and no pairs for NoPeek.

    Args:
        rng: Draws the order; the samples' own without one.

    >>> [len(b) for b in batches(65, 32, torch.Generator().manual_seed(0))]
    [32, 33]
    """
    order = torch.arange(n) if rng is None else torch.randperm(n, generator=rng)
    parts = list(torch.split(order, size))
    if len(parts) > 1 and len(parts[-1]) == 1 and size > 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def steps_per_epoch(sizes: Sequence[int], batch_size: int) -> int:
    """Two-party steps in one epoch over owners with that many samples each."""
    return sum(-(-n // batch_size) - (n % batch_size == 1 < batch_size < n) for n in sizes)


def train(
    plan: Plan,
    owners: Sequence[Owner],
    far: FarSide,
    *,
    checkpoints: Checkpoints | None = None,
    validate: Validate | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> tuple[Owner, Progress]:
    """Train to the end of the plan, from the newest checkpoint if there is one.

    A killed run that is started again ends with bit-equal weights.

    Args:
        validate: Called with an owner and the history after each epoch; its answer joins that.
        on_step: Called after every step.

    Returns:
        The owner that holds the final segment, and the history.

    Raises:
        ValueError: a checkpoint of another training; messages the far side refuses.
    """
    progress = checkpoints.restore(owners, far) if checkpoints else Progress()
    seen, holder = 0, owners[0]
    with _interrupts() as stop:
        for event in _events(plan, owners):
            if isinstance(event, _Step):
                seen += 1
                if seen > progress.done:
                    _run_step(event, plan, far, progress)
                    if checkpoints and (stop or checkpoints.due(seen)):
                        holders = owners if plan.schedule == "average" else [event.owner]
                        checkpoints.save(progress, event.after(plan), holders, far)
                    if stop:
                        raise KeyboardInterrupt
                    if on_step:
                        on_step(progress)
            elif seen >= progress.done:  # else it happened before the checkpoint
                holder = _run_boundary(event, progress, validate)
        if stop:
            raise KeyboardInterrupt
    return holder, progress


@dataclass(frozen=True)
class _Step:
    owner: Owner
    epoch: int
    number: int
    index: Tensor

    def at(self, plan: Plan) -> At:
        return At(plan.session, self.owner.number, self.epoch, self.number)

    def after(self, plan: Plan) -> At:
        """Where the owner is when it is done."""
        return At(plan.session, self.owner.number, self.epoch, self.number + 1)


@dataclass(frozen=True)
class _HandOver:
    giver: Owner
    taker: Owner


@dataclass(frozen=True)
class _EpochEnd:
    epoch: int
    owners: Sequence[Owner]
    average: bool


def dealt(plan: Plan, owner: Owner, epoch: int) -> list[Tensor]:
    """An owner's batches of one epoch."""
    shuffled = plan.order == "shuffled"
    rng = generator(owner.root, owner.name, "order", epoch) if shuffled else None
    return batches(len(owner.data[1]), plan.batch_size, rng)


def _events(plan: Plan, owners: Sequence[Owner]) -> Iterator[_Step | _HandOver | _EpochEnd]:
    for epoch in range(plan.epochs):
        order = [dealt(plan, owner, epoch) for owner in owners]
        if plan.schedule == "hand-over":
            for i, owner in enumerate(owners):
                if len(owners) > 1 and (epoch or i):
                    yield _HandOver(owners[i - 1], owner)
                for number, index in enumerate(order[i]):
                    yield _Step(owner, epoch, number, index)
        else:
            for number in range(max(map(len, order))):
                for owner, parts in zip(owners, order, strict=True):
                    if number < len(parts):
                        yield _Step(owner, epoch, number, parts[number])
        yield _EpochEnd(epoch, owners, plan.schedule == "average")


def _run_step(event: _Step, plan: Plan, far: FarSide, progress: Progress) -> None:
    loss = event.owner.step(event.index, far, at=event.at(plan))
    progress.done += 1
    progress.loss_sum += loss
    progress.loss_steps += 1


def _run_boundary(
    event: _HandOver | _EpochEnd,
    progress: Progress,
    validate: Validate | None,
) -> Owner:
    if isinstance(event, _HandOver):
        event.taker.load(event.giver.state(), source=event.giver.name)
        return event.taker
    if event.average:
        average(event.owners)
    holder = event.owners[0] if event.average else event.owners[-1]
    if len(progress.history) == event.epoch:
        row: dict[str, Any] = {"loss": progress.loss_sum / max(progress.loss_steps, 1)}
        if validate:
            row["validation_accuracy"] = validate(holder, progress.history)
        progress.history.append(row)
        progress.loss_sum, progress.loss_steps = 0.0, 0
    return holder


@torch.no_grad()
def average(owners: Sequence[Owner]) -> None:
    """Give every owner the mean of all copies, weighted by sample count.

    Weights and floating buffers are averaged, integer buffers take the maximum, optimiser moments
    stay with their owner.
    """
    states = [o.module.state_dict() for o in owners]
    mean = averaged(states, [len(o.data[1]) for o in owners])
    for state in states:
        for name, value in mean.items():
            state[name].copy_(value)


def averaged(states: Sequence[Mapping[str, Tensor]], samples: Sequence[int]) -> dict[str, Tensor]:
    """The mean of states by name, weighted by sample count; of integers the maximum.

    Raises:
        ValueError: they are not of one network.
    """
    if any(state.keys() != states[0].keys() for state in states):
        raise ValueError(
            "owners' segments with the same weights wanted: their defences learn different things; "
            "let them hand one segment over, or give them the same defence"
        )
    counts = torch.tensor([float(n) for n in samples])
    shares = counts / counts.sum()
    return {name: _mean([s[name] for s in states], shares) for name in states[0]}


def _mean(several: Sequence[Tensor], shares: Tensor) -> Tensor:
    if not several[0].is_floating_point():
        return torch.stack(list(several)).amax(0)
    # One after the other: the order of a reduction may depend on how tensors lie in memory.
    total = several[0] * shares[0].to(several[0])
    for copy, share in zip(several[1:], shares[1:], strict=True):
        total = total + copy * share.to(copy)
    return total


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect Ctrl-C so that a step is finished before the training stops; twice stops at once."""
    stop: list[int] = []

    def note(signum: int, frame: object) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.append(signum)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
