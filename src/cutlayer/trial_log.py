"""Who tried what, and how that ended: an optuna study, used as a log.

Every try of a trial is a row: RUNNING while a process is at it, then COMPLETE, FAIL with an
``error`` (it raised), FAIL without one (its process died), or PRUNED (handed back: stopped, or
another process was first).

optuna's own queue is left aside. It pops in the order of arrival, so a trial that had to wait comes
after everything that had not; and SQLite knows no row locks, so two workers may pop the same one.
Here whoever wants a trial writes its row, and then looks whether an earlier row claims the same.
The rows of a study are numbered one at a time, so exactly one finds nobody before it.
"""

import hashlib
import json
import logging
import math
import os
import platform
import random
import threading
import time
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import ConfigError, said

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy.engine import URL

DEATHS = 3  # so often may the process of one trial die
_KINDS = "sqlite:///folder/study.db or postgresql://user@host/database"


class HandedBackError(Exception):
    """Raised by a trial that stops of its own accord: it is nobody's fault, and open again."""


@dataclass(frozen=True)
class Standing:
    """Where a trial stands."""

    state: Literal["open", "running", "finished", "failed"]
    reason: str = ""  # of failing, one line
    found: Any = None  # what the trial returned


OPEN = Standing("open")


class TrialLog:
    """The log as one process sees it; a trial is known by key and content address.

    Args:
        heartbeat: Seconds between the signs of life of a running trial. Without one for twice as
            long, its process counts as dead.
        forgiven: Numbers of rows that do not speak against a trial, though they failed.
    """

    def __init__(
        self, study: str, storage: str, *, heartbeat: int, forgiven: Iterable[int] = ()
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.heartbeat = heartbeat
        self.forgiven = set(forgiven)
        with _loggers_left_alone():
            self.storage = _open(storage, heartbeat)
        self.study = optuna.create_study(
            study_name=study, storage=self.storage, load_if_exists=True
        )
        self.study_id = self.storage.get_study_id_from_name(study)
        self._seen: set[int] = set()

    def close(self) -> None:
        self.storage.remove_session()
        self.storage.engine.dispose()

    def rows(self, *states: "TrialState") -> "list[FrozenTrial]":
        return self.study.get_trials(deepcopy=False, states=states or None)

    def forgive(self) -> None:
        """Let what failed so far be tried again."""
        from optuna.trial import TrialState

        self.forgiven = {r.number for r in self.rows(TrialState.FAIL)}

    def standings(self, *, before: float = math.inf) -> dict[tuple[str, str], Standing]:
        """By key and address, as the rows with a smaller number tell; ``OPEN`` without any."""
        tries = defaultdict(list)
        for r in self.rows():
            if r.number < before and "key" in r.user_attrs:
                tries[r.user_attrs["key"], r.user_attrs["address"]].append(r)
        return defaultdict(lambda: OPEN, {k: self._standing(v) for k, v in tries.items()})

    def _standing(self, tries: "list[FrozenTrial]") -> Standing:
        from optuna.trial import TrialState

        states = {r.state for r in tries}
        if TrialState.COMPLETE in states:
            done = next(r for r in tries if r.state == TrialState.COMPLETE)
            return Standing("finished", found=done.user_attrs.get("found"))
        if TrialState.RUNNING in states:
            return Standing("running")
        failed = [r for r in tries if r.state == TrialState.FAIL and r.number not in self.forgiven]
        if errors := [r.user_attrs["error"] for r in failed if "error" in r.user_attrs]:
            return Standing("failed", errors[-1])
        if len(failed) >= DEATHS:
            return Standing("failed", f"its process died {len(failed)} times; enough memory?")
        return OPEN

    def attempt(self, key: str, address: str, action: Callable[[], object]) -> None:
        """Do it, unless another process was first, and log how it ended and what it returned.

        Raises:
            KeyboardInterrupt: as the action was interrupted; the trial is handed back.
        """
        from optuna.trial import TrialState, create_trial

        claim = {"key": key, "address": address, "host": _host(), "pid": os.getpid()}
        template = create_trial(state=TrialState.RUNNING, user_attrs=claim)
        row = self.storage.create_new_trial(self.study_id, template)
        ended, about = TrialState.PRUNED, dict[str, Any]()
        try:
            number = self.storage.get_trial(row).number
            if self.standings(before=number)[key, address] == OPEN:  # nobody was first
                with self._beating(row), suppress(HandedBackError):
                    about = _attempt(action)
                    ended = TrialState.FAIL if "error" in about else TrialState.COMPLETE
        finally:  # after Ctrl-C, it is still PRUNED
            self._end(row, ended, **about)

    def _end(self, row: int, state: "TrialState", **about: Any) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        values = [0.0] if state == TrialState.COMPLETE else None  # a study wants a value
        with suppress(UpdateFinishedTrialError):  # somebody took its process for dead
            for key, value in about.items():
                self.storage.set_trial_user_attr(row, key, value)
            self.storage.set_trial_state_values(row, state, values)

    @contextmanager
    def _beating(self, row: int) -> Iterator[None]:
        """Signs of life; optuna gives them only within its own loop."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self.heartbeat):
                with suppress(Exception):  # the next one may get through
                    self.storage.record_heartbeat(row)

        self.storage.record_heartbeat(row)
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def sweep(self, *, handed_back: bool = False) -> None:
        """Close the rows of dead processes, so that somebody takes their trials again.

        On this machine a process is looked up; elsewhere it is dead when its heartbeat is stale.
        """
        from optuna.storages import fail_stale_trials
        from optuna.trial import TrialState

        for r in self.rows(TrialState.RUNNING):
            if r.user_attrs.get("host") == _host() and not _alive(r.user_attrs["pid"]):
                self._end(r._trial_id, TrialState.PRUNED if handed_back else TrialState.FAIL)
            elif r.number not in self._seen:  # killed before its first beat, it never turns stale
                self.storage.record_heartbeat(r._trial_id)
            self._seen.add(r.number)
        with _experimental():
            fail_stale_trials(self.study)


def database_says(e: BaseException) -> str:
    """The database's own words, from within what optuna and sqlalchemy wrap around them."""
    e = e.__cause__ or e
    return " ".join(str(getattr(e, "orig", None) or e).split())


def _attempt(action: Callable[[], object]) -> dict[str, Any]:
    """What the action found, as JSON makes it; or what went wrong."""
    try:
        found = action()
        return {} if found is None else {"found": json.loads(json.dumps(found, allow_nan=False))}
    except HandedBackError:
        raise
    except (Exception, SystemExit) as e:
        return {"traceback": traceback.format_exc(), "error": " ".join(said(e).split())}


@cache
def _host() -> str:
    """This machine, as far as its process numbers reach: a container has its own."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/etc/machine-id").read_text())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return f"{parts[0]}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:8]}"


def _alive(pid: int) -> bool:
    """Whether a process of this machine lives; when in doubt, its heartbeat will tell."""
    if os.name != "posix":
        return True  # where os.kill ends a process
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:  # another user's, or no /proc
        return True
    return state not in ("Z", "X")  # dead, but not yet fetched by its parent


@contextmanager
def _experimental() -> Iterator[None]:
    """Heartbeats are an experiment of optuna's since 2.9; it says so at every use."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


@contextmanager
def _loggers_left_alone() -> Iterator[None]:
    """Whoever makes the tables configures logging from a file of its own, which turns off every
    logger that there is."""
    root, every = logging.getLogger(), logging.root.manager.loggerDict.values()
    before = [(one, one.disabled) for one in every if isinstance(one, logging.Logger)]
    level, handlers = root.level, root.handlers[:]
    try:
        yield
    finally:
        for one, disabled in before:
            one.disabled = disabled
        root.setLevel(level)
        root.handlers[:] = handlers


def _open(url: str, heartbeat: int) -> "RDBStorage":
    """The database of a study, with its tables.

    Raises:
        ConfigError: it cannot be used; the message says what to do.
    """
    import sqlalchemy as sql
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy.pool import NullPool

    try:
        parsed = sql.engine.make_url(url)
        sql.create_engine(parsed, poolclass=NullPool).connect().close()
    except sql.exc.ArgumentError as e:
        got = url.rpartition("@")[2]  # no password
        raise ConfigError(f"a study's storage is a URL like {_KINDS}: got {got!r}") from e
    except ImportError as e:
        get = {"psycopg": "psycopg[binary]", "MySQLdb": "mysqlclient"}.get(e.name or "", e.name)
        kind = url.partition(":")[0]
        raise ConfigError(f"a study's storage {kind}://… needs: pip install '{get}'") from e
    except sql.exc.DBAPIError as e:
        raise ConfigError(_refused(parsed, e)) from e
    options: dict[str, Any] = {"pool_pre_ping": True}  # a trial outlasts a server's patience
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ConfigError(f"a study's storage must last, like {_KINDS}: got {url!r}")
        options["connect_args"] = {"timeout": 60}
    escaped = url.replace("{", "{{").replace("}", "}}")  # optuna takes it for a template
    for pause in (0.1, 0.2, 0.4, 0.8, 1.6, 0):
        try:
            with _experimental():
                return RDBStorage(escaped, options, heartbeat_interval=heartbeat)
        except RuntimeError as e:  # the tables are another release's; optuna says what to do
            raise ConfigError(f"a study's storage {parsed.render_as_string()}: {e}") from e
        except (StorageInternalError, sql.exc.SQLAlchemyError) as e:
            if not pause:
                raise ConfigError(_refused(parsed, e)) from e
        time.sleep(pause * random.uniform(0.5, 1.5))  # another process is making the tables
    raise AssertionError("unreachable")


def _refused(url: "URL", e: Exception) -> str:
    way = "it must be a study's or not exist yet, in a folder that exists and is writable"
    if url.get_backend_name() != "sqlite":
        way = "its server must be up, and this user allowed to make tables"
    shown = url.render_as_string()  # without the password
    return f"a study's storage {shown} cannot be used: {database_says(e)}; {way}"
