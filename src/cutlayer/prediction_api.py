"""What a client of a prediction API sees: confidence vectors, as they are released."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from .defences import Kept, in_phase
from .defences.outputs import OutputDefence, Private
from .streams import stream
from .trained import Network

PRIVATE = 4000  # of the operator's own samples that its defences are prepared with


@dataclass(frozen=True)
class PredictionApi:
    """A served network that releases its confidences, defended.

    Args:
        network: Behind its own defences on the input and at the cut, if it has any.
        defences: Of what is released, fitted, in the order in which they act.
    """

    network: Network
    defences: Sequence[OutputDefence]

    @classmethod
    def prepared(cls, network: Network, own: tuple[Tensor, Tensor], *, root: int) -> Self:
        """With the network's output defences, each fitted to what comes from those before it.

        Secret keys are drawn from ``root``, so that an experiment can be repeated; one that serves
        for real has to take a root that stands in no record.

        Args:
            own: ``(N, ...)`` samples and ``(N,)`` labels of the operator, of training.
            root: Of the random streams.
        """
        (x, y), ready = own, list[OutputDefence]()
        p = network.without_defences(x).softmax(1)
        for i, member in enumerate(network.defended.defence.at("output")):
            assert isinstance(member, OutputDefence)
            if ready:
                with torch.no_grad():
                    parts = zip(p.split(256), x.split(256), strict=True)
                    p = torch.cat([ready[-1](q, x=part) for q, part in parts])
            with stream(root, "output-defence", i):
                ready.append(member.fit(Private(x, y, p)).eval())
        return cls(network, ready)

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
            for defence in self.defences:
                p = defence(p, x=x)
            found.append(p)
        return torch.stack(found, 1)

    @torch.no_grad()
    def send(self, x: Tensor, m: int, *, kept: Kept | None = None) -> Tensor:
        """m answers to each input, ``(N, m, K)``."""
        defended = self.network.defended
        with in_phase(defended.defence, "serve"):
            return self.heard(defended.repeats(x, m, kept=kept), x)
