"""What answers are still worth to those who asked, behind a defence of what is released."""

from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from ..defences import Chain, Defended
from ..evaluation import estimate
from ..experiment import prediction_api
from ..prediction_api import PredictionApi
from .families import Loudness
from .limits import ANSWERS
from .result import Place
from .worth import Scale, Worth, median_milliseconds


class AnswerScale(Scale):
    """Weighs defences of what a prediction API releases, by their answers to held-out samples."""

    def _api(self, defence: Chain) -> PredictionApi:
        defended = Defended(self.network.defended.segment, defence).eval()
        return prediction_api(self.assembly, replace(self.network, defended=defended))

    def released(self, defence: Chain) -> Tensor:
        """What is answered to every held-out sample, ``(N, K)``."""
        api = self._api(defence)
        return torch.cat([api.send(self._inputs(i), 1)[:, 0] for i in self.index.split(256)])

    def logits(self, defence: Chain) -> Tensor:
        """Logarithms of that."""
        return _logarithms(self.released(defence))

    @cached_property
    def _said(self) -> Tensor:
        """What the network says."""
        return self.released(Chain())

    def worth(self, defence: Chain, *, against: Tensor | None = None) -> Worth:
        p = self.released(defence)
        away = (p.double() - self._said.double()).abs().sum(1).float()
        return replace(self._judged(_logarithms(p), against), distortion=estimate(away))

    def loudness(self, samples: int = 512) -> Loudness:
        """Of the answers."""
        p = self._said[:samples].double()
        return Loudness(
            rms=float(p.square().mean().sqrt()),
            l1=float(p.sum(1).median()),
            l2=float(p.square().sum(1).sqrt().median()),
            size=p.shape[1],
        )

    def milliseconds(self, defence: Chain) -> float:
        """Of an answer to one sample, median."""
        api, x = self._api(defence), self._inputs(self.index[:1])
        return median_milliseconds(lambda: api.send(x, 1))

    def search_step(self) -> float:
        """Nobody who sees answers alone searches with the network."""
        return 0.0


def _logarithms(p: Tensor) -> Tensor:
    return p.clamp_min(1e-30).log()


def place_of_answers(classes: int, *, parameters: int, flops: int) -> Place:
    """Behind the whole network."""
    return Place(
        name=ANSWERS,
        kind="confidences",
        shape=(classes,),
        bytes=4 * classes,
        parameters=parameters,
        flops=flops,
    )
