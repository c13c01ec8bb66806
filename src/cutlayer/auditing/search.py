"""The search: a cheap pass over all cuts, then defences, then the strongest attackers where the
front is.

More attackers can only raise what a configuration leaks. So the cheapest come first, and what is
already worse than the best that was looked at closely never needs the others: the narrowing loses
nothing but what the budget takes.

Every process that takes part runs the whole search. It decides by what is in the study's log, so
all of them decide alike, on one machine or on many.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..study import NO_TIME, Trial, found_before, run_study
from .attackers import Attacker, Pass, attackers
from .families import family_of, is_random, loudness_of
from .perform import Found
from .request import from_plain
from .result import Configuration, Place
from .state import Known
from .task import Task
from .verdict import EVERYTHING, Verdict, value

MOST_CUTS = 6  # at which defences are tried
MOST_CONFIRMED = 16
AT_ONCE = 2  # configurations that are looked at closely side by side, where there is time
_PROMISED = "others promised more"
_TO = " to "  # between a configuration and an attacker
_FIRST_PASS = 0.4  # of a budget, for everything before the closer look
QUICK_BYTES = 600_000  # of all messages of an input, for a quick attacker
DEFENCES = "defences there"
_WHAT = {
    "weigh": "what accuracy bears",
    "quick": "quick attackers",
    "thorough": "the strongest attackers",
    "retrain": "training with a defence",
    "again": "other seeds of the worst attacker",
}
OnTask = Callable[[tuple[str, ...]], None]  # what runs now, in words


@dataclass(frozen=True)
class Plan:
    """All that a process must know to take part.

    Args:
        request: As ``Request.plain`` gives it. base: What network and data are, for addresses.
        weights: File of the whole network. store: Folder. limits: By name, in numbers.
        anywhere: A cut, for what does not depend on it. storage, name: Of the study.
        started, until: ``time.time()``; until: or no end.
        train_seconds: That one more training takes. perform: What carries a task out.
    """

    request: dict[str, Any]
    base: dict[str, Any]
    places: list[dict[str, Any]]
    weights: str
    store: str
    limits: dict[str, float]
    anywhere: str
    storage: str
    name: str
    started: float
    until: float | None = None
    train_seconds: float = 0.0
    perform: str = "cutlayer.auditing.perform:perform"

    def context(self) -> dict[str, Any]:
        """For the tasks."""
        names = ("request", "weights", "store", "limits", "anywhere")
        return {name: getattr(self, name) for name in names}

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass
class Search:
    """One process's part in an audit's search, and all that it knows of the others'."""

    plan: Plan
    on_task: OnTask = lambda running: None
    left: dict[tuple[str, str], str] = field(default_factory=dict)  # (what, of what): why not

    def __post_init__(self) -> None:
        self.before = found_before(self.plan.name, self.plan.storage)
        self.request = from_plain(self.plan.request)
        places = [Place(**p | {"shape": tuple(p["shape"])}) for p in self.plan.places]
        self.known = Known(
            places={p.name: p for p in places},
            request=self.request,
            limits=self.plan.limits,
            crew=tuple(a.attack for a in self._crew("thorough")),
        )
        self.verdict = Verdict(
            self.request.protect, self.request.feared, self.plan.limits.get("leakage")
        )

    def run(self) -> None:
        """Everything, as far as the time goes; ``known`` and ``left`` say what came of it."""
        live = [p for p in self.known.places.values() if not p.ruled_out]
        self._do([Task(kind="weigh", cut=p.name) for p in live])
        self._quick(lambda c: not c.defence)
        chosen = self._surviving(live)
        self._defend(chosen)
        self._confirm(most=self._at_once, tried=set())
        if self.plan.until is None or any(c.thorough for c in self.known.configurations()):
            self._retrain(chosen)
        tried: set[str] = set()
        for _ in range(MOST_CONFIRMED):
            self._confirm(most=MOST_CONFIRMED, tried=tried)
            if not self._again():
                break

    @property
    def _at_once(self) -> int:
        """One where time is short: better one that everybody looked at than two that some did."""
        return AT_ONCE if self.plan.until is None else 1

    def _end(self) -> float | None:
        """When to look no further: what is ahead then takes some time with other seeds."""
        if self.plan.until is None:
            return None
        left = [t for t in self._other_seeds() if not self._found_before(t)]
        return self.plan.until - sum(t.seconds for t in left)

    def _found_before(self, task: Task) -> Found | None:
        """By an earlier search, or by another process."""
        return self.before.get((task.key, task.address(self.plan.base)))

    def _over(self) -> bool:
        return _past(self._end())

    def _crew(self, when: Pass) -> list[Attacker]:
        r = self.request
        about: dict[str, Any] = {"protect": r.protect, "most_victims": r.most_victims}
        return attackers(when, r.feared, own=r.attacks, **about)

    def _quick(self, which: Callable[[Configuration], bool]) -> None:
        """Quick attackers on all of those, the next one only where something is left to find."""
        for attacker in self._crew("quick"):
            tasks = [
                self._attack(attacker, c, thorough=False)
                for c in self.known.configurations()
                if which(c) and not c.thorough and self._leaves_open(c)
            ]
            self._do(tasks)

    def _leaves_open(self, c: Configuration) -> bool:
        """Whether one more attacker could find something that matters."""
        if not c.attacks:
            return True
        return value(self.verdict.leakage(c)) < EVERYTHING and (
            not c.defence or self.verdict.may_meet(c)
        )

    def _surviving(self, live: Sequence[Place]) -> list[Place]:
        """Cuts that no earlier one beats undefended; of these those that promise most."""
        bare = [c for c in self.known.configurations() if not c.defence and c.attacks]
        leaks = {c.cut: self.verdict.leakage(c) for c in bare}
        seen = [p for p in live if p.name in leaks]
        found = []
        for p in seen:
            low = leaks[p.name].low or 0.0
            if any(o.flops < p.flops and (leaks[o.name].high or 1.0) < low for o in seen):
                self.left[DEFENCES, p.name] = "an earlier cut leaks less, undefended"
            else:
                found.append(p)
        ordered = sorted(found, key=lambda p: (value(leaks[p.name]), -p.flops))
        kept = spread(ordered, self._room())
        for p in found:
            if p not in kept:
                self.left[DEFENCES, p.name] = "other cuts promised more"
        return kept

    def _room(self) -> int:
        """At how many cuts there is time for defences."""
        if self.plan.until is None:
            return MOST_CUTS
        spent = sum(f["seconds"] for f in self.known.found.values())
        cuts = len({t.cut for t in self.known.tasks.values()})
        a_cut = 10 * spent / max(cuts, 1)
        time_left = _FIRST_PASS * (self.plan.until - self.plan.started)
        return max(1, min(MOST_CUTS, int(time_left / max(a_cut, 1e-3))))

    def _defend(self, chosen: Sequence[Place]) -> None:
        """How much of each defence the accuracy bears there, and quick attackers on that."""
        served = [f for f in self.request.families if not family_of(f).retrained]
        tasks = [
            Task(kind="weigh", cut=p.name, name=family, loudness=loudness)
            for p in chosen
            if (loudness := self._loudness(p.name)) is not None
            for family in served
        ]
        self._do(tasks)
        self._quick(lambda c: bool(c.defence) and not c.retrained)

    def _retrain(self, chosen: Sequence[Place]) -> None:
        """Defences that need a training, at the cut that is ahead."""
        ahead = self.verdict.best([c for c in self.known.configurations() if c.thorough])
        cut = ahead.cut if ahead else chosen[0].name if chosen else None
        if cut is None:
            return
        self._do([t for f in self.request.families for t in self._trainings(f, cut)])
        self._quick(lambda c: c.retrained and self.verdict.may_meet(c))

    def _loudness(self, cut: str) -> dict[str, float] | None:
        """Of the undefended messages there, if they were weighed."""
        found = self.known.found.get(f"weigh/{cut}/undefended")
        return None if found is None else found["loudness"]

    def _trainings(self, name: str, cut: str) -> list[Task]:
        family, loudness = family_of(name), self._loudness(cut)
        if not family.retrained or loudness is None:
            return []
        return [
            Task(
                kind="retrain",
                cut=cut,
                name=rung.name,
                about=rung.words,
                defence=rung.defence,
                retrained=True,
                epochs=self.request.epochs_again,
                seconds=self.plan.train_seconds,
            )
            for rung in family.ladder(loudness_of(loudness))
        ]

    def _confirm(self, *, most: int, tried: set[str]) -> None:
        """The strongest attackers on what may be recommended, until nothing else could win.

        Args:
            most: Configurations at most. tried: Keys of those that were looked at; it grows.
        """
        self.left = {about: why for about, why in self.left.items() if why != _PROMISED}
        while len(tried) < most:
            waiting = self._waiting(tried)
            if not waiting:
                break
            few = waiting[: self._at_once]
            tried |= {c.key for c in few}
            self._look_closely([c.key for c in few])
        why = NO_TIME if self._over() else _PROMISED
        for c in self._waiting(set()):
            self.left.setdefault((_WHAT["thorough"], c.key), why)

    def _again(self) -> bool:
        """The worst attacker of what is ahead with other seeds; whether there were any left.

        Its leakage is that of the worst of them, so another one may be ahead then.
        """
        left = self._other_seeds()
        self._do(left, until=self.plan.until)
        return any(t.key in self.known.found for t in left)

    def _other_seeds(self) -> list[Task]:
        """The worst attacker of what is ahead with seeds that it was not tried with."""
        ahead = self._best()
        if ahead is None:
            return []
        known, root = self.known, self.request.experiment.seed
        worst = ahead.worst(self.request.protect, self.request.feared)
        keys = [k for k in known.attacks[ahead.key] if worst and known.found[k]["run"] == worst.run]
        if not keys:
            return []
        task = replace(known.tasks[keys[0]], seconds=known.found[keys[0]]["seconds"])
        seeds = range(root + 1, root + self.request.attack_seeds)
        tasks = [replace(task, seed=seed) for seed in seeds]
        return [t for t in tasks if t.key not in known.found and t.key not in known.failed]

    def _best(self) -> Configuration | None:
        every = self.known.configurations()
        return self.verdict.best([c for c in every if c.thorough and self.verdict.meets(c)])

    def _waiting(self, tried: set[str]) -> list[Configuration]:
        """What could still win, the most promising first."""
        best = self._best()
        found = [
            c
            for c in self.known.configurations()
            if c.attacks and not c.thorough and c.key not in tried
            if self.verdict.could_win(c, best)
        ]
        return sorted(found, key=self._promise)

    def _promise(self, c: Configuration) -> tuple[float, ...]:
        leak, lost = value(self.verdict.leakage(c)), value(c.given_up)
        if self.verdict.ceiling is None:
            return leak, lost, float(c.flops)
        return lost, float(c.flops), leak

    def _look_closely(self, keys: Sequence[str]) -> None:
        """Thorough attackers on configurations, and on the same cuts undefended beside them.

        The cheapest first, then all others together, which keeps every process busy: it rarely
        happens that one of these leaves nothing to the next.
        """
        every_one = self._crew("thorough")
        for crew in (every_one[:1], every_one[1:]):
            every = {c.key: c for c in self.known.configurations()}
            best = self._best()
            few = [c for k in keys if self.verdict.could_win(c := every[k], best)]
            bare = {c.cut: every[f"{c.cut}/undefended"] for c in few}
            both = {c.key: c for c in (*few, *bare.values())}
            tasks = [self._attack(a, c, thorough=True) for a in crew for c in both.values()]
            self._do(sorted(tasks, key=lambda t: -t.seconds))

    def _attack(self, attacker: Attacker, c: Configuration, *, thorough: bool) -> Task:
        random = any(map(is_random, c.defence))
        return Task(
            kind="attack",
            cut=c.cut,
            name=c.key.removeprefix(f"{c.cut}/"),
            about=c.words,
            defence=c.defence,
            attacker=attacker,
            repeats=self._repeats(c, thorough=thorough) if random else 1,
            thorough=thorough,
            retrained=c.retrained,
            epochs=self.request.epochs_again if c.retrained else 0,
            seconds=self._expected(c.cut, attacker, thorough=thorough),
        )

    def _repeats(self, c: Configuration, *, thorough: bool) -> int:
        """As many as were asked for; for a quick look at large messages fewer, 2 at least:
        who hears fewer finds no more, and drawing their noise is what takes the time."""
        if thorough:
            return self.request.repeats
        return min(self.request.repeats, max(2, QUICK_BYTES // c.bytes))

    def _expected(self, cut: str, attacker: Attacker, *, thorough: bool) -> float:
        """Seconds, from what was measured at this cut; 0 where nothing was."""
        before = [
            float(self.known.found[k]["seconds"])
            for k, t in self.known.tasks.items()
            if t.attacker and t.cut == cut and t.attacker.attack == attacker.attack
        ]
        if before:
            return max(before)
        step = self.known.found.get(f"weigh/{cut}/undefended", {}).get("step", 0.0)
        searches = attacker.name in ("maximum-likelihood", "shadow")
        return 800.0 * float(step) if thorough and searches else 0.0

    def _do(self, tasks: Sequence[Task], *, until: float | None = None) -> None:
        """Have them done that are not known yet; what they find is known then.

        Args:
            until: By default what leaves time for other seeds.
        """
        open_ = {t.key: t for t in tasks if t.key not in self.known.found}
        address = {k: t.address(self.plan.base) for k, t in open_.items()}
        for key in list(open_):
            if (found := self.before.get((key, address[key]))) is not None:
                self._learn(open_.pop(key), found)
        until = until or self._end()
        if _past(until):
            self._leave(dict.fromkeys(open_, NO_TIME))
        elif open_:
            self._study(open_, address, until)

    def _study(
        self, open_: Mapping[str, Task], address: Mapping[str, str], until: float | None
    ) -> None:
        tasks = {k: t.plain() for k, t in open_.items()}
        outcome = run_study(
            self.plan.name,
            [Trial(k, (), address[k], t.seconds) for k, t in open_.items()],
            perform=self.plan.perform,
            context=self.plan.context() | {"tasks": tasks, "until": until},
            storage=self.plan.storage,
            until=until,
            on_progress=lambda done, total, running: self.on_task(
                tuple(open_[k].words for k in running if k in open_)
            ),
        )
        for key, found in outcome.found.items():
            self._learn(open_[key], found)
        self.known.failed |= outcome.failed.keys()
        self._leave({key: f"failed: {reason}" for key, reason in outcome.failed.items()})
        self._leave(outcome.not_run)

    def _learn(self, task: Task, found: Found) -> None:
        self.known.add(task, found)
        self.left.pop(_about(task.key), None)

    def _leave(self, reasons: Mapping[str, str]) -> None:
        """Tasks that were not done, by key, and why."""
        for key, why in reasons.items():
            self.left[_about(key)] = why

    def not_examined(self) -> list[str]:
        """One line for each reason: what, why, and of which cuts and configurations."""
        lines: dict[tuple[str, str], dict[str, None]] = {}
        for (what, subject), why in self.left.items():
            about = subject if why.startswith("failed") else subject.partition(_TO)[0]
            lines.setdefault((what, why), {})[about] = None
        return [f"{what} ({why}): {', '.join(of)}" for (what, why), of in lines.items()]


def _past(until: float | None) -> bool:
    return until is not None and time.time() >= until


def _about(key: str) -> tuple[str, str]:
    """What a task is, and of what.

    >>> _about("thorough/fc1/laplace-0.5/shadow")
    ('the strongest attackers', 'fc1/laplace-0.5 to shadow')
    """
    kind, _, subject = key.partition("/")
    if kind in ("quick", "thorough", "again"):
        subject = _TO.join(subject.rsplit("/", 1))
    return _WHAT[kind], subject


def spread(ordered: Sequence[Any], most: int) -> list[Any]:
    """So many of a list: the first two, then evenly over the rest.

    >>> spread("abcdefghij", 4), spread("abc", 4), spread("abc", 1)
    (['a', 'b', 'g', 'j'], ['a', 'b', 'c'], ['a'])
    """
    first, rest = list(ordered[: min(most, 2)]), ordered[2:]
    room = min(most - 2, len(rest))
    steps = [round((i + 1) * (len(rest) - 1) / room) for i in range(max(room, 0))]
    if room == len(rest):
        steps = list(range(room))
    return first + [rest[i] for i in steps]


def searched(plan: Mapping[str, Any]) -> Search:
    """A search from its plan's plain values, carried out."""
    found = Search(Plan(**plan))
    found.run()
    return found
