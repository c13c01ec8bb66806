"""The reproduction as experiments: one classifier for each data set, attacked at every cut."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..paper import Options
from .published import ATTACK_TRAINING, MODEL, NORMALISATION, TARGET_TRAINING, Data

EPOCHS: Mapping[Data, int] = {"mnist": 8, "cifar10": 15}
VICTIMS: Mapping[Data, int] = {"mnist": 500, "cifar10": 100}
FOLDERS: Mapping[Data, str] = {"mnist": "MNIST", "cifar10": "cifar-10-batches-bin"}
SHAPES: Mapping[Data, str] = {"mnist": "1x28x28", "cifar10": "3x32x32"}
ELSEWHERE: Mapping[Data, str] = {"mnist": "fashion-mnist"}  # another domain of the same shape
# Where the authors name stand-ins or decoders of their own, by cut.
STAND_IN: Mapping[str, str] = {
    "conv1": "he-lenet-conv1",
    "ReLU2": "he-lenet-relu2",
    "conv11": "he-cifar-conv11",
    "ReLU22": "he-cifar-relu22",
    "ReLU32": "he-cifar-relu32",
}


def classifier(data: Data, options: Options, **more: Any) -> dict[str, Any]:
    """The experiment that trains the network of one data set, as plain values.

    Adam with AMSGrad and eps 1e-3, batches of 32 as the authors; fewer epochs, if not in full.

    Args:
        more: Fields that differ.
    """
    mean, deviation = NORMALISATION[data]
    raw: dict[str, Any] = {
        "data": "digits" if options.quick else data,
        "data_root": options.data_root,
        "shares": "default" if options.quick else "he2019",
        "model": {"kind": MODEL[data], "args": {"mean": mean, "deviation": deviation}},
        "optimiser": "amsgrad",
        "learning_rate": 1e-3,
        "batch_size": 32,
        "epochs": 2 if options.quick else EPOCHS[data],
        "augment": "shift-and-flip" if data == "cifar10" else "none",
        "precision": options.precision if data == "cifar10" else "float32",
        "threads": 1,
        "device": options.device,
    }
    return raw | (_in_full(data) if options.full else {}) | more


def _in_full(data: Data) -> dict[str, Any]:
    theirs = TARGET_TRAINING[data]
    return {
        "shares": "he2019-full",
        "epochs": theirs.epochs,
        "halve_every": theirs.halved_every,
    }


def lengthened(attack: Mapping[str, Any]) -> Mapping[str, Any]:
    """An attack that learns in epochs, for as many as the authors'; any other as it is.

    >>> lengthened({"kind": "shadow", "args": {"epochs": 5, "structure": "known"}})["args"]
    {'epochs': 50, 'structure': 'known'}
    """
    args = attack.get("args", {})
    if "epochs" not in args:
        return attack
    return {**attack, "args": {**args, "epochs": ATTACK_TRAINING.epochs}}


def attacked(
    data: Data,
    options: Options,
    cuts: Sequence[str],
    threat: str,
    attack: Mapping[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """The experiment of one attack on a network cut in one place or in several."""
    victims = 20 if options.quick else VICTIMS[data]
    fields = {"cut": list(cuts), "threat": threat, "attack": dict(attack), "victims": victims}
    return classifier(data, options) | fields | more
