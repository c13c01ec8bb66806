"""A made-up folder of findings about a prediction API, pictures of random numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from he2019_findings import SIDES, keep, spread, strip

from cutlayer.papers.task import Task, place_of

SIDES |= {"fashion-mnist": (28, 1), "digit-pairs": (28, 1)}


def attack(
    error: float, *, clean: float | None = None, farthest: float = 0.02, **utility: float
) -> dict[str, Any]:
    """One attack on what is released: accuracy .98, every label kept, moved by .015."""
    usual = {"accuracy": 0.98, "label_agreement": 1.0, "ece": 0.01, "l1_distortion": 0.015}
    return {
        "record": {
            "utility": {k: spread(v, 0.002) for k, v in (usual | utility).items()},
            "leakage": {
                "mse": spread(error, 0.0002),
                "ssim": spread(1 - 15 * error),
                "read": spread(0.9),
            },
            "floors": {"class-mean": {"mse": spread(0.0517)}},
            "flags": ["attack-not-converged"],
        },
        "farthest": farthest,
        "clean": {"mse": spread(clean or error)},
    }


def unaware(names: Sequence[str], error: float = 0.06) -> dict[str, Any]:
    return {"by_defence": {name: {"mse": spread(error)} for name in ("", *names)}}


def descent(cosine: float, condition: float, fell_where_met: float | None) -> dict[str, Any]:
    return {
        "cosine": [cosine] * 10,
        "defensive_loss": [80.0] * 11,
        "error": [0.05] * 11,
        "condition": condition,
        "fell": 0.4,
        "fell_where_met": fell_where_met,
        "steps": 1570,
    }


def proposition(cosine: float = 0.3, condition: float = 0.7, fell: float | None = 0.99) -> Any:
    ways = {
        "lpa": (cosine, condition, fell),
        "gaussian": (0.1, 0.2, 0.9),
        "clean": (0.0, 0.0, None),
    }
    return {name: descent(*numbers) for name, numbers in ways.items()}


def clouds(vectors: float = 0.55, logarithms: float = 0.99) -> dict[str, Any]:
    places = {kind: [[0.0, 1.0], [2.0, 3.0]] for kind in ("clean", "released")}
    both = {"vectors": places, "logarithms": places}
    told = {"vectors": vectors, "logarithms": logarithms}
    return {"told_apart": told, "points": {"pca": both, "t-sne": both}}


def latency(generator: float = 0.1) -> dict[str, Any]:
    took = {"classifier": 0.7, "lpa": 33.0, "lpa-generator": generator, "rounding": 0.05}
    return {"milliseconds": {n: {"1": ms, "250": ms / 25} for n, ms in took.items()}, "threads": 1}


def classifier(data: str) -> dict[str, Any]:
    return {
        "accuracy_on_test": {"value": 0.9912, "n": 10000},
        "record": {"data": {"name": data}},
    }


def folder(results: Path, tasks: Sequence[Task]) -> Path:
    """Of everything: undefended .036, defended .046, flipped .037 at less accuracy."""
    made = {"proposition": proposition, "vectors": clouds, "latency": latency}
    for task in tasks:
        name = task.key.rpartition("/")[2]
        if task.run == "classifier":
            keep(results, task.key, classifier(place_of(task.key)))
        elif task.run == "unaware":
            keep(results, task.key, unaware(list(task.options["defences"])))
        elif task.run == "attack":
            keep(results, task.key, _attack(name))
            strip(results, task.key, 0)
        else:
            keep(results, task.key, made[task.run]())
    return results


def _attack(name: str) -> dict[str, Any]:
    if name.startswith("none"):
        return attack(0.036, l1_distortion=0.0)
    if name.startswith("label-only"):
        return attack(0.0515, l1_distortion=0.03, ece=0.02)
    if name.startswith("lfp"):
        return attack(0.037, accuracy=0.93, label_agreement=0.94)
    return attack(0.046)
