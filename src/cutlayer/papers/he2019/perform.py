"""Carry out one task: train a classifier, or attack it, and grade as the papers do as well."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...experiment import carry_out
from ...metrics import psnr, ssim
from ...trained import as_built
from ..findings import Found
from ..networks import accuracy_on_test, keep_weights, trained_classifier, weights_file
from ..perform import Job, keep_strip, perform_task, plain
from .arbitrary import attack_all_kinds
from .measure import published_ssim
from .paper import PAPER


def perform(key: str, context: Mapping[str, Any]) -> None:
    """Carry out the task of that key, see ``papers.perform.perform_task``."""
    runs = {"classifier": trained_classifier, "untrained": _untrained, "attack": _attack}
    runs["arbitrary"] = _arbitrary
    perform_task(PAPER, runs, key, context)


def _untrained(job: Job) -> Found:
    """The network with its first weights."""
    segments = job.assembly.segments()
    weights = {k: v for segment in segments for k, v in segment.state_dict().items()}
    keep_weights(weights, job)
    return {
        "accuracy_on_test": accuracy_on_test(job.assembly, as_built(job.assembly, segments)),
        "parameters": sum(v.numel() for v in weights.values()),
    }


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
