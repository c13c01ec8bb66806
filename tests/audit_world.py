"""A made-up world for an audit's search: what every attacker would find is a formula.

Spawned processes import this file too. Every piece of work leaves a line in ``calls`` beside the
store; ``world.json`` there says what the world is like.
"""

import json
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cutlayer.auditing.attackers import QUICK_VICTIMS
from cutlayer.auditing.families import FAMILIES, Loudness, Rung, strongest, to_try
from cutlayer.auditing.request import Request
from cutlayer.auditing.result import Place
from cutlayer.auditing.search import Plan, Search
from cutlayer.auditing.task import Task
from cutlayer.config import parse
from cutlayer.record import Estimate

SHARE = {"affine-inverse": 0.6, "inverse-network": 0.8, "shadow": 0.4, "maximum-likelihood": 1.0}
CUTS = {"a": 0.99, "b": 0.7, "c": 0.6}  # what leaks undefended, to the strongest
_N = 500


def perform(key: str, context: dict[str, Any]) -> dict[str, Any]:
    """Look a task up in the world."""
    folder = Path(context["store"])
    world = json.loads((folder / "world.json").read_text())
    with (folder / "calls").open("a") as file:
        file.write(f"{key} {os.getpid()}\n")
    time.sleep(world.get("seconds", 0.0))
    task = Task.from_plain(context["tasks"][key])
    assert task.attacker is None or task.attacker.name not in world.get("broken", ()), "broken"
    if world.get("kill") == key and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    found = {"weigh": _weighed, "retrain": _retrained, "attack": _attacked}[task.kind](
        task, context["limits"]
    )
    if task.kind == "attack" and task.defence and world.get("alike"):
        found["leaks"] = {"individual": _near(0.3, 0.05)}
    if task.seed is not None and world.get("lucky") == task.configuration:
        found["leaks"] = {"individual": _near(0.95, 0.01)}
    return {**found, "seconds": world.get("seconds", 0.0), "cpu": 0.0}


def lost(name: str) -> float:
    """Accuracy that a defence costs."""
    if name == "undefended":
        return 0.0
    return 0.01 * _strength(name) * (0.5 if name.startswith("nopeek") else 1.0)


def leakage(cut: str, name: str, attacker: str) -> float:
    """To one attacker."""
    hidden = 0.0 if name == "undefended" else min(0.9, 0.3 * _strength(name))
    return CUTS[cut] * (1 - hidden) * SHARE[attacker]


def _strength(name: str) -> float:
    return float(name.rpartition("-")[2])


def _near(value: float, spread: float) -> dict[str, Any]:
    low, high = value - spread, value + spread
    return asdict(Estimate(value=value, low=low, high=high, n=_N))


def _weight(rung: Rung) -> dict[str, Any]:
    gone = lost(rung.name)
    return {
        **asdict(rung),
        "accuracy": _near(0.95 - gone, 0.004),
        "lost": _near(gone, 0.0 if rung.name == "undefended" else 0.002),
        "ece": _near(0.02, 0.01),
    }


def _weighed(task: Task, limits: dict[str, float]) -> dict[str, Any]:
    if task.loudness is not None:
        rungs = FAMILIES[task.name].ladder(Loudness(**task.loudness))
        last = strongest(rungs, lambda r: lost(r.name) + 0.002 <= limits["accuracy_loss"])
        return {"configurations": [_weight(rungs[i]) for i in to_try(last)]}
    found = [_weight(Rung("undefended", "undefended", ()))]
    return {
        "loudness": {"rms": 1.0, "l1": 1.0, "l2": 1.0},
        "milliseconds": 1.0,
        "step": 0.0,
        "configurations": found,
    }


def _retrained(task: Task, limits: dict[str, float]) -> dict[str, Any]:
    return {
        **_weight(Rung(task.name, task.about, task.defence)),
        "loudness": {"rms": 1.0, "l1": 1.0, "l2": 1.0},
        "milliseconds": 1.0,
    }


def _attacked(task: Task, limits: dict[str, float]) -> dict[str, Any]:
    assert task.attacker is not None
    exact = leakage(task.cut, task.name, task.attacker.name)
    seen = exact if task.thorough else 0.9 * exact
    luck = 0.01 * (task.seed or 0)
    error = {"mse": _near(0.1, 0.01)}
    return {
        "run": f"attack-{task.key.replace('/', '-')}",
        "leaks": {"individual": _near(seen + luck, 0.01)},
        "guesses": {"individual": 0.002},
        "scores": error,
        "flags": [],
        "strength": _strength(task.name) if task.defence else None,
        "command": f"cutlayer attack --cut {task.cut}",
        "victims": _N if task.thorough else QUICK_VICTIMS,
        "seed": task.seed or 0,
        "pictures": {"shape": [1], "victims": [0], "classes": ["0"], "x": [[9]], "x_hat": [[8]]},
    }


def plan(folder: Path, *, until: float | None = None, world: Any = None, **asked: Any) -> Plan:
    """A search in the world, its store in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "world.json").write_text(json.dumps(world or {}))
    limits = {"accuracy_loss": 0.02, **asked.pop("limits", {})}
    asked = {"families": ("laplace", "nopeek")} | asked
    request = Request(experiment=parse({}), **asked)
    places = [
        Place(name=name, kind="Linear", shape=(8,), bytes=32, parameters=9, flops=100 * (i + 1))
        for i, name in enumerate(CUTS)
    ]
    return Plan(
        request=request.plain(),
        base={"world": 1},
        places=[asdict(p) for p in places],
        weights="none",
        store=str(folder),
        limits=limits,
        anywhere="a",
        storage=f"sqlite:///{folder / 'audit.db'}",
        name="audit-world",
        started=time.time(),
        until=until,
        perform="audit_world:perform",
    )


def calls(folder: Path) -> list[str]:
    """Keys of all that was worked at, in order."""
    path = folder / "calls"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def searched(folder: Path, **asked: Any) -> Search:
    """A search in this process, carried out."""
    found = Search(plan(folder, **asked))
    found.run()
    return found
