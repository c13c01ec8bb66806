"""Confidence vectors that are poison to whoever trains an inversion model on them."""

from typing import Literal, Self

import torch
from torch import Tensor, nn

from ..base import one_of
from .base import Private
from .budgeted import Budgeted
from .keyed import new_key, uniforms
from .surrogates import DefensiveLoss, Surrogate, SurrogateNetwork, train_surrogates


class Steps(Budgeted):
    """What descends for every query on its own, inside what is feasible, through surrogates."""

    needs_input = True
    key: Tensor

    def __init__(
        self,
        budget: float,
        steps: int,
        loss: DefensiveLoss,
        surrogate_epochs: tuple[int, ...],
        samples: int,
        decimals: int | None = None,
    ) -> None:
        super().__init__(budget, decimals)
        name = type(self).__name__
        one_of(f"{name} loss", loss, ("negative", "swap"))
        for what, value in (("steps", steps), ("samples", samples)):
            if value < 1:
                raise ValueError(f"{name} {what} must be at least 1: got {value}")
        if not surrogate_epochs or min(surrogate_epochs) < 1:
            raise ValueError(
                f"{name} surrogate_epochs must be numbers of at least 1: got {surrogate_epochs}"
            )
        self.steps = steps
        self.loss: DefensiveLoss = loss
        self.surrogate_epochs = tuple(surrogate_epochs)
        self.samples = samples
        self.surrogates_ = nn.ModuleList()
        self.register_buffer("key", torch.zeros(4, dtype=torch.int64))

    def fit(self, private: Private) -> Self:
        super().fit(private)
        few = Private(*(t[: self.samples] for t in (private.x, private.y, private.p)))
        found = train_surrogates(few, epochs=self.surrogate_epochs, loss=self.loss)
        self.surrogates_ = nn.ModuleList(found)
        self.key = new_key().to(private.p.device)
        return self

    def laid_out(self, classes: int, input_shape: tuple[int, ...]) -> Self:
        networks = (SurrogateNetwork(classes, input_shape) for _ in set(self.surrogate_epochs))
        self.surrogates_ = nn.ModuleList(map(Surrogate, networks))
        return super().laid_out(classes, input_shape)

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return self._descended(t, x)

    @property
    def _surrogates(self) -> list[Surrogate]:
        return [s for s in self.surrogates_ if isinstance(s, Surrogate)]

    def _descended(self, p: Tensor, x: Tensor | None) -> Tensor:
        """Steps 3 to 7 of the paper's figure 2, around and around: perturb within what is
        feasible, take the gradient of the training loss on that, align it with the gradient of the
        defensive loss."""
        if x is None or not self.surrogates_:
            lacking = "the inputs of the queries: pass x" if x is None else "to be fitted first"
            raise RuntimeError(f"{type(self).__name__} needs {lacking}")
        noise = 2 * uniforms(p, self.key, p.shape[1]) - 1
        rate = self.room(p.shape[1]) / 10
        delta = (rate * noise).to(p.dtype)
        first, second = torch.zeros_like(delta), torch.zeros_like(delta)
        for step in range(1, self.steps + 1):
            downhill = self._slope(p, delta, x).sign()
            # Adam of each row by itself, its usual decays.
            first = 0.9 * first + 0.1 * downhill
            second = 0.99 * second + 0.01 * downhill.square()
            mean, square = first / (1 - 0.9**step), second / (1 - 0.99**step)
            delta = delta - rate * mean / (square.sqrt() + 1e-8)
        return self.answered(p, p + delta)

    def _slope(self, p: Tensor, delta: Tensor, x: Tensor) -> Tensor:
        """How the objective, mean of the ensemble, changes with the perturbation, ``(N, K)``."""
        with torch.enable_grad():
            delta = delta.detach().requires_grad_(True)
            fed = self.moved(p, p + delta)
            every = torch.stack([self._objective(s, fed, x) for s in self._surrogates])
            (found,) = torch.autograd.grad(every.mean(0).sum(), delta)
        return found

    def _objective(self, surrogate: Surrogate, p: Tensor, x: Tensor) -> Tensor:
        """What goes down, ``(N,)``."""
        return surrogate.misalignment(p, x)

    def misalignment(self, p: Tensor, x: Tensor) -> Tensor:
        """``(N,)`` in [0, 2]: 1 - cosine of what training on each vector does to the surrogates
        and what the defender would like to happen; 0 is all that it could wish for."""
        with torch.enable_grad():
            p = p.detach().requires_grad_(True)
            return torch.stack([s.misalignment(p, x).detach() for s in self._surrogates]).mean(0)


class LabelPreservingPoisoning(Steps):
    """LPA: every vector perturbed, no label changed.

    After Zhou et al. (2024): the operator trains inversion models of its own, and moves each
    vector, inside what is feasible, so that an attacker's training step on it goes the way that the
    defensive loss wants. It sees the query. The text of the paper was not to be had whole; norm,
    budget and schedule are this implementation's.

    Args:
        budget: Largest L1 distance, in (0, 2].
        steps: Of the descent, for each query.
        loss: Of the defender, see ``train_surrogates``.
        surrogate_epochs: After which the surrogates are taken.
        samples: Private samples that they are trained on, at most.
        decimals: Of the answers, rounded inside the budget; see ``Budgeted``.

    Raises:
        ValueError: an argument out of range.

    Reference: S. Zhou, D. Ye, T. Zhu, W. Zhou, "Defending against neural network model inversion
    attacks via data poisoning", 2024, arXiv:2412.07575; solver after J. Geiping et al., "Witches'
    brew", ICLR 2021.
    """

    def __init__(
        self,
        budget: float = 0.02,
        *,
        steps: int = 20,
        loss: DefensiveLoss = "swap",
        surrogate_epochs: tuple[int, ...] = (5, 20),
        samples: int = 2000,
        decimals: int | None = None,
    ) -> None:
        super().__init__(budget, steps, loss, surrogate_epochs, samples, decimals)


class LabelFlippingPoisoning(Steps):
    """LFP: a few vectors, those that matter most to an attacker, get another label.

    After Zhou et al. (2024); which ones and what label the text that could be had does not say.
    Here: those where the surrogate's loss pulls hardest at its output, above a threshold that
    ``fraction`` of held-out private samples exceed; label and runner-up change places, and the
    vector is then poisoned around there, the new label kept. All others go unchanged, bit for bit.

    Args:
        fraction: Share of the answers, in (0, 1).
        select: "influence", or "random" for a control.
        poison: Take the gradient-aligned steps; else the flip is all, another control.
        budget, steps, loss, surrogate_epochs, samples: As of ``LabelPreservingPoisoning``; the
            budget counts from the flipped vector.

    Raises:
        ValueError: an argument out of range.
    """

    keeps_label = False
    threshold: Tensor

    def __init__(
        self,
        fraction: float = 0.05,
        *,
        select: Literal["influence", "random"] = "influence",
        poison: bool = True,
        budget: float = 0.02,
        steps: int = 20,
        loss: DefensiveLoss = "swap",
        surrogate_epochs: tuple[int, ...] = (5, 20),
        samples: int = 2000,
    ) -> None:
        super().__init__(budget, steps, loss, surrogate_epochs, samples)
        if not 0 < fraction < 1:
            raise ValueError(
                f"LabelFlippingPoisoning fraction must lie between 0 and 1: got {fraction}"
            )
        one_of("LabelFlippingPoisoning select", select, ("influence", "random"))
        self.fraction = fraction
        self.select = select
        self.poison = poison
        self.needs_input = poison or select == "influence"
        self.register_buffer("threshold", torch.tensor(torch.inf))

    def fit(self, private: Private) -> Self:
        half = min(self.samples, len(private.p) // 2)
        super().fit(Private(private.x[:half], private.y[:half], private.p[:half]))
        held_out = self.influence(private.p[half : 2 * half], private.x[half : 2 * half])
        self.threshold = held_out.quantile(1 - self.fraction)
        return self

    @torch.no_grad()
    def influence(self, p: Tensor, x: Tensor) -> Tensor:
        """``(N,)``, >= 0: how hard the last surrogate's loss pulls at its output."""
        last = self._surrogates[-1]
        made = last.network(p)
        pull = (made - x) * made * (1 - made)  # through the sigmoid at its end
        size: Tensor = pull.flatten(1).norm(dim=1)
        return size

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        chosen = self._chosen(t, x)
        if not chosen.any():
            return t
        flipped = flip(t[chosen])
        if self.poison:
            flipped = self._descended(flipped, None if x is None else x[chosen])
        answer = t.clone()
        answer[chosen] = flipped
        return answer

    def _chosen(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.select == "random":
            return uniforms(p, self.key, 1)[:, 0] < self.fraction
        if x is None:
            raise RuntimeError("LabelFlippingPoisoning needs the inputs of the queries: pass x")
        return self.influence(p, x) > self.threshold


def flip(p: Tensor) -> Tensor:
    """``(N, K)`` vectors whose largest entry and the runner-up have changed places."""
    where = p.topk(2, 1).indices
    return p.scatter(1, where, p.gather(1, where).flip(1))
