"""``cutlayer reproduce PAPER``: carry out what is missing, then write the page."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..data.download import data_root
from ..errors import ConfigError
from ..study import Outcome, Trial, run_study
from .findings import Findings, is_done
from .paper import Options
from .task import Task, kind_of
from .titcombe2021.settings import NAMES, Name
from .titcombe2021.tasks import tasks

PERFORM = "cutlayer.papers.titcombe2021.perform:perform"


def run(arguments: argparse.Namespace) -> int:
    """The command. 1 where a task failed; what is finished is kept, and the page says the rest."""
    settings = _settings(arguments.setting)
    options = Options(
        data_root=None if arguments.quick else str(data_root(arguments.data_root)),
        quick=arguments.quick,
        precision=arguments.precision,
        device=arguments.device,
    )
    results = arguments.results or Path(
        arguments.store / "quick-titcombe2021" if arguments.quick else "results/titcombe2021"
    )
    wanted = _chosen(tasks(settings, options), arguments.only)
    if arguments.dry_run:
        return _dry_run(wanted, results)
    outcome = None
    if not arguments.page_only:
        outcome = _carry_out(wanted, settings, options, results, arguments)
    from .titcombe2021.page import write_page  # with plotly: only where a page is wanted
    from .titcombe2021.summary import write_summary

    page = write_page(results, arguments.out, settings=settings)
    if arguments.summary:
        write_summary(results, arguments.summary)
    print(f"open the report: {page.resolve()}")
    return _said(outcome) if outcome else 0


def _settings(name: str) -> tuple[Name, ...]:
    return NAMES if name == "both" else tuple(n for n in NAMES if n == name)


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
    wanted: Sequence[Task],
    settings: Sequence[Name],
    options: Options,
    results: Path,
    arguments: argparse.Namespace,
) -> Outcome:
    results.mkdir(parents=True, exist_ok=True)
    storage = arguments.storage or f"sqlite:///{(results / '.study.db').resolve()}"
    keys = {t.key for t in wanted}
    trials = [Trial(t.key, tuple(k for k in t.after if k in keys), t.address) for t in wanted]
    context = {
        "settings": list(settings),
        "options": asdict(options),
        "store": str(arguments.store.resolve()),
        "results": str(results.resolve()),
    }
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("titcombe2021", total=len(trials))

        def show(done: int, total: int, running: tuple[str, ...]) -> None:
            bars.update(bar, completed=done, total=total, description=" · ".join(running) or "…")

        return run_study(
            "titcombe2021",
            trials,
            perform=PERFORM,
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
    took: dict[str, list[float]] = {}
    for key, _, cpu in Findings(results).seconds():
        took.setdefault(kind_of(key), []).append(cpu)
    table = Table(title="would run")
    for column in ("kind", "tasks", "finished", "CPU minutes left, by those finished"):
        table.add_column(column)
    for kind in dict.fromkeys(kind_of(t.key) for t in wanted):
        mine = [t for t in wanted if kind_of(t.key) == kind]
        done = sum(is_done(t, results) for t in mine)
        left = len(mine) - done
        guess = f"{left * median(took[kind]) / 60:.0f}" if took.get(kind) else "–"
        table.add_row(kind, str(len(mine)), str(done), guess)
    Console().print(table)
    return 0
