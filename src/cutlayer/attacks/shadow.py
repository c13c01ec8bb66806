"""Train a stand-in for the owner's segment, then search through it."""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from ..encoders import ENCODERS, encoder
from ..errors import did_you_mean
from ..precision import laid_out
from ..threat import Bare, Observed, View
from .base import Reconstruction
from .lesson import Answers, FromAnswers, FromLabels, Lesson, Send, batches
from .likelihood import MaximumLikelihood, Prior

Source = Literal["labels", "queries"]


@dataclass(frozen=True)
class Trained:
    """A shadow at its best epoch.

    history: Its loss on the validation share by epoch. stand_ins: As of its ``Lesson``.
    """

    segment: nn.Module
    history: list[float]
    stand_ins: dict[str, str]


class Shadow(Reconstruction):
    """A shadow of the owner's segment, inverted by maximum likelihood.

    After He et al. (2019), algorithm 3. Without queries, the shadow is trained in front of the
    server's own segment, which stays as it is, until the two classify the adversary's labelled
    samples; what it then makes of an input resembles what the owner sends. It is trained and
    searched through among the owner's defences, which are known.

    With queries it is trained on the owner's answers (their table 8). Where the defence is random,
    every epoch asks anew, and it learns the mean of all answers. Where zeros come and go in them,
    as under dropout, another shadow learns from what was not zero; the one through which more can
    be read on the attacker's validation share is kept.

    The weight of the prior is chosen without the owner: a second shadow, of other first weights,
    plays the owner, so that the search is tried through a stand-in that is as wrong as the real
    one. With queries, on the owner's own answers.

    In a chain, the adversary may lack parties behind its first one. Between two of its own it has
    written down what went into the honest ones and came out, and trains a stand-in on that; those
    at the end are trained together with the shadow. ``stand_ins`` in the record says so.

    Args:
        learn_from: "labels" or "queries".
        structure: "known" for the layers of the owner's segment with weights of its own, else a
            name out of ``cutlayer.encoders.ENCODERS``; "auto" fits any two shapes.
        epochs: At most; the one that does best on the attacker's validation share is kept, and
            five without improvement end the training.
        batch_size: Samples a step.
        learning_rate: Of Adam, falling to zero along a cosine over ``epochs``.
        steps, prior, weight, beta: Of the search, see ``MaximumLikelihood``.

    Raises:
        ValueError: an argument out of range, no such structure.

    Reference: Z. He, T. Zhang, R. B. Lee, "Model inversion attacks against collaborative
    inference", ACSAC 2019, doi:10.1145/3359789.3359824.
    """

    needs = frozenset({"far_segment", "auxiliary_labels"})

    def __init__(
        self,
        *,
        learn_from: Source = "labels",
        structure: str = "known",
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        steps: int = 300,
        prior: Prior = "auto",
        weight: float | None = None,
        beta: Literal[1, 2] = 1,
    ) -> None:
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"Shadow {name} must be at least 1: got {value}")
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"Shadow learning_rate must be > 0: got {learning_rate}")
        if learn_from not in ("labels", "queries"):
            raise ValueError(f"Shadow learn_from must be labels or queries: got {learn_from!r}")
        if structure != "known" and structure not in ENCODERS:
            known = ("known", *ENCODERS)
            raise ValueError(
                f"Shadow structure {structure!r}: unknown{did_you_mean(structure, known)}"
            )
        self.learn_from = learn_from
        self.structure = structure
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.steps = steps
        self.prior = prior
        self.weight = weight
        self.beta: Literal[1, 2] = beta
        self._likelihood()  # refuses what it does not take
        learned = {"query"} if learn_from == "queries" else {"far_segment", "auxiliary_labels"}
        self.needs = frozenset(learned | ({"owner_structure"} if structure == "known" else set()))

    def _likelihood(self) -> MaximumLikelihood:
        return MaximumLikelihood(
            steps=self.steps, prior=self.prior, weight=self.weight, beta=self.beta
        )

    def _fit(self, view: View) -> None:
        fitted = self._by_labels if self.learn_from == "labels" else self._by_queries
        found, self.search_ = fitted(view)
        self.segment_ = found.segment
        self.converged_ = bool(self.search_.converged_) and len(found.history) < self.epochs
        losses = [loss if math.isfinite(loss) else None for loss in found.history]
        self.fitted_ = {
            **self.search_.fitted_,
            **self.fitted_,
            "shadow_epochs": len(found.history),
            "shadow_validation_loss": losses,
        }
        if found.stand_ins:
            self.fitted_["stand_ins"] = found.stand_ins

    def _by_labels(self, view: View) -> tuple[Trained, MaximumLikelihood]:
        """Trained and searched through among the defences; another shadow plays the owner."""
        found = self._trained(view, lambda: FromLabels(view, self._adam), "shadow")
        mine = owner = view.imitate(found.segment)
        if self.weight is None:
            twin = self._trained(view, lambda: FromLabels(view, self._adam), "second shadow")
            owner = view.imitate(twin.segment)
        search = self._searched(view, found.segment, mine.side(), owner.overheard)
        # Two shadows differ more than one differs from the owner: that they fail each other
        # says what weight to choose, not that the search is in vain.
        search.guesses_ = False
        search.fitted_.pop("answers_with", None)
        return found, search

    def _by_queries(self, view: View) -> tuple[Trained, MaximumLikelihood]:
        """Trained on answers; where zeros come and go in these, both ways to take them are tried.

        What a search through either comes to on the validation share decides.
        """
        answers = Answers(view, view.auxiliary), Answers(view, view.validation)
        if not view.query_repeats:
            answers[1].ask()
        both = answers[1].zeros_come_and_go()
        tried = [self._by_answers(view, answers, n) for n in ((False, True) if both else (False,))]
        best = min(range(len(tried)), key=lambda i: _error(tried[i][1]))
        if both:
            self.fitted_ = {"learned_from_nonzero": best == 1}
        return tried[best]

    def _by_answers(
        self, view: View, answers: tuple[Answers, Answers], nonzero: bool
    ) -> tuple[Trained, MaximumLikelihood]:
        def lesson() -> Lesson:
            return FromAnswers(view, answers, nonzero=nonzero)

        found = self._trained(replace(view, imitate=Bare), lesson, "shadow")
        return found, self._searched(view, found.segment, None, view.query)

    def _searched(
        self, view: View, segment: nn.Module, side: nn.Module | None, heard: Send | None
    ) -> MaximumLikelihood:
        """The search through a shadow, tried on what is heard of the attacker's own samples."""
        search = self._likelihood()
        search.on_progress = self.on_progress
        return search.fit(replace(view, owner_segment=segment, owner_side=side, query=heard))

    def _trained(self, view: View, make: Callable[[], Lesson], stage: str) -> Trained:
        shadow, lesson = self._untrained(view), make()
        send = view.imitate(shadow).trained
        weights = [*shadow.parameters(), *lesson.trainable()]
        if not weights:
            return Trained(shadow.eval(), [lesson.validation_loss(send)], lesson.stand_ins)
        optimiser = self._adam(weights)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.epochs)
        history, best = list[float](), copy.deepcopy(shadow.state_dict())
        for epoch in range(self.epochs):
            self.on_progress(stage, epoch, self.epochs)
            lesson.begin(epoch)
            shadow.train()
            for index in batches(lesson.samples, self.batch_size):
                optimiser.zero_grad(set_to_none=True)
                lesson.loss(send, index).backward()
                optimiser.step()
            schedule.step()
            shadow.eval()
            history.append(lesson.validation_loss(send))
            if not math.isfinite(history[-1]):
                break
            if history[-1] <= min(history):
                best = copy.deepcopy(shadow.state_dict())
            elif len(history) - history.index(min(history)) > 5:
                break
        shadow.load_state_dict(best)
        segment = shadow.eval().requires_grad_(False)
        return Trained(segment, history, lesson.stand_ins)

    def _adam(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, self.learning_rate, fused=True)

    def _untrained(self, view: View) -> nn.Module:
        if self.structure == "known":
            assert view.owner_structure is not None
            shadow = copy.deepcopy(view.owner_structure)
            for module in shadow.modules():
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
        else:
            shadow = encoder(self.structure, self.input_shape_, view.message_shape)
        return laid_out(shadow.to(view.auxiliary)).requires_grad_(True)

    def _reconstruct(self, seen: Observed) -> Tensor:
        return self.search_.reconstruct(seen)


def _error(search: MaximumLikelihood) -> float:
    """On the attacker's validation share."""
    error: float | None = search.fitted_["validation_mse"][0]
    return math.inf if error is None else error
