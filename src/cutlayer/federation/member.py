"""An owner's part in a training over a network: its turns, its checkpoints, its letters."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..parties import Owner
from ..training import averaged, dealt, steps_per_epoch
from ..wire import At, FarSide
from ..wire.remote import BehindError, OutError, RemoteFarSide
from ..wire.service import MOST_RETURNS
from ..wire.states import States
from ..wire.turns import saved_at
from .build import plan_of
from .file import Federation
from .letters import Correspondence, samples_of

_MARK = "segment."  # of weights and buffers in a party's state
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Place:
    """Where an owner is. step: the next to be done.

    begun: It has the segment of this epoch, and has kept it there.
    resumed: It went back there, which the far side does not know yet.
    """

    epoch: int
    step: int
    begun: bool = False
    resumed: bool = False


@dataclass
class Member:
    """One owner in a training of several, each in a process of its own.

    What it does is what ``training.train`` does with all owners in one process, bit for bit. It
    keeps its state before the far side does, so that there is always a place where both have been.

    Args:
        remote: The connection; steps go through ``far``, which may keep the labels back.
        states: Where it keeps what it can go back to.
        on_step: Told of epoch, steps done in it, steps in it, and the loss.
    """

    federation: Federation
    owner: Owner
    remote: RemoteFarSide
    far: FarSide
    letters: Correspondence
    states: States
    on_step: Callable[[int, int, int, float], None] = lambda epoch, done, steps, loss: None
    _returns: Counter[tuple[int, int]] = field(default_factory=Counter)
    _final: int = -1  # who held the segment last

    def train(self) -> None:
        """Take part to the end, from the newest checkpoint if there is one.

        Afterwards the owner has the final segment.

        Raises:
            ConnectionError: nobody answers. Run it again: nothing is lost.
            ValueError: what the far side refuses, a letter that is not what it should be.
        """
        epochs = self.federation.experiment.passes
        self._hello()
        place = self._newest((epochs, 0))
        while True:
            try:
                if place.epoch >= epochs:
                    return self._take_over(epochs)
                place = self._epoch(place)
            except BehindError as e:
                place = self._back(e)
            except OutError:
                _log.warning("left out of epoch %d: it took too long", place.epoch)
                self._hello()
                place = _Place(place.epoch + 1, 0)

    @property
    def steps(self) -> int:
        """Of this owner, in an epoch."""
        samples = len(self.owner.data[1])
        return steps_per_epoch([samples], self.federation.experiment.batch_size)

    def _hello(self) -> None:
        self.remote.hello(self._at(0, 0), self.steps)

    def _epoch(self, place: _Place) -> _Place:
        """The rest of an epoch, from that place."""
        epoch, step = place.epoch, place.step
        if not place.begun:
            self._take_over(epoch)
            self._keep(epoch, 0)
        if place.resumed:
            self.remote.restore(self._at(epoch, step), Path())
        self.remote.save(self._at(epoch, step), Path())
        parts = dealt(plan_of(self.federation), self.owner, epoch)
        for number in range(step, len(parts)):
            loss = self.owner.step(parts[number], self.far, at=self._at(epoch, number))
            self.on_step(epoch, number + 1, len(parts), loss)
            if saved_at(number + 1, len(parts), self.federation.checkpoint_every):
                self._keep(epoch, number + 1)
                self.remote.save(self._at(epoch, number + 1), Path())
        state, samples = self.owner.state(), len(self.owner.data[1])
        self.letters.leave(epoch, len(parts), state, samples)
        return _Place(epoch + 1, 0)

    def _keep(self, epoch: int, step: int) -> None:
        self.states.save(self._at(epoch, step), self.owner, {})

    def _newest(self, most: tuple[int, int]) -> _Place:
        """Go back to the newest checkpoint that is no later than that."""
        for state in self.states.newest_first():
            if state.place <= most:
                self.owner.restore(state.at, state.folder)
                return _Place(*state.place, begun=True, resumed=True)
        return _Place(0, 0)

    def _back(self, error: BehindError) -> _Place:
        """Where to go on from when the far side expects something else."""
        place = (error.epoch, error.step)
        self._returns[place] += 1
        if self._returns[place] > MOST_RETURNS:
            raise ValueError(
                f"a server that goes on wanted: it came back to epoch {place[0]}, step {place[1]} "
                f"{MOST_RETURNS} times, and each time gets other noise on the same samples"
            )
        self._hello()  # it may have forgotten
        found = self._newest(place)
        if found.begun:
            _log.warning("went back to epoch %d, step %d", found.epoch, found.step)
            return found
        if error.step:
            raise ValueError(
                f"a checkpoint at epoch {error.epoch}, step {error.step} wanted, where the server "
                "is: this owner keeps none; begin a new session"
            ) from error
        return _Place(error.epoch, 0)

    @property
    def holds_final(self) -> bool:
        """Whether it is this owner who writes to the users."""
        return self._final == self.owner.number

    def _take_over(self, epoch: int) -> None:
        """Get the segment that an epoch starts from; at the end, the final one."""
        if self.federation.experiment.schedule == "hand-over":
            if giver := self.letters.giver(epoch):
                state, _ = self.letters.take(*giver, here=epoch)
                self.owner.load(state, source=self.federation.owners[giver[0]])
                self._final = giver[0]
        elif epoch:
            self._average(epoch - 1, here=epoch)
        else:
            self._start()

    def _start(self) -> None:
        starter = self.letters.starter()
        if starter == self.owner.number:
            self.letters.leave_start(self.owner.module.state_dict())
        else:
            state = {_MARK + k: v for k, v in self.letters.take_start(starter).items()}
            self.owner.load(state, source=self.federation.owners[starter])

    def _average(self, epoch: int, *, here: int) -> None:
        """The mean of what those have who took part in an epoch."""
        participants = self.letters.participants(epoch)
        self._final = participants[0]
        taken = [self.letters.take(n, epoch, here=here) for n in participants]
        states = [_weights_of(state) for state, _ in taken]
        mean = averaged(states, samples_of([about for _, about in taken]))
        for name, value in self.owner.module.state_dict().items():
            value.copy_(mean[name])

    def _at(self, epoch: int, step: int) -> At:
        return At(self.federation.agreed, self.owner.number, epoch, step)


def _weights_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the optimiser's moments."""
    return {k.removeprefix(_MARK): v for k, v in state.items() if k.startswith(_MARK)}
