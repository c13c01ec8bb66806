"""A small made-up folder of findings of the 2021 reproduction, pictures of random numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cutlayer.papers.titcombe2021.published import FIGURE_4_SCALES
from cutlayer.papers.titcombe2021.tasks import (
    attack_key,
    classifier_key,
    published_key,
    round_key,
)

PLACE = "authors-code"
SIDE = 28


def keep(results: Path, key: str, found: Mapping[str, Any], **more: Any) -> None:
    """One finding where it belongs."""
    content = {
        "schema_version": 1,
        "key": key,
        "address": "0" * 12,
        "found": found,
        "seconds": {"wall": 120.0, "cpu": 90.0},
        "environment": {"python": "3.11.9", "platform": "made up", "finished": "2026-01-02"},
    } | more
    path = results / f"{key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def strip(results: Path, key: str, seed: int) -> None:
    """Ten original squares above ten others."""
    pixels = np.random.default_rng(seed).integers(0, 256, (2 * SIDE, 10 * SIDE), dtype=np.uint8)
    Image.fromarray(pixels).save(results / f"{key}.png")


def spread(value: float | None, n: int = 5000) -> dict[str, Any]:
    if value is None:
        return {"value": None, "low": None, "high": None, "n": n, "worst": None}
    return {"value": value, "low": value - 0.011, "high": value + 0.012, "n": n, "worst": None}


def classifier(accuracy: float, dependence: float, floor: float = 0.345) -> dict[str, Any]:
    """A classifier: accuracy as a share."""
    every = {"batches": 40, "batch_size": 128, "exponent": 2.0}
    measured = {
        "published": {"mean": dependence, "error": 0.0042, **every},
        "floor": {"mean": floor, "error": 0.009, **every},
        "bias_corrected": dependence - 0.2,
        "bias_corrected_floor": 0.0012,
        "n": 2000,
    }
    return {
        "record": {"data": {"name": "mnist"}},
        "accuracy": spread(accuracy),
        "accuracy_on_victims": accuracy + 0.01,
        "dependence": measured,
        "dependence_as_sent": measured,
        "spread": {"around_mean": 0.7, "rms": 0.9, "saturated": 0.4, "effective_dimensions": 10.0},
        "accuracy_by_noise": [
            {"scale": s, "accuracy": accuracy - 0.01 * s, "spread": 0.001} for s in FIGURE_4_SCALES
        ],
    }


def attack(
    ssim: float | None,
    read: float,
    inside: float,
    *,
    accuracy: float = 0.9725,
    flags: Sequence[str] = (),
) -> dict[str, Any]:
    """An attack's finding."""
    scores = {"ssim": spread(ssim), "read": spread(read), "top1": spread(inside / 2)}
    scores |= {"top1_in_class": spread(inside)}
    return {
        "record": {
            "leakage": scores,
            "floors": {
                "mean": {"ssim": spread(0.111), "read": spread(0.098)},
                "class-mean": {"ssim": spread(0.287), "read": spread(1.0)},
                "nearest-auxiliary": {"ssim": spread(0.432), "top1_in_class": spread(0.0457)},
            },
            "flags": list(flags),
            "utility": {"accuracy": spread(accuracy)},
        },
        "by_class": {"read": [read] * 10, "ssim": [ssim] * 10},
        "slant": {"kept": 0.613, "correlation": 0.8, "n": 5000},
    }


def published(cases: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "table": {
            "dependence": {
                "published": {"mean": 0.9312, "error": 0.0013},
                "floor": {"mean": 0.2512, "error": 0.001},
                "bias_corrected": 0.8234,
                "bias_corrected_floor": 0.0,
                "n": 2000,
            },
            "read_by_validator": 0.9517,
            "read_by_judge": 0.9261,
            "mse": 0.02,
        },
        "served": dict(cases),
    }


def folder(results: Path) -> Path:
    """Two classifiers of table 1, one of them with another seed, and what attacked them."""
    for key, accuracy, dependence in (
        (classifier_key(PLACE, 0.0, 0.0), 0.98111, 0.81234),
        (classifier_key(PLACE, 0.0, 0.0, 1), 0.97912, 0.80321),
        (classifier_key(PLACE, 0.0, 0.5), 0.96543, 0.48765),
        (classifier_key("paper", 0.0, 0.0), 0.98765, 0.83456),
    ):
        keep(results, key, classifier(accuracy, dependence))
    cases = {
        "clean": attack(0.5931, 0.9312, 0.1231),
        "laplace-1": attack(0.2143, 0.3127, 0.0312, flags=["attack-below-floor"]),
        "laplace-0.5": attack(0.3143, 0.6127, 0.0812),
    }
    key = published_key(PLACE, 0.0, 0.0)
    keep(results, key, published(cases))
    for seed, case in enumerate(cases):
        strip(results, f"{key}-{case}", seed)
    attacks = {
        attack_key(PLACE, 0.0, 0.0): attack(0.8654, 0.9713, 0.6543, accuracy=0.9812),
        attack_key(PLACE, 0.0, 0.0, served="laplace-1"): attack(
            0.6321, 0.9456, 0.2987, flags=["randomised-defence-single-query"]
        ),
        attack_key(PLACE, 0.0, 0.0, served="laplace-1", heard=16): attack(0.7123, 0.9623, 0.4321),
        attack_key(PLACE, 0.5, 0.0): attack(0.7789, 0.9534, 0.4432, accuracy=0.9012),
        attack_key(PLACE, 0.0, 0.5): attack(0.7456, 0.9687, 0.3876, accuracy=0.9654),
        attack_key(PLACE, 0.0, 0.0, more="250-samples"): attack(0.6012, 0.8789, 0.1543),
        attack_key("fashion-mnist", 0.0, 0.0): attack(0.5544, 0.8133, 0.2211, accuracy=0.9033),
        attack_key("ecg", 0.0, 0.0): attack(None, 0.7133, 0.1212, accuracy=0.9433),
    }
    for seed, (key, found) in enumerate(attacks.items(), 10):
        keep(results, key, found)
        if not key.startswith("ecg"):
            strip(results, key, seed)
    for epoch, heard in ((1, (1,)), (2, (1, 2))):
        scores = {m: spread(0.2 + 0.1 * epoch) for m in ("ssim", "read", "top1_in_class")}
        messages = {str(e): scores for e in heard}
        found = {"epoch": epoch, "converged": True, "messages_of": messages}
        keep(results, round_key(PLACE, epoch), found)
    before = {"under_noise": 0.9731, "without_noise": 0.9811}
    after = {"under_noise": 0.9789, "without_noise": 0.9799}
    tuned = {"scale": 1.0, "epochs": 3, "before": before, "after": after}
    keep(results, f"{PLACE}/server-tuned/noise-0-weight-0-laplace-1", tuned)
    return results
