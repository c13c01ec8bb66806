"""Several processes at one search, on this machine."""

import json
import sys
import time
from contextlib import closing
from multiprocessing import connection

from ..study import HEARTBEAT, begin_process, start_process, stop_processes
from ..trial_log import TrialLog
from .search import OnTask, Plan, searched
from .task import Task

_LOOK = 0.5  # seconds


def together(plan: Plan, workers: int, on_task: OnTask) -> None:
    """Search with so many processes, one thread each, until they find nothing left, or it is time.

    One that dies is not replaced: the others take what it had begun, and the search that comes
    after this what they leave.
    """
    told = json.dumps(plan.plain())
    with closing(TrialLog(plan.name, plan.storage, heartbeat=HEARTBEAT)) as log:
        crew = [start_process(_take_part, told) for _ in range(workers)]
        try:
            while any(p.is_alive() for p in crew) and not _over(plan):
                connection.wait([p.sentinel for p in crew if p.is_alive()], timeout=_LOOK)
                on_task(_running(log))
        finally:
            stop_processes(crew)
            log.sweep(handed_back=True)


def _over(plan: Plan) -> bool:
    return plan.until is not None and time.time() >= plan.until


def _running(log: TrialLog) -> tuple[str, ...]:
    from optuna.trial import TrialState

    return tuple(Task.words_of(r.user_attrs["key"]) for r in log.rows(TrialState.RUNNING))


def _take_part(told: str) -> None:
    """A process of the crew."""
    begin_process()
    try:
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)
        searched(json.loads(told))
    except KeyboardInterrupt:
        sys.exit(143)
