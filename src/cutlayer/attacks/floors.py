"""What an adversary says who has not really looked: numbers that a real attack has to beat."""

import torch
from torch import Tensor

from ..threat import Observed, View
from .base import Reconstruction, averaged


class MeanSample(Reconstruction):
    """Answers with the mean auxiliary sample, whatever was overheard."""

    def _fit(self, view: View) -> None:
        self.mean_ = view.auxiliary.mean(0)

    def _reconstruct(self, seen: Observed) -> Tensor:
        return self.mean_.expand(len(seen.messages), *self.mean_.shape)


class ClassMean(Reconstruction):
    """Answers with the mean auxiliary sample of the victim's class: what the label alone gives.

    A floor, not an attack: it is told the true label, and uses the labels of the auxiliary set
    whether or not the threat model grants them. A class without auxiliary samples gets the mean
    of all.
    """

    needs = frozenset({"auxiliary_labels"})

    def _fit(self, view: View) -> None:
        assert view.auxiliary_labels is not None
        overall = view.auxiliary.mean(0)
        of_class = [view.auxiliary[view.auxiliary_labels == k] for k in range(view.classes)]
        self.means_ = torch.stack([s.mean(0) if len(s) else overall for s in of_class])

    def _reconstruct(self, seen: Observed) -> Tensor:
        if seen.labels is None:
            raise ValueError("ClassMean needs the labels of the victims: got none")
        return self.means_[seen.labels]


class NearestAuxiliary(Reconstruction):
    """Answers with the auxiliary sample whose message is nearest, in Euclidean distance.

    Retrieval: it shows how much looks like a reconstruction because the auxiliary set is close.
    """

    needs = frozenset({"query"})

    def _fit(self, view: View) -> None:
        assert view.query is not None
        self.messages_ = averaged(view.query, view.auxiliary).flatten(1)
        self.samples_ = view.auxiliary

    def _reconstruct(self, seen: Observed) -> Tensor:
        mean = seen.messages.mean(1).flatten(1)
        nearest = torch.cat([torch.cdist(z, self.messages_).argmin(1) for z in mean.split(1024)])
        return self.samples_[nearest]
