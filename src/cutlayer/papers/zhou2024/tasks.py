"""Everything that is run, in order: a list of tasks with readable keys."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..paper import Options
from ..task import Task
from .defences import Defended, compared, flipping, further, named
from .settings import FOLDERS, MID_CUT, NAMES, Data, attacked, classifier

REVISION = 1  # of what a task computes; raise it, and finished tasks are done anew


def _inversion(**args: Any) -> dict[str, Any]:
    return {"kind": "confidence-inversion", "args": args}


ATTACKERS: Mapping[str, dict[str, Any]] = {
    "log": _inversion(epochs=40),
    "adaptive": _inversion(epochs=40, features="adaptive"),
    "transposed": _inversion(network="transposed", epochs=10),
}
ALWAYS = ("log", "adaptive")
# Whom the slow attacker is set upon: on the other sets, and on MNIST.
ELSEWHERE = ("none", "label-only", "lpa-0.02", "codebook-0.02")
THOROUGHLY = (
    *("none", "label-only", "lpa-0.02", "lpa-0.1", "generator-0.02", "gaussian-0.02"),
    *("swap-0.02", "rounding-3", "lpa-0.02-rounded-3", "generator-0.02-rounded-3"),
    *("gaussian-0.02-rounded-3", "swap-0.02-rounded-3", "codebook-0.02", "codebook-0.1"),
)
NETWORKS: Mapping[str, int] = {"perceptron": 40, "transposed": 6, "residual": 6, "auto": 6}
LOSSES = ("mse", "l1", "ssim", "adversarial")
TOP = 3  # entries that an attacker looks at who goes by the largest alone
OTHERS = [(n, loss) for n in NETWORKS for loss in LOSSES] + [("perceptron", f"top-{TOP}")]
TRANSFERRED = ("none", "lpa-0.02")
UNAWARE = (
    *("lpa-0.02", "lpa-0.1", "generator-0.02", "adversarial-0.02", "gaussian-0.02"),
    *("swap-0.02", "rounding-3", "lpa-0.02-rounded-3", "codebook-0.02", "label-only"),
)
SHIFTED: Mapping[Data, Mapping[str, str]] = {  # folder of another data set of the attacker's
    "mnist": {"femnist-digits": "femnist_digits", "fashion-mnist": "FashionMNIST"},
    "fashion-mnist": {"mnist": "MNIST"},
}
SHIFTED_DEFENCES = ("none", "lpa-0.02", "gaussian-0.02", "rounding-3", "codebook-0.02")
HEARD = (1, 50)
SHOWN = ("lpa-0.02", "lpa-0.1", "generator-0.02", "gaussian-0.02", "rounding-3")  # their figure 3
DEFENSIVE = ("swap", "negative")


def tasks(options: Options) -> list[Task]:
    """All tasks, in the order in which they are wanted: MNIST first."""
    found: list[Task] = []
    every: tuple[Data, ...] = ("mnist",) if options.quick else tuple(NAMES)
    for data in every:
        if options.quick or _is_there(options, FOLDERS[data]):
            found += _Maker(data, options).tasks()
    return found


def attack_key(data: str, defence: str, attacker: str) -> str:
    """Where the finding of an attack of the grid goes.

    >>> attack_key("mnist", "lpa-0.02", "log")
    'mnist/attack/lpa-0.02-by-log'
    """
    return f"{data}/attack/{defence}-by-{attacker}"


def transfer_key(defence: str, network: str, loss: str) -> str:
    """Where the finding of an attack by another network or loss goes.

    >>> transfer_key("none", "auto", "ssim")
    'mnist/transfer/none-auto-ssim'
    """
    return f"mnist/transfer/{defence}-{network}-{loss}"


class _Maker:
    """The tasks of one data set."""

    def __init__(self, data: Data, options: Options) -> None:
        self.data, self.options = data, options
        raw = classifier(data, options)
        self.network = Task(f"{data}/classifier/seed-0", "classifier", raw, revision=REVISION)
        every = {d.network: d for d in compared(data) if d.network}
        self.retrained = [self._trained(d) for d in every.values()]

    def tasks(self) -> Iterator[Task]:
        yield self.network
        yield from self.retrained
        for defence in compared(self.data):
            yield from (self._grid(defence, by) for by in ALWAYS)
        for name in THOROUGHLY if self.data == "mnist" else ELSEWHERE:
            yield self._grid(named(name, self.data), "transposed")
        if self.data == "mnist":
            yield from self._mnist_alone()
        yield from self._shifted()
        for by in ALWAYS:
            yield self._unaware(by)

    def _mnist_alone(self) -> Iterator[Task]:
        for defence in (*flipping(), *further()):
            yield from (self._grid(defence, by) for by in ALWAYS)
        for name in TRANSFERRED:
            yield from self._transfer(named(name, self.data))
        yield from self._averaging()
        yield from self._looked_into()

    def _trained(self, defence: Defended) -> Task:
        raw = classifier(self.data, self.options, cut=[MID_CUT], defence=defence.parts)
        return Task(f"{self.data}/{defence.network}", "classifier", raw, revision=REVISION)

    def _grid(self, defence: Defended, by: str) -> Task:
        return self._attack(attack_key(self.data, defence.name, by), defence, ATTACKERS[by])

    def _attack(
        self, key: str, defence: Defended, attack: Mapping[str, Any], **fields: Any
    ) -> Task:
        network, parts = self.network, defence.parts
        if defence.network:
            key_of_network = f"{self.data}/{defence.network}"
            network = next(t for t in self.retrained if t.key == key_of_network)
            fields["cut"] = [MID_CUT]
        raw = attacked(self.data, self.options, parts, self._length(attack), **fields)
        return self._after(network, key, "attack", raw)

    def _after(self, network: Task, key: str, run: str, raw: dict[str, Any], **more: Any) -> Task:
        options = {"classifier": network.address, **more}
        return Task(key, run, raw, (network.key,), options, revision=REVISION)

    def _length(self, attack: Mapping[str, Any]) -> dict[str, Any]:
        short = {"epochs": 10} if self.options.quick else {}
        return {**attack, "args": {**attack["args"], **short}}

    def _transfer(self, defence: Defended) -> Iterator[Task]:
        """Every network with every loss: their figure 5."""
        for network, epochs in NETWORKS.items():
            for loss in LOSSES:
                attack = _inversion(network=network, loss=loss, epochs=epochs)
                yield self._attack(transfer_key(defence.name, network, loss), defence, attack)
        few = _inversion(epochs=40, top=TOP)
        yield self._attack(transfer_key(defence.name, "perceptron", f"top-{TOP}"), defence, few)

    def _shifted(self) -> Iterator[Task]:
        """An attacker with samples of another kind."""
        for source, folder in SHIFTED.get(self.data, {}).items():
            if self.options.quick or not _is_there(self.options, folder):
                continue
            for name in SHIFTED_DEFENCES:
                key = f"{self.data}/shifted/{source}-{name}"
                defence = named(name, self.data)
                yield self._attack(key, defence, ATTACKERS["log"], auxiliary=source)

    def _averaging(self) -> Iterator[Task]:
        """Many answers to one question: noise that is fresh each time, and noise that is not."""
        usual = ATTACKERS["log"]["args"]
        for repeatable in (True, False):
            args = {"budget": 0.02, "repeatable": repeatable}
            name = "keyed" if repeatable else "fresh"
            defence = Defended(name, name, {"kind": "output-noise", "args": args}, "")
            for heard in HEARD:
                key = f"{self.data}/averaging/{name}-heard-{heard}"
                attack = _inversion(**usual, renew=heard == 1)
                yield self._attack(key, defence, attack, repeats=heard)

    def _unaware(self, by: str) -> Task:
        """An attacker who learned from clean vectors, and hears defended ones."""
        raw = attacked(self.data, self.options, [], self._length(ATTACKERS[by]))
        tried = {name: named(name, self.data).parts for name in self._tried()}
        key = f"{self.data}/unaware/{by}"
        return self._after(self.network, key, "unaware", raw, defences=tried)

    def _tried(self) -> list[str]:
        there = {d.name for d in compared(self.data)}
        return [name for name in UNAWARE if name in there]

    def _looked_into(self) -> Iterator[Task]:
        """Proposition 1, figure 3, and what an answer costs."""
        raw = attacked(self.data, self.options, [], self._length(ATTACKERS["log"]))
        for loss in DEFENSIVE:
            key = f"{self.data}/proposition/{loss}"
            yield self._after(self.network, key, "proposition", raw, loss=loss)
        for name in SHOWN:
            parts = named(name, self.data).parts
            key = f"{self.data}/vectors/{name}"
            yield self._after(self.network, key, "vectors", raw | {"defence": parts})
        yield self._after(self.network, f"{self.data}/latency/all", "latency", raw)


def _is_there(options: Options, folder: str) -> bool:
    return bool(options.data_root) and (Path(str(options.data_root)) / folder).is_dir()
