"""The command line: flags from the fields of ``Experiment``, errors that a person can act on.

Nothing here imports torch before it has to, so that ``--help`` is quick.
"""

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from .auditing import flags as audit_flags
from .config import ATTACK_FIELDS, FIELDS
from .errors import ConfigError, did_you_mean
from .federation import flags as federation_flags
from .papers import PAPERS
from .roles import ROLES

DATA_FIELDS = ("data", "data_root", "shares", "owners", "seed")
NETWORK_FIELDS = (
    *("model", "cut", "weights", "defence", "epochs", "batch_size", "optimiser"),
    *("learning_rate", "halve_every", "schedule", "order", "augment", "keep", "precision"),
)
MACHINE_FIELDS = ("threads", "device")
NETWORK_COMMANDS = ("serve", "relay", "join", "admit", "predict", "health")
ELSEWHERE = {"identity": "identity_command", "audit": "auditing.command"} | dict.fromkeys(
    NETWORK_COMMANDS, "federation.command"
)
REPEATABLE = ("defence", "cut", "adversaries")


class Parser(argparse.ArgumentParser):
    """Says what an unknown flag was probably meant to be."""

    def error(self, message: str) -> NoReturn:
        if "invalid choice: " in message:
            word = message.split("'")[1]
            known = [str(c) for a in self._actions for c in a.choices or ()]
            message = f"{word!r}: unknown{did_you_mean(word, known)}"
        raise ConfigError(message)

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """All of ``argv``, or a ``ConfigError``."""
        arguments, extra = self.parse_known_args(argv)
        if extra:
            parser: argparse.ArgumentParser = self
            for name in (arguments.command, getattr(arguments, "action", None)):
                for action in parser._actions:
                    if name and isinstance(action.choices, dict):
                        parser = action.choices[name]
            known = [o for a in parser._actions for o in a.option_strings]
            unknown = [w.partition("=")[0] for w in extra if w.startswith("-")] or extra
            raise ConfigError("\n".join(f"{w}: unknown{did_you_mean(w, known)}" for w in unknown))
        return arguments


def build_parser() -> Parser:
    """All commands and their flags."""
    parser = Parser(
        prog="cutlayer",
        description="Split a neural network between data and compute, attack the split, defend it.",
        epilog="cutlayer COMMAND --help explains a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument(
        "--print-completion", choices=("bash", "zsh", "tcsh"), help="print a completion script"
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, allow_abbrev=False)

    demo = add("demo", "Steal handwritten digits from a split network, and see what helps.")
    _store(demo)
    demo.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="where the report goes"
    )
    demo.add_argument(
        "--network",
        action="store_true",
        help="instead: train and predict between real processes, and compare with one process",
    )
    demo.add_argument("--threads", type=int, default=0, metavar="N", help=_text("threads"))
    demo.add_argument("--seed", type=int, default=0, metavar="N", help=_text("seed"))

    cuts = add("cuts", "List every place where a network can be cut.")
    _fields(cuts, ("model", "data", "data_root", "weights"))
    cuts.add_argument(
        "--input-shape", metavar="C,H,W", help="shape of one input, instead of a data set"
    )
    cuts.add_argument("--classes", type=int, default=10, metavar="N", help="with --input-shape")
    cuts.add_argument("--json", action="store_true", help="print JSON")

    train = add("train", "Train a split network.")
    _fields(train, (*DATA_FIELDS, *NETWORK_FIELDS, *MACHINE_FIELDS))
    _run_flags(train)

    attack = add(
        "attack", "Attack a split network or a prediction API; train it first where need be."
    )
    _fields(attack, (*DATA_FIELDS, *NETWORK_FIELDS, *ATTACK_FIELDS, *MACHINE_FIELDS))
    _run_flags(attack)
    attack.add_argument(
        "--no-reference", action="store_true", help="do not attack the undefended network as well"
    )

    audit_flags.add_flags(
        add("audit", "Find where to cut, which defence and how strong, by the strongest attacker."),
        _fields,
    )

    _reproduce(add("reproduce", "Regenerate a paper's tables and figures beside its own."))

    report = add("report", "Write one self-contained page about runs.")
    report.add_argument("runs", nargs="*", metavar="RUN", help="ids or their beginnings; none: all")
    report.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="where the report goes"
    )
    report.add_argument("--title", default="cutlayer report", help="heading of the page")
    _store(report)

    convert = add("convert", "Turn a .pt file of weights into safetensors; only tensors are read.")
    convert.add_argument("file", type=Path, metavar="FILE", help="written by torch.save")
    convert.add_argument(
        "--out", type=Path, metavar="FILE", help="default: the same name, .safetensors"
    )

    _identity(add("identity", "Certificates for parties on several machines."))
    federation_flags.add_commands(add)

    runs = add("runs", "Look after the stored runs.")
    actions = runs.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    for name, text, arguments in (
        ("list", "All runs, with the space they take.", ()),
        ("show", "One run's record.", ("run",)),
        ("diff", "What differs between two runs.", ("run", "other")),
        ("remove", "Delete runs.", ("run",)),
        ("export", "Copy records, without tensors, to a folder that can be published.", ("run",)),
    ):
        action = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        for argument in arguments:
            many = "+" if name in ("remove", "export") else None
            action.add_argument(argument, metavar="RUN", nargs=many, help="id or its beginning")
        if name == "export":
            action.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to")
        _store(action)
    return parser


def _reproduce(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paper",
        metavar="PAPER",
        type=_paper,
        choices=tuple(PAPERS),
        help="; ".join(f"{p.name}: {p.title}" for p in PAPERS.values()),
    )
    parser.add_argument(
        "--data-root", type=Path, metavar="DIR", help="folder that holds the data files"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="a smoke run on the embedded digits")
    length.add_argument(
        "--full",
        action="store_true",
        help="; ".join(f"{p.name}: {p.full}" for p in PAPERS.values() if p.full),
    )
    parser.add_argument(
        "--setting",
        choices=("both", *dict.fromkeys(s for p in PAPERS.values() for s in p.settings)),
        help="as the published code did it, or as the text says (default: both)",
    )
    parser.add_argument(
        "--workers", type=_count, default=1, metavar="K", help="processes, one thread each"
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="database of the study, to share the work among machines; default: SQLite",
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="findings (default: results/PAPER; with --full, results/PAPER-full)",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="KEY", help="tasks of that key; * fits all"
    )
    parser.add_argument("--page-only", action="store_true", help="run nothing, write the page")
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="Markdown with the markers of a summary"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and stop")
    parser.add_argument(
        "--precision",
        choices=("bfloat16", "float32"),
        default="bfloat16",
        help="of the classifiers' training (default: bfloat16)",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="cpu", help="default: cpu"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="where the report goes"
    )
    _store(parser)


def _identity(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        action: argparse.ArgumentParser
        action = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        action.add_argument(
            "--authority",
            type=Path,
            default=Path("authority"),
            metavar="DIR",
            help="folder of the authority (default: authority)",
        )
        return action

    create = add("create", "Make an authority, which signs the certificates of a federation.")
    create.add_argument("federation", metavar="FEDERATION", help="name, in small letters")
    issue = add("issue", "Make a key and a certificate for one party.")
    issue.add_argument("role", choices=ROLES, metavar="ROLE", help=", ".join(ROLES))
    issue.add_argument("name", metavar="NAME", help="of the party, in small letters")
    issue.add_argument(
        "--address",
        action="append",
        default=[],
        metavar="HOST",
        help="host name or IP address for other tools, repeatable; ours go by the name",
    )
    issue.add_argument(
        "--days", type=_count, default=90, metavar="N", help="in force for so long (default: 90)"
    )
    issue.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for that party (default: NAME)"
    )
    revoke = add("revoke", "Take a certificate back.")
    revoke.add_argument("certificate", type=Path, metavar="FILE", help="certificate.pem")
    sign_text = "Sign a policy as its auditor: look at what is in it first."
    sign = actions.add_parser("sign", help=sign_text, description=sign_text, allow_abbrev=False)
    sign.add_argument("policy", type=Path, metavar="POLICY", help="file, from 'cutlayer audit'")
    sign.add_argument(
        "--identity", type=Path, required=True, metavar="DIR", help="folder of an auditor"
    )


def _paper(text: str) -> str:
    """The name of a paper that can be reproduced."""
    if text not in PAPERS:
        raise argparse.ArgumentTypeError(f"{text!r}: unknown{did_you_mean(text, PAPERS)}")
    return text


def _count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 wanted, got {text!r}")
    return int(text)


def _text(field: str) -> str:
    return str(FIELDS[field].metadata["help"])


def _store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", type=Path, default=Path("runs"), metavar="DIR", help="folder of the runs"
    )


def _fields(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """One flag for each field; absent flags stay out, so that a YAML file may speak."""
    for name in names:
        field = FIELDS[name]
        default = "" if field.default in (None, ()) else f" (default: {field.default})"
        choices = field.metadata.get("choices")
        parser.add_argument(
            "--" + name.replace("_", "-"),
            dest=name,
            action="append" if name in REPEATABLE else "store",
            default=argparse.SUPPRESS,
            metavar="|".join(choices) if choices else field.metadata.get("metavar", "N"),
            help=f"{_text(name)}{default}",
        )


def _run_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML of the same fields")
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and stop")
    parser.add_argument(
        "--checkpoint-every", type=_count, default=500, metavar="N", help="steps (default: 500)"
    )
    _store(parser)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 2 wrong input, 130 stopped by Ctrl-C."""
    # Threads that wait by spinning starve each other on a busy machine; read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = build_parser()
    try:
        arguments = parser.parse(argv)
        if arguments.version:
            from importlib.metadata import version

            print(f"cutlayer {version('cutlayer')}")
            return 0
        if arguments.print_completion:
            import shtab

            print(shtab.complete(parser, arguments.print_completion))
            return 0
        if arguments.command is None:
            parser.print_help()
            return 0
        return _command(arguments)
    except (ConfigError, ValueError) as e:
        return _refuse(str(e))
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as e:
        return _refuse(_disk(e))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def _command(arguments: argparse.Namespace) -> int:
    from .memory import keep_freed_memory

    keep_freed_memory()
    command, action = arguments.command, getattr(arguments, "action", None)
    module = ELSEWHERE.get(command, "commands")
    name = f"{command}_{action}" if action else str(command)
    run: Callable[[argparse.Namespace], int]
    run = getattr(importlib.import_module(f".{module}", __package__), name)
    return run(arguments)


def _refuse(text: str) -> int:
    for line in text.splitlines():
        print(f"cutlayer: {line}", file=sys.stderr)
    return 2


def _disk(e: OSError) -> str:
    where = f" {e.filename}" if e.filename else ""
    if e.errno == errno.ENOSPC:
        return f"disk full{where}: free some space or choose another --store; no run was harmed"
    if e.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"cannot write{where}: {e.strerror}; choose another --store or --out"
    return f"{e.strerror or e}{where}"


if __name__ == "__main__":
    sys.exit(main())
