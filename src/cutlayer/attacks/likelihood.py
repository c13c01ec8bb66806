"""Search for the input whose message is the one that was overheard."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from ..threat import Observed, View
from .base import Reconstruction
from .least_squares import Solution, is_affine, least_squares, rounds_for
from .prior import GaussianPrior, total_variation

Solver = Literal["auto", "descent", "least-squares"]
Prior = Literal["auto", "variation", "gaussian"]
WEIGHTS: dict[str, tuple[float, ...]] = {  # of each prior, tried out
    "variation": (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    "gaussian": (1e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
}
FEW, MANY = 300, 1000  # steps of a descent, where they are not given
DAMPINGS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)
EXACT = 1e-7  # mean squared error at which nothing is left to be tried


@dataclass(frozen=True)
class Plan:
    """One way to search.

    weight: Of the prior, or the damping of the least squares. nonzero: Whether only the elements
    that are not zero count, as after dropout.
    """

    solver: Literal["descent", "least-squares"]
    weight: float
    prior: Literal["variation", "gaussian"] = "variation"
    nonzero: bool = False


class MaximumLikelihood(Reconstruction):
    """Regularised maximum likelihood (rMLE): no training, but the owner's segment is needed.

    After He et al. (2019), algorithm 1: minimise, for each victim on its own, the squared distance
    of its message from that of a candidate, plus a prior on the candidate: total variation as in
    the paper, or a normal law fitted to the attacker's own samples. Distances are in units of the
    spread of the attacker's own messages, so that one weight means the same at every cut. Where
    the segment is affine, least squares give the answer at once; elsewhere Adam with a step that
    falls along a cosine, projected to [0, 1]. Many victims are searched for side by side, and none
    changes another's answer.

    What the paper leaves open is chosen on the attacker's validation share, never on a victim:
    solver, prior and its weight, and, where the owner zeroes what the segment does not, whether a
    zero tells anything, which after dropout it does not. Of m messages of an input it uses the
    mean (there, of those that are not zero); where the input is perturbed, the mean over draws of
    its own. Where none of this does better there than the mean auxiliary sample, it answers with
    that.

    Args:
        solver: "descent", "least-squares", or "auto" for whichever does better.
        steps: Of the descent. By default 300 where plans are compared; the search by the best plan
            then gets up to 1,000, as long as twice as many do better on the validation share.
        learning_rate: At its beginning, in units of the input's range.
        prior: "variation", "gaussian", or "auto" for whichever does better; tables have no
            variation.
        weight: Of the prior; by default it is chosen.
        beta: Exponent of the total variation: 1 as printed, 2 as in the authors' code.
        restarts: Searches from as many starts, the first from the mean auxiliary sample, the
            others from noise; the answer is the one with the smallest objective.
        draws: Of a random input defence in each step.
        aware: Knows that there is a defence. Else it chooses and searches as if the bare segment
            were sent: the attacker of the paper.
        tried_on: Samples of the validation share to choose by.
        at_once: Victims that are searched for side by side.

    Raises:
        ValueError: an argument out of range; least squares asked for where the segment bends.

    Reference: Z. He, T. Zhang, R. B. Lee, "Model inversion attacks against collaborative
    inference", ACSAC 2019, doi:10.1145/3359789.3359824.
    """

    needs = frozenset({"owner_segment"})

    def __init__(
        self,
        *,
        solver: Solver = "auto",
        steps: int | None = None,
        learning_rate: float = 0.1,
        prior: Prior = "auto",
        weight: float | None = None,
        beta: Literal[1, 2] = 1,
        restarts: int = 1,
        draws: int = 4,
        aware: bool = True,
        tried_on: int = 16,
        at_once: int = 64,
    ) -> None:
        few = FEW if steps is None else steps
        counts = {"steps": few, "restarts": restarts, "draws": draws}
        for name, value in (counts | {"tried_on": tried_on, "at_once": at_once}).items():
            if value < 1:
                raise ValueError(f"MaximumLikelihood {name} must be at least 1: got {value}")
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"MaximumLikelihood learning_rate must be > 0: got {learning_rate}")
        if weight is not None and not 0 <= weight < math.inf:
            raise ValueError(f"MaximumLikelihood weight must be >= 0: got {weight}")
        if solver not in ("auto", "descent", "least-squares"):
            raise ValueError(
                f"MaximumLikelihood solver must be auto, descent or least-squares: got {solver!r}"
            )
        if prior not in ("auto", *WEIGHTS):
            raise ValueError(
                f"MaximumLikelihood prior must be auto, variation or gaussian: got {prior!r}"
            )
        if beta not in (1, 2):
            raise ValueError(f"MaximumLikelihood beta must be 1 or 2: got {beta}")
        self.solver = solver
        self.steps = steps
        self.learning_rate = learning_rate
        self.prior = prior
        self.weight = weight
        self.beta = beta
        self.restarts = restarts
        self.draws = draws
        self.aware = aware
        self.tried_on = tried_on
        self.at_once = at_once

    def _fit(self, view: View) -> None:
        self.steps_ = FEW if self.steps is None else self.steps
        known = view.owner_side if self.aware else None
        segment = known if known is not None else view.owner_segment
        assert segment is not None
        self.segment_ = segment.eval().requires_grad_(False)
        x = view.validation[: self.tried_on]
        self.mean_ = view.auxiliary.mean(0)
        self._own = view.auxiliary
        self.priors_: dict[str, Callable[[Tensor], Tensor]] = {}
        with torch.no_grad():
            clean = self.segment_(view.auxiliary[:256])
            self.scale_ = (clean - clean.mean(0)).square().mean().clamp_min(1e-30)
            sent = self.segment_(x)
            self.moves_ = not torch.equal(sent, self.segment_(x))
            messages = view.query(x) if self.aware and view.query else sent[:, None]
        zeroed = bool(((messages == 0) & (sent != 0)[:, None]).any())
        affine = not self.moves_ and is_affine(self.segment_, view.auxiliary[:8])
        if self.solver == "least-squares" and not affine:
            raise ValueError(
                "MaximumLikelihood solver 'least-squares' wants an affine segment, and this one "
                "bends: use 'auto' or 'descent'"
            )
        plans = self._plans(affine=affine, zeroed=zeroed)
        self.plan_, error = self._best(plans, messages, x)
        guess = float((self.mean_ - x).square().mean())
        self.converged_, error = self._arrived(messages, x, error)
        self.guesses_ = not error < guess
        self.fitted_ = {
            "solver": self.plan_.solver,
            "prior": self.plan_.prior if self.plan_.solver == "descent" else None,
            "weight": self.plan_.weight,
            "nonzero_only": self.plan_.nonzero,
            "steps": self.steps_,
            "tried_on": len(x),
            "validation_mse": [error if math.isfinite(error) else None],
        }
        if self.guesses_:
            self.fitted_["answers_with"] = "mean auxiliary sample"

    def _prior(self, name: str) -> Callable[[Tensor], Tensor]:
        """Made when first wanted: a normal law of large inputs takes a while."""
        if name not in self.priors_:
            variation = partial(total_variation, beta=self.beta)
            self.priors_[name] = GaussianPrior(self._own) if name == "gaussian" else variation
        return self.priors_[name]

    def _best(self, many: list[list[Plan]], messages: Tensor, x: Tensor) -> tuple[Plan, float]:
        """The plan with the smallest error on samples of the attacker's own, and that error."""
        best: tuple[Plan, float] | None = None
        for done, plans in enumerate(many):
            self.on_progress("attack", done, len(many))
            errors = self._tried(plans, messages, x)
            found = min(range(len(plans)), key=errors.__getitem__)
            if best is None or errors[found] < best[1]:
                best = plans[found], errors[found]
            if best[1] < EXACT:
                break
        assert best is not None
        return best

    def _plans(self, *, affine: bool, zeroed: bool) -> list[list[Plan]]:
        """What is to be tried, solver by solver, the cheapest first."""
        zeros = (False, True) if zeroed else (False,)
        found = []
        if affine and self.solver != "descent":
            dampings = DAMPINGS if self.weight is None else (self.weight,)
            found.append([Plan("least-squares", w) for w in dampings])
        if self.solver != "least-squares":
            for prior in self._believable():
                weights = WEIGHTS[prior] if self.weight is None else (self.weight,)
                found.append([Plan("descent", w, prior, n) for w, n in product(weights, zeros)])
        return found

    def _believable(self) -> list[Literal["variation", "gaussian"]]:
        """The priors that are to be tried."""
        if self.prior != "auto":
            return [self.prior]
        return ["variation", "gaussian"] if self.mean_.dim() > 1 else ["gaussian"]

    def _tried(self, plans: list[Plan], messages: Tensor, x: Tensor) -> list[float]:
        """Error of each plan; all are searched side by side."""
        n, rows = len(x), len(plans)
        heard = {nonzero: _heard(messages, nonzero) for nonzero in {p.nonzero for p in plans}}
        target, counted = (
            torch.cat(t) for t in zip(*(heard[p.nonzero] for p in plans), strict=True)
        )
        each = [plan for plan in plans for _ in range(n)]
        x_hat = self._search(target, counted, each, self.steps_).clamp(0, 1)
        wrong = (x_hat - x.repeat(rows, *[1] * (x.dim() - 1))).square().flatten(1).mean(1)
        errors = wrong.view(rows, n).mean(1).tolist()
        return [e if math.isfinite(e) else math.inf for e in errors]

    def _arrived(self, messages: Tensor, x: Tensor, error: float) -> tuple[bool, float]:
        """Whether more steps are no better, by more than a twentieth; and the error."""
        if self.plan_.solver == "descent":
            return self._lengthened(messages, x, error)
        target, plans = messages.mean(1), [self.plan_] * len(messages)
        if error < EXACT or bool(self._solved(target, plans).arrived.all()):
            return True, error
        longer = self._solved(target, plans, 2 * rounds_for(self.mean_.numel())).x
        return _error(longer, x) > 0.95 * error, error

    def _lengthened(self, messages: Tensor, x: Tensor, error: float) -> tuple[bool, float]:
        """Take more steps while they are better, if how many is left open."""
        most = MANY if self.steps is None else self.steps_
        while True:
            last = self.steps_ >= most
            more = 2 * self.steps_ if last else min(2 * self.steps_, most)
            longer = _error(self._answer(messages, more), x)
            better = longer <= 0.95 * error
            if last or not better:
                return not better and math.isfinite(longer), error
            self.steps_, error = more, longer

    def _reconstruct(self, seen: Observed) -> Tensor:
        if self.guesses_:
            return self.mean_.expand(len(seen.messages), *self.mean_.shape)
        parts = seen.messages.split(self.at_once)
        return torch.cat([self._answer(z, self.steps_) for z in parts])

    def _answer(self, messages: Tensor, steps: int) -> Tensor:
        """``(N, m, ...)`` messages to ``(N, ...)`` inputs, by the plan that was chosen."""
        target, counted = _heard(messages, self.plan_.nonzero)
        return self._search(target, counted, [self.plan_] * len(target), steps)

    def _search(self, target: Tensor, counted: Tensor, plans: list[Plan], steps: int) -> Tensor:
        """What was heard of N inputs, and a plan for each, to ``(N, ...)`` inputs.

        The plans have one solver and one prior.
        """
        if plans[0].solver == "least-squares":
            return self._solved(target, plans).x
        prior, weight = self._prior(plans[0].prior), _weight(plans, target)
        search = _Descent(self, target, counted, prior, weight)
        tries = [search.run(start, steps) for start in self._starts(len(target))]
        if len(tries) == 1:
            return tries[0]
        objective = torch.stack([search.objective(x) for x in tries]).nan_to_num(math.inf)
        return torch.stack(tries)[objective.argmin(0), torch.arange(len(target))]

    def _solved(self, target: Tensor, plans: list[Plan], rounds: int | None = None) -> Solution:
        damping = _weight(plans, target)
        return least_squares(self.segment_, target, self.mean_, damping=damping, rounds=rounds)

    def _starts(self, n: int) -> list[Tensor]:
        mean = self.mean_.expand(n, *self.mean_.shape)
        return [mean, *(torch.rand_like(mean) for _ in range(self.restarts - 1))]


def _weight(plans: list[Plan], like: Tensor) -> Tensor:
    return torch.tensor([p.weight for p in plans], dtype=like.dtype, device=like.device)


def _error(x_hat: Tensor, x: Tensor) -> float:
    return float((x_hat.clamp(0, 1) - x).square().mean())


def _heard(messages: Tensor, nonzero: bool) -> tuple[Tensor, Tensor]:
    """Of m messages ``(N, m, ...)`` the mean, and which elements of it count, ``(N, ...)`` each.

    nonzero: The mean of those that are not zero; where all are, nothing was heard.
    """
    if not nonzero:
        mean = messages.mean(1)
        return mean, torch.ones_like(mean, dtype=torch.bool)
    times = (messages != 0).sum(1)
    return messages.sum(1) / times.clamp_min(1), times > 0


class _Descent:
    """The descent for a batch of messages, each on its own."""

    def __init__(
        self,
        attack: MaximumLikelihood,
        target: Tensor,
        counted: Tensor,
        prior: Callable[[Tensor], Tensor],
        weight: Tensor,
    ) -> None:
        self.attack, self.target, self.counted = attack, target, counted
        self.prior, self.weight = prior, weight
        self.elements = counted.flatten(1).sum(1).clamp_min(1) * attack.scale_

    def objective(self, x: Tensor) -> Tensor:
        """``(N,)``: equation 3 for each sample, in units of the messages' spread."""
        distance = (self._message(x) - self.target).square() * self.counted
        summed: Tensor = distance.flatten(1).sum(1) / self.elements
        return summed + self.weight * self.prior(x)

    def _message(self, x: Tensor) -> Tensor:
        draws = self.attack.draws if self.attack.moves_ else 1
        return torch.stack([self.attack.segment_(x) for _ in range(draws)]).mean(0)

    def run(self, start: Tensor, steps: int) -> Tensor:
        with torch.enable_grad():
            x = start.clone().requires_grad_(True)
            optimiser = torch.optim.Adam([x], self.attack.learning_rate)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
            for _ in range(steps):
                # A sum, not a mean: a mean shrinks each gradient against Adam's eps.
                (x.grad,) = torch.autograd.grad(self.objective(x).sum(), x)
                optimiser.step()
                schedule.step()
                with torch.no_grad():
                    x.clamp_(0, 1)
        return x.detach()
