"""Flags of ``cutlayer audit``. Importing this module imports nothing heavy."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from .limits import FAMILIES, PROTECTABLE, Limits

Fields = Callable[[argparse.ArgumentParser, Sequence[str]], None]
EXPERIMENT = (
    *("data", "data_root", "shares", "owners", "seed", "weights", "epochs", "batch_size"),
    *("optimiser", "learning_rate", "halve_every", "schedule", "order", "augment", "precision"),
    "device",
)


def add_flags(audit: argparse.ArgumentParser, add_fields: Fields) -> None:
    """All of them.

    Args:
        add_fields: Adds the flags of an experiment's fields.
    """
    audit.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="network, a built-in name or package.module:function (default: titcombe)",
    )
    add_fields(audit, EXPERIMENT)
    _asked(audit)
    limits = audit.add_argument_group("limits", "What may not be exceeded.")
    for f in fields(Limits):
        limits.add_argument(
            "--" + f.name.replace("_", "-"),
            dest=f.name,
            metavar="N",
            help=str(f.metadata["help"]),
        )
    _work(audit)
    _comes_out(audit)


def _asked(audit: argparse.ArgumentParser) -> None:
    audit.add_argument(
        "--cut",
        action="append",
        default=[],
        metavar="LAYER",
        help="look here, repeatable (default: everywhere)",
    )
    audit.add_argument(
        "--protect",
        choices=tuple(PROTECTABLE),
        default="individual",
        help="; ".join(f"{k}: {v}" for k, v in PROTECTABLE.items()) + " (default: individual)",
    )
    audit.add_argument(
        "--attribute",
        type=Path,
        metavar="FILE",
        help="with --protect attribute: NumPy file, one whole number for each sample",
    )
    audit.add_argument(
        "--threat",
        action="append",
        default=[],
        metavar="NAME",
        help="who is feared, repeatable; default: everybody who listens at a cut",
    )
    audit.add_argument(
        "--defence",
        action="append",
        default=[],
        metavar="NAME",
        help=f"what to try, repeatable: {', '.join(FAMILIES)} (default: all)",
    )
    audit.add_argument(
        "--attack",
        action="append",
        default=[],
        metavar="NAME",
        help="one more attack, package.module:Class, repeatable",
    )
    audit.add_argument(
        "--repeats",
        type=int,
        default=16,
        metavar="N",
        help="messages of one input that an attacker may hear and average (default: 16)",
    )
    audit.add_argument(
        "--victims",
        type=int,
        default=500,
        metavar="N",
        help="inputs that the thorough attacks are tried on, at most (default: 500)",
    )
    audit.add_argument(
        "--attack-seeds",
        type=int,
        default=3,
        metavar="N",
        help="seeds that the worst attacker of what is recommended is tried with (default: 3)",
    )
    audit.add_argument(
        "--retrain",
        type=int,
        default=0,
        metavar="N",
        help="epochs of a training with a defence; default: as many as the network had, or 3",
    )


def _work(audit: argparse.ArgumentParser) -> None:
    audit.add_argument(
        "--budget",
        type=float,
        metavar="MINUTES",
        help="end by then, and recommend by what was seen; the same command goes on from there",
    )
    audit.add_argument(
        "--workers", type=int, metavar="K", help="processes (default: one for each core)"
    )
    audit.add_argument(
        "--storage",
        metavar="URL",
        help="database of the study, to share the work among machines; default: SQLite",
    )
    audit.add_argument(
        "--store", type=Path, default=Path("runs"), metavar="DIR", help="folder of the runs"
    )
    audit.add_argument("--config", type=Path, metavar="FILE", help="YAML of the network's fields")
    audit.add_argument("--dry-run", action="store_true", help="say what would run, and stop")


def _comes_out(audit: argparse.ArgumentParser) -> None:
    audit.add_argument(
        "--out",
        type=Path,
        default=Path("audit"),
        metavar="DIR",
        help="where page, audit.json, policy and weights go (default: audit)",
    )
    audit.add_argument(
        "--identity",
        type=Path,
        metavar="DIR",
        help="folder of the auditor, who signs the policy; from 'cutlayer identity issue'",
    )
    audit.add_argument(
        "--queries",
        type=int,
        default=0,
        metavar="N",
        help="samples that each party may ask about, for the policy; 0: no limit",
    )
    audit.add_argument(
        "--fail-on",
        type=float,
        metavar="LEAKAGE",
        help="exit code 1 unless what is recommended leaks at most that for certain",
    )
    audit.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("BEFORE", "AFTER"),
        help="two audits side by side, folders or audit.json; nothing is run",
    )
