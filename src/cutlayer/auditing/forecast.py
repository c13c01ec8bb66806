"""``cutlayer audit --dry-run``: minutes and memory, from a few steps at every cut."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from ..assembly import Assembly
from ..config import Experiment
from ..network import bare_model
from ..parts import Part, constructed
from ..planning import estimate
from ..record import Store
from ..split import CutPoints
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


@dataclass(frozen=True)
class Ground:
    """What is measured on: a network, freshly built, and the data."""

    assembly: Assembly
    example: Tensor
    model: nn.Module
    points: CutPoints
    store: Store

    @classmethod
    def of(cls, e: Experiment, store: Store) -> "Ground":
        assembly = Assembly.of(e)
        example = assembly.dataset.take(assembly.shares.train[:2])[0]
        model = bare_model(e, tuple(example.shape[1:]), assembly.classes)
        return cls(assembly, example, model, points_of(model, example), store)

    @property
    def anywhere(self) -> str:
        """A cut, for what does not depend on it."""
        return first_cut(self.assembly.experiment, self.points)

    def training(self) -> tuple[float, int]:
        """Minutes of the network's training, and bytes of memory."""
        if not self.assembly.experiment.passes:
            return 0.0, 0
        (cost,), memory = estimate(
            self.assembly.variant(cut=(self.anywhere,)), self.store, attack=False
        )
        return cost.seconds / 60, memory

    def attack(self, cut: str, threat: str, attack: str) -> tuple[float, int]:
        """The same of a quick attack there."""
        learn = len(self.assembly.auxiliary.learn)
        own = min(QUICK_SAMPLES, learn)
        part = constructed(Part.parse(attack), "attack")
        settings = {"cut": (cut,), "threat": threat, "attack": part, "auxiliary_samples": own}
        costs, memory = estimate(self.assembly.variant(**settings), self.store, attack=True)
        return next(c.seconds for c in costs if c.stage == "attack") / 60 * own / learn, memory


def forecast(request: Request, store: Store, *, workers: int) -> int:
    """Print what an audit would take; the exit code."""
    stages, memory = stages_of(request, store)
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
    stages, _ = stages_of(request, store)
    return sum(s.minutes for s in stages) / workers


def stages_of(request: Request, store: Store) -> tuple[list[Stage], int]:
    """Each stage, and the bytes of memory that one process takes."""
    ground = Ground.of(request.experiment, store)
    training, most = ground.training()
    found = [Stage("training", int(training > 0), training)]
    for scope in scopes(request):
        if scope.threats == (CLIENT,):
            stages, memory = _of_answers(scope, ground)
        else:
            stages, memory = _of_cuts(scope, ground, training)
        found, most = [*found, *stages], max(most, memory)
    return found, most


def _of_answers(request: Request, ground: Ground) -> tuple[list[Stage], int]:
    """Of what is released, where nothing is cut."""
    quick, memory = ground.attack(ground.anywhere, CLIENT, "confidence-inversion:epochs=10")
    tried, looks = round(_SERVED * len(request.families)), AT_ONCE * _ROUNDS * _thorough(request)
    return [
        Stage("answers, behind each defence", tried, tried * quick),
        Stage("strongest attackers of answers", looks, looks * 4 * quick),
        _other_seeds(request, quick),
    ], memory


def _thorough(request: Request) -> int:
    """How many attackers take a closer look."""
    most = request.most_victims
    return len(attackers("thorough", request.feared, protect=request.protect, most_victims=most))


def _other_seeds(request: Request, quick: float) -> Stage:
    """Of the worst attacker of what will be recommended."""
    more = request.attack_seeds - 1
    return Stage("other seeds of the worst attacker", more, more * 4 * quick)


def _of_cuts(request: Request, ground: Ground, training: float) -> tuple[list[Stage], int]:
    flops, parameters = size_of(ground.model, ground.example)
    limits = in_numbers(request.limits, parameters=parameters, flops=flops)
    live = [p for p in places(ground.points, request, limits) if not p.ruled_out]
    attack = "inverse-network:epochs=8"
    measured = [ground.attack(p.name, "black-box", attack) for p in live]
    memory = max((peak for _, peak in measured), default=0)
    return _stages(request, [minutes for minutes, _ in measured], training), memory


def _stages(request: Request, quick: Sequence[float], training: float) -> list[Stage]:
    served = [f for f in request.families if not family_of(f).retrained]
    again = [f for f in request.families if family_of(f).retrained]
    chosen = sorted(quick, reverse=True)[:MOST_CUTS]
    worst = max(chosen, default=0.0)
    defended = round(_SERVED * len(served))
    trainings = sum(len(family_of(f).steps) for f in again)
    scale = request.epochs_again / max(request.experiment.passes, 1)
    looks = AT_ONCE * _ROUNDS * _thorough(request)
    return [
        Stage("every cut, undefended", 3 * len(quick), sum(quick)),
        Stage("defences that need no training", len(chosen) * defended, sum(chosen) * defended),
        Stage(
            "defences that need a training", 3 * trainings, trainings * (scale * training + worst)
        ),
        Stage("strongest attackers", looks, looks * 4 * worst),
        _other_seeds(request, worst),
    ]
