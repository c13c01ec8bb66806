"""The one interface every defence has."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

Site = Literal["input", "cut", "output"]
Phase = Literal["train", "serve"]
Active = Literal["train", "serve", "both"]
PHASES: tuple[Phase, ...] = ("train", "serve")


class Defence(nn.Module):
    """What a party does to a tensor before it goes on.

    Constructor arguments are plain values, stored under their own names: they are the schema of
    the configuration. Subclasses override ``forward``, ``penalty`` or both. *When* a defence acts
    is decided here, once: the training loop works in the phase "train", everything else
    (serving, evaluation, every attack) in the phase "serve". ``.train()`` and ``.eval()`` do not
    matter.

    Attributes:
        site: What is perturbed: the input, the message at the cut, or the output.
        active: The phase or phases in which it acts.
        stochastic: Two calls with the same tensor differ.
    """

    site: Site = "cut"
    active: Active = "both"
    phase: Phase = "serve"
    stochastic: ClassVar[bool] = False

    def acts(self) -> bool:
        """Whether it does anything in the present phase."""
        return self.active in ("both", self.phase)

    def __call__(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        """``t`` as this defence lets it go on; ``t`` itself in a phase where it does not act."""
        out: Tensor = super().__call__(t, x=x) if self.acts() else t
        return out

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        """What goes on instead of ``t``: same shape, dtype and device."""
        return t

    def penalty(self, x: Tensor, z: Tensor, sent: Tensor) -> Tensor:
        """Scalar added to the owner's loss while training, its weight included.

        Args:
            x: ``(N, ...)``, the owner's input, unperturbed.
            z: ``(N, ...)``, the message before any defence.
            sent: ``(N, ...)``, the message as it leaves.
        """
        return z.new_zeros(())

    def noise_deviation(self) -> float:
        """Standard deviation of what it adds to each element; 0 where it adds none."""
        return 0.0


@contextmanager
def in_phase(defence: Defence, phase: Phase) -> Iterator[None]:
    """Put a defence and all its parts into a phase for the length of the block."""
    parts = [m for m in defence.modules() if isinstance(m, Defence)]
    before = [m.phase for m in parts]
    for m in parts:
        m.phase = phase
    try:
        yield
    finally:
        for m, old in zip(parts, before, strict=True):
            m.phase = old


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Refuse a value that is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}: got {value!r}")
