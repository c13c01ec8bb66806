"""What a shadow of the owner's segment is trained on, and how wrong it is."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from ..threat import View

Adam = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Send = Callable[[Tensor], Tensor]  # samples to messages, through the shadow


def batches(n: int, size: int) -> list[Tensor]:
    """Shuffled indices in batches.

    A last batch of one is left out: no layer can take the statistics of it.
    """
    parts = list(torch.randperm(n).split(size))
    return parts[:-1] if len(parts) > 1 and len(parts[-1]) == 1 else parts


class Lesson(ABC):
    """Samples of the adversary's own, and what tells how wrong a shadow is about them.

    Attributes:
        stand_ins: By name of a part of the far segment that the adversary does not hold: how its
            stand-in was come by.
    """

    def __init__(self, samples: int, stopping: int) -> None:
        self.samples, self.stopping = samples, stopping
        self.stand_ins: dict[str, str] = {}

    @abstractmethod
    def begin(self, epoch: int) -> None:
        """Get ready for a pass over the samples."""

    def trainable(self) -> list[nn.Parameter]:
        """Weights behind the cut that are learned together with the shadow."""
        return []

    @abstractmethod
    def loss(self, send: Send, index: Tensor) -> Tensor:
        """Of some of the samples."""

    @abstractmethod
    def _stopping_loss(self, send: Send, index: slice) -> Tensor:
        """Of some of the validation share."""

    @torch.no_grad()
    def validation_loss(self, send: Send) -> float:
        """Of the whole validation share; the shadow is in eval mode."""
        total = [
            self._stopping_loss(send, slice(i, i + 512)) * min(512, self.stopping - i)
            for i in range(0, self.stopping, 512)
        ]
        return float(torch.stack(total).sum() / self.stopping)


class FromLabels(Lesson):
    """The labels of the samples, seen through the segments behind the shadow.

    What the adversary does not hold of these gets stand-ins: learned before from what went in and
    came out where that was seen, else along with the shadow.
    """

    def __init__(self, view: View, adam: Adam) -> None:
        super().__init__(len(view.auxiliary), len(view.validation))
        assert view.far_segment is not None
        assert view.auxiliary_labels is not None
        assert view.validation_labels is not None
        self.x, self.labels = view.auxiliary, view.auxiliary_labels
        self.x_stop, self.labels_stop = view.validation, view.validation_labels
        self.far = copy.deepcopy(view.far_segment).eval()
        for name, (given, made) in view.traffic.items():
            imitate(self.far.get_submodule(name), given, made, adam)
            self.stand_ins[name] = f"learned before, from {len(given)} messages seen on either side"
        self.along = {n: part for n, part in self.far.named_children() if _asks(part)}
        self.stand_ins |= dict.fromkeys(self.along, "learned along with the shadow")

    def begin(self, epoch: int) -> None:
        for part in self.along.values():
            part.train()

    def trainable(self) -> list[nn.Parameter]:
        return [p for p in self.far.parameters() if p.requires_grad]

    def loss(self, send: Send, index: Tensor) -> Tensor:
        return cross_entropy(self.far(send(self.x[index])), self.labels[index])

    def _stopping_loss(self, send: Send, index: slice) -> Tensor:
        self.far.eval()
        return cross_entropy(self.far(send(self.x_stop[index])), self.labels_stop[index])


def _asks(part: nn.Module) -> bool:
    return any(p.requires_grad for p in part.parameters())


def imitate(part: nn.Module, given: Tensor, made: Tensor, adam: Adam, passes: int = 20) -> None:
    """Train a part to do what its honest owner was seen doing."""
    if not any(True for _ in part.parameters()):
        return
    optimiser = adam(part.parameters())
    part.train(len(given) > 1)
    for _ in range(passes):
        for index in batches(len(given), 32):
            optimiser.zero_grad(set_to_none=True)
            mse_loss(part(given[index]), made[index]).backward()
            optimiser.step()
    part.eval().requires_grad_(False)


class Answers:
    """What the owner's side answered to samples, over all the times it was asked.

    Where the defence is random every answer is another, and the mean of many is what a shadow is
    to give; where the defence zeroes, the mean of those that are not zero.
    """

    def __init__(self, view: View, x: Tensor) -> None:
        assert view.query is not None
        self._query, self._x, self._varies = view.query, x, not view.query_repeats
        self._total, self._nonzero = self._told()
        self.asked = 1

    def ask(self) -> None:
        """Ask once more about every sample, where that tells anything new."""
        if self._varies:
            total, nonzero = self._told()
            self._total, self._nonzero = self._total + total, self._nonzero + nonzero
            self.asked += 1

    def _told(self) -> tuple[Tensor, Tensor]:
        """The sum of all answers to each sample, and how many of them were not zero.

        The count, as large as the sum, only where the answers vary.
        """
        totals, times = list[Tensor](), list[Tensor]()
        for part in self._x.split(256):
            messages = self._query(part)
            self._each = messages.shape[1]
            totals.append(messages.sum(1))
            counted = messages if self._varies else messages[:0]
            times.append((counted != 0).sum(1, dtype=torch.int32))
        return torch.cat(totals), torch.cat(times)

    def zeros_come_and_go(self) -> bool:
        """Whether an element was zero in one answer about a sample and not in another."""
        sometimes = (self._nonzero > 0) & (self._nonzero < self.asked * self._each)
        return bool(sometimes.any())

    def mean(self, index: Tensor | slice) -> Tensor:
        """``(n, ...)``: the mean answer about some of the samples."""
        return self._total[index] / (self.asked * self._each)

    def mean_of_nonzero(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """The mean of what was not zero, and which elements ever were not."""
        times = self._nonzero[index]
        return self._total[index] / times.clamp_min(1), times > 0


class FromAnswers(Lesson):
    """The owner's answers to the samples, asked for anew in every epoch where they vary.

    Args:
        nonzero: Whether only what is not zero counts, as after dropout.
    """

    def __init__(self, view: View, answers: Sequence[Answers], *, nonzero: bool) -> None:
        super().__init__(len(view.auxiliary), len(view.validation))
        self.x, self.x_stop = view.auxiliary, view.validation
        self.answers, self.answers_stop = answers
        self.nonzero = nonzero

    def begin(self, epoch: int) -> None:
        if self.answers.asked <= epoch:  # else another shadow has asked already
            self.answers.ask()

    def loss(self, send: Send, index: Tensor) -> Tensor:
        return self._error(send(self.x[index]), self.answers, index)

    def _stopping_loss(self, send: Send, index: slice) -> Tensor:
        return self._error(send(self.x_stop[index]), self.answers_stop, index)

    def _error(self, z: Tensor, answers: Answers, index: Tensor | slice) -> Tensor:
        if not self.nonzero:
            return mse_loss(z, answers.mean(index))
        target, counted = answers.mean_of_nonzero(index)
        wrong: Tensor = ((z - target).square() * counted).sum() / counted.sum().clamp_min(1)
        return wrong
