"""Everything that is run to regenerate the papers, in order: a list of tasks with readable keys."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..paper import Options
from ..task import Task
from . import arbitrary
from .curves import CUT_BEHIND_INPUT
from .cuts import cut_tasks
from .factors import factor_tasks
from .maker import ALONG as ALONG
from .maker import LEARNING, REVISION, Maker, classifier_key, published_search, shadow
from .published import CUTS, DEFENCE_SETTINGS, FIGURE_12, NORMALISATION, SETTINGS, Data, Inversion
from .settings import ELSEWHERE, FOLDERS, SHAPES, STAND_IN, classifier

KNOWLEDGE = ("same-set", "same-distribution", "random", "other-domain")  # table 4, and one more
SEEDS = (0, 1, 2)  # of the shadows on MNIST
UNAWARE = DEFENCE_SETTINGS[0]  # of their search behind defences on MNIST, alike at every cut


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
    make = Maker(data, options, network)
    for cut in cuts:
        yield from _white_box(make, cut)
    for cut in cuts:
        yield from _black_box(make, cut)
    for cut in cuts:
        yield from _query_free(make, cut)
        asked = shadow(learn_from="queries", structure=STAND_IN[cut])
        yield make.attack("by-queries", cut, "black-box", asked, auxiliary_share="owners")
    if data == "mnist":
        for point in FIGURE_12[:-1]:  # the last is the output
            yield make.attack("layers", point.layer, "query-free", shadow())
        yield from _chains(make)
        yield from _defences(make)
        yield from factor_tasks(options)
    yield from arbitrary.tasks_of(make)
    yield from cut_tasks(make)


def _white_box(make: Maker, cut: str) -> Iterator[Task]:
    """Table 3: our search, and the authors' by their settings."""
    yield make.attack("white-box", cut, "white-box", {"kind": "maximum-likelihood"})
    theirs = published_search(make, published_setting(make.data, cut))
    yield make.attack("white-box", f"{cut}-published", "white-box", theirs, cut=cut)


def published_setting(data: Data, cut: str) -> Inversion:
    """What the authors' scripts set at a cut; for MNIST's conv1, where they have none, what its
    table takes here: 2,000 steps without variation."""
    for s in SETTINGS:
        if (s.data, s.cut) == (data, cut):
            return s
    return Inversion(data, cut, 2000, 1e-2, 0.0)


def _black_box(make: Maker, cut: str) -> Iterator[Task]:
    """Table 4, and another domain; with the authors' decoder, and with ours."""
    for case in KNOWLEDGE:
        fields = _knowledge(make, case)
        if fields is None:
            continue
        for more, attack in (
            ("", {"kind": "inverse-network", "args": {"decoder": STAND_IN[cut], **LEARNING}}),
            ("-auto", {"kind": "inverse-network", "args": {"decoder": "auto", **LEARNING}}),
            ("-affine", {"kind": "affine-inverse"}),
        ):
            name = f"{cut}-{case}{more}"
            yield make.attack("black-box", name, "black-box", attack, cut=cut, **fields)


def _knowledge(make: Maker, case: str) -> dict[str, Any] | None:
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


def _query_free(make: Maker, cut: str) -> Iterator[Task]:
    """Table 6; where runs scatter, on MNIST, with three seeds."""
    for share, its in (("owners", "same-set"), ("auxiliary", "other-set")):
        for structure, net in (("known", "same-net"), (STAND_IN[cut], "other-net")):
            for seed in SEEDS if make.data == "mnist" and not make.options.quick else (0,):
                name = f"{cut}-{its}-{net}" + (f"-seed-{seed}" if seed else "")
                fields: dict[str, Any] = {"auxiliary_share": share, "cut": cut, "seed": seed}
                yield make.attack(
                    "query-free", name, "query-free", shadow(structure=structure), **fields
                )


CHAINS: Mapping[tuple[str, ...], tuple[tuple[int, ...], ...]] = {  # cuts: who attacks
    ("conv1", "ReLU2"): ((2, 3), (2,), (3,)),
    ("conv1", "ReLU2", "fc1act"): ((2, 3, 4), (2, 3), (2, 4), (2,), (3, 4), (3,), (4,)),
}


def chain_name(cuts: Sequence[str], parties: Sequence[int], threat: str) -> str:
    """How a chain attacked by some of its parties is called.

    >>> chain_name(["conv1", "ReLU2", "fc1act"], [2, 4], "query-free")
    '4-parties-attacked-by-2-4-query-free'
    """
    by = "-".join(map(str, parties))
    return f"{len(cuts) + 1}-parties-attacked-by-{by}-{threat}"


def _chains(make: Maker) -> Iterator[Task]:
    """What no paper has: a chain of three and of four, by who is malicious.

    With queries or weights only the first adversary counts, so each first one is tried once.
    """
    for cuts, adversaries in CHAINS.items():
        for threat, attack in ALONG.items():
            for parties in adversaries:
                if threat == "query-free" or len(parties) == 1:
                    name = chain_name(cuts, parties, threat)
                    fields: dict[str, Any] = {"cut": cuts, "adversaries": list(parties)}
                    yield make.attack("chain", name, threat, attack, **fields)


NOISE, DROPOUT = (0.2, 0.5, 1.0, 2.0, 5.0), (0.1, 0.3, 0.5, 0.6, 0.7, 0.9)
# Which curves of the extension are tried: where the defence acts, its law, at which strengths.
# Not dropout on the input: theirs leaves grey, the middle of their pixels, ours black.
DEFENDED: tuple[tuple[str, str, tuple[float, ...]], ...] = (
    *((site, law, NOISE) for site in ("ReLU2", "input") for law in ("gaussian", "laplace")),
    ("ReLU2", "dropout", DROPOUT),
    *((site, "dropout", (0.3, 0.6, 0.9)) for site in ("ReLU1", "pool1", "conv2", "pool2")),
)


def defended_name(site: str, law: str, strength: float, *, aware: bool) -> str:
    """How a defended cut is called.

    >>> defended_name("ReLU2", "dropout", 0.6, aware=False)
    'ReLU2-dropout-0.6-unaware'
    """
    return f"{site}-{law}-{strength:g}" + ("" if aware else "-unaware")


def _defences(make: Maker) -> Iterator[Task]:
    """Figures 6 to 13 of the extension: against their attacker, and against one who knows."""
    behind = CUT_BEHIND_INPUT[make.data]
    knows = {False: published_search(make, UNAWARE), True: {"kind": "maximum-likelihood"}}
    for site, law, strengths in DEFENDED:
        where, cut = ("input", behind) if site == "input" else ("cut", site)
        for strength in strengths:
            unit = NORMALISATION[make.data][1][0] if where == "input" else 1.0  # of their pixels
            scale = {"rate" if law == "dropout" else "scale": strength * unit}
            defence = {"kind": law, "args": {**scale, "active": "serve", "site": where}}
            fields: dict[str, Any] = {"cut": cut, "defence": [defence], "victims": 100}
            for aware in (False, True):
                name = defended_name(site, law, strength, aware=aware)
                yield make.attack("defence", name, "white-box", knows[aware], **fields)


def _is_there(options: Options, folder: str) -> bool:
    return bool(options.data_root) and (Path(str(options.data_root)) / folder).is_dir()
