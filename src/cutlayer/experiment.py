"""READ FIRST. Config in, record out: the whole flow.

data -> owner's segment -> defences -> wire -> server's segment -> prediction
                                   '-> an attack sees the message -> x_hat -> metrics -> record
"""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .assembly import Assembly, defences_in_words, name_of, plain
from .attacks import FLOORS, Reconstruction
from .checks import of_run
from .config import resolve
from .defences import Defended, in_phase
from .evaluation import (
    DEPENDENCE_SAMPLES,
    Reader,
    Truth,
    advantage,
    estimate,
    gallery,
    grade,
    leakage_of_messages,
    shuffled_dependence,
)
from .judge import judge_network, read, train_judge
from .metrics import (
    METRICS,
    accuracy,
    expected_calibration_error,
    expected_calibration_error_interval,
)
from .parties import Owner
from .record import Estimate, Record, Scores, Store, address
from .streams import stream
from .threat import Observed, build_view, threat_model
from .training import Checkpoints, Plan, Progress, steps_per_epoch, train
from .wire import FarSide

OnProgress = Callable[[str, int, int], None]  # stage, done, total


def _silent(stage: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Network:
    """A trained split network: the defended owner's side and everything behind the cut."""

    id: str
    defended: Defended
    far: FarSide
    far_segment: nn.Module
    message_shape: tuple[int, ...]


def run_training(
    assembly: Assembly, store: Store, *, every: int = 500, on_progress: OnProgress = _silent
) -> Record:
    """Train the network of an experiment, or find it trained already.

    Args:
        every: Steps between checkpoints; 0 for none. A killed training goes on from the newest.

    Raises:
        ConfigError, ValueError: the experiment cannot be built.
        OSError: the store cannot be written.
    """
    identity = assembly.network_identity()
    run = f"train-{address(identity)}"
    if run in store:
        return store.record(run)
    e, started = assembly.experiment, time.perf_counter()
    segments = assembly.segments()
    owners, far = assembly.parties(segments)
    plan = Plan(
        session=run, epochs=e.passes, batch_size=e.batch_size, schedule=e.schedule, root=e.seed
    )
    total = e.passes * steps_per_epoch([len(o.data[1]) for o in owners], e.batch_size)
    checkpoints = Checkpoints(store.root / ".training" / run, every=every, identity=run)

    def validate(owner: Owner) -> float | None:
        if not len(assembly.shares.validation):
            return None
        return float(accuracy(*_serve(assembly, owner.defended, far, "validation")).mean())

    def on_step(progress: Progress) -> None:
        on_progress("train", progress.done, total)

    holder, progress = train(
        plan, owners, far, checkpoints=checkpoints, validate=validate, on_step=on_step
    )
    utility: Scores = {}
    if len(assembly.shares.validation):
        utility = _utility(*_serve(assembly, holder.defended, far, "validation"))
    record = Record(
        id=run,
        kind="train",
        name=name_of(replace(e, defence=assembly.defences_in_training)),
        config={**identity, "experiment": plain(e)},
        data=assembly.described_data(),
        training={"steps": progress.done, "epochs": progress.history},
        utility=utility,
        seconds={"train": time.perf_counter() - started},
        environment=environment(),
    )
    tensors = {"owner": holder.defended.segment.state_dict()}
    tensors |= {f"far{i}": s.state_dict() for i, s in enumerate(segments[1:])}
    learned = holder.defended.defence.state_dict()
    if learned:
        tensors["defence"] = learned
    store.write(record, **tensors)
    checkpoints.clear()
    return record


def load_network(assembly: Assembly, store: Store, run: str) -> Network:
    """The stored network of a training run, with the experiment's defences in front of the wire."""
    segments = assembly.segments()
    segments[0].load_state_dict(store.tensors(run, "owner"))
    for i, segment in enumerate(segments[1:]):
        segment.load_state_dict(store.tensors(run, f"far{i}"))
    return load_network_as_built(assembly, segments, run)


def load_network_as_built(
    assembly: Assembly, segments: list[nn.Module] | None = None, run: str = "untrained"
) -> Network:
    """A network ready to serve, from segments as they are."""
    segments = segments or assembly.segments()
    _, far = assembly.parties(segments)
    defended = Defended(segments[0], assembly.defence()).eval().requires_grad_(False)
    behind = nn.Sequential(*segments[1:]).eval()
    return Network(run, defended, far, behind, assembly.message_shape(segments[0]))


def run_attack(
    assembly: Assembly, store: Store, *, every: int = 500, on_progress: OnProgress = _silent
) -> Record:
    """Attack the network of an experiment: train it if need be, overhear, reconstruct, grade.

    Raises:
        ConfigError, ValueError: the experiment cannot be built, or the threat model withholds
            what the attack needs.
        OSError: the store cannot be written.
    """
    e = assembly.experiment
    trained = run_training(assembly, store, every=every, on_progress=on_progress)
    judge, judge_facts = _judge(assembly, store, on_progress)
    identity = assembly.attack_identity(trained.id, judge_facts["id"])
    run = f"attack-{address(identity)}"
    if run in store:
        return store.record(run)
    started = time.perf_counter()
    network = load_network(assembly, store, trained.id)
    chain, threat = network.defended.defence, threat_model(e.threat)

    view = build_view(
        threat,
        auxiliary=assembly.take(assembly.shares.auxiliary),
        validation=assembly.take(assembly.shares.attacker_validation),
        send=network.defended,
        stochastic=chain.is_stochastic(),
        owner_segment=network.defended.segment,
        far_segment=network.far_segment,
        defence=defences_in_words(e),
        repeats=e.repeats,
        classes=assembly.classes,
    )
    everything = replace(
        view,
        auxiliary_labels=assembly.take(assembly.shares.auxiliary)[1],
        query=lambda x: network.defended(x).unsqueeze(1),
    )
    attack: Reconstruction = resolve("attack", e.attack.kind)(**e.attack.args)
    attack.on_progress = on_progress
    with stream(e.seed, "attack"):
        attack.fit(view)
    queries = view.counts["queries"]
    floors = {}
    for name, floor in FLOORS.items():
        with stream(e.seed, "floor", name), torch.no_grad():
            floors[name] = floor().fit(everything)

    x, y = assembly.take(assembly.victims)
    heard = _overhear(assembly, network, attack, floors, x, y, on_progress)
    readers: dict[str, Reader] = {
        "read_by_victim": lambda t: read(_undefended(network), t),
    }
    if judge is not None:
        own_judge = judge
        readers["read"] = lambda t: read(own_judge, t)
        judge_facts["accuracy_on_clean_victims"] = float(accuracy(read(judge, x), y).mean())
    truth = Truth(x, y, heard.sent, readers)
    reconstructed, values = grade(truth, heard.x_hat["attack"])
    unknown = {name: Estimate(value=None) for name in METRICS}
    leakage = unknown | leakage_of_messages(truth) | reconstructed
    floor_scores = {name: grade(truth, heard.x_hat[name])[0] for name in FLOORS}
    utility = _utility(heard.logits, y)
    deviation = chain.noise_deviation()
    record = Record(
        id=run,
        kind="attack",
        name=name_of(e),
        config={**identity, "experiment": plain(e)},
        data=assembly.described_data() | {"message_shape": list(network.message_shape)},
        training=trained.training | {"validation": _plain_scores(trained.utility)},
        victim=trained.id,
        threat=threat.to_dict()
        | {"auxiliary": len(view.auxiliary), "queries": queries, "repeats": e.repeats},
        defence={
            "parts": list(defences_in_words(e)),
            "noise_deviation": deviation,
            "message_rms": heard.rms,
            "noise_to_message": deviation / heard.rms if heard.rms else None,
        },
        attack={"name": e.attack.kind, "queries": queries, "judge": judge_facts} | attack.fitted_,
        utility=utility,
        leakage=leakage,
        floors=floor_scores | {"shuffled": shuffled_dependence(truth)},
        advantage=advantage(leakage, floor_scores),
        flags=of_run(
            leakage=leakage,
            floors=floor_scores,
            utility=utility,
            chance=float(y.bincount().max()) / len(y),
            victims=len(y),
            finite=bool(heard.x_hat["attack"].isfinite().all()),
            converged=attack.converged_,
            stochastic=chain.is_stochastic(),
            repeats=e.repeats,
            duplicates=_duplicates(x, view.auxiliary),
        ),
        seconds={"attack": time.perf_counter() - started},
        environment=environment(),
    )
    shown = gallery(x, y, heard.x_hat["attack"], values)
    store.write(record, samples=shown, values=values)
    return record


@dataclass(frozen=True)
class _Heard:
    x_hat: Mapping[str, Tensor]  # by "attack" and by floor
    logits: Tensor  # what the server answers to the first message of each victim
    sent: Tensor  # the first messages
    rms: float  # of the message before the defences


@torch.no_grad()
def _overhear(
    assembly: Assembly,
    network: Network,
    attack: Reconstruction,
    floors: Mapping[str, Reconstruction],
    x: Tensor,
    y: Tensor,
    on_progress: OnProgress,
) -> _Heard:
    """Every victim sends ``repeats`` messages; the server answers, the attack reconstructs."""
    e, made = assembly.experiment, {name: list[Tensor]() for name in ("attack", *floors)}
    logits, sent, square, count, held = [], [], 0.0, 0, 0
    size = max(1, min(256, 8192 // e.repeats))
    with in_phase(network.defended.defence, "serve"):
        for i, (part, labels) in enumerate(zip(x.split(size), y.split(size), strict=True)):
            on_progress("reconstruct", i * size, len(x))
            with stream(e.seed, "serve", i):
                emissions = [network.defended.emit(part) for _ in range(e.repeats)]
            messages = torch.stack([m.sent for m in emissions], dim=1)
            logits.append(network.far.predict(messages[:, 0]))
            if held < DEPENDENCE_SAMPLES:
                sent.append(messages[:, 0][: DEPENDENCE_SAMPLES - held])
                held += len(sent[-1])
            square += float(emissions[0].z.double().square().sum())
            count += emissions[0].z.numel()
            made["attack"].append(attack.reconstruct(Observed(messages)))
            for name, floor in floors.items():
                made[name].append(floor.reconstruct(Observed(messages, labels)))
    x_hat = {name: torch.cat(parts) for name, parts in made.items()}
    return _Heard(x_hat, torch.cat(logits), torch.cat(sent), (square / max(count, 1)) ** 0.5)


def _undefended(network: Network) -> nn.Module:
    return nn.Sequential(network.defended.segment, network.far_segment)


@torch.no_grad()
def _serve(
    assembly: Assembly, defended: Defended, far: FarSide, share: str
) -> tuple[Tensor, Tensor]:
    """Logits and labels of a share through the defended serving path."""
    defended.eval()
    x, y = assembly.take(getattr(assembly.shares, share))
    with stream(assembly.experiment.seed, "evaluate", share), in_phase(defended.defence, "serve"):
        return torch.cat([far.predict(defended(part)) for part in x.split(256)]), y


def _utility(logits: Tensor, y: Tensor) -> Scores:
    probabilities = logits.softmax(1)
    low, high = expected_calibration_error_interval(probabilities, y)
    error = float(expected_calibration_error(probabilities, y))
    return {
        "accuracy": estimate(accuracy(logits, y)),
        "ece": Estimate(value=error, low=low, high=high, n=len(y)),
    }


def _plain_scores(scores: Scores) -> dict[str, float | None]:
    return {name: s.value for name, s in scores.items()}


def _judge(
    assembly: Assembly, store: Store, on_progress: OnProgress
) -> tuple[nn.Module | None, dict[str, Any]]:
    """The judge for this data, trained once and stored; ``None`` where its share is empty."""
    if not len(assembly.shares.judge):
        return None, {"id": "none"}
    identity = assembly.judge_identity()
    run, shape = f"judge-{address(identity)}", assembly.dataset.shape
    facts = {"id": run, "trained_on": len(assembly.shares.judge)}
    if run in store:
        network = judge_network(shape, assembly.classes).to(assembly.device).eval()
        network.load_state_dict(store.tensors(run, "judge"))
        return network, facts
    on_progress("judge", 0, 1)
    started, (x, y) = time.perf_counter(), assembly.take(assembly.shares.judge)
    network = train_judge(x, y, assembly.classes, root=assembly.experiment.seed)
    record = Record(
        id=run,
        kind="judge",
        name=f"judge of {assembly.dataset.name}",
        config=identity,
        data=assembly.described_data(),
        seconds={"train": time.perf_counter() - started},
        environment=environment(),
    )
    store.write(record, judge=network.state_dict())
    return network, facts


def _duplicates(victims: Tensor, auxiliary: Tensor) -> int:
    """Victims that the attacker already owns, bit for bit."""
    owned = {row.numpy().tobytes() for row in auxiliary.cpu()}
    return sum(row.numpy().tobytes() in owned for row in victims.cpu())


def environment() -> dict[str, Any]:
    """Facts of this execution that do not decide the result."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def with_reference(assembly: Assembly) -> list[Assembly]:
    """The experiment, and before it the same one undefended: no defended number stands alone."""
    if not assembly.experiment.defence:
        return [assembly]
    return [assembly.variant(defence=()), assembly]


def samples_of(store: Store, records: list[Record]) -> dict[str, dict[str, Tensor]]:
    """The stored victims and reconstructions of attack runs, for the report."""
    return {r.id: store.tensors(r.id, "samples") for r in records if r.kind == "attack"}


def store_at(path: Path | str) -> Store:
    """The store in a folder, which is made if need be.

    Raises:
        OSError: it cannot be written.
    """
    store = Store(path)
    store.root.mkdir(parents=True, exist_ok=True)
    probe = store.root / ".writable"
    probe.touch()
    probe.unlink()
    return store
