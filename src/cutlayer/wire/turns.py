"""Whose message comes next. The order is the one that the same training has in one process."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

Act = Literal["save", "step", "post"]
Standing = Literal["now", "again", "later", "behind", "out"]
MOST_STEPS = 100_000  # in an epoch, of one owner: each is held in memory
_ACTS: tuple[Act, ...] = ("save", "step", "post")


class Event(NamedTuple):
    """One thing that an owner does. step: the next to be done in that epoch."""

    act: Act
    owner: int
    epoch: int
    step: int


class Order(Protocol):
    """What a far side goes by when a message comes."""

    def standing(self, event: Event) -> Standing:
        """Whether it is to be done now or was done, comes too early, or cannot follow."""
        ...

    def done(self, event: Event) -> None:
        """It was carried out."""
        ...

    def next_of(self, owner: int) -> Event | None:
        """What is expected of an owner; ``None`` when nothing more is."""
        ...

    def completes(self, event: Event) -> bool:
        """Whether all who save at this place have then done so."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Where it is, as JSON values."""
        ...

    def load(self, found: dict[str, Any]) -> None:
        """Go to where ``to_dict`` was."""
        ...


def saved_at(step: int, steps: int, every: int) -> bool:
    """Whether an owner with that many steps in an epoch keeps its state before that step.

    At the start and the end of its epoch always: what comes in between are other owners' turns.
    """
    return step in (0, steps) or (every > 0 and step % every == 0)


@dataclass
class Turns:
    """The order for owners in turn, or side by side in rounds.

    Args:
        owners: How many.
        schedule: "hand-over" or "average", see ``training.Plan``.
        every: Steps between two checkpoints; 0: only where an owner's epoch starts and ends.
    """

    owners: int
    epochs: int
    schedule: Literal["hand-over", "average"]
    every: int = 0
    steps: dict[int, int] = field(default_factory=dict)  # in an epoch, by owner
    gone: set[int] = field(default_factory=set)  # not heard of since they were given up
    _out: set[tuple[int, int]] = field(default_factory=set)  # owner, epoch
    _epoch: int = 0
    _index: int = 0

    def hello(self, owner: int, steps: int) -> None:
        """An owner is there and has so many steps in an epoch.

        Raises:
            ValueError: it said something else before, or more than anybody would.
        """
        if not 0 < steps <= MOST_STEPS:
            raise ValueError(f"1 to {MOST_STEPS:,} steps in an epoch wanted: got {steps:,}")
        if self.steps.setdefault(owner, steps) != steps:
            raise ValueError(
                f"{self.steps[owner]} steps in an epoch wanted, as owner {owner} said before: got "
                f"{steps}; the same data and batch size as then, or another session"
            )
        self.gone.discard(owner)

    @property
    def missing(self) -> list[int]:
        """Owners who have not come yet, and are waited for."""
        return [o for o in range(self.owners) if o not in self.steps and o not in self.gone]

    @property
    def finished(self) -> bool:
        """Whether all epochs are over."""
        return self._epoch >= self.epochs

    @property
    def epoch(self) -> int:
        """The present epoch."""
        return self._epoch

    @property
    def now(self) -> Event | None:
        """What is to be done next; ``None`` before all are there, and at the end."""
        if self.missing or self.finished:
            return None
        return self._events[self._index]

    @property
    def starter(self) -> int:
        """Whose segment all start from, where they work side by side."""
        return next(o for o in range(self.owners) if self.takes_part(o, 0))

    def takes_part(self, owner: int, epoch: int) -> bool:
        """Whether an owner's work in an epoch counts."""
        return (owner, epoch) not in self._out

    def standing(self, event: Event) -> Standing:
        if not self.takes_part(event.owner, event.epoch) and event.epoch <= self._epoch:
            return "out"
        if event == self.now:
            return "now"
        if self.missing:
            return "later" if event[2:] == (0, 0) else "behind"
        following = self.next_of(event.owner)
        if event == following:
            return "later"
        if event.act == "post" and self._is_past(event):
            return "again" if event.step == self.steps[event.owner] else "behind"
        if event.act == "save" and self.is_at(event.owner, event[2:]):
            return "again"
        if following is None:
            return "again" if event == self._last_of(event.owner) else "behind"
        return "again" if event == self._before(following) else "behind"

    def done(self, event: Event) -> None:
        assert event == self.now
        self._index += 1
        self._next_epoch_if_over()

    def next_of(self, owner: int) -> Event | None:
        if self.finished:
            return None
        if not self.missing:
            for event in self._events[self._index :]:
                if event.owner == owner:
                    return event
        epoch = self._epoch + (0 if self.missing else 1)
        return Event("save", owner, epoch, 0) if epoch < self.epochs else None

    def completes(self, event: Event) -> bool:
        if event.act != "save" or self._index + 1 >= len(self._events):
            return event.act == "save"
        following = self._events[self._index + 1]
        together = following.act == "save" and following[2:] == event[2:]
        return not (together and self.schedule == "average")

    def give_up(self, owner: int) -> None:
        """Go on without an owner until it is heard of, for the rest of this epoch at least."""
        if len(self.gone | {owner}) == self.owners:
            raise ValueError("at least one owner wanted: all of them have gone")
        self.gone.add(owner)
        self._leave_out(owner)

    def was_left_out(self, owner: int, since: int) -> bool:
        """Whether an owner's work does not count in the present epoch, or in one from then on."""
        last = min(self._epoch, self.epochs - 1)
        return any(not self.takes_part(owner, epoch) for epoch in range(since, last + 1))

    def is_at(self, owner: int, place: tuple[int, int]) -> bool:
        """Whether an owner may go on from there: epoch and step that it will do next.

        The end of an epoch is as good as the start of the next: what lies between is a letter.
        """
        following = self.next_of(owner)
        after = (self.epochs, 0) if following is None else following[2:]
        ended = after == (place[0] + 1, 0) and place[1] == self.steps.get(owner)
        return place == after or ended

    def was_at(self, owner: int, place: tuple[int, int], found: dict[str, Any]) -> bool:
        """The same, of an order in the past, see ``to_dict``."""
        past = Turns(self.owners, self.epochs, self.schedule, self.every)
        past.load(found)
        return past.is_at(owner, place)

    def giver(self, owner: int, epoch: int) -> tuple[int, int] | None:
        """Whose segment an owner takes over in its turn: owner and epoch; ``None`` at the start."""
        turns = [(o, e) for e in range(epoch + 1) for o in range(self.owners)]
        before = [t for t in turns if (t[1], t[0]) < (epoch, owner)]
        part = [t for t in before if self.takes_part(*t) and t[0] in self.steps]
        return part[-1] if part else None

    def participants(self, epoch: int) -> list[int]:
        """Who took part in an epoch."""
        return [o for o in range(self.owners) if o in self.steps and self.takes_part(o, epoch)]

    def to_dict(self) -> dict[str, Any]:
        return {
            "epoch": self._epoch,
            "index": self._index,
            "steps": [[o, n] for o, n in sorted(self.steps.items())],
            "out": sorted(map(list, self._out)),
            "gone": sorted(self.gone),
        }

    def load(self, found: dict[str, Any]) -> None:
        out = {(o, e) for o, e in found["out"]}
        kept = self._out - out  # who was given up since stays so
        if not self.steps:  # started again
            self.gone = set(found["gone"])
        self._epoch, self._index, self._out = found["epoch"], found["index"], out
        self.steps = self.steps | {o: n for o, n in found["steps"]}
        self._forget()
        for owner, epoch in kept:
            if epoch == self._epoch:
                self._leave_out(owner)
            else:
                self._out.add((owner, epoch))

    def _key(self, event: Event) -> tuple[int, ...]:
        last, act = event.act == "post", _ACTS.index(event.act)
        if self.schedule == "hand-over":
            return event.epoch, event.owner, last, event.step, act
        return event.epoch, last, event.step, act, event.owner

    @cached_property
    def _events(self) -> list[Event]:
        """All of the present epoch, in order."""
        part = self.participants(self._epoch)
        found = [event for owner in part for event in self._events_of(owner, self._epoch)]
        return sorted(found, key=self._key)

    def _events_of(self, owner: int, epoch: int) -> Iterable[Event]:
        steps = self.steps[owner]
        for step in range(steps + 1):
            if saved_at(step, steps, self.every):
                yield Event("save", owner, epoch, step)
            if step < steps:
                yield Event("step", owner, epoch, step)
        yield Event("post", owner, epoch, steps)

    def _before(self, event: Event) -> Event | None:
        """What the same owner did before."""
        if event.epoch and event.act == "save" and event.step == 0:
            return Event("post", event.owner, event.epoch - 1, self.steps.get(event.owner, 0))
        own = list(self._events_of(event.owner, event.epoch)) if event.owner in self.steps else []
        return own[own.index(event) - 1] if event in own[1:] else None

    def _last_of(self, owner: int) -> Event:
        return Event("post", owner, self.epochs - 1, self.steps.get(owner, 0))

    def _is_past(self, event: Event) -> bool:
        return self.finished or self._key(event) < self._key(self._events[self._index])

    def _leave_out(self, owner: int) -> None:
        if self.finished:
            return
        here = None if self.missing else self._events[self._index]
        self._out.add((owner, self._epoch))
        self._forget()
        if here is not None:
            keys = [self._key(event) for event in self._events]
            self._index = sum(key < self._key(here) for key in keys)
            self._next_epoch_if_over()

    def _next_epoch_if_over(self) -> None:
        while not self.finished and self._index >= len(self._events):
            self._epoch, self._index = self._epoch + 1, 0
            self._out |= {(owner, self._epoch) for owner in self.gone}
            self._forget()

    def _forget(self) -> None:
        self.__dict__.pop("_events", None)


@dataclass
class Sequence:
    """The order behind a relay: each owner's own steps, one after the other, and no more.

    Who comes when is the relay's business; saving and going back are so, too.
    """

    _next: dict[int, tuple[int, int]] = field(default_factory=dict)  # epoch, step

    def standing(self, event: Event) -> Standing:
        epoch, step = self._next.get(event.owner, (0, 0))
        place = event[2:]
        if event.act == "save":
            return "now" if place == (epoch, step) or event.step == 0 else "behind"
        if place == (epoch, step) or (event.step == 0 and event.epoch > epoch):
            return "now"
        return "again" if place == (epoch, step - 1) else "behind"

    def done(self, event: Event) -> None:
        step = event.step + (event.act == "step")
        self._next[event.owner] = (event.epoch, step)

    def next_of(self, owner: int) -> Event | None:
        return Event("step", owner, *self._next.get(owner, (0, 0)))

    def completes(self, event: Event) -> bool:
        return event.act == "save"

    def to_dict(self) -> dict[str, Any]:
        return {"next": [[o, *place] for o, place in sorted(self._next.items())]}

    def load(self, found: dict[str, Any]) -> None:
        self._next = {o: (epoch, step) for o, epoch, step in found["next"]}
