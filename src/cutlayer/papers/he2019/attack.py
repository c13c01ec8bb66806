"""The white-box search as the authors' code has it, for comparison with ours."""

import torch
from torch import Tensor

from ...attacks import Reconstruction
from ...threat import Observed, View
from .published import AMSGRAD, EPSILON


class PublishedLikelihood(Reconstruction):
    """rMLE as published: Adam on normalised pixels, squared variation, no projection.

    The mean squared distance of the messages plus weighted means of squared differences between
    neighbours and of squares; start in the middle, clip at the end. It knows of no defence.
    Victims are searched side by side: losses are summed, not averaged as in the code, where a
    batch would be another attack.

    Args:
        steps, learning_rate: Of Adam with AMSGrad and eps 1e-3, constant.
        total_variation, l2: Weights.
        mean, deviation: By which the network normalises; one for each channel, or one for all.

    Reference: doi:10.1145/3359789.3359824, algorithm 1, and the public code at f010aed.
    """

    needs = frozenset({"owner_segment"})

    def __init__(
        self,
        *,
        steps: int,
        learning_rate: float,
        total_variation: float,
        l2: float = 0.0,
        mean: tuple[float, ...] = (0.5,),
        deviation: tuple[float, ...] = (0.5,),
    ) -> None:
        if steps < 1 or not learning_rate > 0:
            raise ValueError(
                "PublishedLikelihood wants at least one step and a learning rate > 0: got "
                f"{steps} and {learning_rate}"
            )
        self.steps = steps
        self.learning_rate = learning_rate
        self.total_variation = total_variation
        self.l2 = l2
        self.mean = mean
        self.deviation = deviation

    def _fit(self, view: View) -> None:
        assert view.owner_segment is not None
        self.segment_ = view.owner_segment.eval().requires_grad_(False)
        like = view.auxiliary[:1]
        column = (1, -1, *[1] * (like.dim() - 2))
        self.mean_ = torch.tensor(self.mean).to(like).view(column)
        self.deviation_ = torch.tensor(self.deviation).to(like).view(column)

    def _reconstruct(self, seen: Observed) -> Tensor:
        parts = seen.messages.mean(1).split(64)
        return torch.cat([self._search(target) for target in parts])

    @torch.enable_grad()
    def _search(self, target: Tensor) -> Tensor:
        u = torch.zeros(len(target), *self.input_shape_).to(target).requires_grad_(True)
        adam = torch.optim.Adam([u], self.learning_rate, eps=EPSILON, amsgrad=AMSGRAD)
        for _ in range(self.steps):
            distance = (self._input(u) - target).square().flatten(1).mean(1)
            (u.grad,) = torch.autograd.grad((distance + self._prior(u)).sum(), u)
            adam.step()
        return (u.detach() * self.deviation_ + self.mean_).clamp(0, 1)

    def _input(self, u: Tensor) -> Tensor:
        message: Tensor = self.segment_(u * self.deviation_ + self.mean_)
        return message

    def _prior(self, u: Tensor) -> Tensor:
        steps = (u.diff(dim=side).square().flatten(1).mean(1) for side in range(2, u.dim()))
        variation = torch.stack(list(steps)).sum(0)
        return self.total_variation * variation + self.l2 * u.square().flatten(1).mean(1)
