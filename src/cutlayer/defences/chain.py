"""Several defences in a row, and the owner's segment inside them."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..precision import Precision, run
from .base import Defence, Site


class Chain(Defence):
    """Defences in the order given; a chain without members sends the message as it is.

    Every member's penalty is given the same ``x`` and ``z`` and the final ``sent``.
    """

    def __init__(self, *members: Defence) -> None:
        super().__init__()
        self.members: nn.ModuleList = nn.ModuleList()
        for member in members:
            self.members.extend(member.members if isinstance(member, Chain) else [member])

    def at(self, site: Site) -> list[Defence]:
        """The members that perturb there, in order."""
        return [m for m in self.members if isinstance(m, Defence) and m.site == site]

    def apply_at(self, site: Site, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        """``t`` after the members of one site."""
        for member in self.at(site):
            t = member(t, x=x)
        return t

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return self.apply_at("cut", t, x=x)

    def penalty(self, x: Tensor, z: Tensor, sent: Tensor) -> Tensor:
        total = z.new_zeros(())
        for member in self.members:
            if isinstance(member, Defence) and member.acts():
                total = total + member.penalty(x, z, sent)
        return total

    def is_stochastic(self) -> bool:
        """Whether two messages of one input differ in the present phase."""
        return any(isinstance(m, Defence) and m.stochastic and m.acts() for m in self.members)

    def noise_deviation(self, site: Site = "cut") -> float:
        """Standard deviation of all that is added at a site in the present phase."""
        acting = [m.noise_deviation() for m in self.at(site) if m.acts()]
        return float(sum(d * d for d in acting) ** 0.5)

    def without_chance(self, z: Tensor, *, x: Tensor | None = None) -> Tensor:
        """``z`` after the members at the cut that leave nothing to chance."""
        for member in self.at("cut"):
            if not member.stochastic:
                z = member(z, x=x)
        return z

    def without_noise(self, z: Tensor) -> Tensor:
        """``z`` after the members at the cut that add no noise: what the noise is added to."""
        for member in self.at("cut"):
            if not member.noise_deviation():
                z = member(z)
        return z


class Emission(NamedTuple):
    """A message before and after the defences at the cut."""

    z: Tensor
    sent: Tensor


class Defended(nn.Module):
    """The owner's segment with its defences: the one path on which anything leaves the owner.

    Training, serving, evaluation and every attack's queries go through this object.

    Args:
        precision: Of the segment's arithmetic in training mode; in eval mode it is float32.
    """

    def __init__(
        self, segment: nn.Module, defence: Chain, *, precision: Precision = "float32"
    ) -> None:
        super().__init__()
        self.segment = segment
        self.defence = defence
        self.precision = precision

    def emit(self, x: Tensor) -> Emission:
        """``x`` ``(N, ...)`` to the message before and after the defences."""
        z = self._message(x)
        return Emission(z, self.defence(z, x=x))

    def _message(self, x: Tensor) -> Tensor:
        x = self.defence.apply_at("input", x, x=x)
        return run(self.segment, x, self.precision if self.training else "float32")

    def forward(self, x: Tensor) -> Tensor:
        """What leaves the owner for ``x``."""
        return self.emit(x).sent

    def repeats(self, x: Tensor, m: int, *, kept: "Kept | None" = None) -> Tensor:
        """m messages of each input, ``(N, m, ...)``; the segment runs once where it may.

        Args:
            kept: What the segment made of inputs before; looked into first, and added to.
        """
        if any(d.stochastic and d.acts() for d in self.defence.at("input")):
            return torch.stack([self(x) for _ in range(m)], dim=1)
        z = self._message(x) if kept is None else kept.of(x, self._message)
        return torch.stack([self.defence(z, x=x) for _ in range(m)], dim=1)


class OwnerSide(nn.Module):
    """A copy of an owner's side up to what is random at the cut, as an adversary may know it.

    Args:
        behind: What a message goes through before it is heard. Then the copy is random, too: what
            noise becomes behind an activation cannot be told from a mean.
    """

    def __init__(self, defended: Defended, *, behind: nn.Sequential | None = None) -> None:
        super().__init__()
        self.segment = copy.deepcopy(defended.segment)
        self.defence = copy.deepcopy(defended.defence)
        self.behind = copy.deepcopy(behind) if behind is not None else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        """The message for ``x`` ``(N, ...)`` that the random defences at the cut start from."""
        z = self.segment(self.defence.apply_at("input", x, x=x))
        if not len(self.behind):
            return self.defence.without_chance(z, x=x)
        message: Tensor = self.behind(self.defence(z, x=x))
        return message


class Kept:
    """What a segment that no longer changes made of inputs, for those who ask about them again.

    An input is known by the place of its elements in memory, which is held, and by the count of
    changes to it.

    Args:
        room: Bytes to keep at most.
    """

    def __init__(self, room: int = 256 * 2**20) -> None:
        self.room = room
        self._made: dict[tuple[object, ...], tuple[Tensor, int, Tensor]] = {}

    def of(self, x: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
        """``make(x)``, from memory if it is there."""
        place = (x.data_ptr(), x.shape, x.stride(), x.dtype, x.device)
        before = self._made.get(place)
        if before and before[1] == x._version:
            return before[2]
        z = make(x)
        size = z.numel() * z.element_size()
        if size <= self.room:
            self.room -= size
            self._made[place] = (x, x._version, z)
        return z
