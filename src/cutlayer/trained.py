"""Networks that are trained once and kept: the split network, and the judge of reconstructions."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .assembly import Assembly
from .defences import Defended, in_phase
from .described import name_of
from .evaluation import utility_of
from .judge import judge_network, train_judge
from .metrics import accuracy
from .parties import Owner
from .record import Record, Scores, Store
from .streams import stream
from .tensor_file import load_tensors, save_tensors
from .training import Checkpoints, Plan, Progress, steps_per_epoch, train
from .wire import FarSide

OnProgress = Callable[[str, int, int], None]  # stage, done, total


def silent(stage: str, done: int, total: int) -> None:
    """Shows no progress."""


@dataclass(frozen=True)
class Network:
    """A trained split network: the defended owner's side and everything behind the cut."""

    id: str
    defended: Defended
    far: FarSide
    behind: tuple[nn.Module, ...]
    message_shape: tuple[int, ...]

    @property
    def far_segment(self) -> nn.Module:
        """Everything behind the first cut."""
        return nn.Sequential(*self.behind)

    @torch.no_grad()
    def without_defences(self, x: Tensor) -> Tensor:
        """Logits for ``x`` as the bare network gives them."""
        parts = [self.far_segment(self.defended.segment(part)) for part in x.split(256)]
        return torch.cat(parts)


def run_training(
    assembly: Assembly, store: Store, *, every: int = 500, on_progress: OnProgress = silent
) -> Record:
    """Train the network of an experiment, or find it trained already.

    Args:
        every: Steps between checkpoints; 0 for none. A killed training goes on from the newest.

    Raises:
        ConfigError, ValueError: the experiment cannot be built.
        OSError: the store cannot be written.
    """
    return once(store, assembly.network_run, lambda: _train(assembly, store, every, on_progress))


def once(store: Store, run: str, make: Callable[[], Record]) -> Record:
    """The run's record; whoever else on this machine wants the run waits while it is made."""
    if run in store:
        return store.record(run)
    with store.making(run):
        return store.record(run) if run in store else make()


def _train(assembly: Assembly, store: Store, every: int, on_progress: OnProgress) -> Record:
    run, e = assembly.network_run, assembly.experiment
    started, cpu = time.perf_counter(), time.process_time()
    segments = assembly.segments()
    owners, far = assembly.parties(segments)
    plan = Plan(
        session=run,
        epochs=e.passes,
        batch_size=e.batch_size,
        schedule=e.schedule,
        order=e.order,
    )
    total = e.passes * steps_per_epoch([len(o.data[1]) for o in owners], e.batch_size)
    checkpoints = Checkpoints(store.root / ".training" / run, every=every, identity=run)
    best = _Best(checkpoints.folder / "best.safetensors", segments)

    def validate(owner: Owner, history: Sequence[Mapping[str, Any]]) -> float | None:
        if not len(assembly.shares.validation):
            return None
        found = float(accuracy(*served(assembly, owner.defended, far)).mean())
        if e.keep == "best" and all(found > row["validation_accuracy"] for row in history):
            best.save(owner)
        return found

    def on_step(progress: Progress) -> None:
        on_progress("train", progress.done, total)

    holder, progress = train(
        plan, owners, far, checkpoints=checkpoints, validate=validate, on_step=on_step
    )
    if e.keep == "best" and e.passes:
        best.load(holder)
    utility: Scores = {}
    if len(assembly.shares.validation):
        utility = utility_of(*served(assembly, holder.defended, far))
    trained = assembly.as_trained()
    record = Record(
        id=run,
        kind="train",
        name=name_of(trained.experiment),
        config={**assembly.network_identity(), "experiment": trained.plain()},
        data=assembly.described_data(),
        training={"steps": progress.done, "epochs": progress.history},
        utility=utility,
        seconds={
            "train": time.perf_counter() - started,
            "train_cpu": time.process_time() - cpu,
        },
        environment=environment(),
    )
    tensors = {"owner": holder.defended.segment.state_dict()}
    tensors |= {f"far{i}": s.state_dict() for i, s in enumerate(segments[1:])}
    tensors["defence"] = holder.defended.defence.state_dict()
    store.write(record, **tensors)
    checkpoints.clear()
    return record


@dataclass
class _Best:
    """The network after the best epoch so far, beside the checkpoints.

    A training that is resumed from before it makes the same one again.
    """

    path: Path
    segments: list[nn.Module]  # those behind the cut are trained in place

    def _parts(self, owner: Owner) -> dict[str, nn.Module]:
        far = {f"far{i}": segment for i, segment in enumerate(self.segments[1:])}
        return {"owner": owner.defended, **far}

    def save(self, owner: Owner) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_suffix(f".{os.getpid()}")
        parts = self._parts(owner).items()
        save_tensors({f"{p}/{k}": v for p, m in parts for k, v in m.state_dict().items()}, aside)
        aside.replace(self.path)

    def load(self, owner: Owner) -> None:
        every = load_tensors(self.path)
        for part, module in self._parts(owner).items():
            mark = f"{part}/"
            own = {k.removeprefix(mark): v for k, v in every.items() if k.startswith(mark)}
            module.load_state_dict(own)


def load_network(assembly: Assembly, store: Store, run: str) -> Network:
    """The stored network of a training run, with the experiment's defences in front of the wire.

    What a defence learned in training is served; one that acts only while serving is put where
    the experiment has it.
    """
    segments = assembly.segments()
    segments[0].load_state_dict(store.tensors(run, "owner"))
    for i, segment in enumerate(segments[1:]):
        segment.load_state_dict(store.tensors(run, f"far{i}"))
    network = as_built(assembly, segments, run)
    learned = assembly.defence(training_only=True)
    learned.load_state_dict(store.tensors(run, "defence"))
    every = network.defended.defence.members
    were_trained = [m for m in every if m.active != "serve"]
    for member, trained in zip(were_trained, learned.members, strict=True):
        member.load_state_dict(trained.state_dict())
    return network


def whole(store: Store, run: str) -> dict[str, Tensor]:
    """The weights of a network that was trained in two segments, both together."""
    return store.tensors(run, "owner") | store.tensors(run, "far0")


def as_built(
    assembly: Assembly, segments: list[nn.Module] | None = None, run: str = "untrained"
) -> Network:
    """A network ready to serve, from segments as they are."""
    segments = segments or assembly.segments()
    _, far = assembly.parties(segments)
    defended = Defended(segments[0], assembly.defence()).eval().requires_grad_(False)
    behind = tuple(segment.eval() for segment in segments[1:])
    return Network(run, defended, far, behind, assembly.message_shapes(segments)[0])


@torch.no_grad()
def served(assembly: Assembly, defended: Defended, far: FarSide) -> tuple[Tensor, Tensor]:
    """Logits and labels of the validation share through the defended serving path."""
    defended.eval()
    x, y = assembly.take(assembly.shares.validation)
    with stream(assembly.experiment.seed, "validate"), in_phase(defended.defence, "serve"):
        return torch.cat([far.predict(defended(part)) for part in x.split(256)]), y


def trained_judge(
    assembly: Assembly, store: Store, on_progress: OnProgress = silent
) -> tuple[nn.Module | None, dict[str, Any]]:
    """The judge for this data and facts about it; ``None`` where its share is empty."""
    run, shape = assembly.judge_run, assembly.dataset.shape
    if run == "none":
        return None, {"id": run}
    once(store, run, lambda: _train_judge(assembly, store, on_progress))
    network = judge_network(shape, assembly.classes).to(assembly.device).eval()
    network.load_state_dict(store.tensors(run, "judge"))
    return network, {"id": run, "trained_on": len(assembly.shares.judge)}


def _train_judge(assembly: Assembly, store: Store, on_progress: OnProgress) -> Record:
    on_progress("judge", 0, 1)
    started, (x, y) = time.perf_counter(), assembly.take(assembly.shares.judge)
    network = train_judge(x, y, assembly.classes, root=assembly.experiment.seed)
    record = Record(
        id=assembly.judge_run,
        kind="judge",
        name=f"judge of {assembly.dataset.name}",
        config=assembly.judge_identity(),
        data=assembly.described_data(),
        seconds={"train": time.perf_counter() - started},
        environment=environment(),
    )
    store.write(record, judge=network.state_dict())
    return record


def environment() -> dict[str, Any]:
    """Facts of this execution that do not decide the result."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
