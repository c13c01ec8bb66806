"""Several defences in a row, and the owner's segment inside them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

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
    """

    def __init__(self, segment: nn.Module, defence: Chain) -> None:
        super().__init__()
        self.segment = segment
        self.defence = defence

    def emit(self, x: Tensor) -> Emission:
        """``x`` ``(N, ...)`` to the message before and after the defences."""
        z = self.segment(self.defence.apply_at("input", x, x=x))
        return Emission(z, self.defence(z, x=x))

    def forward(self, x: Tensor) -> Tensor:
        """What leaves the owner for ``x``."""
        return self.emit(x).sent

    def repeats(self, x: Tensor, m: int) -> Tensor:
        """m messages of each input, ``(N, m, ...)``; the segment runs once where it may."""
        if any(d.stochastic and d.acts() for d in self.defence.at("input")):
            return torch.stack([self(x) for _ in range(m)], dim=1)
        z = self.segment(self.defence.apply_at("input", x, x=x))
        return torch.stack([self.defence(z, x=x) for _ in range(m)], dim=1)
