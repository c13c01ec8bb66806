"""The far side of a cut behind a network: answers messages, one by one, and trusts none of them."""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from .far_side import At, FarSide
from .identity import Identity
from .mailbox import Mailbox, letter_of, start_of
from .members import Absence, Exchange, Members, Quota
from .message import (
    Kind,
    Limits,
    Message,
    WireError,
    bytes_tensor,
    decode,
    encode,
    session_of,
    tensor_bytes,
)
from .remote import BehindError
from .states import State, States
from .turns import Event, Order, Turns

HOLD = 20.0  # seconds until who waits for its turn is told to ask again
_log = logging.getLogger(__name__)


class Service:
    """Answers the messages of one training session, and those of who only predicts.

    Args:
        far: What answers them.
        session: Its name; messages of another are refused.
        order: Whose message comes next.
        states: Where it keeps what it can go back to.
        mailbox: What it keeps for others.
        limits: What is read at all.
        queries: Samples that each party may ask about; 0: no limit.
        trains: Whether its weights may change; else it answers predictions, and keeps letters.
        watch: Is told of every message.
    """

    def __init__(
        self,
        far: FarSide,
        *,
        session: str,
        members: Members,
        order: Order,
        states: States,
        mailbox: Mailbox,
        limits: Limits | None = None,
        absence: Absence | None = None,
        queries: int = 0,
        trains: bool = True,
        watch: Callable[[Exchange], None] = lambda exchange: None,
    ) -> None:
        self.far, self.session, self.members = far, session, members
        self.order, self.states, self.mailbox = order, states, mailbox
        self.limits, self.absence = limits or Limits(), absence or Absence()
        self.watch, self.finished, self.ended = watch, threading.Event(), ""
        self.trains = trains
        self._turn = threading.Condition()  # one message at a time changes the weights
        self._answered: dict[int, Event] = {}
        self._returns: Counter[tuple[int, int, int]] = Counter()
        self._since = time.monotonic()  # the present owner is waited for
        mailbox.folder.mkdir(parents=True, exist_ok=True)
        self._quota = Quota(mailbox.folder.parent / "queries.json", queries)

    def resume(self) -> None:
        """Go on from the newest state that this party, and who is behind it, has.

        Raises:
            ValueError: states of another training, or none in common.
        """
        with self._turn:
            if any(True for _ in self.states.newest_first()):
                self._go_back_together()
            self._woke()

    def health(self) -> dict[str, object]:
        """How it is, for whoever watches: state, epoch, who is expected."""
        order, now = self.order, None
        if isinstance(order, Turns):
            with self._turn:
                now = order.now
        waiting = isinstance(order, Turns) and order.missing
        state = "training" if now else "waiting for owners" if waiting else "serving"
        return {
            "state": "ended" if self.ended else state,
            "session": self.session,
            "expected": None if now is None else now._asdict(),
            "samples_predicted": dict(self._quota.used),
        }

    def answer(
        self, data: bytes, party: Identity, alive: Callable[[], bool] = lambda: True
    ) -> bytes:
        """The reply to a message, a refusal with its reason included. Never raises.

        Args:
            alive: Whether somebody still waits for it.
        """
        return self._watched(data, party, lambda message: self._replied(message, party, alive))

    def predicted(self, data: bytes, party: Identity) -> bytes:
        """The reply to a message of who only predicts."""
        return self._watched(data, party, lambda message: self._served(message, party))

    def _watched(self, data: bytes, party: Identity, reply: Callable[[Message], Message]) -> bytes:
        started, message = time.perf_counter(), Message(Kind.DONE, bytes(16), 0, 0, 0)
        try:
            message = decode(data, self.limits)
            answered = reply(message)
        except Exception as e:  # whatever it is, the next message is answered
            _log.warning("refused %s of %s: %s", message.kind.name, party, e)
            answered = message.refusal(str(e))
        out = encode(answered)
        seconds = time.perf_counter() - started
        kinds = message.kind, answered.kind
        self.watch(Exchange(party, *kinds, len(data), len(out), seconds))
        return out

    def _served(self, message: Message, party: Identity) -> Message:
        if not self.members.may_predict(party):
            raise WireError(f"a party that may predict wanted: got {party}")
        if message.kind == Kind.FETCH:
            found = self._public(message.text)
            return message.reply(Kind.LATER) if found is None else _content(message, found)
        if message.kind != Kind.PREDICT:
            raise WireError(f"PREDICT wanted here: got {message.kind.name}")
        samples = self._samples(message.tensors[0])
        with self._turn:
            self._quota.take(party, samples)
            return message.reply(Kind.OUTPUT, self.far.predict(message.tensors[0]))

    def _samples(self, t: Tensor) -> int:
        """How many there are in a message: few bytes of one may become many behind a wide layer."""
        if t.dim() < 2 or len(t) > self.limits.samples:
            raise WireError(
                f"samples (N, ...), N at most {self.limits.samples:,}, wanted: got shape "
                f"{tuple(t.shape)}"
            )
        return len(t)

    def _replied(self, message: Message, party: Identity, alive: Callable[[], bool]) -> Message:
        self.members.number_of(party, message.owner)
        if message.session != session_of(self.session):
            raise WireError(
                f"session {self.session} wanted: got another; have all parties the same file?"
            )
        with self._turn:
            if self.ended:
                raise WireError(self.ended)
            if not (self.trains or _is_final(message)):
                raise WireError(
                    "a message of who predicts wanted: this party serves weights that it was "
                    "given, and trains nothing; 'cutlayer predict' asks it"
                )
            if self._forgot(message):
                return self._behind(message)
            try:
                return self._handled(message, alive)
            except BehindError:  # who is behind this party has lost something
                self._go_back_together()
                return self._behind(message)

    def _forgot(self, message: Message) -> bool:
        """Whether an owner has yet to say that it is there, to this process."""
        order = self.order
        return (
            isinstance(order, Turns)
            and message.owner in order.missing
            and not (_is_final(message) or message.kind == Kind.HELLO)
        )

    def _handled(self, message: Message, alive: Callable[[], bool]) -> Message:
        if message.kind == Kind.HELLO:
            return self._hello(message)
        if message.kind == Kind.RESTORE:
            return self._restored(message)
        if message.kind == Kind.FETCH:
            return self._fetched(message, alive)
        if message.kind == Kind.POST and message.text != letter_of(message.owner, message.epoch):
            return self._posted_aside(message)
        return self._in_turn(message, alive)

    def _hello(self, message: Message) -> Message:
        steps = message.tensors[0]
        if steps.dtype != torch.int64 or steps.dim() or not 0 < int(steps) < 2**31:
            raise WireError("a number of steps in an epoch wanted")
        if isinstance(self.order, Turns):
            before = self.order.missing
            self.order.hello(message.owner, int(steps))
            self._woke(progress=self.order.missing != before)
        return message.reply(Kind.DONE)

    def _in_turn(self, message: Message, alive: Callable[[], bool]) -> Message:
        event, until = _event(message), time.monotonic() + HOLD
        while True:
            standing = self.order.standing(event)
            if standing == "out":
                return message.reply(Kind.OUT)
            if standing == "now":
                return self._carried_out(message, event)
            if standing == "again" and self._can_repeat(event):
                return self._repeated(message)
            if standing != "later":
                return self._behind(message)
            if not self._waited(message.owner, until, alive):
                return message.reply(Kind.LATER)

    def _can_repeat(self, event: Event) -> bool:
        return event.act != "step" or self._answered.get(event.owner) == event

    def _repeated(self, message: Message) -> Message:
        if message.kind == Kind.SAVE:
            return message.reply(Kind.DONE)
        return self._posted(message) if message.kind == Kind.POST else self._learned(message)

    def _carried_out(self, message: Message, event: Event) -> Message:
        if message.kind == Kind.SAVE:
            return self._saved(message, event)
        try:
            reply = self._posted(message) if message.kind == Kind.POST else self._learned(message)
        finally:
            self._since = time.monotonic()  # how long that took is not the owner's fault
        if message.kind != Kind.FORWARD:  # its backward is still to come
            self.order.done(event)
            self._answered[event.owner] = event
            self._keep_the_end(message)
            self._woke()
        return reply

    def _keep_the_end(self, message: Message) -> None:
        """When a training is over, remember that it is."""
        if isinstance(self.order, Turns) and self.order.finished:
            self.states.save(self._at(message), self.far, self.order.to_dict())

    def _saved(self, message: Message, event: Event) -> Message:
        before, completes = self.order.to_dict(), self.order.completes(event)
        self.order.done(event)
        try:
            if completes:
                self.states.save(self._at(message), self.far, self.order.to_dict())
        except BaseException:
            self.order.load(before)
            raise
        self._woke()
        return message.reply(Kind.DONE)

    def _posted(self, message: Message) -> Message:
        if not _no_longer(self.order, message.text):
            self.mailbox.keep(message.text, tensor_bytes(message.tensors[1]))
        if message.epoch >= KEPT_LETTERS:
            self.mailbox.drop(letter_of(message.owner, message.epoch - KEPT_LETTERS))
        return message.reply(Kind.DONE)

    def _posted_aside(self, message: Message) -> Message:
        """A letter outside the order: the segment that all start from, or the final one."""
        if message.text not in (start_of(message.owner), f"final/{message.owner}"):
            raise WireError(f"a letter of this owner and epoch wanted: got {message.text!r}")
        self.mailbox.keep(message.text, tensor_bytes(message.tensors[1]))
        self._turn.notify_all()
        return message.reply(Kind.DONE)

    def _learned(self, message: Message) -> Message:
        at, first = self._at(message), message.tensors[0]
        self._samples(first)
        if message.kind == Kind.STEP:
            result = self.far.step(first, _labels(message.tensors[1], len(first)), at=at)
            summed = result.reduction == "sum"
            return message.reply(Kind.RESULT, result.loss, result.gradient, summed=summed)
        asked: dict[Kind, Callable[..., Tensor]] = {
            Kind.FORWARD: self.far.forward,
            Kind.BACKWARD: self.far.backward,
        }
        return message.reply(Kind.OUTPUT, asked[message.kind](first, at=at))

    def _fetched(self, message: Message, alive: Callable[[], bool]) -> Message:
        until = time.monotonic() + HOLD
        while True:
            reply = self._found(message)
            if reply is not None:
                return reply
            if not self._waited(message.owner, until, alive):
                return message.reply(Kind.LATER)

    def _found(self, message: Message) -> Message | None:
        """What was asked for, if it is there."""
        order, subject = self.order, message.text
        if isinstance(order, Turns):
            if subject == "giver":
                return self._giver(order, message)
            if subject == "participants":
                return self._participants(order, message)
            if subject == "starter":
                return self._starter(order, message)
            if subject.startswith("start/") and subject != start_of(order.starter):
                return self._behind(message)  # that owner was given up before it wrote
        found = self.mailbox.find(subject)
        if found is None and _no_longer(order, subject):
            return message.reply(Kind.OUT)
        return None if found is None else _content(message, found)

    def _starter(self, order: Turns, message: Message) -> Message | None:
        """Whose segment all start from, once they are there."""
        if order.missing:
            return None
        if not order.takes_part(message.owner, 0):
            return message.reply(Kind.OUT)
        return _content(message, json.dumps(order.starter).encode())

    def _participants(self, order: Turns, message: Message) -> Message | None:
        """Who took part in an epoch, once it is over."""
        if order.epoch > message.epoch:
            return _content(message, json.dumps(order.participants(message.epoch)).encode())
        following = order.next_of(message.owner)
        lost = following is not None and following.epoch <= message.epoch
        return self._behind(message) if lost else None

    def _giver(self, order: Turns, message: Message) -> Message | None:
        """In an owner's turn: whose segment it takes over; at the end, whose is the final one."""
        owner, epoch = message.owner, message.epoch
        if epoch < order.epochs:
            standing = order.standing(Event("save", owner, epoch, 0))
            if standing == "out":
                return message.reply(Kind.OUT)
            if standing == "behind":
                return self._behind(message)
            if standing == "later":
                return None
            return _content(message, json.dumps(order.giver(owner, epoch)).encode())
        if order.finished:
            return _content(message, json.dumps(order.giver(0, order.epochs)).encode())
        return None if order.next_of(owner) is None else self._behind(message)

    def _public(self, subject: str) -> bytes | None:
        """What who only predicts may fetch."""
        if not subject.startswith(("certificate/", "final/")):
            raise WireError(f"certificate/ROLE/NAME or final/OWNER wanted: got {subject!r}")
        return self.mailbox.find(subject)

    def _restored(self, message: Message) -> Message:
        """Put an owner and this side at one place again, whichever of them has lost more."""
        if not isinstance(self.order, Turns):
            return self._restored_by_relay(message)
        place, owner = (message.epoch, message.step), message.owner
        if self.order.was_left_out(owner, message.epoch):
            return message.reply(Kind.OUT)
        if self.order.is_at(owner, place):
            return message.reply(Kind.DONE)
        following = self.order.next_of(owner)
        if following is not None and place > following[2:]:
            return self._behind(message)
        for state in self.states.newest_first():
            if self.order.was_at(owner, place, state.order):
                self._count_return(owner, place)
                self._go_back(state)
                return message.reply(Kind.DONE)
        raise WireError(
            f"a checkpoint at epoch {place[0]}, step {place[1]} wanted: this side has gone on to "
            f"{following and following[2:]} and keeps none; begin a new session"
        )

    def _count_return(self, owner: int, place: tuple[int, int]) -> None:
        """Refuse an owner that sends everybody back to one place, over and over."""
        self._returns[owner, *place] += 1
        if self._returns[owner, *place] > MOST_RETURNS:
            raise WireError(f"at most {MOST_RETURNS} returns to one place wanted")

    def _restored_by_relay(self, message: Message) -> Message:
        for state in self.states.newest_first():
            if state.at == self._at(message):
                self._go_back(state)
                return message.reply(Kind.DONE)
        raise WireError(f"a checkpoint at {self._at(message)} wanted: there is none")

    def _behind(self, message: Message) -> Message:
        following = self.order.next_of(message.owner)
        place = [2**31, 0] if following is None else list(following[2:])
        return message.reply(Kind.BEHIND, torch.tensor(place))

    def _go_back_together(self) -> None:
        """To the newest state that those behind this party have, too."""
        faults = []
        for state in self.states.newest_first():
            try:
                self._go_back(state)
                return
            except WireError as e:
                faults.append(str(e))
        raise WireError(
            f"a checkpoint wanted that all parties have: {'; '.join(faults) or 'there is none'}; "
            "begin a new session"
        )

    def _go_back(self, state: State) -> None:
        self.far.restore(state.at, state.folder)
        self.order.load(state.order)
        self._answered.clear()
        self._woke(progress=False)
        _log.warning("went back to %s", state.at)

    def _woke(self, *, progress: bool = True) -> None:
        """Let all who wait look again."""
        if progress:
            self._since = time.monotonic()
        if isinstance(self.order, Turns) and self.order.finished:
            self.finished.set()
        self._turn.notify_all()

    def _waited(self, owner: int, until: float, alive: Callable[[], bool]) -> bool:
        """Whether it is worth looking again, for an owner."""
        if time.monotonic() > until or not alive() or self.ended:
            return False
        self._turn.wait(0.5)
        try:
            self._look_for_absent(besides=owner)
        except (ValueError, OSError) as e:
            _log.warning("nobody was given up: %s", e)
        return True

    def _look_for_absent(self, *, besides: int) -> None:
        order, policy = self.order, self.absence.policy
        late = time.monotonic() - self._since > self.absence.patience
        if not isinstance(order, Turns) or policy == "wait" or not late:
            return
        due = order.missing or [event.owner for event in [order.now] if event]
        absent = [owner for owner in due if owner != besides]
        for owner in absent:
            said = f"owner {owner} has been away for {self.absence.patience:g} s"
            if policy == "abort":
                self.ended = f"{said}: the session is over"
                self._turn.notify_all()
                return
            _log.warning("%s: skipped", said)
            self._undo_turn(order, owner)
            order.give_up(owner)
        if absent:
            self._woke()

    def _undo_turn(self, order: Turns, owner: int) -> None:
        """Forget what an owner began that others cannot go on from."""
        now = order.now
        if order.schedule == "average" or now is None or now[2:] == (now.epoch, 0):
            return
        for state in self.states.newest_first():
            if (state.at.owner, state.at.epoch, state.at.step) == (owner, now.epoch, 0):
                return self._go_back(state)

    def _at(self, message: Message) -> At:
        return At(self.session, message.owner, message.epoch, message.step)


KEPT_LETTERS = 2  # of each owner
MOST_RETURNS = 50  # of one owner to one place


def _is_final(message: Message) -> bool:
    """Whether it is the trained segment, for users."""
    return message.kind == Kind.POST and message.text.startswith("final/")


def _event(message: Message) -> Event:
    acts = {Kind.SAVE: "save", Kind.POST: "post"}
    if message.kind not in (*acts, Kind.STEP, Kind.FORWARD, Kind.BACKWARD):
        raise WireError(f"STEP, FORWARD or BACKWARD wanted: got {message.kind.name}")
    act = acts.get(message.kind, "step")
    return Event(act, message.owner, message.epoch, message.step)  # type: ignore[arg-type]


def _no_longer(order: Order, subject: str) -> bool:
    """Whether a letter was there once and is no longer kept."""
    kind, *place = subject.split("/")
    if kind != "letter" or len(place) != 2 or not place[1].isdigit():
        return False
    return isinstance(order, Turns) and order.epoch > int(place[1]) + KEPT_LETTERS


def _content(message: Message, content: bytes) -> Message:
    return message.reply(Kind.OUTPUT, bytes_tensor(content))


def _labels(y: Tensor, n: int) -> Tensor:
    if y.dtype != torch.int64 or y.shape != (n,):
        raise WireError(f"{n} labels of int64 wanted: got {y.dtype} of shape {tuple(y.shape)}")
    if n and int(y.min()) < 0:  # torch would pass over some of these
        raise WireError(f"labels from 0 on wanted: got {int(y.min())}")
    return y
