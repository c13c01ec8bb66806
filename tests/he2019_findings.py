"""A made-up folder of findings of He et al.'s reproduction, pictures of random numbers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cutlayer.papers.task import Task, kind_of, place_of

SIDES = {"mnist": (28, 1), "cifar10": (32, 3)}


def keep(results: Path, key: str, found: dict[str, Any]) -> None:
    """One finding where it belongs."""
    content = {
        "schema_version": 1,
        "key": key,
        "address": "0" * 12,
        "found": found,
        "seconds": {"wall": 120.0, "cpu": 90.0},
        "environment": {"python": "3.11.9", "finished": "2026-01-02"},
    }
    path = results / f"{key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def spread(value: float, within: float = 0.01) -> dict[str, Any]:
    return {"value": value, "low": value - within, "high": value + within, "n": 100, "worst": None}


def classifier(data: str, epochs: int = 8) -> dict[str, Any]:
    record = {"training": {"epochs": [{}] * epochs}, "data": {"name": data}}
    return {"accuracy_on_test": {"value": 0.9912, "n": 10000}, "record": record}


def attack(
    psnr: float, ssim: float, *, accuracy: float = 0.99, flags: Sequence[str] = ()
) -> dict[str, Any]:
    """One attack; SSIM in the authors' variant is lower by 0.02, both on the ten and on all."""
    leakage = {"psnr": spread(psnr, 0.2), "ssim": spread(ssim), "read": spread(min(1, ssim + 0.2))}
    return {
        "record": {
            "utility": {"accuracy": spread(accuracy, 0.02)},
            "leakage": leakage,
            "floors": {"mean": {"ssim": spread(0.11)}, "class-mean": {"ssim": spread(0.3)}},
            "flags": list(flags),
            "attack": {},
            "data": {"name": "mnist", "message_shape": [8, 24, 24]},
        },
        "ten": {"victims": [3, 2], "psnr": psnr, "ssim": ssim, "ssim_as_published": ssim - 0.02},
        "ssim_as_published": ssim - 0.02,
    }


def strip(results: Path, key: str, seed: int) -> None:
    """Ten original squares above ten others."""
    side, channels = SIDES[place_of(key)]
    shape = (2 * side, 10 * side, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels.squeeze()).save(results / f"{key}.png")


def folder(results: Path, tasks: Sequence[Task]) -> Path:
    """Of every network and every attack on one victim set, weaker the later it is in its kind."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for task in tasks:
        if task.run == "classifier":
            keep(results, task.key, classifier(place_of(task.key)))
        elif task.run == "arbitrary":
            kinds_of_victims = task.options["victims_from"]
            keep(results, task.key, {"kinds": {k: attack(20, 0.6) for k in kinds_of_victims}})
        elif task.run == "attack":
            kinds.setdefault((place_of(task.key), kind_of(task.key)), []).append(task.key)
    for keys in kinds.values():
        for i, key in enumerate(keys):
            share = i / len(keys)
            strength = 0.7 if "unaware" in key else 1.0
            found = attack(40 - 35 * share, strength * (1 - share), accuracy=0.99 - 0.6 * share)
            keep(results, key, found)
            strip(results, key, i)
    return results
