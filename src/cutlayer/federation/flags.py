"""Flags of the commands that run a federation. Importing this module imports nothing heavy."""

import argparse
from collections.abc import Callable
from pathlib import Path

Add = Callable[[str, str], argparse.ArgumentParser]


def add_commands(add: Add) -> None:
    """``serve``, ``relay``, ``join``, ``admit``, ``predict``, ``health``."""
    for name, text in (
        ("serve", "Listen as the computation server of a federation."),
        ("relay", "Listen as a middle participant of a federation's chain."),
    ):
        listens = add(name, text)
        _party(listens)
        _kept(listens)
        listens.add_argument(
            "--revoked",
            type=Path,
            required=True,
            metavar="FILE",
            help="revoked.json of the authority, read anew for every connection",
        )
        listens.add_argument(
            "--address", metavar="HOST:PORT", help="to listen on; default: as the file says"
        )
        listens.add_argument(
            "--weights",
            type=Path,
            metavar="FILE",
            help="safetensors of this party's segment; then nothing is trained",
        )
        _policy(listens)
        _metrics(listens)
        _threads(listens)

    join = add("join", "Take part in a federation's training with data that stays here.")
    _party(join)
    _data(join)
    _defence(join, "this owner's own")
    _kept(join)
    _revoked(join)
    _policy(join)
    _metrics(join)
    _threads(join)

    admit = add("admit", "Send the trained segment to users who have come since.")
    _party(admit)
    _kept(admit)
    _revoked(admit)

    predict = add("predict", "Ask a federation's server about data that stays here.")
    _party(predict)
    _data(predict)
    predict.add_argument("--first", type=int, default=0, metavar="N", help="samples; 0: all")
    predict.add_argument(
        "--out", type=Path, metavar="FILE", help="CSV of predictions (default: none is written)"
    )
    predict.add_argument(
        "--batch-size", type=int, default=256, metavar="N", help="samples a message (default: 256)"
    )
    predict.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="safetensors of the owner's segment (default: what an owner left for this user)",
    )
    _defence(predict, "with --weights")
    _revoked(predict)
    _policy(predict)
    _threads(predict)

    _party(add("health", "Ask the server how it is."))


def _party(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("federation", type=Path, metavar="FILE", help="YAML that all parties share")
    parser.add_argument(
        "--identity",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of this party, from 'cutlayer identity issue'",
    )


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", required=True, metavar="NAME", help="data set, NAME or NAME:argument=value,..."
    )
    parser.add_argument("--data-root", metavar="DIR", help="folder that holds the data files")


def _defence(parser: argparse.ArgumentParser, whose: str) -> None:
    parser.add_argument(
        "--defence",
        action="append",
        default=[],
        metavar="NAME",
        help=f"what is done before anything is sent, repeatable; {whose}",
    )


def _policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy",
        type=Path,
        metavar="FILE",
        help="of an audit, signed: whatever it does not cover is refused (default: none)",
    )


def _kept(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of this party alone: checkpoints, secret, what came of it",
    )


def _revoked(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--revoked", type=Path, metavar="FILE", help="revoked.json: write to none of these"
    )


def _metrics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics", metavar="[HOST:]PORT", help="numbers for Prometheus, at /metrics"
    )


def _threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="CPU threads; 0: as many as cores; changes last digits",
    )
