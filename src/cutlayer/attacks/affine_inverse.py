"""The best affine map from messages to inputs, from queries and in closed form."""

import torch
from torch import Tensor

from ..threat import Observed, View
from .base import Reconstruction, averaged

RIDGES = (1e-13, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class AffineInverse(Reconstruction):
    """Ridge regression of inputs on messages that the adversary asked for.

    Where the owner's segment is affine and loses nothing, as a first convolution, this is exact
    after about as many queries as an input has elements: a black-box attacker needs no network
    there, and no samples like the victims'. Elsewhere it is a quick floor for networks. The
    weight of the ridge is chosen on the attacker's validation share.

    Args:
        samples: Queries to learn from, at most; the fit needs memory for the square of it.

    Raises:
        ValueError: fewer than two samples.
    """

    needs = frozenset({"query"})

    def __init__(self, *, samples: int = 4000) -> None:
        if samples < 2:
            raise ValueError(f"AffineInverse samples must be at least 2: got {samples}")
        self.samples = samples

    def _fit(self, view: View) -> None:
        assert view.query is not None
        x, query = view.auxiliary[: self.samples], view.query
        z, z_stop = (averaged(query, many).flatten(1) for many in (x, view.validation))
        self.centre_, self.mean_ = z.mean(0), x.flatten(1).double().mean(0)
        self.messages_ = z - self.centre_
        away = self.messages_.double()
        values, self.axes_ = torch.linalg.eigh(away @ away.T)
        self.targets_ = self.axes_.T @ (x.flatten(1).double() - self.mean_)
        self.values_ = values.clamp_min(0)
        truth = view.validation.flatten(1).double()
        along = self._along(z_stop)
        errors = [float((self._answer(along, r) - truth).square().mean()) for r in RIDGES]
        best = min(range(len(RIDGES)), key=errors.__getitem__)
        self.ridge_ = RIDGES[best]
        self.fitted_ = {"samples": len(x), "ridge": self.ridge_, "validation_mse": [errors[best]]}

    def _along(self, z: Tensor) -> Tensor:
        """Messages by their products with those asked for, along the axes of these."""
        products = (z - self.centre_).double() @ self.messages_.double().T
        along: Tensor = products @ self.axes_
        return along

    def _answer(self, along: Tensor, ridge: float) -> Tensor:
        shrunk = self.values_ + ridge * self.values_[-1].clamp_min(1e-300)
        answer: Tensor = (along / shrunk) @ self.targets_ + self.mean_
        return answer

    def _reconstruct(self, seen: Observed) -> Tensor:
        z = seen.messages.mean(1).flatten(1)
        made = torch.cat([self._answer(self._along(part), self.ridge_) for part in z.split(256)])
        return made.to(z.dtype).view(len(z), *self.input_shape_)
