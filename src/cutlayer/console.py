"""Runs in front of a person: progress bars, and what is finished when they press Ctrl-C."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from . import report as reports
from .assembly import Assembly
from .described import name_of
from .experiment import run_attack, samples_of
from .record import Record, Store
from .trained import OnProgress


@contextmanager
def shown(console: Console) -> Iterator[Callable[[str], OnProgress]]:
    """Progress bars; gives a function from a run's name to the callback of its stages."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:

        def start(name: str) -> OnProgress:
            tasks: dict[str, Any] = {}

            def on_progress(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    for earlier in tasks.values():
                        bars.update(earlier, visible=False)
                    tasks[stage] = bars.add_task(f"{stage}: {name}")
                bars.update(tasks[stage], completed=done, total=total)

            return on_progress

        yield start


def write_report(store: Store, attacks: Sequence[Record], folder: Path, **more: Any) -> Path:
    """The report about attack runs and the networks behind them; where its page is."""
    networks = [store.record(v) for v in sorted({r.victim for r in attacks if r.victim})]
    return reports.write([*networks, *attacks], samples_of(store, attacks), folder, **more)


def attack_all(several: list[Assembly], store: Store, *, every: int = 500) -> list[Record]:
    """Attack several configurations; Ctrl-C keeps what is finished."""
    records: list[Record] = []
    try:
        with shown(Console(stderr=True)) as start:
            for assembly in several:
                name = name_of(assembly.experiment)
                records.append(run_attack(assembly, store, every=every, on_progress=start(name)))
    except KeyboardInterrupt:
        if records:
            where = write_report(store, records, store.root / "partial-report", partial=True)
            print(f"stopped after {len(records)} of {len(several)}; partial report: {where}")
        raise
    return records
