"""What an answer costs: the classifier, and each defence on top of it, in one run."""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ...assembly import Assembly
from ...defences.outputs import (
    AdversarialNoise,
    Codebook,
    LabelPreservingPoisoning,
    OutputDefence,
    OutputNoise,
    PoisoningGenerator,
    Private,
    Purification,
    Rounding,
    SameClassSwap,
)
from ...prediction_api import PRIVATE, PredictionApi
from ...streams import stream

TOGETHER = (1, 250)  # queries at a time
REPEATS, LEAST = 7, 0.2  # medians of this many measurements of so many seconds at least


def latencies(assembly: Assembly, api: PredictionApi) -> dict[str, Any]:
    """Milliseconds for each query, by what is done and by how many are asked at a time.

    Everything is measured in turns, over and over, so that a busy moment hits all.

    Args:
        api: Undefended.
    """
    x, y = assembly.take(assembly.shares.train[:PRIVATE])
    p = torch.cat([api.send(part, 1)[:, 0] for part in x.split(256)])
    fitted = _fitted(Private(x, y, p), assembly.experiment.seed)
    victims, _ = assembly.take(assembly.victims[: max(TOGETHER)])
    found: dict[str, Any] = {}
    for count in TOGETHER:
        asked = victims[:count]
        said = api.send(asked, 1)[:, 0]
        bare = partial(api.network.without_defences, asked)
        timed: dict[str, Callable[[], Tensor]] = {"classifier": bare}
        timed |= {name: partial(d, said, x=asked) for name, d in fitted.items()}
        for name, seconds in _in_turns(timed).items():
            found.setdefault(name, {})[str(count)] = 1000 * seconds / count
    return {"milliseconds": found, "threads": torch.get_num_threads()}


def _fitted(private: Private, seed: int) -> dict[str, OutputDefence]:
    every: dict[str, OutputDefence] = {
        "lpa": LabelPreservingPoisoning(),
        "lpa-generator": PoisoningGenerator(),
        "adversarial-noise": AdversarialNoise(),
        "output-noise": OutputNoise(),
        "same-class-swap": SameClassSwap(),
        "purification": Purification(),
        "rounding": Rounding(),
        "codebook": Codebook(),
    }
    for name, defence in every.items():
        with stream(seed, "latency", name):
            defence.fit(private).eval()
    return every


@torch.no_grad()
def _in_turns(timed: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    """Median seconds of each."""
    times = {name: max(1, round(LEAST / _seconds(call, 1))) for name, call in timed.items()}
    rounds = [{n: _seconds(call, times[n]) for n, call in timed.items()} for _ in range(REPEATS)]
    return {name: median(r[name] for r in rounds) for name in timed}


def _seconds(call: Callable[[], Tensor], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        made = call()
    if made.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / times
