"""Carry out one task: train a classifier, or attack it, and grade as the papers do as well."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ...assembly import Assembly
from ...experiment import carry_out
from ...metrics import accuracy, psnr, ssim
from ...record import Record, Store
from ...trained import Network, as_built, load_network, run_training
from ..findings import Found
from ..perform import Job, keep_strip, perform_task, plain
from ..task import kind_of, place_of
from .arbitrary import attack_all_kinds
from .measure import published_ssim
from .paper import PAPER


def perform(key: str, context: Mapping[str, Any]) -> None:
    """Carry out the task of that key, see ``papers.perform.perform_task``."""
    runs = {"classifier": _classifier, "untrained": _untrained, "attack": _attack}
    runs["arbitrary"] = _arbitrary
    perform_task(PAPER, runs, key, context)


def network_file(results: Path, data: str) -> Path:
    """Where the trained classifier of a data set lies, so that attacks need no training."""
    return results / data / "network.safetensors"


def weights_file(results: Path, key: str) -> Path:
    """Where the network of a task lies: that of a data set on top, others beside their findings."""
    if kind_of(key) == "classifier":
        return network_file(results, place_of(key))
    return results / f"{key}.safetensors"


def _keep(weights: Mapping[str, Tensor], job: Job) -> None:
    path = weights_file(job.results, job.task.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in weights.items()}, path)


def _classifier(job: Job) -> Found:
    record = run_training(job.assembly, job.store)
    weights = whole(job.store, record)
    _keep(weights, job)
    return {
        "record": plain(record),
        "seconds": record.seconds,
        "accuracy_on_test": _on_test(
            job.assembly, load_network(job.assembly, job.store, record.id)
        ),
        "parameters": sum(v.numel() for v in weights.values()),
    }


def _untrained(job: Job) -> Found:
    """The network with its first weights."""
    segments = job.assembly.segments()
    weights = {k: v for segment in segments for k, v in segment.state_dict().items()}
    _keep(weights, job)
    return {
        "accuracy_on_test": _on_test(job.assembly, as_built(job.assembly, segments)),
        "parameters": sum(v.numel() for v in weights.values()),
    }


def whole(store: Store, record: Record) -> dict[str, Tensor]:
    """The weights of a trained network, all segments together."""
    found: dict[str, Tensor] = {}
    for name in ("owner", "far0"):
        found |= store.tensors(record.id, name)
    return found


def _on_test(assembly: Assembly, network: Network) -> dict[str, Any]:
    """Accuracy on the whole test part: validation and victims together."""
    right = []
    for index in (assembly.shares.validation, assembly.shares.victims):
        x, y = assembly.take(index)
        right.append(accuracy(network.without_defences(x), y))
    n = sum(len(r) for r in right)
    return {"value": float(sum(r.sum() for r in right)) / n, "n": n}


def _attack(job: Job) -> Found:
    (network,) = job.after
    path = weights_file(job.results, network.key)
    assembly = job.assembly.variant(weights=str(path), epochs=0)
    outcome = carry_out(assembly, job.store)
    keep_strip(outcome, job.results, job.task.key)
    ten = first_of_class(outcome.y)
    x, x_hat = outcome.x[ten], outcome.x_hat[ten]
    return {
        "record": plain(outcome.record),
        "ten": {
            "victims": ten,
            "psnr": float(psnr(x, x_hat).mean()),
            "ssim": float(ssim(x, x_hat).mean()),
            "ssim_as_published": float(published_ssim(x, x_hat).mean()),
        },
        "ssim_as_published": float(published_ssim(outcome.x, outcome.x_hat).mean()),
    }


def _arbitrary(job: Job) -> Found:
    (network,) = job.after
    return attack_all_kinds(job, weights_file(job.results, network.key))


def first_of_class(y: Tensor) -> list[int]:
    """Where the first victim of each class is: the ten images that the authors attack."""
    return [int((y == k).nonzero()[0]) for k in y.unique()]
