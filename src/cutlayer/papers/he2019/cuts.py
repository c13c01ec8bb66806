"""Every cut of LeNet and of CIFAR10CNN, by the attacker of each of He et al.'s threat models."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..task import Task, kind_of
from .maker import ALONG, LEARNING, Maker
from .published import CUTS, FIGURE_12, Data

_STAGE = ("conv{0}1", "ReLU{0}1", "conv{0}2", "ReLU{0}2", "pool{0}")
EVERY_CUT: Mapping[Data, tuple[str, ...]] = {  # but the flattening, which sends what came to it
    "mnist": tuple(point.layer for point in FIGURE_12[:-1]),  # the last is the output
    "cifar10": (*(name.format(n) for n in (1, 2, 3) for name in _STAGE), "fc1", "fc1act"),
}
# On CIFAR-10, where a step of a search or of training takes ten times as long.
SHORTER: Mapping[str, dict[str, Any]] = {
    "white-box": {"kind": "maximum-likelihood", "args": {"tried_on": 4, "steps": 200}},
    "black-box": ALONG["black-box"],
    "query-free": {"kind": "shadow", "args": {**LEARNING, "steps": 100, "prior": "variation"}},
}
VICTIMS = 50
SAMPLES: Mapping[str, int] = {"white-box": 2000, "black-box": 4000, "query-free": 1500}


def cut_key(data: Data, cut: str, threat: str) -> str:
    """Where the finding is: that of another table where the attack is the same.

    >>> cut_key("mnist", "conv2", "white-box"), cut_key("mnist", "conv1", "white-box")
    ('mnist/cuts/conv2-white-box', 'mnist/white-box/conv1')
    """
    if data == "mnist" and threat == "query-free":
        return f"mnist/layers/{cut}"
    if data == "mnist" and (data, cut) in CUTS:
        return f"mnist/{threat}/{cut}" + (
            "-same-distribution-auto" if threat == "black-box" else ""
        )
    return f"{data}/cuts/{cut}-{threat}"


def cut_tasks(make: Maker) -> Iterator[Task]:
    """What is not in another table already."""
    small = make.data == "cifar10"
    for cut in EVERY_CUT[make.data]:
        for threat, attack in (SHORTER if small else ALONG).items():
            if kind_of(cut_key(make.data, cut, threat)) == "cuts":
                few = {"victims": VICTIMS, "auxiliary_samples": SAMPLES[threat]} if small else {}
                yield make.attack("cuts", f"{cut}-{threat}", threat, attack, cut=cut, **few)
