"""``cutlayer audit --dry-run``: minutes and memory, from a few steps at every cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from ..assembly import Assembly
from ..network import bare_model
from ..parts import Part, constructed
from ..planning import Cost, estimate
from ..record import Store
from .attackers import QUICK_SAMPLES, attackers
from .families import family_of
from .limits import CLIENT, in_numbers
from .request import Request, scopes
from .search import AT_ONCE, MOST_CUTS
from .subject import first_cut, places, points_of, size_of

_ROUNDS = 3  # of closer looks, as a rule
_SERVED = 2.5  # configurations of a defence that needs no training, at a cut


@dataclass(frozen=True)
class Stage:
    """A part of the search. tasks: How many. minutes: Of one process, about."""

    name: str
    tasks: int
    minutes: float


def forecast(request: Request, store: Store, *, workers: int) -> int:
    """Print what an audit would take; the exit code."""
    stages, memory = _stages_of_all(request, store)
    table = Table(title="would run (estimated from a few steps)")
    for column in ("stage", "tasks", "minutes of one process"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in stages:
        table.add_row(stage.name, str(stage.tasks), f"{stage.minutes:.1f}")
    total = sum(s.minutes for s in stages)
    Console().print(table)
    print(f"about {total / workers:.0f} minutes with {workers} processes; --budget ends it earlier")
    print(f"memory: about {workers * memory / 2**30:.1f} GiB")
    return 0


def expected_minutes(request: Request, store: Store, *, workers: int) -> float:
    """That an audit will take, about."""
    stages, _ = _stages_of_all(request, store)
    return sum(s.minutes for s in stages) / workers


def _stages_of_all(request: Request, store: Store) -> tuple[list[Stage], int]:
    """Each stage, and the bytes of memory that one process takes."""
    found: list[Stage] = []
    most = 0
    for scope in scopes(request):
        stages, memory = (_of_answers if scope.threats == (CLIENT,) else stages_of)(scope, store)
        found, most = [*found, *stages], max(most, memory)
    return found, most


def _of_answers(request: Request, store: Store) -> tuple[list[Stage], int]:
    """Of what is released, where nothing is cut."""
    e = request.experiment
    assembly = Assembly.of(e)
    example = assembly.dataset.take(assembly.shares.train[:2])[0]
    points = points_of(bare_model(e, tuple(example.shape[1:]), assembly.classes), example)
    api = assembly.variant(
        cut=(first_cut(e, points),),
        threat=CLIENT,
        attack=constructed(Part.parse("confidence-inversion:epochs=10"), "attack"),
        auxiliary_samples=min(QUICK_SAMPLES, len(assembly.auxiliary.learn)),
    )
    costs, memory = estimate(api, store, attack=True)
    quick, crew = _minutes(costs), attackers("thorough", request.feared, **_about(request))
    tried, looks = round(_SERVED * len(request.families)), AT_ONCE * _ROUNDS * len(crew)
    return [
        Stage("answers, behind each defence", tried, tried * quick),
        Stage("strongest attackers of answers", looks, looks * 4 * quick),
    ], memory


def _about(request: Request) -> dict[str, Any]:
    return {"protect": request.protect, "most_victims": request.most_victims}


def stages_of(request: Request, store: Store) -> tuple[list[Stage], int]:
    """The same of cuts."""
    e = request.experiment
    assembly = Assembly.of(e)
    example = assembly.dataset.take(assembly.shares.train[:2])[0]
    model = bare_model(e, tuple(example.shape[1:]), assembly.classes)
    points = points_of(model, example)
    flops, parameters = size_of(model, example)
    limits = in_numbers(request.limits, parameters=parameters, flops=flops)
    live = [p for p in places(points, request, limits) if not p.ruled_out]
    training, memory = 0.0, 0
    if e.passes:
        trained = assembly.variant(cut=(first_cut(e, points),))
        (cost,), memory = estimate(trained, store, attack=False)
        training = cost.seconds / 60
    quick = []
    for p in live:
        at_cut = assembly.variant(
            cut=(p.name,),
            threat="black-box",
            attack=constructed(Part.parse("inverse-network:epochs=8"), "attack"),
            auxiliary_samples=min(QUICK_SAMPLES, len(assembly.auxiliary.learn)),
        )
        costs, peak = estimate(at_cut, store, attack=True)
        memory = max(memory, peak)
        quick.append(_minutes(costs) * min(1.0, QUICK_SAMPLES / len(assembly.auxiliary.learn)))
    return _stages(request, quick, training), memory


def _minutes(costs: Sequence[Cost]) -> float:
    return next(c.seconds for c in costs if c.stage == "attack") / 60


def _stages(request: Request, quick: Sequence[float], training: float) -> list[Stage]:
    served = [f for f in request.families if not family_of(f).retrained]
    again = [f for f in request.families if family_of(f).retrained]
    chosen = sorted(quick, reverse=True)[:MOST_CUTS]
    worst = max(chosen, default=0.0)
    crew = attackers("thorough", request.feared, **_about(request))
    defended = round(_SERVED * len(served))
    trainings = sum(len(family_of(f).steps) for f in again)
    scale = request.epochs_again / max(request.experiment.passes, 1)
    looks = AT_ONCE * _ROUNDS * len(crew)
    return [
        Stage("training", int(training > 0), training),
        Stage("every cut, undefended", 3 * len(quick), sum(quick)),
        Stage("defences that need no training", len(chosen) * defended, sum(chosen) * defended),
        Stage(
            "defences that need a training", 3 * trainings, trainings * (scale * training + worst)
        ),
        Stage("strongest attackers", looks, looks * 4 * worst),
    ]
