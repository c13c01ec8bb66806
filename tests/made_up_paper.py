"""A paper that nobody wrote: two classifiers, an attack, and a task that can be made to fail."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cutlayer.experiment import carry_out, run_training
from cutlayer.papers.findings import Findings, Found
from cutlayer.papers.paper import Options, Paper
from cutlayer.papers.perform import Job, keep_strip, perform_task, plain
from cutlayer.papers.task import Task

SHARES = {"owners": 200, "validation": 50, "auxiliary": 150, "attacker_validation": 40,
          "judge": 20, "victims": 60}  # fmt: skip
FAULT = "fault"  # while a file of this name is in the folder of the findings, one task fails
_task = partial(Task, revision=3)


def tasks(settings: Sequence[str], options: Options) -> list[Task]:
    raw = {"data": "digits", "shares": SHARES, "epochs": 1, "threads": 1, "data_root": "/a"}
    raw |= {"device": options.device, "precision": options.precision}
    attack = raw | {"attack": {"kind": "inverse-network", "args": {"epochs": 1}}}
    bare, seeded = "digits/classifier/seed-0", "digits/classifier/seed-1"
    return [
        _task(bare, "classifier", raw),
        _task(seeded, "classifier", raw | {"seed": 1}),
        _task("digits/attack/undefended", "attack", attack, (bare,)),
        _task("digits/count/epochs", "count", raw, (bare, seeded), {"by": 2}),
    ]


def _classifier(job: Job) -> Found:
    record = run_training(job.assembly, job.store)
    return {"record": plain(record), "seconds": record.seconds}


def _attack(job: Job) -> Found:
    outcome = carry_out(job.assembly, job.store)
    keep_strip(outcome, job.results, job.task.key)
    return {"record": plain(outcome.record)}


def _count(job: Job) -> Found:
    if (job.results / FAULT).exists():
        raise ValueError("made to fail")
    return {"count": job.task.options["by"] * len(job.after), "seconds": {"cpu": 7.0}}


def perform(key: str, context: Mapping[str, Any]) -> None:
    runs = {"classifier": _classifier, "attack": _attack, "count": _count}
    perform_task(PAPER, runs, key, context)


def _write_page(results: Path, out: Path, settings: Sequence[str]) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    page = out / "index.html"
    page.write_text("\n".join(key for key, _, _ in Findings(results).seconds()))
    return page


def _write_summary(results: Path, page: Path) -> None:
    page.write_text(str(len(list(Findings(results).seconds()))))


PAPER = Paper(
    name="made-up",
    title="Nobody 2031, nothing",
    settings=(),
    tasks=tasks,
    perform="made_up_paper:perform",
    write_page=_write_page,
    write_summary=_write_summary,
)
