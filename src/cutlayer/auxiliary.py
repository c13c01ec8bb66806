"""The attacker's own samples: a share of the data, an owner's, or those of another data set."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .config import Experiment
from .data import Dataset, Shares
from .errors import ConfigError
from .streams import generator
from .victims import Victims


@dataclass(frozen=True)
class Auxiliary:
    """Which samples the attacker has.

    dataset: What the indices point into. learn: Indices of those to learn from. stop: Of those to
    stop and choose by. source: Where they come from, in words.
    """

    dataset: Dataset
    learn: Tensor
    stop: Tensor
    source: str


def auxiliary_of(
    experiment: Experiment,
    dataset: Dataset,
    shares: Shares,
    foreign: Dataset | None,
    attacked: Victims,
) -> Auxiliary:
    """The samples of an experiment's attacker: with ``auxiliary_samples`` the first so many.

    Raises:
        ConfigError: more are wanted than there are, or there are none.
    """
    if foreign is not None:
        found = _from_elsewhere(foreign, shares, experiment.seed, attacked)
    elif experiment.threat == "owner-alone" and len(shares.owners) > 1:
        found = _of_an_owner(dataset, shares)
    elif experiment.auxiliary_share == "owners":
        found = _of_all_owners(dataset, shares)
    else:
        found = Auxiliary(dataset, shares.auxiliary, shares.attacker_validation, dataset.name)
    if not len(found.learn) or not len(found.stop):
        raise ConfigError(
            f"auxiliary: samples to learn from and others to stop by wanted: {found.source} has "
            f"{len(found.learn)} and {len(found.stop)}; bring more"
        )
    count = experiment.auxiliary_samples
    return _first(found, count) if count else found


def _from_elsewhere(foreign: Dataset, shares: Shares, seed: int, attacked: Victims) -> Auxiliary:
    """In a drawn order, as many as the shares have, or in their proportion where it has fewer.

    Victims of the same data set are left out, on whose scale it then is.
    """
    learn, stop = len(shares.auxiliary), len(shares.attacker_validation)
    order = torch.randperm(len(foreign), generator=generator(seed, "auxiliary"))
    if foreign.checksum == attacked.dataset.checksum:
        foreign, order = attacked.dataset, order[torch.isin(order, attacked.others)]
    scale = min(1.0, len(order) / (learn + stop))
    n, m = int(scale * learn), int(scale * stop)
    return Auxiliary(foreign, order[:n], order[n : n + m], foreign.name)


def _of_an_owner(dataset: Dataset, shares: Shares) -> Auxiliary:
    """Of several owners one who attacks alone, owner 0, has its own training data."""
    own = shares.owners[0]
    n = min(len(shares.auxiliary), len(own) * 5 // 6)
    stop = own[n : n + len(shares.attacker_validation)]
    return Auxiliary(dataset, own[:n], stop, f"{dataset.name}, owner 0")


def _of_all_owners(dataset: Dataset, shares: Shares) -> Auxiliary:
    """The very samples that the network was trained on, as many as the shares have."""
    n = min(len(shares.auxiliary), len(shares.train) * 5 // 6)
    stop = shares.train[n : n + len(shares.attacker_validation)]
    return Auxiliary(dataset, shares.train[:n], stop, f"{dataset.name}, the training data")


def _first(found: Auxiliary, count: int) -> Auxiliary:
    """The first so many to learn from, and a fifth as many to stop by."""
    if count > len(found.learn):
        raise ConfigError(
            f"auxiliary_samples: at most {len(found.learn)} wanted, what the attacker has: "
            f"got {count}"
        )
    return replace(found, learn=found.learn[:count], stop=found.stop[: max(1, count // 5)])


def fitting(foreign: Dataset, dataset: Dataset, *, kind: str) -> Dataset:
    """Another data set, scaled, if an attacker on ``dataset`` can learn from it.

    Raises:
        ConfigError: it is the one that is attacked, or its samples have another shape.
    """
    if foreign.checksum == dataset.checksum:
        raise ConfigError(
            f"auxiliary {kind}: another data set wanted than the one that is attacked, "
            "which holds the victims; leave it out for the auxiliary share"
        )
    if foreign.bounds is None:
        x = foreign.x.float()
        foreign = foreign.with_bounds(x.amin(), x.amax())
    if foreign.shape != dataset.shape:
        raise ConfigError(
            f"auxiliary {kind}: samples of shape {dataset.shape} wanted, as those "
            f"that are attacked: got {foreign.shape}"
        )
    return foreign
