"""``cutlayer audit``."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..config import FIELDS, parse, settings
from ..errors import ConfigError
from ..parts import each_constructed
from ..record import Store, store_at
from ..trained import OnProgress
from ..wire.identity import Credentials
from .compare import compared
from .deliver import deliver
from .forecast import expected_minutes, forecast
from .limits import FAMILIES, Limits
from .request import Request, checked
from .result import Audit
from .run import carry_out
from .search import OnTask


def audit(arguments: argparse.Namespace) -> int:
    """``cutlayer audit``: exit code 1 under ``--fail-on`` what leaks too much."""
    if arguments.compare:
        return compared(*arguments.compare, out=arguments.out, ceiling=arguments.fail_on)
    request, workers = checked(request_of(arguments)), workers_of(arguments.workers)
    if arguments.dry_run:
        return forecast(request, Store(arguments.store), workers=workers)
    auditor = Credentials.load(arguments.identity) if arguments.identity else None
    store = store_at(arguments.store)
    console = Console(stderr=True)
    expected = arguments.budget
    if expected is None and console.is_terminal:
        expected = expected_minutes(request, store, workers=workers)
    with _shown(console, expected, about=arguments.budget is None) as (on_progress, on_task):
        found, what = carry_out(
            request,
            store=store,
            storage=arguments.storage,
            workers=workers,
            minutes=arguments.budget,
            command=command_of(sys.argv[1:]),
            on_progress=on_progress,
            on_task=on_task,
        )
    _told(found)
    if found.released is not None:
        print("What is released:")
        _told(found.released)
    said = deliver(
        found,
        what,
        arguments.out,
        store=store,
        queries=arguments.queries,
        auditor=auditor,
    )
    print("\n".join(said))
    return failed(found, arguments.fail_on)


def _told(found: Audit) -> None:
    Console().print(found.recommendation.words, highlight=False)
    for line in found.recommendation.reasons:
        print(f"- not {line}")
    for line in found.notes:
        print(f"- {line}")
    if found.not_examined:
        print(f"not examined ({len(found.not_examined)}), all on the page; the first:")
        for line in found.not_examined[:5]:
            print(f"- {line}")


def failed(found: Audit, ceiling: float | None) -> int:
    """Exit code under ``--fail-on``: 1 unless every recommendation keeps to it for certain."""
    if ceiling is None:
        return 0
    if found.released is not None and failed(found.released, ceiling):
        return 1
    key = found.recommendation.key
    e = found.configuration(key).leakage(found.protect, found.threats) if key else None
    high = None if e is None else e.value if e.high is None else e.high
    if high is not None and high <= ceiling:
        return 0
    what = "nothing is recommended" if high is None else f"the leakage may be {high:.3f}"
    print(f"cutlayer: --fail-on {ceiling}: {what}", file=sys.stderr)
    return 1


def request_of(arguments: argparse.Namespace) -> Request:
    """What the flags ask for.

    Raises:
        ConfigError: everything that is wrong, one line each.
    """
    given = vars(arguments)
    asked = {k: v for k, v in given.items() if k in FIELDS and k not in _OWN}
    raw = settings({**asked, "config": given.get("config")})
    if given.get("model"):
        raw["model"] = given["model"]
    cuts = given["cut"] or raw.pop("cut", ())
    limits = {f.name: _limit(f.name, given.get(f.name)) for f in fields(Limits)}
    attribute = given.get("attribute")
    return Request(
        experiment=parse(raw),
        protect=given["protect"],
        threats=tuple(given["threat"]),
        limits=Limits(**limits),
        cuts=(cuts,) if isinstance(cuts, str) else tuple(cuts),
        families=tuple(given["defence"]) or FAMILIES,
        attacks=each_constructed(given["attack"], "attack"),
        repeats=given["repeats"],
        retrain=given["retrain"],
        attribute=str(attribute) if attribute else None,
        most_victims=given["victims"],
        attack_seeds=given["attack_seeds"],
    )


_OWN = ("model", "cut", "threat", "defence", "attack", "repeats", "victims", "protect")


def _limit(name: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        if text.endswith("%"):
            return text
        raise ConfigError(f"{name}: a number wanted, got {text!r}") from None


def workers_of(wanted: int | None) -> int:
    """Processes: as many as this one may use cores, where none are asked for.

    Raises:
        ConfigError: fewer than one.
    """
    if wanted is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if wanted < 1:
        raise ConfigError(f"--workers: at least 1 wanted, got {wanted}")
    return wanted


def command_of(words: list[str]) -> str:
    """The command line as it was typed, to be typed again."""
    return shlex.join(["cutlayer", *words])


@contextmanager
def _shown(
    console: Console, minutes: float | None, *, about: bool
) -> Iterator[tuple[OnProgress, OnTask]]:
    """What is being tried now, and how long it takes."""
    started = time.time()

    def line(what: str) -> Text:
        passed = (time.time() - started) / 60
        whole = f"about {max(1, round(minutes or 0))}" if about else f"{minutes:g}"
        of = f" of {whole}" if minutes else ""
        return Text(f"{passed:.1f}{of} min  {what}")

    with Live(line("reading"), console=console, transient=True, refresh_per_second=2) as live:

        def on_progress(stage: str, done: int, total: int) -> None:
            live.update(line(f"{stage}: {done} of {total}"))

        def on_task(running: tuple[str, ...]) -> None:
            live.update(line("; ".join(running) or "deciding what comes next"))

        yield on_progress, on_task
