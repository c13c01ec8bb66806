"""What an audit knows so far: configurations, and what every attacker made of them."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..checks import FLAGS
from ..record import Estimate
from .perform import Found, estimates
from .request import Request
from .result import Answer, Attacked, Certificate, Configuration, Place
from .task import Task


@dataclass
class Known:
    """Everything that was found, by the keys of the tasks that found it."""

    places: Mapping[str, Place]
    request: Request
    limits: Mapping[str, float]
    crew: tuple[str, ...]  # the attacks of a thorough look
    failed: set[str] = field(default_factory=set)  # keys of tasks
    tasks: dict[str, Task] = field(default_factory=dict)
    found: dict[str, Found] = field(default_factory=dict)
    attacks: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, task: Task, found: Found) -> None:
        """One more finding."""
        self.tasks[task.key], self.found[task.key] = task, found
        if task.kind == "attack":
            self.attacks[task.configuration].append(task.key)

    def weights(self) -> dict[str, tuple[Task, Found, Found]]:
        """By configuration: the task that weighed it, what that found of it, and where it was
        timed: a defence that needs no training takes what the undefended cut takes."""
        known: dict[str, tuple[Task, Found, Found]] = {}
        for key, task in self.tasks.items():
            found = self.found[key]
            if task.kind == "weigh":
                timed = self.found[f"weigh/{task.cut}/undefended"]
                for one in found["configurations"]:
                    known[f"{task.cut}/{one['name']}"] = (task, one, timed)
            elif task.kind == "retrain":
                known[task.configuration] = (task, found, found)
        return known

    def configurations(self) -> list[Configuration]:
        """All that were weighed, undefended ones first, in the order of the cuts."""
        order = {name: i for i, name in enumerate(self.places)}
        made = [self._configuration(key, *w) for key, w in self.weights().items()]
        certified = [self._certified(c, made) for c in made]
        return sorted(certified, key=lambda c: (bool(c.defence), order[c.cut], c.key))

    def _configuration(self, key: str, task: Task, weight: Found, cut: Found) -> Configuration:
        place = self.places[task.cut]
        attacks = self._attacks(key)
        strengths = [self.found[k]["strength"] for k in self.attacks[key]]
        made = Configuration(
            key=key,
            cut=task.cut,
            defence=tuple(weight["defence"]),
            words=weight["words"],
            strength=next((s for s in strengths if s), None),
            epsilon=weight["epsilon"],
            retrained=task.kind == "retrain",
            accuracy=Estimate(**weight["accuracy"]),
            lost=Estimate(**weight["lost"]),
            ece=Estimate(**weight["ece"]),
            distortion=Estimate(**weight["distortion"]) if weight.get("distortion") else None,
            bytes=place.bytes,
            parameters=place.parameters,
            flops=place.flops,
            milliseconds=cut["milliseconds"],
            thorough=self._thorough(key, attacks),
            attacks=attacks,
            flags=tuple(weight.get("flags", ())),
        )
        return replace(made, limits=self._limits(made))

    def _attacks(self, configuration: str) -> tuple[Attacked, ...]:
        tasks = [self.tasks[k] for k in self.attacks[configuration]]
        again = {(t.attacker, t.repeats) for t in tasks if t.seed is not None}
        return tuple(self._attacked(t, alone=(t.attacker, t.repeats) not in again) for t in tasks)

    def _attacked(self, task: Task, *, alone: bool) -> Attacked:
        """What came of an attack.

        Args:
            alone: It was not repeated with other seeds.
        """
        attacker, found = task.attacker, self.found[task.key]
        assert attacker is not None
        heard = f", averaging {task.repeats} messages" if task.repeats > 1 else ""
        return Attacked(
            name=f"{attacker.words}{heard}",
            attack=attacker.attack,
            threat=attacker.threat,
            threats=attacker.threats,
            repeats=task.repeats,
            victims=found["victims"],
            thorough=task.thorough,
            leakage=estimates(found["leaks"]),
            floors=found["guesses"],
            scores=estimates(found["scores"]),
            flags=tuple(f for f in found["flags"] if f in FLAGS) + (("one-seed",) if alone else ()),
            run=found["run"],
            command=found["command"],
            seed=found["seed"],
            seconds=found["seconds"],
        )

    def _thorough(self, key: str, attacks: tuple[Attacked, ...]) -> bool:
        """Whether everybody thorough was there who could be."""
        failed = {k.rpartition("/")[2] for k in self.failed if k.startswith(f"thorough/{key}/")}
        met = {a.attack for a in attacks if a.thorough}
        wanted = {attack for attack in self.crew if attack.partition(":")[0] not in failed}
        return bool(met) and met >= wanted

    def _limits(self, c: Configuration) -> dict[str, Answer]:
        worst = c.leakage(self.request.protect, self.request.feared)
        sized = {
            "owner_parameters": c.parameters,
            "owner_flops": c.flops,
            "message_bytes": c.bytes,
            "milliseconds": c.milliseconds,
        }
        answers: dict[str, Answer] = {}
        for name, most in self.limits.items():
            if name == "accuracy_loss":
                answers[name] = below(c.lost, most)
            elif name == "accuracy_floor":
                answers[name] = above(c.accuracy, most)
            elif name == "distortion":
                answers[name] = below(c.given_up, most)
            elif name == "leakage":
                answer = below(worst, most)
                answers[name] = "undecided" if answer == "yes" and not c.thorough else answer
            else:
                value = sized[name]
                answers[name] = "yes" if value is not None and value <= most else "no"
        return answers

    def _certified(self, c: Configuration, every: list[Configuration]) -> Configuration:
        return replace(
            c, attacks=tuple(replace(a, certificate=self._proof(a, c, every)) for a in c.attacks)
        )

    def _proof(
        self, a: Attacked, c: Configuration, every: list[Configuration]
    ) -> Certificate | None:
        """The same attack undefended, at the same cut or, where that shows nothing, before it."""
        order = list(self.places)
        bare = [o for o in every if not o.defence and order.index(o.cut) <= order.index(c.cut)]
        proofs = []
        for o in sorted(bare, key=lambda o: -order.index(o.cut)):
            for other in o.attacks:
                if other.attack == a.attack and self.request.protect in other.leakage:
                    proofs.append(self._one_proof(other, o.cut))
        holding = [p for p in proofs if p.holds]
        return next(iter(holding or proofs), None)

    def _one_proof(self, a: Attacked, cut: str) -> Certificate:
        value, floor = a.leakage[self.request.protect], a.floors.get(self.request.protect, 0.0)
        holds = value.low is not None and value.low > floor
        return Certificate(cut=cut, value=value, floor=floor, holds=holds)


def below(e: Estimate, most: float) -> Answer:
    """Whether a number is at most that much, its interval considered."""
    if e.value is None:
        return "undecided"
    low, high = (e.value if v is None else v for v in (e.low, e.high))
    return "yes" if high <= most else "no" if low > most else "undecided"


def above(e: Estimate, least: float) -> Answer:
    """Whether a number is at least that much, its interval considered."""
    if e.value is None:
        return "undecided"
    low, high = (e.value if v is None else v for v in (e.low, e.high))
    return "yes" if low >= least else "no" if high < least else "undecided"
