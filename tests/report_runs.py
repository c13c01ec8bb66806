"""Runs as a report gets them: digits, a signal and a table, with records and pictures."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from cutlayer.config import parse
from cutlayer.record import Estimate, Record, address
from cutlayer.threat import threat_model

DIGITS = ("undefended", 0.986, 0.873, 0.0121, 0.971, ())
DEFENDED = (
    DIGITS,
    ("laplace:scale=0.5,active=serve", 0.984, 0.731, 0.0213, 0.952, ("laplace",)),
    ("laplace:scale=2.0,active=serve", 0.902, 0.402, 0.0488, 0.711, ("laplace",)),
    ("nopeek:weight=0.5", 0.981, 0.614, 0.0307, 0.938, ("nopeek",)),
    ("nopeek:weight=0.5 + laplace:scale=0.5", 0.972, 0.463, 0.0412, 0.846, ("nopeek", "laplace")),
)


def plain_experiment(**changes: Any) -> dict[str, Any]:
    """The fields of an experiment as a record holds them."""
    from cutlayer.assembly import plain

    return plain(parse(changes))


def spread(value: float | None, width: float = 0.01, n: int = 539, tail: float = 0.1) -> Estimate:
    if value is None:
        return Estimate(value=None, n=n)
    return Estimate(value=value, low=value - width, high=value + width, n=n, worst=value + tail)


def scores(ssim: float | None, mse: float, read: float) -> dict[str, Estimate]:
    return {
        "mse": spread(mse, 0.0009, tail=-mse / 2),
        "psnr": spread(10 + 8 * (1 - mse * 15), 0.2, tail=3.0),
        "ssim": spread(ssim, 0.009, tail=0.07),
        "read": Estimate(value=read, low=read - 0.02, high=min(read + 0.02, 1), n=539),
        "read_by_victim": Estimate(value=read - 0.01, low=read - 0.03, high=read, n=539),
        "top1": Estimate(value=read * 0.8, low=read * 0.78, high=read * 0.83, n=539),
        "top5": Estimate(value=read * 0.9, low=read * 0.88, high=read * 0.93, n=539),
        "dcor_x_z": Estimate(value=read * 0.9, n=512),
        "dcor_x_z_corrected": Estimate(value=read * 0.7, n=512),
        "dcor_x_xhat": Estimate(value=read * 0.92, n=512),
        "dcor_x_xhat_corrected": Estimate(value=read * 0.75, n=512),
    }


def attack_record(
    row: Sequence[Any],
    *,
    experiment: dict[str, Any] | None = None,
    shape: Sequence[int] = (1, 28, 28),
    classes: Sequence[str] = tuple("0123456789"),
    data: str = "digits",
    flags: Sequence[str] = (),
    threat: str = "server-and-owner",
    repeats: int = 1,
) -> Record:
    name, accuracy, ssim, mse, read, parts = row
    if experiment is None:
        spec = name.split(" + ") if parts else []
        experiment = plain_experiment(defence=spec, threat=threat, repeats=repeats)
    config = {"network": f"train-{address({'n': name})}", "seed": 0, "experiment": experiment}
    noisy = "laplace" in parts
    image = ssim is not None
    return Record(
        id=f"attack-{address(config | {'data': data})}",
        kind="attack",
        name=name,
        config=config,
        victim=config["network"],
        data={
            "name": data,
            "checksum": "8f14e45f" * 8,
            "shape": list(shape),
            "classes": list(classes),
            "message_shape": [500] if image else [16, 23],
            "shares": {
                "owners": [[[0, 120], [130, 400]]],
                "auxiliary": [[400, 700]],
                "victims": [[i, i + 1] for i in range(1000, 1020, 2)],
            },
        },
        threat=threat_model(threat).to_dict()
        | {"auxiliary": 315, "queries": 7560 * repeats, "repeats": repeats},
        defence={
            "parts": name.split(" + ") if parts else [],
            "noise_deviation": 0.707 if noisy else 0.0,
            "message_rms": 1.31,
            "noise_to_message": 0.54 if noisy else 0.0,
        },
        attack={
            "name": "inverse-network",
            "epochs": 24,
            "judge": {"id": "judge-0c1d", "accuracy_on_clean_victims": 0.991},
        },
        utility={"accuracy": spread(accuracy, 0.008, tail=0.0), "ece": spread(0.021, 0.004)},
        leakage=scores(ssim, mse, read),
        floors={
            "mean": scores(0.112 if image else None, 0.0671, 0.101),
            "class-mean": scores(0.287 if image else None, 0.0523, 0.93),
            "nearest-auxiliary": scores(0.55 * ssim + 0.1 if image else None, 0.041, read * 0.9),
            "shuffled": {"dcor_x_z": Estimate(value=0.21, n=512)},
        },
        advantage={"ssim": (ssim - 0.3) / 0.7 if image else None, "mse": 0.61},
        flags=list(flags),
        environment={"python": "3.11.9", "platform": "Linux", "host": "secret-host"},
    )


def pictures(x: Tensor, y: Tensor, blur: float, seed: int) -> dict[str, Tensor]:
    """The samples that a run keeps, its reconstructions blurred and noised."""
    source = torch.Generator().manual_seed(seed)
    held = {}
    for group, shift, hard in (
        ("typical", 0, blur),
        ("best", seed, 0.7 * blur),
        ("worst", 40, 1.2),
    ):
        index = torch.arange(10) + shift
        t = x[index]
        mixed = t + 0.25 * blur * torch.randn(t.shape, generator=source)
        if t.dim() == 4:
            soft = interpolate(avg_pool2d(t, 4), t.shape[2:], mode="bilinear")
            mixed = (1 - min(hard, 0.9)) * t + min(hard, 0.9) * 0.7 * soft + 0.08 * (mixed - t)
        held |= {f"{group}.x": t, f"{group}.x_hat": mixed.clamp(0, 1)}
        held |= {f"{group}.victim": index, f"{group}.label": y[index]}
    return held


def digit_runs() -> tuple[list[Record], dict[str, dict[str, Tensor]]]:
    """Undefended, Laplace at two strengths, NoPeek, and NoPeek with noise, on real digits."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    x = torch.from_numpy(raw.images / 16).float().unsqueeze(1)
    x = interpolate(x, (28, 28), mode="bilinear").clamp(0, 1)
    y = torch.from_numpy(raw.target).long()
    records = [
        attack_record(
            row, flags=["randomised-defence-single-query"] if "laplace" in row[-1] else []
        )
        for row in DEFENDED
    ]
    blurs = (0.2, 0.45, 0.9, 0.6, 0.75)
    samples = {
        r.id: pictures(x, y, blur, i)
        for i, (r, blur) in enumerate(zip(records, blurs, strict=True))
    }
    return records, samples


def other_runs() -> tuple[list[Record], dict[str, dict[str, Tensor]]]:
    """A signal and a table: no SSIM, lines instead of pictures."""
    time = torch.linspace(0, 1, 187)
    beats = torch.stack([(-((time - 0.3 - 0.008 * (i % 20)) ** 2) * 900).exp() for i in range(60)])
    beats = (beats * 0.8 + 0.1 * (6.28 * 3 * time).sin() + 0.12).clamp(0, 1).unsqueeze(1)
    table = torch.rand(60, 30, generator=torch.Generator().manual_seed(0))
    records, samples = [], {}
    for data, x, classes in (
        ("heartbeats", beats, ("normal", "supraventricular", "ventricular", "fusion")),
        ("breast-cancer", table, ("malignant", "benign")),
    ):
        for row, blur in ((("undefended", 0.97, None, 0.004, 0.96, ()), 0.15), (
            ("gaussian:scale=0.5", 0.93, None, 0.019, 0.81, ("gaussian",)), 0.6
        )):  # fmt: skip
            r = attack_record(row, shape=x.shape[1:], classes=classes, data=data, flags=["small-n"])
            records.append(r)
            samples[r.id] = pictures(x, torch.arange(60) % len(classes), blur, 3)
    return records, samples


def answered(
    name: str, ssim: float, *, accuracy: float = 0.986, agreement: float = 1.0, l1: float = 0.0
) -> Record:
    """An attack on the answers of a prediction API, behind one defence or none."""
    parts = () if name == "undefended" else (name,)
    row = (name, accuracy, ssim, 0.09 * (1 - ssim), 0.9, parts)
    who = {"threat": "prediction-api", "attack": "confidence-inversion"}
    experiment = plain_experiment(defence=list(parts), **who)
    record = attack_record(row, experiment=experiment, threat="prediction-api")
    worth = {
        "label_agreement": Estimate(value=agreement, low=agreement, high=agreement, n=539),
        "l1_distortion": spread(l1, l1 / 9, tail=l1),
    }
    return replace(
        record,
        attack=record.attack | {"name": who["attack"]},
        data=record.data | {"message_shape": [10]},
        utility=record.utility | worth,
        floors=record.floors | {"nearest-auxiliary": scores(0.21, 0.08, 0.9)},
    )


def api_runs() -> list[Record]:
    """Undefended, three defences that keep every label, the label alone among them."""
    return [
        answered("undefended", 0.71),
        answered("rounding:decimals=2", 0.34, l1=0.004),
        answered("label-only", 0.25, l1=0.31),
        answered("lpa:budget=0.05", 0.31, l1=0.049),
    ]


def train_record() -> Record:
    return Record(
        id="train-0123456789ab",
        kind="train",
        name="undefended",
        config={"cutlayer": "0.1.0", "cut": ["act3"], "experiment": plain_experiment()},
        data={"name": "digits"},
        training={"steps": 240, "epochs": [{"loss": 1.2}]},
        utility={"accuracy": spread(0.97)},
    )
