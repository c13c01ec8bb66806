"""A study performs every trial once, in order, whatever is killed, and says what failed."""

import json
import logging
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from study_trials import HERE, Trial, calls, perform, start, work

from cutlayer.errors import ConfigError
from cutlayer.study import Outcome, _start, run_study
from cutlayer.trial_log import OPEN, TrialLog, _alive

NAMES = [f"{n}/{kind}" for n in range(3) for kind in ("train", "attack")]
SIX = [Trial(k, after=(k.replace("attack", "train"),) if "attack" in k else ()) for k in NAMES]

PROC = Path("/proc/self/status").exists()


def launch(folder: Path, trials: list[Trial] = SIX, **told: Any) -> "subprocess.Popen[str]":
    """A start of a study in a process, and process group, of its own."""
    told |= {"folder": str(folder), "trials": [(t.key, t.after, t.address) for t in trials]}
    command = [sys.executable, str(HERE / "study_trials.py"), json.dumps(told)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def ended(process: "subprocess.Popen[str]", seconds: float = 60.0) -> tuple[int, str, str]:
    """Exit code and what a process said; two heartbeats would be 120 seconds."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def wait_for(folder: Path, what: str, number: int = 1) -> None:
    for _ in range(3000):
        if sum(line[0] == what for line in calls(folder)) >= number:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {what} in {calls(folder)}")


def states(folder: Path) -> list[str]:
    log = TrialLog("trials", f"sqlite:///{folder}/study.db", heartbeat=60)
    found = [r.state.name for r in log.rows()]
    log.close()
    return found


def files(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.glob("*.txt")}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables, to copy: making them takes as long as a test."""
    folder = tmp_path_factory.mktemp("empty")
    TrialLog("trials", f"sqlite:///{folder}/study.db", heartbeat=60).close()
    return folder / "study.db"


@pytest.fixture
def folder(empty: Path, tmp_path: Path) -> Path:
    shutil.copy(empty, tmp_path)
    return tmp_path


@pytest.fixture
def log(folder: Path) -> Iterator[TrialLog]:
    opened = TrialLog("trials", f"sqlite:///{folder}/study.db", heartbeat=1)
    yield opened
    opened.close()


# --- what is returned, and how long there is --------------------------------


def test_what_a_trial_returns_is_found_by_this_start_and_the_next(folder: Path) -> None:
    trials = [Trial("a"), Trial("b")]
    told = {"returns": {"a": {"ssim": 0.25, "flags": ["small-n"]}}}
    first = start(folder, trials, context=told)
    assert first.found == told["returns"]
    assert start(folder, trials) == first  # nothing is done again


def test_what_is_no_json_fails_the_trial(folder: Path) -> None:
    outcome = start(folder, [Trial("a")], context={"returns": {"a": math.nan}})
    assert "JSON compliant" in outcome.failed["a"]
    assert not outcome.found


def test_no_trial_is_begun_that_would_end_too_late(folder: Path) -> None:
    trials = [Trial("long", seconds=1000), Trial("after", after=("long",)), Trial("short")]
    outcome = start(folder, trials, until=time.time() + 500)
    assert outcome.finished == ("short",)
    assert outcome.not_run["long"] == "there was no time left for it"
    assert start(folder, trials).finished == ("long", "after", "short")


def test_a_trial_that_is_handed_back_is_open_again(folder: Path) -> None:
    told = {"kinds": {"a": "handed back"}}
    assert start(folder, [Trial("a")], context=told).finished == ("a",)
    assert work(folder)["a"] == 2


# --- order, sharing ---------------------------------------------------------


def test_the_first_on_the_list_that_is_ready_is_taken_next(folder: Path) -> None:
    trials = [Trial("a", after=("b", "c")), Trial("b"), Trial("d", after=("b",)), Trial("c")]
    seen: list[tuple[int, int, tuple[str, ...]]] = []
    outcome = start(folder, trials, on_progress=lambda *p: seen.append(p))
    assert outcome == Outcome(finished=("a", "b", "d", "c"), failed={}, not_run={})
    assert [key for what, key, _ in calls(folder) if what == "work"] == ["b", "d", "c", "a"]
    assert seen == [(0, 4, ("b",)), (1, 4, ("d",)), (2, 4, ("c",)), (3, 4, ("a",)), (4, 4, ())]
    assert start(folder, trials) == outcome
    assert len(calls(folder)) == 8  # nothing was even called again


def test_two_workers_share_out_with_one_thread_each(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    seen: list[tuple[int, int, tuple[str, ...]]] = []
    context = {"kinds": {"0/train": "together"}, "seconds": 0.1, "threads": True}
    outcome = start(folder, SIX, workers=2, context=context, on_progress=lambda *p: seen.append(p))
    assert outcome.finished == tuple(NAMES)
    assert set(work(folder).values()) == {1}
    assert len({pid for *_, pid in calls(folder)} - {str(os.getpid())}) == 2
    assert {text.split()[-1] for text in files(folder).values()} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert seen[-1] == (6, 6, ())
    done: set[str] = set()
    for what, key, _ in calls(folder):
        assert what != "work" or "train" in key or key.replace("attack", "train") in done
        done |= {key} if what == "done" else set()


def test_two_starts_at_once_share_out(tmp_path: Path) -> None:
    """Nobody has made the database yet; both try."""
    context = {"kinds": {"0/train": "together"}}
    pair = [launch(tmp_path, context=context) for _ in range(2)]
    for code, out, err in map(ended, pair):
        assert (code, err) == (0, "")
        assert json.loads(out)["finished"] == NAMES
    assert set(work(tmp_path).values()) == {1}
    assert len({pid for *_, pid in calls(tmp_path)}) == 2


def test_a_study_silences_nobody(tmp_path: Path) -> None:
    mine, root = logging.getLogger("cutlayer.somebody"), logging.getLogger()
    before = root.level, root.handlers[:]
    TrialLog("silent", f"sqlite:///{tmp_path}/study.db", heartbeat=60).close()
    assert not mine.disabled
    assert (root.level, root.handlers) == before


def test_whoever_comes_second_leaves_the_trial_alone(log: TrialLog) -> None:
    """The race that no test can time: a claim is written while another one is being written."""
    done = []
    sees = TrialLog.standings

    def meanwhile(self: TrialLog, **k: float) -> Any:
        TrialLog.standings = sees  # type: ignore[method-assign]
        log.attempt("a", "", lambda: done.append("second"))  # sees the row of the first
        return sees(self, **k)

    TrialLog.standings = meanwhile  # type: ignore[method-assign]
    log.attempt("a", "", lambda: done.append("first"))
    assert done == ["first"]
    assert [r.state.name for r in log.rows()] == ["COMPLETE", "PRUNED"]


# --- what goes wrong --------------------------------------------------------


def test_a_trial_that_raises_leaves_the_others_alone(folder: Path) -> None:
    trials = [*SIX, Trial("last", after=("0/attack",)), Trial("out")]
    kinds = {"kinds": {"0/train": "raise", "out": "exit"}}
    outcome = start(folder, trials, context=kinds)
    assert outcome.finished == tuple(NAMES[2:])
    assert outcome.failed == {"0/train": "no such thing as 0/train", "out": "SystemExit: over"}
    reason = "comes after '0/train', which failed"
    assert outcome.not_run == {"0/attack": reason, "last": reason}
    assert work(folder)["0/train"] == 1

    again = start(folder, trials, workers=2)
    assert again == Outcome(tuple(t.key for t in trials), {}, {})
    assert work(folder)["1/train"] == 1


def test_a_worker_that_dies_is_replaced_and_three_deaths_are_enough(folder: Path) -> None:
    kinds = {"kinds": {"0/train": "die", "1/train": "die once"}}
    outcome = start(folder, SIX, workers=2, context=kinds)
    assert outcome.finished == tuple(NAMES[2:])
    assert outcome.failed == {"0/train": "its process died 3 times; enough memory?"}
    assert outcome.not_run.keys() == {"0/attack"}
    assert work(folder)["0/train"] == 3
    assert work(folder)["1/train"] == 2


def test_workers_that_cannot_begin_are_not_started_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    only_here = ModuleType("only_here")
    only_here.perform = perform  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    with pytest.raises(RuntimeError, match=r"3 workers ended before they took a trial.*code 1"):
        start(folder, SIX, perform="only_here:perform", workers=2)
    assert "No module named 'only_here'" in capfd.readouterr().err


def test_a_storage_that_is_lost_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    def lost(*_: object) -> None:
        raise StorageInternalError("no") from OSError("the server\nwent away")

    monkeypatch.setattr(RDBStorage, "create_new_trial", lost)
    with pytest.raises(OSError, match=r"'trials' lost its storage: the server went away; start"):
        start(folder, SIX)


# --- killed and started again -----------------------------------------------


def test_killed_three_times_it_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    start(whole, SIX)
    moments = random.Random(0)
    for workers in (1, 2, 1):
        process = launch(killed, workers=workers, context={"seconds": 0.15})
        wait_for(killed, "work", work(killed).total() + 1)
        time.sleep(moments.uniform(0.0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    began = time.monotonic()
    assert start(killed, SIX) == start(whole, SIX)
    assert time.monotonic() - began < 100  # the heartbeats of the dead are not waited for
    assert files(killed) == files(whole)
    done = [key for what, key, _ in calls(killed) if what == "done"]
    assert len(done) == len(set(done))
    assert sum(work(killed).values()) <= 6 + 1 + 2 + 1
    assert not [s for s in states(killed) if s == "RUNNING"]


@pytest.mark.skipif(not PROC, reason="the system does not tell")
def test_a_worker_is_born_deaf_to_ctrl_c() -> None:
    """Else it would complain about an interrupted import."""
    crew: list[Any] = []
    _start("no plan", crew)
    status = Path(f"/proc/{crew[0].pid}/status").read_text()
    crew[0].kill()
    crew[0].join()
    blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
    assert blocked & 1 << signal.SIGINT - 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(not PROC, reason="the system does not tell")
def test_a_dead_process_that_nobody_has_fetched_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    assert _alive(process.pid)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not _alive(process.pid)
    process.wait()


def test_workers_end_after_their_trial_when_the_parent_is_killed(folder: Path) -> None:
    context = {"kinds": {"0/train": "held", "1/train": "held"}}
    process = launch(folder, workers=2, context=context)
    wait_for(folder, "work", 2)
    process.kill()
    process.wait()

    def release(done: int, total: int, running: tuple[str, ...]) -> None:
        if done == 2:  # nothing is left but to wait for them
            assert running == ("0/train", "1/train")
            (folder / "release").touch()

    outcome = start(folder, SIX, on_progress=release)
    assert outcome.finished == tuple(NAMES)
    assert set(work(folder).values()) == {1}
    by_process = Counter(pid for what, _, pid in calls(folder) if what == "work")
    assert sorted(by_process.values()) == [1, 1, 4]
    process.communicate()  # their output is closed: they are gone


def test_ctrl_c_hands_the_trial_back(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        start(folder, SIX, context={"kinds": {"1/train": "interrupt"}})
    assert states(folder) == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert start(folder, SIX).finished == tuple(NAMES)


def test_ctrl_c_stops_the_workers_too(folder: Path) -> None:
    kinds = {"kinds": {"0/train": "wait", "1/train": "wait"}}
    process = launch(folder, workers=2, context=kinds)
    wait_for(folder, "waits", 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    code, _, err = ended(process)
    assert code == -signal.SIGINT
    assert err.count("Traceback") == 1
    assert set(states(folder)) == {"PRUNED"}
    assert sum(what == "tidied" for what, *_ in calls(folder)) == 2
    for pid in {pid for *_, pid in calls(folder)}:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_silent_machine_loses_its_trial_and_a_long_trial_does_not(
    folder: Path, log: TrialLog
) -> None:
    """The machine died between its claim and its first sign of life, which is the hardest case."""
    from optuna.trial import TrialState, create_trial

    claim = {"key": "a", "address": "", "host": "elsewhere", "pid": 1}
    log.study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=claim))
    context = {"kinds": {"b": "watched"}}
    outcome = start(folder, [Trial("a"), Trial("b")], heartbeat=1, context=context)
    assert outcome.finished == ("a", "b")
    rows = [(r.user_attrs["key"], r.state.name) for r in log.rows()]
    assert rows == [("a", "FAIL"), ("b", "COMPLETE"), ("a", "COMPLETE")]


# --- a list that grows ------------------------------------------------------


def test_added_trials_are_performed_and_finished_ones_are_not(folder: Path) -> None:
    start(folder, SIX[:4])
    assert start(folder, SIX).finished == tuple(NAMES)
    assert set(work(folder).values()) == {1}


def test_another_address_is_another_trial(folder: Path) -> None:
    for address in ("one", "two", "one"):
        trials = [Trial("a", address=address), Trial("b", after=("a",), address=address)]
        assert start(folder, trials, context={"address": address}).finished == ("a", "b")
    assert sorted(files(folder).values()) == ["aone", "atwo", "bone", "btwo"]
    assert work(folder) == {"a": 2, "b": 2}


# --- messages ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("trials", "changes", "message"),
    [
        ([Trial("a"), Trial("a")], {}, "2 trials have the key 'a'"),
        ([Trial("a"), Trial("b", ("aa",))], {}, "'b' comes after 'aa', .* did you mean 'a'?"),
        ([Trial("a", ("b",)), Trial("b", ("a",))], {}, "each of these comes after the next: "),
        ([Trial("a")], {"workers": 0}, "workers must be >= 1, got 0"),
        ([Trial("a")], {"heartbeat": 0}, "heartbeat must be >= 1, got 0"),
        ([Trial("a")], {"perform": "study_trials"}, "'package.module:function': got 'study"),
        ([Trial("a")], {"perform": "study_trials:none"}, "no function of that name in study_"),
        ([Trial("a")], {"context": {"x": {1}}}, "context must be plain JSON: .* set"),
    ],
)
def test_what_cannot_be_performed_is_refused(
    trials: list[Trial], changes: dict[str, Any], message: str, folder: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        start(folder, trials, **changes)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("runs/study.db", r"is a URL like sqlite:///folder/study.db or .*: got 'runs/study.db'"),
        ("nothing://me:secret@host/x", r"is a URL like sqlite:.* got 'host/x'"),
        ("sqlite://", r"must last, like sqlite:///folder/study.db .*: got 'sqlite://'"),
        (
            "sqlite:///none/study.db",
            r"none/study.db cannot be used: .*; it must be .* a folder that ex",
        ),
    ],
)
def test_a_storage_that_cannot_be_used_says_what_to_do(storage: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as e:
        run_study("x", [], perform="study_trials:perform", context={}, storage=storage)
    assert "secret" not in str(e.value)


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    odd = tmp_path / "{0} 5% é"
    odd.mkdir()
    TrialLog("x", f"sqlite:///{odd}/study.db", heartbeat=60).close()
    assert (odd / "study.db").exists()


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlalchemy

    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr(sqlalchemy, "create_engine", missing)
    with pytest.raises(ConfigError, match=r"postgresql://… needs: pip install 'psycopg\[bin"):
        TrialLog("x", "postgresql://me:secret@host/x", heartbeat=60)


def test_the_command_line_does_not_pay_for_it() -> None:
    code = "import cutlayer.study, sys; sys.exit({'optuna', 'torch'} & {*sys.modules} != set())"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_trial_without_rows_is_open(log: TrialLog) -> None:
    assert log.standings()["a", ""] == OPEN
