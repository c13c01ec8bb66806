"""Turn the confidence vectors of a prediction API back into inputs."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ..errors import did_you_mean
from ..inversion_models import INVERSION_MODELS, LogConfidences, inversion_model
from ..threat import View
from .base import Query
from .inverse_network import InverseNetwork, Messages, Standardise
from .losses import LOSSES


class ConfidenceInversion(InverseNetwork):
    """An inversion model trained on (confidence vector, sample) pairs of the attacker's own.

    After Yang et al. (2019): it looks at the logarithms of the largest entries. It is trained on
    what the API releases, defence and all, asked anew in every epoch where the defence is random.
    Of m answers to one input it uses the mean.

    Args:
        network: A name out of ``cutlayer.inversion_models.INVERSION_MODELS``.
        loss: "mse", "l1", "ssim" (images) or "adversarial".
        features: "log"; or "adaptive" to look as well, very closely, at how far an entry is from
            the median of its class, and at the label: what undoes offsets and coarse steps.
        top: How many of the largest entries to look at; by default all.
        epochs, batch_size, learning_rate, patience, renew: As of ``InverseNetwork``.

    Raises:
        ValueError: an argument out of range, no such network or loss.

    Reference: Z. Yang et al., "Neural network inversion in adversarial setting via background
    knowledge alignment", CCS 2019, doi:10.1145/3319535.3354261.
    """

    needs = frozenset({"confidences"})

    def __init__(
        self,
        *,
        network: str = "perceptron",
        loss: str = "mse",
        features: Literal["log", "adaptive"] = "log",
        top: int | None = None,
        epochs: int = 40,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        patience: int = 5,
        renew: bool = True,
    ) -> None:
        super().__init__(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patience=patience,
            renew=renew,
        )
        for name, value, known in (
            ("network", network, tuple(INVERSION_MODELS)),
            ("loss", loss, tuple(LOSSES)),
            ("features", features, ("log", "adaptive")),
        ):
            if value not in known:
                hint = did_you_mean(value, known)
                raise ValueError(f"ConfidenceInversion {name} {value!r}: unknown{hint}")
        if top is not None and top < 1:
            raise ValueError(f"ConfidenceInversion top must be at least 1: got {top}")
        self.network = network
        self.loss = loss
        self.features = features
        self.top = top

    def _answers(self, view: View) -> Query:
        assert view.confidences is not None
        return view.confidences

    def _untrained(self, view: View, messages: Messages) -> nn.Module:
        p = messages.of(torch.arange(len(view.auxiliary)))
        features: nn.Module = LogConfidences(self.top)
        if self.features == "adaptive":
            features = AdaptiveFeatures(p, self.top)
        with torch.no_grad():
            seen = features(p[:4096])
        return nn.Sequential(
            features,
            Standardise(seen),
            inversion_model(self.network, seen.shape[1], self.input_shape_),
        )

    def _loss(self) -> nn.Module:
        return LOSSES[self.loss]()


class AdaptiveFeatures(nn.Module):
    """Logarithms, distances from the median of the class on a scale of 1e-5, and the label.

    Args:
        p: ``(N, K)`` vectors of the attacker's own.
    """

    medians: Tensor

    def __init__(self, p: Tensor, top: int | None = None) -> None:
        super().__init__()
        self.logs = LogConfidences(top)
        label, overall = p.argmax(1), p.median(0).values
        groups = [p[label == k] for k in range(p.shape[1])]
        of_class = [g.median(0).values if len(g) else overall for g in groups]
        self.register_buffer("medians", torch.stack(of_class))

    def forward(self, p: Tensor) -> Tensor:
        """``(N, K)`` to ``(N, 3K)``."""
        label = p.argmax(1)
        away = ((p - self.medians[label]) / 1e-5).asinh() / 10
        return torch.cat([self.logs(p), away, one_hot(label, p.shape[1]).to(p)], 1)
