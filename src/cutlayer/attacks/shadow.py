"""Train a stand-in for the owner's segment, then search through it."""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from ..encoders import ENCODERS, encoder
from ..errors import did_you_mean
from ..precision import laid_out
from ..threat import Observed, View
from .base import Reconstruction
from .likelihood import MaximumLikelihood, Prior

Source = Literal["labels", "queries"]
Adam = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Shadow(Reconstruction):
    """A shadow of the owner's segment, inverted by maximum likelihood.

    After He et al. (2019), algorithm 3. Without queries, the shadow is trained in front of the
    server's own segment, which stays as it is, until the two classify the adversary's labelled
    samples; what it then makes of an input resembles what the owner sends. With queries it is
    trained on the owner's answers (their table 8).

    The weight of the prior is chosen without the owner: a second shadow, of other first weights,
    plays the owner, so that the search is tried through a stand-in that is as wrong as the real
    one. With queries, on the owner's own answers.

    In a chain, the adversary may lack parties behind its first one. Between two of its own it has
    written down what went into the honest ones and came out, and trains a stand-in on that; those
    at the end are trained together with the shadow.

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
        self.segment_, history = self._trained(view, "shadow")
        heard = view.query
        if self.learn_from == "labels" and self.weight is None:
            twin, _ = self._trained(view, "second shadow")
            heard = _as_owner(twin, view)
        self.search_ = self._likelihood()
        self.search_.on_progress = self.on_progress
        self.search_.fit(replace(view, owner_segment=self.segment_, owner_side=None, query=heard))
        if self.learn_from == "labels":
            # Two shadows differ more than one differs from the owner: that they fail each other
            # says what weight to choose, not that the search is in vain.
            self.search_.guesses_ = False
            self.search_.fitted_.pop("answers_with", None)
        stood_still = len(history) < self.epochs
        self.converged_ = bool(self.search_.converged_) and stood_still
        self.fitted_ = {
            **self.search_.fitted_,
            "shadow_epochs": len(history),
            "shadow_validation_loss": [h if math.isfinite(h) else None for h in history],
        }

    def _trained(self, view: View, stage: str) -> tuple[nn.Module, list[float]]:
        """A shadow at its best epoch, and the loss on the validation share by epoch."""
        shadow, lesson = self._untrained(view), _Lesson.of(view, self.learn_from, self._adam)
        weights = [*shadow.parameters(), *lesson.trainable()]
        if not weights:
            return shadow.eval(), [lesson.validation_loss(shadow)]
        optimiser = self._adam(weights)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.epochs)
        history, best = list[float](), copy.deepcopy(shadow.state_dict())
        for epoch in range(self.epochs):
            self.on_progress(stage, epoch, self.epochs)
            shadow.train()
            for index in torch.randperm(len(lesson.x)).split(self.batch_size):
                optimiser.zero_grad(set_to_none=True)
                lesson.loss(shadow, index).backward()
                optimiser.step()
            schedule.step()
            history.append(lesson.validation_loss(shadow))
            if not math.isfinite(history[-1]):
                break
            if history[-1] <= min(history):
                best = copy.deepcopy(shadow.state_dict())
            elif len(history) - history.index(min(history)) > 5:
                break
        shadow.load_state_dict(best)
        return shadow.eval().requires_grad_(False), history

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


def _as_owner(twin: nn.Module, view: View) -> Any:
    """A second shadow as if it were the owner: what would be overheard of it."""

    def heard(x: Tensor) -> Tensor:
        z: Tensor = twin(x)
        return view.disturb(z) if view.disturb else z[:, None]

    return heard


def _imitate(part: nn.Module, given: Tensor, made: Tensor, adam: Adam, passes: int = 20) -> None:
    """Train a part to do what its honest owner was seen doing."""
    if not any(True for _ in part.parameters()):
        return
    optimiser = adam(part.parameters())
    for _ in range(passes):
        for index in torch.randperm(len(given)).split(32):
            optimiser.zero_grad(set_to_none=True)
            mse_loss(part(given[index]), made[index]).backward()
            optimiser.step()
    part.requires_grad_(False)


class _Lesson:
    """What a shadow is trained on, and how wrong it is."""

    def __init__(
        self, x: Tensor, target: Tensor, x_stop: Tensor, target_stop: Tensor, far: nn.Module | None
    ) -> None:
        self.x, self.target, self.x_stop, self.target_stop = x, target, x_stop, target_stop
        self.far = far

    @classmethod
    def of(cls, view: View, source: Source, adam: Adam) -> "_Lesson":
        if source == "queries":
            assert view.query is not None
            query = view.query
            z, z_stop = (
                torch.cat([query(part).mean(1) for part in x.split(256)])
                for x in (view.auxiliary, view.validation)
            )
            return cls(view.auxiliary, z, view.validation, z_stop, None)
        assert view.far_segment is not None
        assert view.auxiliary_labels is not None
        assert view.validation_labels is not None
        far = copy.deepcopy(view.far_segment).eval()
        for name, (given, made) in view.traffic.items():
            _imitate(far.get_submodule(name), given, made, adam)
        labels, labels_stop = view.auxiliary_labels, view.validation_labels
        return cls(view.auxiliary, labels, view.validation, labels_stop, far)

    def trainable(self) -> list[nn.Parameter]:
        """Weights behind the cut that the adversary does not know."""
        return [p for p in self.far.parameters() if p.requires_grad] if self.far else []

    def _error(self, shadow: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        z = shadow(x)
        return mse_loss(z, target) if self.far is None else cross_entropy(self.far(z), target)

    def loss(self, shadow: nn.Module, index: Tensor) -> Tensor:
        return self._error(shadow, self.x[index], self.target[index])

    @torch.no_grad()
    def validation_loss(self, shadow: nn.Module) -> float:
        shadow.eval()
        pairs = zip(self.x_stop.split(512), self.target_stop.split(512), strict=True)
        parts = [self._error(shadow, x, t) * len(x) for x, t in pairs]
        return float(torch.stack(parts).sum() / len(self.x_stop))
