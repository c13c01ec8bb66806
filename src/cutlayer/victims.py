"""Whose inputs are attacked: a share of the data, or samples of another data set."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .config import Experiment
from .data import Dataset, Shares
from .data.shares import ranges
from .described import jsonable, without_folders
from .errors import ConfigError
from .streams import generator


@dataclass(frozen=True)
class Victims:
    """Whose inputs are attacked.

    dataset: What the indices point into. index: Of those attacked. others: Of samples of the same
    kind, none of them a victim's: what the floors know. known_kind: They are of the data set that
    the network was trained for; else their labels mean something else, or nothing.
    """

    dataset: Dataset
    index: Tensor
    others: Tensor
    known_kind: bool = True

    def identity(self) -> dict[str, Any]:
        """Which samples of which data set, on which scale: part of an attack's address."""
        bounds = [t.tolist() for t in self.dataset.bounds or ()]
        return {"data": self.dataset.checksum, "bounds": bounds, "index": ranges(self.index)}

    def described(self) -> dict[str, Any]:
        """For the record: the data set that they come from."""
        return {
            "name": self.dataset.name,
            "checksum": self.dataset.checksum,
            "classes": list(self.dataset.classes),
            "samples": len(self.dataset),
            "source": without_folders(jsonable(dict(self.dataset.source))),
            "scaling": [t.tolist() for t in self.dataset.bounds or ()],
        }


def victims_of(
    experiment: Experiment, dataset: Dataset, shares: Shares, elsewhere: Dataset | None
) -> Victims:
    """The victims of an experiment: with ``victims`` the first so many.

    Of another data set, in a drawn order, as many as the victims' share has, but at most half.

    Raises:
        ConfigError: more are wanted than there are.
    """
    count = experiment.victims or None
    if elsewhere is None:
        return Victims(dataset, shares.victims[:count], shares.auxiliary)
    order = torch.randperm(len(elsewhere), generator=generator(experiment.seed, "victims"))
    most = min(len(shares.victims), len(elsewhere) // 2)
    if not max(1, experiment.victims) <= most:
        raise ConfigError(
            f"victims: at most half of the samples of {elsewhere.name}, and at most the size of "
            f"their share: 1 to {most} wanted, got {experiment.victims or 'all'}"
        )
    return Victims(elsewhere, order[:most][:count], order[most:], known_kind=False)


def fitting_victims(elsewhere: Dataset, dataset: Dataset, *, kind: str) -> Dataset:
    """Another data set as the network on ``dataset`` is given it: by its bounds if it has none.

    Raises:
        ConfigError: it is the one that the network was trained for, or of another shape.
    """
    if elsewhere.checksum == dataset.checksum:
        raise ConfigError(
            f"victims_from {kind}: another data set wanted than that of the network; leave it "
            "out for the victims' share of that"
        )
    if elsewhere.shape != dataset.shape:
        raise ConfigError(
            f"victims_from {kind}: samples of shape {dataset.shape} wanted, as the network "
            f"takes: got {elsewhere.shape}"
        )
    if elsewhere.bounds is None and dataset.bounds is not None:
        return elsewhere.with_bounds(*dataset.bounds)
    return elsewhere
