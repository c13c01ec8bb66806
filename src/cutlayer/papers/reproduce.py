"""``cutlayer reproduce PAPER``: carry out what is missing, then write the page."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..data.download import data_root
from ..errors import ConfigError
from ..study import Outcome, Trial, run_study
from . import PAPERS
from .findings import Findings, is_done
from .paper import Options, Paper
from .task import Task, kind_of, place_of


def run(arguments: argparse.Namespace) -> int:
    """The command. 1 where a task failed; what is finished is kept, and the page says the rest."""
    paper = PAPERS[arguments.paper]
    settings = _settings(paper, arguments.setting)
    _check_length(paper, arguments)
    options = Options(
        data_root=None if arguments.quick else str(data_root(arguments.data_root)),
        quick=arguments.quick,
        full=arguments.full,
        precision=arguments.precision,
        device=arguments.device,
    )
    results = arguments.results or _results(paper, arguments)
    wanted = _chosen(paper.tasks(settings, options), arguments.only)
    if arguments.dry_run:
        return _dry_run(wanted, results)
    outcome = None
    if not arguments.page_only:
        results.mkdir(parents=True, exist_ok=True)
        context = {
            "settings": list(settings),
            "options": asdict(options),
            "store": str(arguments.store.resolve()),
            "results": str(results.resolve()),
        }
        outcome = _carry_out(paper, wanted, context, arguments)
    page = paper.write_page(results, arguments.out, settings)
    if arguments.summary:
        paper.write_summary(results, arguments.summary)
    print(f"open the report: {page.resolve()}")
    return _said(outcome) if outcome else 0


def _settings(paper: Paper, name: str | None) -> tuple[str, ...]:
    """Those that ``--setting`` names; all of the paper's where it is not given."""
    if name is None:
        return paper.settings
    if not paper.settings:
        raise ConfigError(f"--setting {name}: {paper.name} has one setting only; leave it out")
    if name != "both" and name not in paper.settings:
        known = ", ".join(paper.settings)
        raise ConfigError(f"--setting {name}: {paper.name} has {known}, or both")
    return paper.settings if name == "both" else (name,)


def _check_length(paper: Paper, arguments: argparse.Namespace) -> None:
    if arguments.full and not paper.full:
        raise ConfigError(
            f"--full: {paper.name} is as long as its paper without it; leave it out "
            "(--precision float32 trains in the paper's precision as well)"
        )


def _results(paper: Paper, arguments: argparse.Namespace) -> Path:
    """Where findings go: those of another length lie apart, for they are others."""
    if arguments.quick:
        return Path(arguments.store / f"quick-{paper.name}")
    return Path(f"results/{paper.name}-full" if arguments.full else f"results/{paper.name}")


def _chosen(every: Sequence[Task], only: Sequence[str]) -> list[Task]:
    """The tasks whose keys fit one of the patterns, and those they come after."""
    if not only:
        return list(every)
    by_key = {t.key: t for t in every}
    chosen = {t.key for t in every if any(fnmatchcase(t.key, pattern) for pattern in only)}
    if not chosen:
        known = ", ".join(sorted({t.key.rpartition("/")[0] for t in every}))
        raise ConfigError(
            f"--only {' '.join(only)}: fits no task's key; * stands for anything, keys begin with "
            f"{known}"
        )
    needed = {k for key in chosen for k in by_key[key].after}
    return [t for t in every if t.key in chosen | needed]


def _carry_out(
    paper: Paper, wanted: Sequence[Task], context: Mapping[str, Any], arguments: argparse.Namespace
) -> Outcome:
    storage = arguments.storage or f"sqlite:///{Path(context['results']) / '.study.db'}"
    keys = {t.key for t in wanted}
    trials = [Trial(t.key, tuple(k for k in t.after if k in keys), t.address) for t in wanted]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(paper.name, total=len(trials))

        def show(done: int, total: int, running: tuple[str, ...]) -> None:
            bars.update(bar, completed=done, total=total, description=" · ".join(running) or "…")

        return run_study(
            paper.name,
            trials,
            perform=paper.perform,
            context=context,
            storage=storage,
            workers=arguments.workers,
            on_progress=show,
        )


def _said(outcome: Outcome) -> int:
    for key, reason in outcome.failed.items():
        print(f"failed: {key}: {reason}")
    if outcome.not_run:
        print(
            f"not run: {len(outcome.not_run)} that come after those; the same command tries again"
        )
    print(f"{len(outcome.finished)} tasks finished")
    return 1 if outcome.failed else 0


def _dry_run(wanted: Sequence[Task], results: Path) -> int:
    """What is missing, and the minutes that its like took where some have been carried out."""
    took: dict[tuple[str, str], list[float]] = {}
    for key, cpu in Findings(results).costs():
        took.setdefault(_like(key), []).append(cpu)
    table = Table(title=f"would run, into {results}")
    for column in ("tasks of", "kind", "wanted", "finished", "CPU minutes left, by those finished"):
        table.add_column(column)
    for like in dict.fromkeys(_like(t.key) for t in wanted):
        mine = [t for t in wanted if _like(t.key) == like]
        done = sum(is_done(t, results) for t in mine)
        left = len(mine) - done
        known = f"{left * mean(took[like]) / 60:.0f}" if like in took else "not known yet"
        table.add_row(*like, str(len(mine)), str(done), known if left else "0")
    Console().print(table)
    return 0


def _like(key: str) -> tuple[str, str]:
    """What tasks of about the same length share."""
    return place_of(key), kind_of(key)
