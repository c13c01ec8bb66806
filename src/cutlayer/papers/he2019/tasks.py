"""Everything that is run to regenerate the papers, in order: a list of tasks with readable keys."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..paper import Options
from ..task import Task
from .published import CUTS, FIGURE_12, NORMALISATION, SETTINGS, Data, Inversion
from .settings import ELSEWHERE, FOLDERS, SHAPES, STAND_IN, attacked, classifier

REVISION = 1  # of what a task computes; raise it, and finished tasks are done anew
KNOWLEDGE = ("same-set", "same-distribution", "random", "other-domain")  # table 4, and one more
SEEDS = (0, 1, 2)  # of the shadows on MNIST
PUBLISHED = "cutlayer.papers.he2019.attack:PublishedLikelihood"
LEARNING = {"epochs": 5}  # passes over the attacker's 10,000 samples


def tasks(options: Options) -> list[Task]:
    """All tasks, in the order in which they are wanted: MNIST whole, then CIFAR-10."""
    found: list[Task] = []
    every: tuple[Data, ...] = ("mnist",) if options.quick else ("mnist", "cifar10")
    for data in every:
        if options.quick or _is_there(options, FOLDERS[data]):
            found += _of(data, options)
    return found


def _of(data: Data, options: Options) -> Iterator[Task]:
    network = Task(classifier_key(data), "classifier", classifier(data, options), revision=REVISION)
    yield network
    cuts = [cut for d, cut in CUTS if d == data]
    make = _Maker(data, options, network)
    for cut in cuts:
        yield from _white_box(make, cut)
    for cut in cuts:
        yield from _black_box(make, cut)
    for cut in cuts:
        yield from _query_free(make, cut)
        asked = _shadow(learn_from="queries", structure=STAND_IN[cut])
        yield make.attack("by-queries", cut, "black-box", asked)
    if data == "mnist":
        for point in FIGURE_12[:-1]:  # the last is the output
            yield make.attack("layers", point.layer, "query-free", _shadow())


def _white_box(make: "_Maker", cut: str) -> Iterator[Task]:
    """Table 3: our search, and the authors' by their settings."""
    yield make.attack("white-box", cut, "white-box", {"kind": "maximum-likelihood"})
    setting = published_setting(make.data, cut)
    mean, deviation = NORMALISATION[make.data]
    args = {
        "steps": 50 if make.options.quick else setting.steps,
        "learning_rate": setting.learning_rate,
        "total_variation": setting.total_variation,
        "l2": setting.l2,
        "mean": list(mean),
        "deviation": list(deviation),
    }
    kind = {"kind": PUBLISHED, "args": args}
    yield make.attack("white-box", f"{cut}-published", "white-box", kind, cut=cut)


def published_setting(data: Data, cut: str) -> Inversion:
    """What the authors' scripts set at a cut; for MNIST's conv1, where they have none, what its
    table takes here: 2,000 steps without variation."""
    for s in SETTINGS:
        if (s.data, s.cut) == (data, cut):
            return s
    return Inversion(data, cut, 2000, 1e-2, 0.0)


def _black_box(make: "_Maker", cut: str) -> Iterator[Task]:
    """Table 4, and another domain; with the authors' decoder, and with ours."""
    for case in KNOWLEDGE:
        fields = _knowledge(make, case)
        if fields is None:
            continue
        for decoder in (STAND_IN[cut], "auto"):
            attack = {"kind": "inverse-network", "args": {"decoder": decoder, **LEARNING}}
            more = "-auto" if decoder == "auto" else ""
            name = f"{cut}-{case}{more}"
            yield make.attack("black-box", name, "black-box", attack, cut=cut, **fields)


def _knowledge(make: "_Maker", case: str) -> dict[str, Any] | None:
    """The fields of a case; ``None`` where its data are not there."""
    if case == "same-set":
        return {"auxiliary_share": "owners"}
    if case == "random":
        mean, deviation = (sum(v) / len(v) for v in NORMALISATION[make.data])
        args = {"shape": SHAPES[make.data], "mean": mean, "deviation": deviation}
        return {"auxiliary": {"kind": "noise", "args": args}}
    if case == "other-domain":
        there = make.data in ELSEWHERE and _is_there(make.options, "FashionMNIST")
        return {"auxiliary": ELSEWHERE[make.data]} if there else None
    return {}


def _query_free(make: "_Maker", cut: str) -> Iterator[Task]:
    """Table 6; where runs scatter, on MNIST, with three seeds."""
    for share, its in (("owners", "same-set"), ("auxiliary", "other-set")):
        for structure, net in (("known", "same-net"), (STAND_IN[cut], "other-net")):
            for seed in SEEDS if make.data == "mnist" and not make.options.quick else (0,):
                name = f"{cut}-{its}-{net}" + (f"-seed-{seed}" if seed else "")
                fields: dict[str, Any] = {"auxiliary_share": share, "cut": cut, "seed": seed}
                yield make.attack(
                    "query-free", name, "query-free", _shadow(structure=structure), **fields
                )


def _shadow(**args: Any) -> dict[str, Any]:
    return {"kind": "shadow", "args": LEARNING | args}


class _Maker:
    """Tasks that attack one network."""

    def __init__(self, data: Data, options: Options, network: Task) -> None:
        self.data, self.options, self.network = data, options, network

    def attack(
        self,
        kind: str,
        name: str,
        threat: str,
        attack: Mapping[str, Any],
        *,
        cut: str | None = None,
        **fields: Any,
    ) -> Task:
        """One attack; the classifier is part of what it depends on."""
        raw = attacked(self.data, self.options, cut or name, threat, attack, **fields)
        return Task(
            f"{self.data}/{kind}/{name}",
            "attack",
            raw,
            (self.network.key,),
            {"classifier": self.network.address},
            revision=REVISION,
        )


def classifier_key(data: Data) -> str:
    """The key of the network that all attacks on a data set share."""
    return f"{data}/classifier/seed-0"


def _is_there(options: Options, folder: str) -> bool:
    return bool(options.data_root) and (Path(str(options.data_root)) / folder).is_dir()
