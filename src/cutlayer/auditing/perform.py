"""What a worker does: one task; what it found goes, as JSON, to whoever decides what comes next."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch

from ..assembly import Assembly
from ..attacks import INFERENCES
from ..defences import Chain, Defended
from ..errors import ConfigError
from ..experiment import run_attack
from ..inferring import infer
from ..parts import Part, constructed, each_constructed
from ..record import Estimate, Record, Scores, Store
from ..report.command import command_line
from ..study import HandedBackError
from ..trained import Network, OnProgress, load_network, run_training
from ..wire_check import check_wire
from .answers import AnswerScale
from .attackers import Attacker
from .families import Family, Loudness, Rung, family_of, loudness_of, strongest, to_try
from .leakage import leakage_of
from .limits import ANSWERS
from .request import from_plain
from .subject import served_at, trained_with
from .task import Task
from .worth import Scale, Worth, kept

Found = dict[str, Any]
GALLERY = 500  # victims among whom a reconstruction has to find its own
ROUNDED = 1e-6  # L1 distance of answers that were not moved, but computed
SHOWN = 6  # pictures of a configuration


def perform(key: str, context: dict[str, Any]) -> Found:
    """Carry out the task of that key.

    Args:
        context: "request", "weights" (path of the whole network), "store" (folder), "limits",
            "anywhere" (a cut), "tasks" by key, "until" (``time.time()``, or none).

    Raises:
        HandedBackError: the time was over before it was done.
    """
    task = Task.from_plain(context["tasks"][key])
    job = Job(context, task)
    started, cpu = time.perf_counter(), time.process_time()
    found: Found = {"weigh": weighed, "retrain": retrained, "attack": attacked}[task.kind](job)
    spent = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    return {**found, **spent}


class Job:
    """A task with what it needs."""

    def __init__(self, context: Mapping[str, Any], task: Task) -> None:
        self.task = task
        self.base = _read(json.dumps(context["request"], sort_keys=True))
        self.limits: dict[str, float] = context["limits"]
        self.store = Store(context["store"])
        self.weights: str = context["weights"]
        self.until: float | None = context.get("until")
        self.attribute: str | None = context["request"]["attribute"]
        # What is released is the same wherever the network is cut.
        self.cut: str = context["anywhere"] if task.cut == ANSWERS else task.cut

    def assembly(self, **changes: Any) -> Assembly:
        """The experiment at the task's cut: the network as it was trained, but for changes."""
        return served_at(self.base, self.cut, self.weights, **changes)

    def as_trained(self, **changes: Any) -> Assembly:
        """The configuration: served, or trained, with its defence."""
        task = self.task
        if task.retrained:
            return trained_with(self.base, self.cut, task.defence, task.epochs, **changes)
        return self.assembly(defence=each_constructed(task.defence), **changes)

    def heard(self, attacker: Attacker) -> dict[str, Any]:
        """Settings of who listens, and to how much."""
        task = self.task
        return {"threat": attacker.threat, "repeats": task.repeats, "attack_seed": task.seed}

    def watched(self) -> OnProgress:
        """Gives a task up when there is no more time, so that the audit ends when it said."""

        def look(stage: str, done: int, total: int) -> None:
            if self.until is not None and time.time() > self.until:
                raise HandedBackError

        return look


@lru_cache(maxsize=1)
def _read(request: str) -> Assembly:
    """The experiment of a request with its data, read once in a process."""
    return Assembly.of(from_plain(json.loads(request)).experiment)


def weighed(job: Job) -> Found:
    """The undefended network at a cut, and how much of each defence its accuracy bears."""
    assembly = job.assembly()
    network = load_network(assembly, job.store, run_training(assembly, job.store).id)
    scale = (AnswerScale if job.task.cut == ANSWERS else Scale)(assembly, network)
    if job.task.loudness is not None:
        loudness = loudness_of(job.task.loudness)
        found = _bearable(job, scale, family_of(job.task.name), loudness)
        job.watched()("weigh", 0, 1)
        return {"configurations": found}
    bare = Chain()
    return {
        "loudness": asdict(scale.loudness()),
        "milliseconds": scale.milliseconds(bare),
        "step": scale.search_step(),
        "configurations": [_weight(Rung("undefended", "undefended", ()), scale.worth(bare))],
    }


def _bearable(job: Job, scale: Scale, family: Family, loudness: Loudness) -> list[Found]:
    """The strongest that the accuracy bears, and weaker ones; one that is given, as it is."""
    rungs = family.ladder(loudness)

    @cache
    def worth(rung: Rung) -> Worth:
        return scale.worth(_behind(scale, rung)[1].defended.defence)

    chosen = rungs
    if len(rungs) > 1:
        last = strongest(rungs, lambda rung: kept(worth(rung), job.limits))
        chosen = [rungs[i] for i in to_try(last) if _moves(worth(rungs[i]))]
    return [_weight(rung, worth(rung), _off(scale, rung, worth(rung))) for rung in chosen]


def _off(scale: Scale, rung: Rung, worth: Worth) -> tuple[str, ...]:
    """Flags of a defence that does less while serving than it says."""
    if worth.distortion is None:
        return _on_the_wire(*_behind(scale, rung))
    return () if _moves(worth) else ("defence-off-when-serving",)


def _moves(worth: Worth) -> bool:
    """Whether it changes answers at all, where it is of answers."""
    return worth.distortion is None or (worth.distortion.value or 0.0) > ROUNDED


def _on_the_wire(assembly: Assembly, network: Network) -> tuple[str, ...]:
    """Flags of defences that do less on the wire than they say."""
    return check_wire(assembly, network, samples=64).flags


def _behind(scale: Scale, rung: Rung) -> tuple[Assembly, Network]:
    """The network on the scale, behind a defence that needs no training."""
    assembly = scale.assembly.variant(defence=each_constructed(rung.defence))
    defended = Defended(scale.network.defended.segment, assembly.defence()).eval()
    return assembly, replace(scale.network, defended=defended)


def _weight(rung: Rung, worth: Worth, flags: Sequence[str] = ()) -> Found:
    measured = {k: v and asdict(v) for k, v in vars(worth).items()}
    return {**asdict(rung), **measured, "flags": list(flags)}


def retrained(job: Job) -> Found:
    """The network trained with a defence, beside the undefended one on the same samples."""
    plain, assembly = job.assembly(), job.as_trained()
    record = run_training(assembly, job.store, on_progress=job.watched())
    before = load_network(plain, job.store, run_training(plain, job.store).id)
    against = Scale(plain, before).undefended
    network = load_network(assembly, job.store, record.id)
    scale = Scale(assembly, network)
    worth = scale.worth(assembly.defence(), against=against)
    return {
        "loudness": asdict(scale.loudness()),
        "milliseconds": scale.milliseconds(assembly.defence()),
        "run": record.id,
        **_weight(
            Rung(job.task.name, job.task.about, job.task.defence),
            worth,
            _on_the_wire(assembly, network),
        ),
    }


def attacked(job: Job) -> Found:
    """What an attacker made of a configuration."""
    attacker = job.task.attacker
    assert attacker is not None
    if attacker.attack in INFERENCES:
        return inferred(job, attacker)
    part = constructed(Part.parse(attacker.attack), "attack")
    assembly = _sized(job.as_trained(attack=part, **job.heard(attacker)), attacker)
    record = run_attack(assembly, job.store, on_progress=job.watched())
    return {
        **compact(record),
        "seed": assembly.experiment.attack_root,
        "pictures": _pictures(job.store, record),
    }


def _sized(assembly: Assembly, attacker: Attacker) -> Assembly:
    """No more victims and samples of the attacker's own than it takes, or than there are."""
    own, victims = len(assembly.auxiliary.learn), len(assembly.victims)
    return assembly.variant(
        auxiliary_samples=min(attacker.samples, own) if attacker.samples else 0,
        victims=min(attacker.victims, victims) if attacker.victims else 0,
        gallery=min(GALLERY, len(assembly.shares.victims)),  # the same for every attacker
    )


def inferred(job: Job, attacker: Attacker) -> Found:
    """What is read straight from the messages: the class, or the private attribute."""
    assembly = _sized(job.as_trained(**job.heard(attacker)), attacker)
    trained = run_training(assembly, job.store, on_progress=job.watched())
    network = load_network(assembly, job.store, trained.id)
    path, labels = job.attribute, None
    if path is not None:
        labels = attribute_of(path)
    found = infer(
        assembly,
        network,
        INFERENCES[attacker.attack](),
        labels=labels,
        on_progress=job.watched(),
    )
    protected = "class" if labels is None else "attribute"
    return {
        "run": f"{trained.id}:{job.task.key}",
        "leaks": {protected: asdict(found.accuracy)},
        "guesses": {protected: found.chance},
        "scores": {"accuracy": asdict(found.accuracy), "balanced": asdict(found.balanced)},
        "flags": list(found.flags),
        "strength": None,
        "command": "",
        "victims": found.accuracy.n,
        "seed": assembly.experiment.attack_root,
    }


def attribute_of(path: str) -> torch.Tensor:
    """One whole number from 0 on for each sample, from a NumPy file.

    Raises:
        ConfigError: it is none.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as e:
        raise ConfigError(f"attribute {path}: a NumPy file of whole numbers wanted: {e}") from e
    if found.ndim != 1 or found.dtype.kind not in "iub":
        raise ConfigError(
            f"attribute {path}: whole numbers (N,), one for each sample, wanted: got "
            f"{found.dtype} {found.shape}"
        )
    return torch.from_numpy(found.astype("int64"))


def compact(record: Record) -> Found:
    """Of an attack's record what an audit goes by."""
    floors = {name: _known(s) for name, s in record.floors.items() if "mse" in s}
    scores = _known(record.leakage)
    leaks, guesses = leakage_of(scores, floors)
    return {
        "run": record.id,
        "leaks": {k: asdict(v) for k, v in leaks.items()},
        "guesses": guesses,
        "scores": {k: asdict(v) for k, v in scores.items()},
        "flags": list(record.flags),
        "strength": record.defence.get("noise_to_message"),
        "command": command_line(record),
        "victims": record.leakage["mse"].n,
    }


def _known(scores: Scores) -> Scores:
    return {k: v for k, v in scores.items() if v.value is not None}


def estimates(raw: Mapping[str, Any]) -> Scores:
    """The inverse of what ``compact`` makes of scores."""
    return {k: Estimate(**v) for k, v in raw.items()}


def _pictures(store: Store, record: Record) -> Found:
    """The first typical victims and what was made of them, in 256 steps."""
    tensors = store.tensors(record.id, "samples")
    classes = list(record.data.get("classes", ()))
    labels = [int(k) for k in tensors["typical.label"][:SHOWN]]
    found: Found = {
        "shape": list(tensors["typical.x"].shape[1:]),
        "victims": [int(v) for v in tensors["typical.victim"][:SHOWN]],
        "classes": [str(classes[k]) if k < len(classes) else str(k) for k in labels],
    }
    for name in ("x", "x_hat"):
        samples = tensors[f"typical.{name}"][:SHOWN].flatten(1).nan_to_num(0)
        found[name] = samples.mul(255).round().clamp(0, 255).to(torch.uint8).tolist()
    return found
