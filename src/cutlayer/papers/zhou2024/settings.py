"""The reproduction as experiments: one classifier for each data set, its API attacked."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..he2019.settings import classifier as classifier_of_he
from ..paper import Options

Data = Literal["mnist", "fashion-mnist", "cifar10", "digit-pairs"]
NAMES: Mapping[Data, str] = {
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "digit-pairs": "pairs of digits",
}
FOLDERS: Mapping[Data, str] = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "cifar10": "cifar-10-batches-bin",
    "digit-pairs": "MNIST",
}
VICTIMS: Mapping[Data, int] = {
    "mnist": 2000,
    "fashion-mnist": 2000,
    "cifar10": 500,
    "digit-pairs": 2000,
}
MID_CUT = "fc2"  # of LeNet, in front of its last activation and layer


def classifier(data: Data, options: Options, **more: Any) -> dict[str, Any]:
    """The experiment that trains the network of one data set, as plain values.

    LeNet for grey images and the six convolutions of He et al. for CIFAR-10, trained and shared
    out as in their reproduction: of MNIST the attacker has 10,000 images of its own.

    Args:
        more: Fields that differ.
    """
    if data == "cifar10":
        return classifier_of_he("cifar10", options) | more
    raw = classifier_of_he("mnist", options)
    if data != "mnist" and not options.quick:
        raw |= {"data": data, "epochs": 10}
    return raw | more


def attacked(
    data: Data, options: Options, defence: Sequence[Any], attack: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """The experiment of one attack on what the API releases.

    Args:
        defence: Parts, as of an experiment.
    """
    fields = {
        "threat": "prediction-api",
        "defence": list(defence),
        "attack": dict(attack),
        "victims": 20 if options.quick else VICTIMS[data],
    }
    return classifier(data, options) | fields | more
