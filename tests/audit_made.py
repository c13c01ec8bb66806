"""An audit as a page gets it, made up: three cuts, two ruled out, attackers of every kind."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from cutlayer.auditing.answers import place_of_answers
from cutlayer.auditing.limits import ANSWERS
from cutlayer.auditing.result import (
    Attacked,
    Audit,
    Certificate,
    Configuration,
    Pictures,
    Place,
    Recommendation,
    from_json,
    to_json,
)
from cutlayer.record import Estimate

Kind = Literal["image", "signal", "table"]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
PROTECTED = ("class", "individual", "pixels")
CHANCE = {"class": 0.104, "individual": 0.004, "pixels": 0.12}
SHARE = {"class": 1.0, "individual": 0.9, "pixels": 0.8}  # of what leaks, by what is hidden
THREATS = ("server-and-owner", "white-box", "black-box", "query-free")
RECOMMENDED = "fc1/laplace-0.8"
# name, attack, threat, all threats that grant it, repeats, how good it is at most
ATTACKERS = (
    ("inverse network", "inverse-network:epochs=30", "black-box", THREATS[:3], 1, 0.86),
    ("inverse network, averaging 16 messages", "inverse-network:epochs=30", "black-box",
     THREATS[:3], 16, 0.97),
    ("regularised maximum likelihood", "rmle:iterations=2000", "white-box", THREATS[:2], 1, 0.92),
    ("shadow network", "shadow:epochs=20", "query-free", ("query-free",), 1, 0.42),
)  # fmt: skip
# key, cut, defence, words, strength, ε, retrained, accuracy lost, what is left of the leakage
SETTINGS: tuple[tuple[Any, ...], ...] = (
    ("conv1/undefended", "conv1", (), "undefended", None, None, False, 0.0, 1.0),
    ("act2/undefended", "act2", (), "undefended", None, None, False, 0.0, 0.93),
    ("fc1/undefended", "fc1", (), "undefended", None, None, False, 0.0, 0.78),
    ("conv1/laplace-0.4", "conv1", ("laplace:scale=0.31",), "Laplace 0.4·rms", 0.4, None, False,
     0.006, 0.94),
    ("conv1/laplace-0.8", "conv1", ("laplace:scale=0.62",), "Laplace 0.8·rms", 0.8, None, False,
     0.021, 0.82),
    ("act2/gaussian-0.8", "act2", ("gaussian:scale=0.9",), "Gaussian 0.8·rms", 0.8, None, False,
     0.011, 0.61),
    ("act2/clip-laplace", "act2", ("clip-norm:norm=2", "laplace:scale=0.7"),
     "clipping to 2, Laplace 0.7", 1.6, 5.7, False, 0.058, 0.28),
    ("act2/dropout-0.3", "act2", ("dropout:rate=0.3",), "dropout 30 %", None, None, False,
     0.009, 0.84),
    ("fc1/laplace-0.4", "fc1", ("laplace:scale=0.5",), "Laplace 0.4·rms", 0.4, None, False,
     0.003, 0.36),
    (RECOMMENDED, "fc1", ("laplace:scale=1.0",), "Laplace 0.8·rms", 0.8, None, False,
     0.008, 0.052),
    ("fc1/laplace-1.6", "fc1", ("laplace:scale=2.0",), "Laplace 1.6·rms", 1.6, None, False,
     0.047, 0.02),
    ("fc1/nopeek-laplace", "fc1", ("nopeek:weight=0.5", "laplace:scale=0.5"),
     "NoPeek 0.5, Laplace 0.4·rms", 0.4, None, True, 0.019, 0.11),
)  # fmt: skip
PLACES = (
    Place(name="conv1", kind="Conv2d", shape=(8, 24, 24), bytes=18432, parameters=208,
          flops=230400),
    Place(name="act1", kind="ReLU", shape=(8, 24, 24), bytes=18432, parameters=208, flops=235008,
          ruled_out="tells what conv1 tells: a ReLU loses nothing that an attacker needs"),
    Place(name="act2", kind="ReLU", shape=(16, 8, 8), bytes=4096, parameters=3424, flops=653312),
    Place(name="fc1", kind="Linear", shape=(500,), bytes=2000, parameters=131924, flops=909312),
    Place(name="fc2", kind="Linear", shape=(10,), bytes=40, parameters=136934, flops=919312,
          ruled_out="needs 136,934 parameters of the owner: 135,000 allowed"),
)  # fmt: skip


def estimate(value: float, width: float = 0.02) -> Estimate:
    """Within [0, 1], with an interval."""
    kept = min(max(value, 0.0), 1.0)
    return Estimate(value=kept, low=max(kept - width, 0.0), high=min(kept + width, 1.0), n=539)


def _leakage(share: float) -> dict[str, Estimate]:
    return {p: estimate(CHANCE[p] + (1 - CHANCE[p]) * share * SHARE[p]) for p in PROTECTED}


def _attacked(i: int, left: float, cut: str, *, noisy: bool, thorough: bool) -> Attacked:
    name, attack, threat, threats, repeats, strength = ATTACKERS[i]
    flags = ["one-seed"]
    if noisy and repeats == 1:
        flags.append("randomised-defence-single-query")
    if threat == "query-free" and left < 0.1:
        flags.append("attack-below-floor")
    if cut == "conv1" and i == 2:
        flags.append("overlapping-data")
    leakage = _leakage(strength * left * (1.0 if repeats > 1 or not noisy else 0.8))
    return Attacked(
        name=name,
        attack=attack,
        threat=threat,
        threats=threats,
        repeats=repeats,
        victims=539 if thorough else 128,
        thorough=thorough,
        leakage=leakage,
        floors=CHANCE,
        scores={"ssim": leakage["pixels"], "mse": estimate(0.09 * (1 - left), 0.002)},
        flags=tuple(flags),
        certificate=Certificate(
            cut=cut,
            value=estimate(0.3 + 0.5 * strength),
            floor=CHANCE["individual"],
            holds=threat != "query-free",
        ),
        run=f"attack-{cut}{i}{int(left * 1000):03d}",
        command=f"cutlayer attack --cut {cut} --attack {attack} --threat {threat} --seed 0",
        seconds=9.0 * repeats,
    )


def _configuration(row: Sequence[Any]) -> Configuration:
    key, cut, defence, words, strength, epsilon, retrained, lost, left = row
    place = next(p for p in PLACES if p.name == cut)
    noisy = strength is not None
    thorough = key not in ("conv1/laplace-0.4", "act2/dropout-0.3")
    attackers = range(4) if thorough else range(2)
    attacks = [_attacked(i, left, cut, noisy=noisy, thorough=thorough) for i in attackers]
    accuracy = 0.979 - lost
    return Configuration(
        key=key,
        cut=cut,
        defence=defence,
        words=words,
        strength=strength,
        epsilon=epsilon,
        retrained=retrained,
        accuracy=estimate(accuracy, 0.006),
        lost=Estimate(value=lost, low=lost - 0.004, high=lost + 0.004, n=539) if defence else
        Estimate(value=0.0, low=0.0, high=0.0, n=539),
        ece=estimate(0.011 + lost / 3, 0.004),
        bytes=place.bytes,
        parameters=place.parameters,
        flops=place.flops,
        milliseconds=0.31,
        limits={
            "accuracy_floor": "yes" if lost < 0.015 else "undecided" if lost < 0.02 else "no",
            "leakage": "yes" if left < 0.08 else "undecided" if left < 0.115 else "no",
        },
        thorough=thorough,
        attacks=tuple(attacks),
        flags=("no-utility",) if lost > 0.05 else (),
    )  # fmt: skip


def _samples(kind: Kind) -> tuple[Tensor, list[str]]:
    if kind == "image":
        from sklearn.datasets import load_digits

        raw = load_digits()
        x = torch.from_numpy(raw.images[:8] / 16).float().unsqueeze(1)
        return interpolate(x, (24, 24), mode="bilinear").clamp(0, 1), [str(k) for k in range(8)]
    source = torch.Generator().manual_seed(3)
    if kind == "signal":
        time = torch.linspace(0, 1, 120)
        beats = [(-((time - 0.3 - 0.04 * i) ** 2) * 700).exp() for i in range(8)]
        x = torch.stack(beats) * 0.8 + 0.1 * (19 * time).sin() + 0.1
        return x.clamp(0, 1).unsqueeze(1), ["normal", "ventricular"] * 4
    return torch.rand(8, 12, generator=source), ["malignant", "benign"] * 4


def _stolen(x: Tensor, left: float) -> Tensor:
    """What somebody rebuilds who got a share of it."""
    source = torch.Generator().manual_seed(7)
    noise = torch.rand(x.shape, generator=source)
    mean = x.mean(0, keepdim=True)
    if x.dim() == 4:
        soft = interpolate(avg_pool2d(x, 4), x.shape[2:], mode="bilinear")
        x = left * x + (1 - left) * soft
    return (left * x + (1 - left) * (0.8 * mean + 0.2 * noise)).clamp(0, 1)


def _pictures(x: Tensor, classes: Sequence[str]) -> Pictures:
    values = [tuple(int(v) for v in (t.flatten() * 255).round()) for t in x]
    return Pictures(
        shape=tuple(x.shape[1:]),
        values=tuple(values),
        victims=tuple(range(len(x))),
        classes=tuple(classes),
    )


def made(kind: Kind = "image", **changes: Any) -> Audit:
    """A whole audit with a recommendation; ``changes`` replace its fields."""
    configurations = tuple(map(_configuration, SETTINGS))
    x, classes = _samples(kind)
    pictures = {"originals": _pictures(x, classes)}
    for c, row in zip(configurations, SETTINGS, strict=True):
        worst = c.worst("individual", THREATS)
        assert worst is not None
        pictures[f"{c.key}|{worst.run}"] = _pictures(_stolen(x, row[-1]), classes)
    audit = Audit(
        model="mypackage.model:build",
        data="digits",
        protect="individual",
        threats=THREATS,
        limits={"accuracy_floor": 0.96, "leakage": 0.1, "owner_parameters": 135000},
        network={"accuracy": {"value": 0.979, "low": 0.965, "high": 0.989, "n": 539,
                              "worst": None},
                 "parameters": 136934, "flops": 919312, "checksum": "8f14e45f" * 8, "epochs": 20},
        chance=CHANCE,
        measure="share of inputs that are matched with their own person, of 250",
        places=PLACES,
        configurations=configurations,
        front=("fc1/undefended", "fc1/laplace-0.4", RECOMMENDED,
               "fc1/laplace-1.6"),
        recommendation=Recommendation(
            key=RECOMMENDED,
            words="Cut after fc1, Laplace 0.8·rms: accuracy 97.1 % (−0.8), worst attacker: "
            "inverse network, averaging 16 messages, re-identifies 4.9 % of people (chance 0.4 %).",
            reasons=("fc1/laplace-0.4 loses less accuracy and leaks 31.7 %: above the ceiling",
                     "fc1/laplace-1.6 leaks less and loses 4.7 points: below the floor"),
        ),
        pictures=pictures,
        command="cutlayer audit mypackage.model:build --data digits --protect individual",
        seconds=287.0,
        finished="2026-11-22T01:00:00Z",
        environment={"cutlayer": "0.2.0", "python": "3.11.9", "host": "secret-host"},
    )  # fmt: skip
    return replace(audit, **changes)


def without_recommendation() -> Audit:
    """Nothing keeps the limits."""
    recommendation = Recommendation(
        key=None,
        nearest=RECOMMENDED,
        words="No setting that was examined meets all limits for certain. The nearest: cut after "
        "fc1 and send it with Laplace 0.8·rms. Accuracy 97.1 % (-0.8 points). "
        + "The worst of 4 attackers re-identifies 4.9 % of 539 victims. "
        * 4,
        give_up=(
            "leakage: 6 % instead of 1 %",
            *(f"allow an accuracy floor of {k} % (fc1, Laplace 1.6·rms)" for k in range(90, 96)),
        ),
    )
    audit = made(limits={"accuracy_floor": 0.96, "leakage": 0.01}, recommendation=recommendation)
    asked = tuple(replace(c, limits={**c.limits, "leakage": "no"}) for c in audit.configurations)
    return replace(audit, configurations=asked)


def partial() -> Audit:
    """Stopped before its end."""
    return made(
        not_examined=(
            "training with a defence (there was no time left for it): act2/nopeek-0.5",
            "the strongest attackers (others promised more): fc1/laplace-1.6, act2/dropout-0.5",
        )
    )


def nothing() -> Audit:
    """Stopped before anything was examined."""
    return made(
        configurations=(),
        front=(),
        pictures={},
        recommendation=Recommendation(key=None, words="Nothing was examined in time."),
        not_examined=("every cut",),
    )


def of_answers() -> Audit:
    """Of what a prediction API releases."""
    audit = made()
    place = place_of_answers(10, parameters=136934, flops=919312)
    moved = tuple(
        replace(c, cut=ANSWERS, distortion=estimate(0.01 * i, 0.001))
        for i, c in enumerate(audit.configurations)
    )
    return replace(audit, places=(place,), configurations=moved)


def hostile() -> Audit:
    """Every text in it is an attack on the page."""

    def spoilt(value: Any) -> Any:
        if isinstance(value, str):
            return HOSTILE
        if isinstance(value, dict):
            return {k: spoilt(v) for k, v in value.items()}
        return [spoilt(v) for v in value] if isinstance(value, list | tuple) else value

    whole = json.loads(to_json(partial()))
    kept = ("protect", "recommendation", "front", "pictures", "limits", "chance")
    raw = {k: v if k in kept else spoilt(v) for k, v in whole.items()}
    for new, old in zip(raw["configurations"], whole["configurations"], strict=True):
        new["key"] = old["key"]
        for a, b in zip(new["attacks"], old["attacks"], strict=True):
            a["run"] = b["run"]
    raw["recommendation"] |= {k: [HOSTILE] for k in ("give_up", "reasons")} | {"words": HOSTILE}
    raw["pictures"]["originals"]["classes"] = [HOSTILE] * 8
    raw["limits"][HOSTILE] = 1.0
    return from_json(json.dumps(raw))
