"""Trained classifiers kept beside the findings, so that attacks on them need no training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ..assembly import Assembly
from ..metrics import accuracy
from ..trained import Network, load_network, run_training, whole
from .findings import Found
from .perform import Job, plain
from .task import kind_of, place_of


def network_file(results: Path, data: str) -> Path:
    """Where the trained classifier of a data set lies."""
    return results / data / "network.safetensors"


def weights_file(results: Path, key: str) -> Path:
    """Where the network of a task lies: that of a data set on top, others beside their findings."""
    if kind_of(key) == "classifier":
        return network_file(results, place_of(key))
    return results / f"{key}.safetensors"


def keep_weights(weights: Mapping[str, Tensor], job: Job) -> None:
    """Put a network where attacks on it look for it."""
    path = weights_file(job.results, job.task.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in weights.items()}, path)


def trained_classifier(job: Job) -> Found:
    """Train the network of a task, keep it, and say how accurate it is on the whole test part."""
    record = run_training(job.assembly, job.store)
    weights = whole(job.store, record.id)
    keep_weights(weights, job)
    return {
        "record": plain(record),
        "seconds": record.seconds,
        "accuracy_on_test": accuracy_on_test(
            job.assembly, load_network(job.assembly, job.store, record.id)
        ),
        "parameters": sum(v.numel() for v in weights.values()),
    }


def accuracy_on_test(assembly: Assembly, network: Network) -> dict[str, Any]:
    """Accuracy on the whole test part: validation and victims together."""
    right = []
    for index in (assembly.shares.validation, assembly.shares.victims):
        x, y = assembly.take(index)
        right.append(accuracy(network.without_defences(x), y))
    n = sum(len(r) for r in right)
    return {"value": float(sum(r.sum() for r in right)) / n, "n": n}
