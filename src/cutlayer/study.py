"""Many trials, shared out over processes and machines, that can be killed and started again.

A trial is a call of one function with a key. What it finds it keeps itself, by content address, or
returns it, if that is small; the study keeps who tried what, how that ended, and what was returned.
"""

import json
import math
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, field
from functools import partial
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from typing import Any

from .errors import did_you_mean
from .memory import keep_freed_memory
from .trial_log import DEATHS, HandedBackError, Standing, TrialLog, database_says

__all__ = [
    "HEARTBEAT",
    "HandedBackError",
    "Outcome",
    "Trial",
    "found_before",
    "run_study",
    "silent",
]

OnProgress = Callable[[int, int, tuple[str, ...]], None]  # done or failed, total, running keys
_POLL = 0.5  # seconds
NO_TIME = "there was no time left for it"
HEARTBEAT = 60  # seconds between the signs of life of a running trial
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True)
class Trial:
    """One piece of work. The same key with another address is another trial."""

    key: str  # unique and readable: "authors-code/noise-0.5/attack"
    after: tuple[str, ...] = ()  # keys that must be finished before this one starts
    address: str = ""  # content address of what the result depends on, see record.address
    seconds: float = 0.0  # it will take about so long; it is not begun where that is too late


@dataclass(frozen=True)
class Outcome:
    """How a study ended; every key is in one of the three, in the order given."""

    finished: tuple[str, ...]  # with those of earlier starts
    failed: dict[str, str]  # by key the reason, one line
    not_run: dict[str, str]  # by key the reason, one line
    found: dict[str, Any] = field(default_factory=dict)  # by key: what it returned


def silent(done: int, total: int, running: tuple[str, ...]) -> None:
    """Shows no progress."""


def run_study(
    name: str,
    trials: Sequence[Trial],
    *,
    perform: str,
    context: Mapping[str, Any],
    storage: str,
    workers: int = 1,
    heartbeat: int = HEARTBEAT,
    until: float | None = None,
    on_progress: OnProgress = silent,
) -> Outcome:
    """Perform the trials that are not finished yet, in the order given.

    Every machine that calls this with the same name and storage takes its share. After a kill the
    same call goes on: at once on the same machine, elsewhere two heartbeats later. A trial that
    raises, or whose process dies three times, is left for the next start; the others go on.

    Args:
        trials: What is to be done; the first on the list that is ready is taken next. Trials of
            earlier starts stay finished.
        perform: "package.module:function", called as ``function(key, context)``. It must look for
            its own record first: after a kill or a lost connection it is called once more. It
            returns ``None``, or what ``Outcome.found`` is to hold, as JSON makes it. Where it
            raises ``HandedBackError``, the trial is open again.
        context: What else ``perform`` needs. It arrives as JSON makes it.
        storage: Database URL: ``sqlite:///runs/study.db`` on one machine, ``postgresql://…`` for
            several (SQLite is not safe on most network file systems).
        workers: 1 performs in this process, with its threads. More start as many processes with
            one thread each; a script that does so needs ``if __name__ == "__main__":``.
        heartbeat: Seconds between a running trial's signs of life; the same on every machine.
        until: As ``time.time()``: no trial is begun that would end later.
        on_progress: Called with the number of trials done, that of all, and the keys that run now
            on any machine; with one worker between trials only.

    Raises:
        ValueError: the trials contradict one another, ``perform`` is no function, ``context`` is
            no JSON, or a count is not positive.
        ConfigError: the storage cannot be used.
        OSError: the storage was lost on the way.
        RuntimeError: workers end before they take a trial.
        KeyboardInterrupt: after the trials that ran here were handed back.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    _check(trials, workers=workers, heartbeat=heartbeat)
    _function(perform)
    plan: dict[str, Any] = {"trials": [astuple(t) for t in trials], "perform": perform}
    plan |= {"name": name, "storage": storage, "context": context, "heartbeat": heartbeat}
    plan |= {"until": until}
    try:
        plan = json.loads(json.dumps(plan))
    except TypeError as e:
        raise ValueError(f"a study's context must be plain JSON: {e}") from e
    try:
        with _opened(plan) as study:
            study.log.sweep()
            study.log.forgive()
            if workers == 1:
                study.work(on_progress)
            else:
                _supervise(study, plan, workers, on_progress)
            return study.outcome()
    except (StorageInternalError, SQLAlchemyError) as e:
        raise OSError(f"study {name!r} lost its storage: {database_says(e)}; start it again") from e


def found_before(name: str, storage: str) -> dict[tuple[str, str], Any]:
    """What the trials of a study returned so far, by key and address.

    Raises:
        ConfigError: the storage cannot be used.
    """
    with closing(TrialLog(name, storage, heartbeat=HEARTBEAT)) as log:
        every = log.standings().items()
        return {k: s.found for k, s in every if s.state == "finished" and s.found is not None}


class _Study:
    """A list of trials and the log about them."""

    def __init__(
        self,
        trials: Sequence[Trial],
        log: TrialLog,
        perform: Callable[[str], object],
        until: float | None = None,
    ) -> None:
        self.trials, self.log, self.perform = trials, log, perform
        self.until = math.inf if until is None else until

    def standings(self) -> dict[str, Standing]:
        known = self.log.standings()
        return {t.key: known[t.key, t.address] for t in self.trials}

    def work(self, on_progress: OnProgress, needed: Callable[[], bool] = lambda: True) -> None:
        """Take trials until none is left, here or elsewhere, or until nobody needs us."""
        while needed():
            self.log.sweep()
            now = self.standings()
            ready = (t for t in self.trials if now[t.key].state == "open")
            ready = (t for t in ready if all(now[k].state == "finished" for k in t.after))
            trial = next((t for t in ready if time.time() + t.seconds < self.until), None)
            _show(now | ({trial.key: Standing("running")} if trial else {}), on_progress)
            if trial:
                self.log.attempt(trial.key, trial.address, partial(self.perform, trial.key))
            elif any(s.state == "running" for s in now.values()):
                time.sleep(_POLL)
            else:
                return

    def outcome(self) -> Outcome:
        now, waits = self.standings(), dict[str, str]()
        after = {t.key: t.after for t in self.trials}
        for key in TopologicalSorter(after).static_order():  # first what others come after
            if now[key].state in ("open", "running"):
                missing = [k for k in after[key] if now[k].state != "finished"]
                causes = [waits.get(k, f"comes after {k!r}, which failed") for k in missing]
                waits[key] = causes[0] if causes else self._why_open()
        return Outcome(
            finished=tuple(k for k, s in now.items() if s.state == "finished"),
            found={k: s.found for k, s in now.items() if s.found is not None},
            failed={k: s.reason for k, s in now.items() if s.state == "failed"},
            not_run={k: waits[k] for k in now if k in waits},
        )

    def _why_open(self) -> str:
        if self.until < math.inf:
            return NO_TIME
        return "another start has just taken it up again"


def _show(now: Mapping[str, Standing], on_progress: OnProgress) -> None:
    done = sum(s.state in ("finished", "failed") for s in now.values())
    on_progress(done, len(now), tuple(k for k, s in now.items() if s.state == "running"))


@contextmanager
def _opened(plan: Mapping[str, Any]) -> Iterator[_Study]:
    """The study that a plan describes, in this process."""
    function = _function(plan["perform"])
    facts = {"heartbeat": plan["heartbeat"], "forgiven": plan.get("forgiven", ())}
    trials = [Trial(key, tuple(after), *rest) for key, after, *rest in plan["trials"]]
    with closing(TrialLog(plan["name"], plan["storage"], **facts)) as log:
        yield _Study(trials, log, lambda key: function(key, plan["context"]), plan["until"])


def _function(path: str) -> Callable[[str, dict[str, Any]], object]:
    module, _, name = path.partition(":")
    if not (module and name):
        raise ValueError(f"perform must be 'package.module:function': got {path!r}")
    found = getattr(import_module(module), name, None)
    if not callable(found):
        raise ValueError(f"perform {path!r}: no function of that name in {module}")
    return found  # type: ignore[no-any-return]


def _check(trials: Sequence[Trial], **counts: int) -> None:
    faults = [f"{name} must be >= 1, got {n}" for name, n in counts.items() if n < 1]
    keys = Counter(t.key for t in trials)
    faults += [f"{n} trials have the key {k!r}" for k, n in keys.items() if n > 1]
    faults += [
        f"{t.key!r} comes after {k!r}, which is no trial{did_you_mean(k, keys)}"
        for t in trials
        for k in t.after
        if k not in keys
    ]
    try:
        TopologicalSorter({t.key: t.after for t in trials}).prepare()
    except CycleError as e:
        faults.append(f"each of these comes after the next: {', '.join(e.args[1])}")
    if faults:
        raise ValueError("; ".join(faults))


def _supervise(study: _Study, plan: dict[str, Any], workers: int, on_progress: OnProgress) -> None:
    """Keep so many processes at work until they find nothing left."""
    text = json.dumps(plan | {"forgiven": sorted(study.log.forgiven)})
    crew: list[SpawnProcess] = []
    tries, fruitless = len(study.log.rows()), 0
    now = study.standings()
    _show(now, on_progress)
    left = sum(s.state != "finished" for s in now.values())
    try:
        for _ in range(min(workers, left)):
            _start(text, crew)
        while crew:
            connection.wait([p.sentinel for p in crew], timeout=_POLL)
            for p in [p for p in crew if p.exitcode is not None]:
                crew.remove(p)
                if p.exitcode == 0:
                    continue
                tries, before = len(study.log.rows()), tries
                fruitless = 0 if tries > before else fruitless + 1
                if fruitless == DEATHS:
                    raise RuntimeError(
                        f"study {plan['name']!r}: {fruitless} workers ended before they took a "
                        f"trial, the last with exit code {p.exitcode}; what it said is above"
                    )
                study.log.sweep()
                _start(text, crew)
            _show(study.standings(), on_progress)
    finally:
        stop_processes(crew)
        if crew:
            study.log.sweep(handed_back=True)


def start_process(target: Callable[[str], object], told: str) -> SpawnProcess:
    """One more process, with one thread: its environment must say so before torch is loaded.

    It is born deaf to Ctrl-C, which is its parent's affair; the parent hears it a little later.

    Args:
        target: A function of a module. told: What it is called with.
    """
    process = multiprocessing.get_context("spawn").Process(target=target, args=(told,))
    before = {k: os.environ[k] for k in _ONE_THREAD if k in os.environ}
    if os.name == "posix":
        resource_tracker.ensure_running()  # if it started in between, it would lift the block
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        os.environ.update(_ONE_THREAD)
        process.start()
    finally:
        for name in _ONE_THREAD.keys() - before:
            os.environ.pop(name, None)
        os.environ.update(before)
        if os.name == "posix":
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return process


def stop_processes(crew: Sequence[SpawnProcess]) -> None:
    """Tell all to stop, and see to it that they do."""
    for p in crew:
        p.terminate()
    for p in crew:
        p.join(10)
        p.kill()  # it is deep in a library, where no signal is heard
        p.join()


def _start(plan: str, crew: list[SpawnProcess]) -> None:
    crew.append(start_process(_worker, plan))


def begin_process() -> None:
    """What a started process does first: SIGTERM stops it as Ctrl-C would."""
    keep_freed_memory()
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _worker(plan: str) -> None:
    """A worker process; when told to stop it hands its trial back."""
    begin_process()
    parent = multiprocessing.parent_process()
    assert parent is not None
    try:
        with _opened(json.loads(plan)) as study:
            if torch := sys.modules.get("torch"):
                torch.set_num_threads(1)
            study.work(silent, needed=parent.is_alive)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)
