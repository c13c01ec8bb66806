"""What makes a network leak: small networks that differ in one thing, and the attacks on them.

All are LeNet-like, trained for two epochs on MNIST and cut where the message is half as large as
the picture, unless that is what changes. Layers are in the words of ``cutlayer.layers``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..paper import Options
from ..task import Task
from .maker import ALONG, REVISION, Maker
from .published import NORMALISATION
from .settings import classifier

EPOCHS = 2
VICTIMS, SAMPLES, STEPS = 200, 4000, 150  # of each attack; samples of the attacker; of a search
FACTORS: Mapping[str, str] = {  # by short name, in the order of the page: what is changed
    "depth": "convolutions in front of the cut, message kept",
    "kind": "one more layer in front of the cut, message kept",
    "fully-connected": "width of one more fully connected layer in front of the cut",
    "channels": "channels at the cut",
    "shape": "channels against resolution, message kept",
    "stride": "stride of the first convolution",
    "placing": "where each side is quartered, message kept",
    "pooling": "pooling in front of the cut",
    "activation": "activation",
    "kernel": "kernel of the second convolution",
    "accuracy": "epochs of training",
    "seed": "nothing but first weights and the order of training",
}
_BASE = "conv8k5s2 relu conv8k3 relu max2"
_BACK = "fc32 relu"  # and then one number for each class
_LAYERS: Mapping[str, tuple[tuple[str, str, str], ...]] = {  # factor: its value, layers, the cut
    "depth": (
        ("1", "conv8k5s2 relu max2", "pool1"),
        ("2", _BASE, "pool1"),
        ("3", "conv8k5s2 relu conv8k3 relu conv8k3 relu max2", "pool1"),
        ("4", "conv8k5s2 relu conv8k3 relu conv8k3 relu conv8k3 relu max2", "pool1"),
    ),
    "kind": (
        ("none", _BASE, "pool1"),
        ("convolution", f"{_BASE} conv8k3", "conv3"),
        ("max pooling", f"{_BASE} max3s1", "pool2"),
        ("average pooling", f"{_BASE} avg3s1", "pool2"),
        ("fully connected", f"{_BASE} fc392", "fc1"),
    ),
    "fully-connected": (
        ("none", _BASE, "pool1"),
        *((str(n), f"{_BASE} fc{n}", "fc1") for n in (392, 128, 32, 8)),
    ),
    "channels": tuple(
        (str(n), f"conv8k5s2 relu conv{n}k3 relu max2", "pool1") for n in (2, 4, 8, 16, 32)
    ),
    "shape": (
        ("2×14×14", "conv8k5s2 relu conv2k3 relu", "act2"),
        ("8×7×7", "conv8k5s2 relu conv8k3s2 relu", "act2"),
    ),
    "stride": (
        ("1", "conv8k5 relu conv8k3 relu max2", "pool1"),
        ("2", _BASE, "pool1"),
        ("4", "conv8k5s4 relu conv8k3 relu max2", "pool1"),
    ),
    "placing": (
        ("by pooling", "conv8k5 relu conv8k3 relu max4", "pool1"),
        ("by both", _BASE, "pool1"),
        ("by stride", "conv8k5s4 relu conv8k3 relu", "act2"),
    ),
    "pooling": (
        ("none", _BASE, "act2"),
        ("max", _BASE, "pool1"),
        ("average", "conv8k5s2 relu conv8k3 relu avg2", "pool1"),
        ("stride instead", "conv8k5s2 relu conv8k3s2 relu", "act2"),
    ),
    "activation": (
        ("ReLU", _BASE, "pool1"),
        ("leaky ReLU", "conv8k5s2 leaky conv8k3 leaky max2", "pool1"),
        ("tanh", "conv8k5s2 tanh conv8k3 tanh max2", "pool1"),
        ("sigmoid", "conv8k5s2 sigmoid conv8k3 sigmoid max2", "pool1"),
        ("none", "conv8k5s2 conv8k3 max2", "pool1"),
    ),
    "kernel": tuple((str(n), f"conv8k5s2 relu conv8k{n} relu max2", "pool1") for n in (1, 3, 5)),
}


_QUICK = (("depth", "1"), ("accuracy", "0"))  # a smoke run does with these


@dataclass(frozen=True)
class Variant:
    """One network, cut in one place, and what it stands for in one comparison.

    factor: Of ``FACTORS``. value: Of the factor, in words. front: The owner's layers and more, as
    the model ``stack`` takes them; behind them all are alike. cut: After which of them. epochs,
    seed: Of its training.
    """

    factor: str
    value: str
    front: str
    cut: str
    epochs: int = EPOCHS
    seed: int = 0

    @property
    def network(self) -> str:
        """Which network: comparisons that want the same one share it.

        >>> Variant("depth", "1", "conv8k5s2 relu max2", "pool1", epochs=0).network
        'conv8k5s2-relu-max2-untrained'
        """
        trained = {0: "-untrained", EPOCHS: ""}.get(self.epochs, f"-epochs-{self.epochs}")
        return "-".join(self.front.split()) + trained + (f"-seed-{self.seed}" if self.seed else "")

    @property
    def network_key(self) -> str:
        """Of the task that trains it."""
        return f"mnist/networks/{self.network}"

    def key(self, threat: str) -> str:
        """Of the attack under a threat model."""
        return f"mnist/factors/{self.network}-at-{self.cut}-{threat}"


def variants() -> list[Variant]:
    """Every value of every factor, in the order of ``FACTORS``; the base is in most of them."""
    found = [Variant(f, *value) for f, values in _LAYERS.items() for value in values]
    found += [Variant("accuracy", str(n), _BASE, "pool1", epochs=n) for n in (0, 1, EPOCHS, 8)]
    return [*found, *(Variant("seed", str(n), _BASE, "pool1", seed=n) for n in range(3))]


def factor_tasks(options: Options) -> Iterator[Task]:
    """Each network once, and the three attacks on each of its cuts once."""
    seen: set[str] = set()
    for variant in variants():
        if options.quick and (variant.factor, variant.value) not in _QUICK:
            continue
        network = _network(variant, options)
        make = Maker("mnist", options, network, model=network.experiment["model"])
        for task in (network, *_attacks(make, variant)):
            if task.key not in seen:
                seen.add(task.key)
                yield task


def _network(variant: Variant, options: Options) -> Task:
    """Trains the network, or leaves it as it was made where there are no epochs."""
    mean, deviation = NORMALISATION["mnist"]
    args = {"layers": f"{variant.front} {_BACK}", "mean": mean, "deviation": deviation}
    raw = classifier(
        "mnist",
        options,
        model={"kind": "stack", "args": args},
        cut=["conv1"],
        epochs=max(1, variant.epochs),
        seed=variant.seed,
    )
    run = "classifier" if variant.epochs else "untrained"
    return Task(variant.network_key, run, raw, revision=REVISION)


def _attacks(make: Maker, variant: Variant) -> Iterator[Task]:
    few: dict[str, Any] = {} if make.options.quick else {"auxiliary_samples": SAMPLES}
    few["victims"] = 20 if make.options.quick else VICTIMS
    for threat, usual in ALONG.items():
        _, _, name = variant.key(threat).split("/")
        steps = {} if threat == "black-box" else {"steps": STEPS}
        attack = {**usual, "args": {**usual.get("args", {}), **steps}}
        yield make.attack("factors", name, threat, attack, cut=variant.cut, **few)
