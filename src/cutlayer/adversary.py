"""Where along a chain of parties an adversary sits: what it hears there, and what it holds.

Party 1 is the owner. A message goes through the parties in order; the adversary is any set of the
others, pooling what they have. It hears the message that its first party is sent: what later ones
are sent follows from that (He et al. 2019, section 3.1, has all of them from the first on).
"""

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from .defences import Chain, Defended, Kept, OwnerSide, in_phase
from .threat import without_weights

TRAFFIC = 2000  # messages that honest parties passed on, and that were written down


class Front(nn.Sequential):
    """The owner's segment, and behind it those of honest parties, each a child."""


@dataclass(frozen=True)
class Imitated:
    """An adversary's own segment in the owner's place, among copies of the owner's defences.

    Args:
        defended: The segment and the defences.
        behind: Its stand-ins for honest parties in front of the adversary.
        repeats: How many messages of each input are overheard.
    """

    defended: Defended
    behind: nn.Sequential
    repeats: int

    def trained(self, x: Tensor) -> Tensor:
        """Samples to messages in the phase "train", as the far segment got the owner's."""
        with in_phase(self.defended.defence, "train"):
            message: Tensor = self.behind(self.defended(x))
        return message

    @torch.no_grad()
    def overheard(self, x: Tensor) -> Tensor:
        """Samples to messages as they would be overheard, ``(N, m, ...)``."""
        return _passed(self.behind, self.defended.repeats(x, self.repeats))

    def side(self) -> nn.Module:
        """A copy as it is now, up to what is random at the cut."""
        return OwnerSide(self.defended, behind=self.behind)


def _passed(behind: nn.Module, messages: Tensor) -> Tensor:
    """``(N, m, ...)`` messages through a module for ``(N, ...)``."""
    n, m = messages.shape[:2]
    passed: Tensor = behind(messages.flatten(0, 1)).unflatten(0, (n, m))
    return passed


@dataclass(frozen=True)
class Seat:
    """An adversary's place in a chain.

    Args:
        defended: The owner's side.
        behind: The segments of parties 2, 3, …
        parties: Which of them are the adversary's, ascending.
    """

    defended: Defended
    behind: Sequence[nn.Module]
    parties: tuple[int, ...]

    @property
    def honest(self) -> nn.Sequential:
        """What a message goes through before the adversary hears it."""
        return nn.Sequential(*self.behind[: self.parties[0] - 2])

    @torch.no_grad()
    def heard(self, messages: Tensor, x: Tensor | None = None) -> Tensor:
        """``(N, m, ...)`` as they leave the owner, to what the adversary hears of them.

        Args:
            x: The inputs, which make no difference here.
        """
        return _passed(self.honest, messages)

    @torch.no_grad()
    def send(self, x: Tensor, m: int, *, kept: Kept | None = None) -> Tensor:
        """m messages of each input, ``(N, m, ...)``, as the adversary hears them."""
        return self.heard(self.defended.repeats(x, m, kept=kept))

    def imitate(self, segment: nn.Module, m: int) -> Imitated:
        """A segment of the adversary's own in front of it, m messages of each input overheard.

        The owner's layers and those of honest parties get the defences where they belong. With a
        network of another structure nobody can say what a defence at the cut becomes behind an
        honest party: there, only those on the input act.
        """
        chain = copy.deepcopy(self.defended.defence).requires_grad_(False)
        if isinstance(segment, Front):
            owner, *honest = segment
            return Imitated(Defended(owner, chain), nn.Sequential(*honest), m)
        if len(self.honest):
            chain = Chain(*chain.at("input"))
        return Imitated(Defended(segment, chain), nn.Sequential(), m)

    def owner_segment(self) -> nn.Module:
        """Everything in front of the adversary, without the defences."""
        front, honest = self.defended.segment, self.honest
        return Front(front, *honest) if len(honest) else front

    def owner_side(self) -> nn.Module:
        """The same with the defences, as far as they can be computed ahead."""
        return OwnerSide(self.defended, behind=self.honest)

    def far_segment(self) -> nn.Module:
        """Everything from the adversary's first party on.

        What it does not hold has weights drawn anew, and these ask for a gradient. Children are
        named after their parties: ``held2``, ``between3``, ``end4``.
        """
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for name, numbers in self._parts():
            segment = nn.Sequential(*(copy.deepcopy(self.behind[n - 2]) for n in numbers))
            held = name.startswith("held")
            parts[name] = segment.requires_grad_(False) if held else without_weights(segment)
        return nn.Sequential(parts)

    @torch.no_grad()
    def traffic(self, x: Tensor) -> Mapping[str, tuple[Tensor, Tensor]]:
        """What went into and came out of honest parties between two of the adversary's own.

        Args:
            x: ``(N, ...)``, inputs of those who used the network before.
        """
        if not any(name.startswith("between") for name, _ in self._parts()):
            return {}
        z, found = self.send(x[:TRAFFIC], 1)[:, 0], {}
        for name, numbers in self._parts():
            before = z
            for n in numbers:
                z = self.behind[n - 2](z)
            if name.startswith("between"):
                found[name] = before, z
        return found

    def _parts(self) -> list[tuple[str, list[int]]]:
        """From the adversary's first party on: runs of parties that are its own, or not."""
        numbers = range(self.parties[0], len(self.behind) + 2)
        found = []
        for held, run in groupby(numbers, key=lambda n: n in self.parties):
            members = list(run)
            honest = "end" if members[-1] > self.parties[-1] else "between"
            found.append((f"{'held' if held else honest}{members[0]}", members))
        return found

    def in_words(self) -> str:
        """Which parties, of how many.

        >>> Seat(None, [None] * 3, (2, 4)).in_words()  # type: ignore[arg-type, list-item]
        'parties 2 and 4 of 4'
        """
        return self._named(self.parties)

    def honest_in_words(self) -> str | None:
        """Which of the others but the owner are honest; ``None`` where nobody is.

        >>> Seat(None, [None] * 3, (2, 4)).honest_in_words()  # type: ignore[arg-type, list-item]
        'party 3 of 4'
        """
        honest = [n for n in range(2, len(self.behind) + 2) if n not in self.parties]
        return self._named(honest) if honest else None

    def _named(self, parties: Sequence[int]) -> str:
        many = "parties" if len(parties) > 1 else "party"
        return f"{many} {' and '.join(map(str, parties))} of {len(self.behind) + 1}"
