"""What a client of a prediction API sees: confidence vectors, as they are released."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from .defences import Defence, Kept, in_phase
from .defences.outputs import OutputDefence, Private
from .release import Release
from .trained import Network

PRIVATE = 4000  # of the operator's own samples that its defences are prepared with


@dataclass(frozen=True)
class PredictionApi:
    """A served network that releases its confidences, defended.

    Args:
        network: Behind its own defences on the input and at the cut, if it has any.
        release: Its defences of what is released, prepared.
    """

    network: Network
    release: Release

    @classmethod
    def prepared(
        cls, network: Network, own: tuple[Tensor, Tensor], *, root: int, secret: bool = False
    ) -> Self:
        """With the network's output defences.

        Args:
            own: ``(N, ...)`` samples and ``(N,)`` labels of the operator, of training.
            root: Of the random streams. secret: Keys apart, see ``Release.prepared``.
        """
        x, y = own
        members = list(map(_of_answers, network.defended.defence.at("output")))
        private = Private(x, y, network.without_defences(x).softmax(1))
        return cls(network, Release.prepared(members, private, root=root, secret=secret))

    @property
    def undefended(self) -> Self:
        """The same, releasing what the network says."""
        held = self.release
        return replace(
            self, release=Release((), classes=held.classes, input_shape=held.input_shape)
        )

    @property
    def stochastic(self) -> bool:
        """Whether two answers to one input differ."""
        return self.network.defended.defence.is_stochastic()

    @torch.no_grad()
    def confidences(self, messages: Tensor) -> Tensor:
        """Messages ``(N, m, ...)`` to what the classifier says of each, ``(N, m, K)``."""
        logits = self.network.far.predict(messages.flatten(0, 1))
        vectors: Tensor = logits.softmax(1).unflatten(0, messages.shape[:2])
        return vectors

    @torch.no_grad()
    def heard(self, messages: Tensor, x: Tensor) -> Tensor:
        """``(N, m, ...)`` as they leave the owner, to the answers that are released, ``(N, m, K)``.

        Args:
            x: ``(N, ...)``, the inputs of the queries, which some defences look at.
        """
        found = []
        for p in self.confidences(messages).unbind(1):
            found.append(self.release.answered(p, x))
        return torch.stack(found, 1)

    @torch.no_grad()
    def send(self, x: Tensor, m: int, *, kept: Kept | None = None) -> Tensor:
        """m answers to each input, ``(N, m, K)``."""
        defended = self.network.defended
        with in_phase(defended.defence, "serve"):
            return self.heard(defended.repeats(x, m, kept=kept), x)


def _of_answers(defence: Defence) -> OutputDefence:
    if isinstance(defence, OutputDefence):
        return defence
    raise TypeError(f"a subclass of OutputDefence wanted, got {type(defence).__name__}")
