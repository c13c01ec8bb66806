"""Read a label straight from messages: the class, or a private attribute."""

import copy
import math
from abc import abstractmethod
from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..inversion_models import LogConfidences
from ..precision import laid_out
from ..threat import Observed, View
from .base import Attack, Query
from .inverse_network import Messages, Standardise
from .lesson import batches
from .readers import reader, ridge

_LOGARITHMS = LogConfidences()


class Inference(Attack):
    """Tells which of K labels an input has. Subclasses write ``_fit`` and ``_score``."""

    @final
    @torch.no_grad()
    def score(self, seen: Observed) -> Tensor:
        """Messages ``(N, m, ...)`` to logits ``(N, K)``: the larger, the likelier. Nothing rebuilt.

        They take into account how common each label is among the attacker's samples.
        """
        logits = self._score(seen)
        assert logits.dim() == 2, (type(self).__name__, tuple(logits.shape))
        assert len(logits) == len(seen.messages), (type(self).__name__, tuple(logits.shape))
        return logits

    @abstractmethod
    def _score(self, seen: Observed) -> Tensor: ...


def about(view: View, auxiliary: Tensor, validation: Tensor, *, values: int) -> View:
    """The view of an adversary who knows other labels of its own samples, for a ``LabelInference``.

    Args:
        auxiliary, validation: ``(M,)`` int64 in 0 .. values - 1, of the view's samples: a private
            attribute of each.
        values: How many different ones there are, K.

    Raises:
        ValueError: not one label for each sample, or one out of range.
    """
    for name, labels in (("auxiliary", auxiliary), ("validation", validation)):
        samples = getattr(view, name)
        if labels.shape != samples.shape[:1] or labels.is_floating_point():
            raise ValueError(
                f"{name}: a whole number for each of {len(samples)} samples wanted: "
                f"got {tuple(labels.shape)} of {labels.dtype}"
            )
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= values:
            raise ValueError(f"{name}: labels in 0..{values - 1} wanted: got {low}..{high}")
    return replace(
        view,
        auxiliary_labels=auxiliary.long(),
        validation_labels=validation.long(),
        classes=values,
    )


class FarSegmentReads(Inference):
    """The network's own answer: whoever holds the far segment reads the class by using it.

    Of m messages of one input, the mean of the logits. It learns nothing and asks nothing.
    """

    needs = frozenset({"far_segment"})

    def _fit(self, view: View) -> None:
        assert view.far_segment is not None
        lacking = [
            name
            for name, part in view.far_segment.named_children()
            if name.startswith(("between", "end"))
            and any(p.requires_grad for p in part.parameters())
        ]
        if lacking:
            raise ValueError(
                "FarSegmentReads needs every party behind the cut: others hold "
                f"{', '.join(lacking)}; use LabelInference"
            )
        self.segment_ = view.far_segment.eval()

    def _score(self, seen: Observed) -> Tensor:
        found = []
        for part in seen.messages.split(256):
            logits: Tensor = self.segment_(part.flatten(0, 1))
            found.append(logits.unflatten(0, part.shape[:2]).mean(1))
        return torch.cat(found)


class LabelInference(Inference):
    """A classifier of messages, trained on those that the adversary asked for.

    What ``auxiliary_labels`` of the view say is learned: the class, or with ``about`` a private
    attribute. Trained through the defended path: every epoch queries anew where the defence is
    random, and m messages of each input are averaged, in training as well.

    Two are tried and the one that names more labels of the attacker's validation share is kept: a
    linear map, by ridge regression on the mean of all that was answered, and a small network by the
    shape of the message. Best epoch, weight of the ridge and scale of the logits are chosen there,
    too. ``converged_`` says whether the network had stopped getting better.

    Args:
        epochs: At most; training stops earlier when the validation share has not improved for
            ``patience`` epochs.
        batch_size: Samples a step.
        learning_rate: Of AdamW, falling to zero along a cosine over ``epochs``.
        patience: Epochs without improvement to bear.
        samples: For the ridge at most; it takes the cube of it in time.

    Raises:
        ValueError: an argument out of range.
    """

    needs = frozenset({"query", "auxiliary_labels"})

    def __init__(
        self,
        *,
        epochs: int = 40,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        patience: int = 6,
        samples: int = 2000,
    ) -> None:
        for name, value, least in (
            ("epochs", epochs, 1),
            ("batch_size", batch_size, 2),
            ("patience", patience, 1),
            ("samples", samples, 2),
        ):
            if value < least:
                raise ValueError(f"LabelInference {name} must be at least {least}: got {value}")
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"LabelInference learning_rate must be > 0: got {learning_rate}")
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.samples = samples

    def _fit(self, view: View) -> None:
        assert view.auxiliary_labels is not None
        assert view.validation_labels is not None
        if len(view.auxiliary) < 2:
            raise ValueError(
                f"{type(self).__name__} learns from 2 samples at least: got {len(view.auxiliary)}"
            )
        y, truth = view.auxiliary_labels, view.validation_labels
        messages = Messages(view, self._answers(view))
        first = torch.arange(len(y))[: self.samples]
        mean = _Mean(messages.of(first))
        network, losses = self._trained(view, messages, mean)
        held = messages.of_validation()
        found = {
            "linear": ridge(mean.value, y[: self.samples], held, truth, view.classes),
            "network": network,
        }
        quality = {name: _quality(reader, held, truth) for name, reader in found.items()}
        kept = max(quality, key=lambda name: quality[name])
        self.reader_ = found[kept].eval()
        self.fitted_ = {
            "reads_with": kept,
            "epochs": len(losses),
            "validation_loss": [e if math.isfinite(e) else None for e in losses],
            "validation_accuracy": {name: right for name, (right, _) in quality.items()},
        }

    def _answers(self, view: View) -> Query:
        """Whom to ask."""
        assert view.query is not None
        return view.query

    def _trained(
        self, view: View, messages: Messages, mean: "_Mean"
    ) -> tuple[nn.Module, list[float]]:
        """The network at its best epoch, and its loss on the validation share by epoch."""
        assert view.auxiliary_labels is not None
        assert view.validation_labels is not None
        every = torch.arange(len(view.auxiliary))
        network = nn.Sequential(
            Standardise(messages.of(every[:1024])),
            reader(tuple(messages.of_validation().shape[1:]), view.classes),
        ).to(view.auxiliary)
        laid_out(network)
        optimiser = torch.optim.AdamW(network.parameters(), self.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.epochs)
        history, best = list[float](), copy.deepcopy(network.state_dict())
        self.converged_ = False
        for epoch in range(self.epochs):
            self.on_progress("attack", epoch, self.epochs)
            messages.renew(epoch)
            if epoch and not view.query_repeats:
                mean.add(messages.of(every[: self.samples]))
            network.train()
            for index in batches(len(every), self.batch_size):
                loss = cross_entropy(network(messages.of(index)), view.auxiliary_labels[index])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
            history.append(-_quality(network, messages.of_validation(), view.validation_labels)[1])
            if not math.isfinite(history[-1]):
                break
            if history[-1] <= min(history):
                best = copy.deepcopy(network.state_dict())
            elif len(history) - history.index(min(history)) > self.patience:
                # Only while the steps are still large does standing still mean that it has arrived.
                self.converged_ = float(schedule.get_last_lr()[0]) >= 0.1 * self.learning_rate
                break
            schedule.step()
        network.load_state_dict(best)
        return network, history

    def _score(self, seen: Observed) -> Tensor:
        return torch.cat([self.reader_(z.mean(1)) for z in seen.messages.split(512)])


class AnswerInference(LabelInference):
    """The same of a prediction API: a classifier of the logarithms of what it releases.

    What it reads is a private attribute; the class is what an answer says.
    """

    needs = frozenset({"confidences", "auxiliary_labels"})

    def _answers(self, view: View) -> Query:
        assert view.confidences is not None
        ask = view.confidences
        return lambda x: _LOGARITHMS(ask(x))

    def _score(self, seen: Observed) -> Tensor:
        return super()._score(replace(seen, messages=_LOGARITHMS(seen.messages)))


class _Mean:
    """The mean of all answers to the same samples."""

    def __init__(self, messages: Tensor) -> None:
        self.total, self.times = messages, 1

    def add(self, messages: Tensor) -> None:
        self.total, self.times = self.total + messages, self.times + 1

    @property
    def value(self) -> Tensor:
        return self.total / self.times


@torch.no_grad()
def _quality(network: nn.Module, messages: Tensor, labels: Tensor) -> tuple[float, float]:
    """Share of labels named rightly, and minus the cross entropy: the more, the better."""
    network.eval()
    logits = torch.cat([network(z) for z in messages.split(512)])
    loss = float(cross_entropy(logits, labels))
    right = float((logits.argmax(1) == labels).float().mean())
    return (right, -loss) if math.isfinite(loss) else (-1.0, -math.inf)
