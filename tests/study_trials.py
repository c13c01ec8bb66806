"""Trials as the tests of a study want them; spawned processes import this file too.

As a script: one start of a study, told in JSON, whose outcome is printed. What a trial does is in
the context, by key; every call and every piece of work leaves a line in ``calls``.
"""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cutlayer.study import HandedBackError, Outcome, Trial, run_study
from cutlayer.trial_log import TrialLog

HERE = Path(__file__).parent


def perform(key: str, context: dict[str, Any]) -> object:
    """Write a file of the key's name, unless it is there."""
    folder, kind = Path(context["folder"]), context.get("kinds", {}).get(key)
    address = context.get("address", "")
    found = folder / f"{key.replace('/', '-')}{address}.txt"
    if found.exists():
        _note(folder, "found", key)
        return None
    _note(folder, "work", key)
    time.sleep(context.get("seconds", 0.0))
    if kind == "handed back" and work(folder)[key] == 1:
        raise HandedBackError
    if kind == "together":
        _wait(lambda: len({pid for *_, pid in calls(folder)}) == 2)
    if kind == "held":
        _wait((folder / "release").exists)
    if kind == "raise":
        raise ValueError(f"no such thing\n  as {key}")
    if kind == "exit":
        sys.exit("over")
    if kind == "wait":  # for a signal
        try:
            _note(folder, "waits", key)  # from here on a signal finds it tidying up
            time.sleep(600)
        finally:
            _note(folder, "tidied", key)
    if kind == "watched":
        watch = TrialLog("trials", f"sqlite:///{folder}/study.db", heartbeat=1)
        watch.sweep()
        time.sleep(3.3)  # without a sign of life it would be dead by now
        watch.sweep()
        watch.close()
    if kind == "die" or (kind == "die once" and work(folder)[key] == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "interrupt":
        raise KeyboardInterrupt
    threads = f" {os.environ['OMP_NUM_THREADS']}" if "threads" in context else ""
    aside = folder / f".{found.name}.{os.getpid()}"
    aside.write_text(f"{key}{address}{threads}")
    aside.rename(found)
    _note(folder, "done", key)
    return context.get("returns", {}).get(key)


def _wait(until: Callable[[], bool]) -> None:
    for _ in range(3000):
        if until():
            return
        time.sleep(0.02)


def _note(folder: Path, what: str, key: str) -> None:
    with (folder / "calls").open("a") as file:  # a short line is appended in one piece
        file.write(f"{what} {key} {os.getpid()}\n")


def calls(folder: Path) -> list[tuple[str, str, str]]:
    """What happened, in order: (call, key, process)."""
    path = folder / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(line.split()) for line in lines]  # type: ignore[misc]


def work(folder: Path) -> Counter[str]:
    """By key how often it was worked at."""
    return Counter(key for what, key, _ in calls(folder) if what == "work")


def start(folder: Path, trials: list[Trial], **changes: Any) -> Outcome:
    """One start of a study in this process."""
    context = {"folder": str(folder), **changes.pop("context", {})}
    given = {"perform": "study_trials:perform", "storage": f"sqlite:///{folder}/study.db"}
    return run_study("trials", trials, context=context, **(given | changes))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # who started the tests may ignore it
    told = json.loads(sys.argv[1])
    every = [Trial(key, tuple(after), *rest) for key, after, *rest in told.pop("trials")]
    print(json.dumps(asdict(start(Path(told.pop("folder")), every, **told))))
