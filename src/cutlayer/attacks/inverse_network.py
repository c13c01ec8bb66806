"""Learn the inverse of the owner's side from queries."""

import copy
import math

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from ..decoders import DECODERS
from ..decoders import decoder as build_decoder
from ..errors import did_you_mean
from ..precision import laid_out
from ..threat import Observed, View
from .base import Query, Reconstruction, averaged
from .lesson import batches


class InverseNetwork(Reconstruction):
    """A decoder trained on (message, sample) pairs that the adversary makes for itself.

    After He et al. (2019), algorithm 2, and Titcombe et al. (2021), section 3. It is trained
    through the defended path: every epoch queries anew where the defence is random. Where m
    messages of each input are overheard, it averages m queries in training as well. Messages are
    standardised by the attacker's own, and clamped to the range of clean ones by an attacker who
    holds the owner's segment. Where even the best epoch is no better on the attacker's
    validation share than the mean auxiliary sample, it answers with that.

    Args:
        decoder: A name out of ``cutlayer.decoders.DECODERS``; "auto" fits any two shapes.
        epochs: At most; training stops earlier when the attacker's validation share has not
            improved for ``patience`` epochs, and the best epoch is kept. With few auxiliary
            samples many epochs are needed; ``converged_`` says whether these were enough.
        batch_size: Samples a step.
        learning_rate: Of Adam, falling to zero along a cosine over ``epochs``.
        patience: Epochs without improvement to bear.
        renew: Ask anew in every epoch where the defence is random; else once, which saves queries
            where each answer is an average of many already.

    Raises:
        ValueError: an argument out of range, no such decoder.

    Reference: Z. He, T. Zhang, R. B. Lee, "Model inversion attacks against collaborative
    inference", ACSAC 2019, doi:10.1145/3359789.3359824.
    """

    needs = frozenset({"query"})

    def __init__(
        self,
        *,
        decoder: str = "auto",
        epochs: int = 30,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        patience: int = 5,
        renew: bool = True,
    ) -> None:
        for name, value in (("epochs", epochs), ("batch_size", batch_size), ("patience", patience)):
            if value < 1:
                raise ValueError(f"{type(self).__name__} {name} must be at least 1: got {value}")
        if not 0 < learning_rate < math.inf:
            raise ValueError(
                f"{type(self).__name__} learning_rate must be > 0: got {learning_rate}"
            )
        if decoder not in DECODERS:
            raise ValueError(f"decoder {decoder!r}: unknown{did_you_mean(decoder, DECODERS)}")
        self.decoder = decoder
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.renew = renew

    def _fit(self, view: View) -> None:
        messages = Messages(view, self._answers(view))
        self.network_ = self._untrained(view, messages).to(view.auxiliary)
        laid_out(self.network_)
        self.loss_ = self._loss().to(view.auxiliary)
        optimiser = torch.optim.Adam(self.network_.parameters(), self.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.epochs)
        best, best_state, history = math.inf, None, list[float]()
        self.converged_ = False
        for epoch in range(self.epochs):
            self.on_progress("attack", epoch, self.epochs)
            if self.renew:
                messages.renew(epoch)
            self._pass(messages, view.auxiliary, optimiser)
            history.append(self._error(messages.of_validation(), view.validation))
            if not math.isfinite(history[-1]):
                break
            if history[-1] < best:
                best, best_state = history[-1], copy.deepcopy(self.network_.state_dict())
            elif history.index(best) + self.patience < len(history):
                # Only while the steps are still large does standing still mean that it has arrived.
                self.converged_ = float(schedule.get_last_lr()[0]) >= 0.1 * self.learning_rate
                break
            schedule.step()
        if best_state is not None:
            self.network_.load_state_dict(best_state)
        self.network_.eval()
        mean = view.auxiliary.mean(0)
        guess = float(mse_loss(mean.expand_as(view.validation), view.validation))
        self.mean_ = mean if not best < guess else None
        errors = [e if math.isfinite(e) else None for e in history]
        self.fitted_ = {"epochs": len(history), "validation_mse": errors}
        if self.mean_ is not None:
            self.fitted_["answers_with"] = "mean auxiliary sample"

    def _answers(self, view: View) -> Query:
        """Whom to ask."""
        assert view.query is not None
        return view.query

    def _untrained(self, view: View, messages: "Messages") -> torch.nn.Module:
        """From messages to inputs."""
        shape = tuple(messages.of_validation().shape[1:])
        return torch.nn.Sequential(
            Standardise(messages.of(torch.arange(len(view.auxiliary))[:1024]), _range(view)),
            build_decoder(self.decoder, shape, self.input_shape_),
        )

    def _loss(self) -> torch.nn.Module:
        """What is lowered in training; epochs are compared by the mean squared error."""
        return torch.nn.MSELoss()

    def _pass(self, messages: "Messages", x: Tensor, optimiser: torch.optim.Optimizer) -> None:
        self.network_.train()
        for index in batches(len(x), self.batch_size):
            loss = self.loss_(self.network_(messages.of(index)), x[index])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()

    @torch.no_grad()
    def _error(self, messages: Tensor, x: Tensor) -> float:
        self.network_.eval()
        parts = [
            mse_loss(self.network_(z), target, reduction="sum")
            for z, target in zip(messages.split(512), x.split(512), strict=True)
        ]
        return float(torch.stack(parts).sum() / x.numel())

    def _reconstruct(self, seen: Observed) -> Tensor:
        mean = seen.messages.mean(1)
        if self.mean_ is not None:
            return self.mean_.expand(len(mean), *self.mean_.shape)
        return torch.cat([self.network_(z) for z in mean.split(512)])


def _range(view: View) -> tuple[Tensor, Tensor] | None:
    """Smallest and largest value of a clean message, where the attacker can compute them.

    An attacker who holds the owner's segment knows that what lies outside is noise.
    """
    if view.owner_segment is None or view.query_repeats:
        return None
    with torch.no_grad():
        ends = [view.owner_segment(x).aminmax() for x in view.auxiliary.split(256)]
    return torch.stack([e.min for e in ends]).min(), torch.stack([e.max for e in ends]).max()


class Standardise(torch.nn.Module):
    """Mean zero in every element, and one common scale, so that strong elements stay strong.

    Of maps and signals, mean zero in every channel: convolutions behind it could not give back
    what differs from place to place. The statistics come from messages the attacker made itself;
    they are not trained. With a range, messages are clamped to it first.
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, messages: Tensor, within: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        low, high = within or (torch.tensor(-torch.inf), torch.tensor(torch.inf))
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        messages = messages.clamp(low.to(messages), high.to(messages))
        alike = [0, *range(2, messages.dim())] if messages.dim() > 2 else [0]
        self.register_buffer("mean", messages.mean(alike, keepdim=True)[0])
        self.register_buffer("deviation", (messages - self.mean).square().mean().sqrt())

    def forward(self, z: Tensor) -> Tensor:
        z = z.clamp(self.low, self.high)
        return (z - self.mean) / self.deviation.clamp_min(torch.finfo(z.dtype).tiny)


class Messages:
    """Messages of the attacker's own samples, averaged over the repeats.

    Asked anew for every epoch where the defence is random; once where it is not.
    """

    def __init__(self, view: View, query: Query) -> None:
        self._query, self._view = query, view
        self._kept = self._ask(view.auxiliary)
        self._validation = self._ask(view.validation)

    def _ask(self, x: Tensor) -> Tensor:
        return averaged(self._query, x)

    def renew(self, epoch: int) -> None:
        if epoch and not self._view.query_repeats:
            self._kept = self._ask(self._view.auxiliary)

    def of(self, index: Tensor) -> Tensor:
        return self._kept[index]

    def of_validation(self) -> Tensor:
        return self._validation
