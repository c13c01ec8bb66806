"""From a request to an audit: the network, its cuts, the search, and what came of it."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import torch

from ..config import Experiment
from ..parts import Part
from ..record import Estimate, Store, address, store_at
from ..trained import OnProgress, environment, silent
from .advice import notable, percent, recommendation
from .answers import place_of_answers
from .crew import together
from .leakage import measure_of
from .limits import CLIENT, in_numbers
from .perform import GALLERY
from .request import Request, checked, scopes
from .result import Audit, Configuration, Pictures, Place
from .search import OnTask, Plan, Search
from .subject import Subject, places, subject

_END = 0.97  # of the budget; the rest is for the page
_FIRST = 0.75  # of it for the cuts, where what is released is looked at as well


def carry_out(
    request: Request,
    *,
    store: Store,
    storage: str | None = None,
    workers: int = 1,
    minutes: float | None = None,
    command: str = "",
    on_progress: OnProgress = silent,
    on_task: OnTask = lambda running: None,
) -> tuple[Audit, Subject]:
    """Search, and say what to do.

    Args:
        storage: Database of the study; by default a file in the store.
        workers: Processes. minutes: It ends by then, with what it has.
        on_progress: Of the first training. on_task: Of the search.

    Raises:
        ConfigError, ValueError: the request cannot be carried out.
        OSError: store or storage cannot be written.
    """
    started, request, store = time.time(), checked(request), store_at(store.root)
    what = subject(request, store, on_progress)
    until = None if minutes is None else started + 60 * minutes * _END
    found: list[Audit] = []
    for i, scope in enumerate(both := scopes(request)):
        begun, last = time.time(), i == len(both) - 1
        end = until if last or until is None else begun + _FIRST * (until - begun)
        plan = _plan(scope, what, store, storage=storage, started=begun, until=end)
        search = _searched(plan, workers, on_task)
        found.append(replace(_audit(scope, what, search, command), seconds=time.time() - begun))
    audit = replace(found[0], released=found[1]) if len(found) > 1 else found[0]
    return replace(audit, seconds=time.time() - started), what


def _plan(
    scope: Request,
    what: Subject,
    store: Store,
    *,
    storage: str | None,
    started: float,
    until: float | None,
) -> Plan:
    limits = in_numbers(scope.limits, parameters=what.parameters, flops=what.flops)
    base = _base(scope, what, limits)
    return Plan(
        request=scope.plain(),
        base=base,
        places=[asdict(p) for p in _places(scope, what, limits)],
        weights=str(what.weights),
        store=str(store.root.absolute()),
        limits=limits,
        anywhere=what.anywhere,
        storage=storage or f"sqlite:///{(store.root / 'audit.db').absolute()}",
        name=f"audit-{address(base)}",
        started=started,
        until=until,
        train_seconds=what.record.seconds.get("train", 0.0) if what.record else 0.0,
    )


def _places(scope: Request, what: Subject, limits: dict[str, float]) -> list[Place]:
    if scope.threats == (CLIENT,):
        classes = what.assembly.classes
        return [place_of_answers(classes, parameters=what.parameters, flops=what.flops)]
    return places(what.points, scope, limits)


def _searched(plan: Plan, workers: int, on_task: OnTask) -> Search:
    if workers > 1:
        torch.set_num_threads(1)  # as those who take part have it
        together(plan, workers, on_task)
    search = Search(plan, on_task)
    search.run()
    return search


def _base(request: Request, what: Subject, limits: dict[str, float]) -> dict[str, Any]:
    """Everything that every task of the audit depends on."""
    kept = ("accuracy_loss", "accuracy_floor", "distortion")
    accuracy = {k: v for k, v in limits.items() if k in kept}
    return {
        "cutlayer": version("cutlayer"),
        "data": what.assembly.dataset.checksum,
        "shares": address(what.assembly.shares.to_dict()),
        "model": str(request.experiment.model),
        "weights": what.checksum,
        "seed": request.experiment.seed,
        "accuracy": accuracy,
        "retrain": _training_of(request.experiment),
    }


def _training_of(e: Experiment) -> dict[str, Any]:
    names = ("batch_size", "optimiser", "learning_rate", "halve_every", "order", "augment")
    return {name: getattr(e, name) for name in names} | {"precision": e.precision}


def _audit(request: Request, what: Subject, search: Search, command: str) -> Audit:
    known, verdict = search.known, search.verdict
    configurations = tuple(known.configurations())
    measured = [c for c in configurations if c.attacks]
    bare = next((c for c in configurations if not c.defence), None)
    accuracy = bare.accuracy if bare else Estimate(value=None)
    e, shape = request.experiment, what.assembly.dataset.shape
    labels = what.assembly.take(what.assembly.shares.victims)[1]
    most = float(labels.bincount().max()) / len(labels)
    return Audit(
        model=_said(e.model),
        data=_said(e.data),
        protect=request.protect,
        threats=request.feared,
        limits=dict(known.limits),
        network={
            "accuracy": asdict(accuracy),
            "parameters": what.parameters,
            "flops": what.flops,
            "checksum": what.checksum,
            "epochs": e.passes,
        },
        chance={
            "individual": 1 / min(GALLERY, len(labels)),
            "class": most,
        },
        measure=measure_of(request.protect, pictures=len(shape) == 3 and min(shape[1:]) >= 11),
        places=tuple(known.places.values()),
        configurations=configurations,
        front=tuple(c.key for c in verdict.front(_examined_alike(measured))),
        recommendation=recommendation(
            verdict, configurations, limits=known.limits, whole=what.flops
        ),
        notes=(*notable(verdict, configurations), *_about_weights(e), *_about_use(accuracy, most)),
        not_examined=tuple(search.not_examined()),
        pictures=_pictures(search, measured),
        command=command,
        seed=e.seed,
        finished=environment()["finished"],
        environment=environment() | {"threads": torch.get_num_threads()},
    )


def _examined_alike(measured: Sequence[Configuration]) -> list[Configuration]:
    """What everybody was at, if anything was: who met fewer attackers only looks better."""
    return [c for c in measured if c.thorough] or list(measured)


def _about_weights(e: Experiment) -> list[str]:
    if e.weights is None or e.passes:
        return []
    return [
        "the weights were given: accuracy and leakage are those of samples that the network may "
        "have been trained on; audit it with samples that it has not seen"
    ]


def _about_use(accuracy: Estimate, most: float) -> list[str]:
    if accuracy.low is None or accuracy.low > most:
        return []
    return [
        f"the network is right for {percent(accuracy)}, where naming the commonest class is for "
        f"{100 * most:.1f} %: what it leaks says nothing of one that works; train it longer, or "
        "otherwise"
    ]


def _said(part: Part) -> str:
    """A part without what was left to its defaults."""
    return str(replace(part, args={k: v for k, v in part.args.items() if v is not None}))


def _pictures(search: Search, measured: Sequence[Configuration]) -> dict[str, Pictures]:
    """The originals, and what the worst attacker made of them in each configuration."""
    by_run = {f["run"]: f["pictures"] for f in search.known.found.values() if "pictures" in f}
    found: dict[str, Pictures] = {}
    for c in measured:
        worst = c.worst(search.request.protect, search.request.feared)
        if worst is None or worst.run not in by_run:
            continue
        raw = by_run[worst.run]
        common = {name: tuple(raw[name]) for name in ("shape", "victims", "classes")}
        for name, key in (("x", "originals"), ("x_hat", f"{c.key}|{worst.run}")):
            values = tuple(map(tuple, raw[name]))
            found.setdefault(key, Pictures(values=values, **common))
    return found
