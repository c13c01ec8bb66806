"""Three networks of your own under every attack, and a table of what came of it.

A residual network written in plain torch on images, a 1-D network on heartbeats, a fully connected
one on a table: each is cut behind its first layer and behind its first nonlinearity, undefended,
and attacked by the same five attackers with the same settings, none of them made for it::

    python examples/own_networks.py --data-root DIR

``DIR`` holds CIFAR-10, or gets it, and ``mitbih/mitbih_beats_train.npz`` and ``_test.npz``, see
``ecg_beats.py``. Records go to ``results/own-networks``, the table into ``docs/own-networks.md``.
What is in the store is not run again: a run that was stopped goes on.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import breast_cancer
import ecg_beats

from cutlayer import Assembly, Record, Store, parse, run_attack
from cutlayer.attacks import FLOORS
from cutlayer.described import without_defaults
from cutlayer.papers.markdown import END, put_between
from cutlayer.parts import Part
from cutlayer.record import Estimate, from_json, to_json

ROOT = Path(__file__).parents[1]
BEGIN = "<!-- records: written by examples/own_networks.py -->"
ATTACKERS = (  # threat model, attack
    ("white-box", "maximum-likelihood:steps=300"),
    ("black-box", "affine-inverse"),
    ("black-box", "inverse-network"),
    ("query-free", "shadow"),
    ("query-free", "shadow:structure=auto"),
)
TITLES = {
    "resnet18_cifar:ResNet18": "ResNet-18 of width 16 on CIFAR-10: SSIM",
    "ecg": "1-D convolutions on heartbeats: PSNR in dB",
    "mlp": "Fully connected network on a table: PSNR in dB",
}
CUTS = {  # behind the first layer, and behind the first nonlinearity
    "resnet18_cifar:ResNet18": ("stem", "relu"),
    "ecg": ("conv1", "act1"),
    "mlp": ("fc1", "act1"),
}
IMAGES = {"owners": 20_000, "auxiliary": 2000, "attacker_validation": 250, "judge": 4000}
BEATS = {"owners": 4000, "auxiliary": 1000, "attacker_validation": 200, "judge": 1000}
TESTED = {"validation": 500, "victims": 500}


def networks(data_root: Path, prepared: Path) -> Iterator[dict[str, Any]]:
    """What is trained; the two sets that come as arrays are written to ``prepared``."""
    yield {
        "data": "cifar10",
        "data_root": str(data_root),
        "model": "resnet18_cifar:ResNet18:width=16",
        "shares": IMAGES | TESTED,
        "epochs": 4,
        "precision": "bfloat16",
    }
    prepared.mkdir(parents=True, exist_ok=True)
    yield {"data": beats(data_root / "mitbih", prepared), "model": "ecg", "shares": BEATS | TESTED}
    table = breast_cancer.write(prepared / "breast-cancer.npz")
    yield {"data": f"arrays:path={table}", "model": "mlp", "epochs": 50}


def beats(raw: Path, prepared: Path) -> dict[str, Any]:
    """The heartbeats as arrays, and how these are read."""
    train, test = (
        ecg_beats.convert(raw / f"mitbih_beats_{part}.npz", prepared / f"ecg-{part}.npz")
        for part in ("train", "test")
    )
    bounds = {"signal": True, "low": 0, "high": 1}
    return {"kind": "arrays", "path": str(train), "test": str(test), **bounds}


def attacked(network: Mapping[str, Any], cut: str, store: Store) -> Iterator[Record]:
    """One network, cut once, under every attacker."""
    for threat, attack in ATTACKERS:
        fields = {**network, "cut": cut, "threat": threat, "attack": attack, "threads": 1}
        record = run_attack(Assembly.of(parse({**fields, "device": "cpu"})), store)
        print(cut, threat, attack, leaked(record), record.flags, flush=True)
        yield record


def keep(records: Sequence[Record], store: Store, folder: Path) -> None:
    """The records, and those of the networks and judges behind them, instead of earlier ones."""
    named = [run for r in records for run in (r.victim, r.attack["judge"].get("id"))]
    behind = sorted({str(run) for run in named if run in store})
    every = [*records, *map(store.record, behind)]
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for record in every:
        (folder / f"{record.id}.json").write_text(to_json(record) + "\n")


def summary(folder: Path) -> str:
    """A table for each network, from the records in a folder."""
    found = [from_json(p.read_text(), source=str(p)) for p in sorted(folder.glob("attack-*.json"))]
    parts = [BEGIN]
    for model, title in TITLES.items():
        mine = sorted((r for r in found if kind(r) == model), key=place)
        parts += [f"### {title}", "", f"Accuracy {accuracy(mine)}.", ""]
        parts += ["| Cut | Threat model | Attack | Leaked [95 %] | Guess | By asking | Flags |"]
        parts += ["|---|---|---|---|---|---|---|", *map(row, mine), ""]
    return "\n".join([*parts, END]) + "\n"


def accuracy(records: Sequence[Record]) -> str:
    """Of the networks attacked, in the order of their cuts."""
    found = {r.config["experiment"]["cut"][0]: r.utility["accuracy"].value for r in records}
    return " and ".join(f"{100 * (value or 0.0):.1f} %" for value in found.values())


def kind(record: Record) -> str:
    """Which network was attacked."""
    return str(record.config["experiment"]["model"]["kind"])


def place(record: Record) -> tuple[int, int]:
    """Where in the table a record stands."""
    e = record.config["experiment"]
    return CUTS[kind(record)].index(e["cut"][0]), ATTACKERS.index((e["threat"], attack_of(record)))


def attack_of(record: Record) -> str:
    """The attack as a person would type it."""
    return str(without_defaults("attack", Part.parse(record.config["experiment"]["attack"])))


def metric(record: Record) -> str:
    """SSIM where it is defined, PSNR elsewhere."""
    return "ssim" if record.leakage["ssim"].value is not None else "psnr"


def leaked(record: Record) -> str:
    """What the attack reached, with its interval."""
    name = metric(record)
    return in_words(record.leakage[name], name)


def in_words(estimate: Estimate, name: str) -> str:
    """
    >>> in_words(Estimate(value=0.5, low=0.25, high=0.75), "ssim")
    '0.500 [0.250, 0.750]'
    """
    places = 3 if name == "ssim" else 1
    value, low, high = (f"{v:.{places}f}" for v in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def row(record: Record) -> str:
    """One line of the table; guesses as good as they come with and without the owner's answers."""
    e, name = record.config["experiment"], metric(record)
    mean, of_class, nearest = (record.floors[floor][name] for floor in FLOORS)
    guess = max(mean, of_class, key=lambda g: g.value or 0.0)
    guesses = (in_words(g, name).partition(" ")[0] for g in (guess, nearest))
    flags = ", ".join(f"`{f}`" for f in record.flags)
    cells = (e["cut"][0], e["threat"], f"`{attack_of(record)}`", leaked(record), *guesses, flags)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--store", type=Path, default=Path("runs"), metavar="DIR")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "own-networks")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "own-networks.md")
    arguments = parser.parse_args()
    store, records = Store(arguments.store), list[Record]()
    prepared = arguments.store.resolve() / "own-networks"
    for network in networks(arguments.data_root.resolve(), prepared):
        for cut in CUTS[Part.parse(network["model"]).kind]:
            records += attacked(network, cut, store)
    keep(records, store, arguments.results)
    put_between(arguments.page, BEGIN, summary(arguments.results))


if __name__ == "__main__":
    main()
