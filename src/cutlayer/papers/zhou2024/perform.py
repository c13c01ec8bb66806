"""Carry out one task: train a classifier, attack its API, or look into the poisoning."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...assembly import Assembly
from ...attacks import Reconstruction
from ...config import parse
from ...experiment import carry_out, listening_post, load_network
from ...prediction_api import PredictionApi
from ...record import Store
from ...threat import Observed
from ...trained import run_training
from ..findings import Found
from ..networks import trained_classifier, weights_file
from ..perform import Job, keep_strip, perform_task, plain
from . import measure
from .latency import latencies
from .paper import PAPER
from .proposition import descents
from .vectors import clouds


def perform(key: str, context: Mapping[str, Any]) -> None:
    """Carry out the task of that key, see ``papers.perform.perform_task``."""
    runs: dict[str, Callable[[Job], Found]] = {
        "classifier": trained_classifier,
        "attack": _attack,
        "unaware": _unaware,
        "proposition": _proposition,
        "vectors": _vectors,
        "latency": _latency,
    }
    perform_task(PAPER, runs, key, context)


def _with_network(job: Job) -> Assembly:
    """The experiment on the network that was trained before."""
    (network,) = job.after
    path = weights_file(job.results, network.key)
    return job.assembly.variant(weights=str(path), epochs=0)


def api_of(assembly: Assembly, store: Store) -> PredictionApi:
    """The served network behind the experiment's defences, prepared as for its attackers."""
    post = listening_post(assembly, load_network(assembly, store, run_training(assembly, store).id))
    assert isinstance(post, PredictionApi)
    return post


def answers(api: PredictionApi, x: Tensor) -> tuple[Tensor, Tensor]:
    """``(N, K)`` what the classifier says and what is released, of each input."""
    clean = api.undefended
    said, released = ([], [])  # type: tuple[list[Tensor], list[Tensor]]
    for part in x.split(256):
        said.append(clean.send(part, 1)[:, 0])
        released.append(api.send(part, 1)[:, 0])
    return torch.cat(said), torch.cat(released)


def _attack(job: Job) -> Found:
    assembly = _with_network(job)
    outcome = carry_out(assembly, job.store)
    keep_strip(outcome, job.results, job.task.key)
    p, released = answers(api_of(assembly, job.store), outcome.x)
    return {
        "record": plain(outcome.record),
        "farthest": float((p.double() - released.double()).abs().sum(1).max()),
        "clean": _read_back(outcome.attack, p, outcome.x),
    }


def _read_back(attack: Reconstruction, vectors: Tensor, x: Tensor) -> Found:
    """What a fitted attack makes of other vectors of the victims."""
    return measure.likeness(x, attack.reconstruct(Observed(vectors[:, None])))


def _unaware(job: Job) -> Found:
    """Learn from clean vectors once, then hear each defence's."""
    assembly = _with_network(job)
    outcome = carry_out(assembly, job.store)
    found: Found = {"": _read_back(outcome.attack, *_heard(assembly, job.store, outcome.x))}
    for name, parts in job.task.options["defences"].items():
        defended = parse({**job.task.experiment, "defence": parts})
        variant = assembly.variant(defence=defended.defence)
        found[name] = _read_back(outcome.attack, *_heard(variant, job.store, outcome.x))
    return {"by_defence": found}


def _heard(assembly: Assembly, store: Store, x: Tensor) -> tuple[Tensor, Tensor]:
    return answers(api_of(assembly, store), x)[1], x


def _proposition(job: Job) -> Found:
    assembly = _with_network(job)
    return descents(assembly, api_of(assembly, job.store), job.task.options["loss"])


def _vectors(job: Job) -> Found:
    assembly = _with_network(job)
    api = api_of(assembly, job.store)
    own, (x, _) = assembly.attackers_own()[0], assembly.take(assembly.victims)
    return clouds(answers(api, own[0]), answers(api, x))


def _latency(job: Job) -> Found:
    assembly = _with_network(job)
    return latencies(assembly, api_of(assembly, job.store))
