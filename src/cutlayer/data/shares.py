"""Who holds which samples: disjoint by construction, by index, and written into the record."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import did_you_mean
from .dataset import Dataset

_TRAIN = ("owners", "auxiliary", "attacker_validation", "judge")  # in this order of the train part
_TEST = ("validation", "victims")
_NEEDED = ("owners", "auxiliary", "attacker_validation", "victims")
PLANS = ("default", "titcombe2021", "he2019", "he2019-full")
_OF_HE = {"he2019": (45, 10, 2, 3), "he2019-full": (31, 26, 1, 2)}  # of 60, in train


@dataclass(frozen=True, eq=False)
class Shares:
    """Index tensors into a ``Dataset``, int64; no sample is in two of them.

    Args:
        owners: Each owner's training set.
        validation: Server side: the classifier's accuracy is measured on it.
        auxiliary: The attacker's own samples.
        attacker_validation: The attacker chooses and stops on these, never on the victims.
        judge: Trains the evaluator's independent classifier.
        victims: Whose messages are attacked.

    Raises:
        ValueError: an index in two shares or twice in one, a share empty that must not be
            (``validation`` and ``judge`` may), anything but int64 indices >= 0.
    """

    owners: tuple[Tensor, ...]
    validation: Tensor
    auxiliary: Tensor
    attacker_validation: Tensor
    judge: Tensor
    victims: Tensor

    def __post_init__(self) -> None:
        if not self.owners:
            raise ValueError("shares: at least one owner wanted: got none")
        named = dict(self)
        for name, index in named.items():
            if index.dtype != torch.int64 or index.dim() != 1:
                raise ValueError(
                    f"share {name}: int64 indices (n,) wanted: "
                    f"got {index.dtype} {tuple(index.shape)}"
                )
            if not len(index) and name not in ("validation", "judge"):
                raise ValueError(f"share {name}: at least one sample wanted: got none")
            if len(index) and int(index.min()) < 0:
                raise ValueError(f"share {name}: indices >= 0 wanted: got {int(index.min())}")
        every = torch.cat(list(named.values())).sort().values
        twice = every[1:][every[1:] == every[:-1]]
        if len(twice):
            example = int(twice[0])
            where = [n for n, index in named.items() for _ in range(int((index == example).sum()))]
            place = f"in {where[0]} twice" if where[0] == where[1] else f"in {' and '.join(where)}"
            raise ValueError(
                f"shares must be disjoint: sample {example} is {place}, "
                f"and {len(twice)} samples in all are shared; "
                "an attacker who has seen the victims proves nothing"
            )

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Every share with its name: ``owners[0]``, …, ``validation``, ``auxiliary``, …"""
        yield from ((f"owners[{i}]", index) for i, index in enumerate(self.owners))
        for name in ("validation", "auxiliary", "attacker_validation", "judge", "victims"):
            yield name, getattr(self, name)

    @property
    def train(self) -> Tensor:
        """All owners' training sets, one after the other."""
        return torch.cat(self.owners)

    def check(self, dataset: Dataset) -> None:
        """Raises ``ValueError`` if an index is beyond the data set."""
        for name, index in self:
            if len(index) and int(index.max()) >= len(dataset):
                raise ValueError(
                    f"share {name}: indices below {len(dataset)} wanted, the samples of "
                    f"{dataset.name}: got {int(index.max())}; the shares are of another data set"
                )

    def to_dict(self) -> dict[str, Any]:
        """JSON: each share as half-open ranges ``[[start, stop], …]``, its order kept.

        >>> i = torch.arange(9)
        >>> Shares((i[:3],), i[3:3], i[3:4], i[4:5], i[5:5], i[[8, 6, 7]]).to_dict()["victims"]
        [[8, 9], [6, 8]]
        """
        plain: dict[str, Any] = {name: ranges(i) for name, i in self if "[" not in name}
        return {"owners": [ranges(i) for i in self.owners], **plain}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Shares":
        """The inverse of ``to_dict``.

        Raises:
            ValueError: a name missing or unknown, a range that is none, an overlap.
        """
        names = {"owners", *_TRAIN, *_TEST}
        for name in raw:
            if name not in names:
                raise ValueError(f"share {name!r}: unknown{did_you_mean(name, names)}")
        if lost := sorted(names - raw.keys()):
            raise ValueError(f"every share wanted: {', '.join(lost)} missing")
        if not isinstance(raw["owners"], list):
            raise ValueError(f"share owners: a list of shares wanted: got {raw['owners']!r}")
        owners = tuple(_indices(r, f"owners[{i}]") for i, r in enumerate(raw["owners"]))
        return cls(owners, **{n: _indices(raw[n], n) for n in names - {"owners"}})


def ranges(index: Tensor) -> list[list[int]]:
    """Run lengths of an index tensor: maximal runs of consecutive indices, in order."""
    if not len(index):
        return []
    breaks = (index.diff() != 1).nonzero().flatten()
    starts = torch.cat([index[:1], index[breaks + 1]])
    stops = torch.cat([index[breaks], index[-1:]]) + 1
    return torch.stack([starts, stops], dim=1).tolist()


def _indices(raw: Any, name: str) -> Tensor:
    pieces = []
    for pair in raw if isinstance(raw, list) else [raw]:
        whole = isinstance(pair, list) and len(pair) == 2 and all(type(i) is int for i in pair)
        if not whole or not 0 <= pair[0] < pair[1] < 2**63:
            raise ValueError(
                f"share {name}: ranges [start, stop], start < stop wanted: got {pair!r}"
            )
        pieces.append(torch.arange(pair[0], pair[1]))
    return torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.long)


def share_out(
    dataset: Dataset, *, plan: str | Mapping[str, int] = "default", owners: int = 1, seed: int = 0
) -> tuple[Dataset, Shares]:
    """Divide a data set among owners, server, attacker, judge and victims.

    Args:
        plan: ``"default"``: with published train and test parts the fractions of Titcombe et al.
            (owners 4/6, auxiliary 1/12, attacker_validation 1/12 and judge 1/6 of train;
            validation and victims half of test each), so the same shares on MNIST. Without parts,
            victims are a fifth, but 500 where that is under 3/10; of the rest owners have .47,
            validation .08, auxiliary .25, attacker_validation .06, judge .14.
            ``"titcombe2021"``: the shares of their appendix D, for 60,000 + 10,000 samples.
            ``"he2019"``: owners 3/4, auxiliary 1/6, attacker_validation 1/30 and judge 1/20 of
            train; the first half of test are the victims, among them the ten images that He et
            al. show, the rest is validation. ``"he2019-full"``: likewise, but 31, 26, 1 and 2
            parts of 60, so that the attacker has nearly as many samples as the network.
            Or a count for each share: validation and victims come from the test part where there
            is one, the others from train; ``validation`` and ``judge`` may be left out.
        owners: Into how many nearly equal parts the owners' training share is divided.
        seed: Of the permutation of each part, which is made unless ``dataset.shuffled``.

    Returns:
        The data set with its bounds declared, and the shares. Bounds that were not declared are
        the minimum and maximum over the owners' training share: by feature in tables, by channel
        in signals and pictures. They are public: the attacker has them too.

    Raises:
        ValueError: an unknown plan or share, a share that is empty or larger than the data, more
            owners than samples.

    Reference: T. Titcombe et al., "Practical defences against model inversion attacks for split
    neural networks", 2021, arXiv:2104.05743, appendix D.
    """
    pools = _pools(dataset, seed)
    counts = _counts(dataset, plan, {name: len(pool) for name, pool in pools.items()})
    given: dict[str, Tensor] = {}
    for pool, names in zip(pools.values(), _division(pools, plan), strict=True):
        pieces = torch.split(
            pool, [*(counts.get(n, 0) for n in names), len(pool) - _total(counts, names)]
        )
        given |= dict(zip(names, pieces, strict=False))
    training = given.pop("owners")
    if not 1 <= owners <= len(training):
        raise ValueError(
            f"owners must be 1..{len(training)}, one training sample for each at least: "
            f"got {owners} owners"
        )
    shares = Shares(tuple(training.tensor_split(owners)), **given)
    return _bounded(dataset, training), shares


def _pools(dataset: Dataset, seed: int) -> dict[str, Tensor]:
    """The indices of each published part, or all as one, in the order in which they are dealt."""
    both = {"train", "test"} <= dataset.parts.keys()
    spans = {n: dataset.parts[n] for n in ("train", "test")} if both else {"all": (0, len(dataset))}
    pools = {name: torch.arange(*span) for name, span in spans.items()}
    if dataset.shuffled:
        return pools
    return {
        name: i[torch.randperm(len(i), generator=torch.Generator().manual_seed(seed))]
        for name, i in pools.items()
    }


def _division(
    pools: Mapping[str, Tensor], plan: str | Mapping[str, int] = "default"
) -> tuple[tuple[str, ...], ...]:
    """The names of the shares of each pool; victims first, so that other counts never move them.

    But behind the validation share where a test part is published: so do Titcombe et al.
    """
    if len(pools) == 2:
        return _TRAIN, _TEST[::-1] if isinstance(plan, str) and plan in _OF_HE else _TEST
    return (("victims", "validation", *_TRAIN),)


def _total(counts: Mapping[str, int], names: Iterable[str]) -> int:
    return sum(counts.get(name, 0) for name in names)


def _counts(
    dataset: Dataset, plan: str | Mapping[str, int], sizes: Mapping[str, int]
) -> dict[str, int]:
    if not isinstance(plan, str):
        return _checked(dataset, plan, sizes)
    if plan not in PLANS:
        raise ValueError(f"plan {plan!r}: unknown{did_you_mean(plan, PLANS)}")
    if plan == "titcombe2021" and sizes != {"train": 60_000, "test": 10_000}:
        got = " and ".join(f"{name} {size}" for name, size in sizes.items())
        raise ValueError(
            "plan titcombe2021 wants train 60000 and test 10000 samples, as MNIST has: "
            f"{dataset.name} has {got}; take plan default, which keeps its fractions"
        )
    if plan in _OF_HE and len(sizes) != 2:
        raise ValueError(
            f"plan {plan} wants published train and test parts: {dataset.name} has none; take "
            "plan default"
        )
    if plan in _OF_HE:
        counts = _parted(sizes["train"], dict(zip(_TRAIN, _OF_HE[plan], strict=True)))
        counts |= _parted(sizes["test"], dict(zip(_TEST, (1, 1), strict=True)))
    elif len(sizes) == 2:
        counts = _parted(sizes["train"], dict(zip(_TRAIN, (8, 1, 1, 2), strict=True)))
        counts |= _parted(sizes["test"], dict(zip(_TEST, (1, 1), strict=True)))
    else:
        n = sizes["all"]
        victims = max(round(0.2 * n), min(500, round(0.3 * n)))
        weights = dict(zip((*_TRAIN, "validation"), (47, 25, 6, 14, 8), strict=True))
        counts = {"victims": victims} | _parted(n - victims, weights)
    empty = [name for name in _NEEDED if not counts[name]]
    if empty:
        raise ValueError(
            f"plan {plan} leaves {' and '.join(empty)} of {dataset.name} without a sample: it has "
            f"{len(dataset)} samples; bring more, or give the count of each share"
        )
    return counts


def _parted(n: int, weights: Mapping[str, int]) -> dict[str, int]:
    """n divided by weight, every boundary rounded, so that nothing is left over."""
    whole, counts, begin, sofar = sum(weights.values()), {}, 0, 0
    for name, weight in weights.items():
        sofar += weight
        end = (n * sofar * 2 + whole) // (2 * whole)
        counts[name], begin = end - begin, end
    return counts


def _checked(dataset: Dataset, plan: Mapping[str, int], sizes: Mapping[str, int]) -> dict[str, int]:
    """The counts of a plan of the user's own."""
    known = (*_TRAIN, *_TEST)
    for name, count in plan.items():
        if name not in known:
            raise ValueError(f"share {name!r}: unknown{did_you_mean(name, known)}")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"share {name}: a count >= 1 wanted: got {count!r}")
    if lost := [name for name in _NEEDED if name not in plan]:
        raise ValueError(
            f"a count for every one of {', '.join(_NEEDED)} wanted: {', '.join(lost)} missing"
        )
    names = _division(dict.fromkeys(sizes, torch.empty(0)))
    for (part, size), group in zip(sizes.items(), names, strict=True):
        if (total := _total(plan, group)) > size:
            asked = ", ".join(f"{n} {plan[n]}" for n in group if n in plan)
            whose = f"the {part} part of {dataset.name}" if len(sizes) == 2 else dataset.name
            raise ValueError(f"{whose} has {size} samples: got shares of {total} ({asked})")
    return dict(plan)


def _bounded(dataset: Dataset, training: Tensor) -> Dataset:
    """The data set with bounds: its own, or those of the owners' training share."""
    if dataset.bounds is not None:
        return dataset
    x = dataset.x[training].float()
    across = [axis for axis in range(x.dim()) if axis != 1]
    low, high = x.amin(across, keepdim=True)[0], x.amax(across, keepdim=True)[0]
    # A constant feature maps to 0; its span must be one that float32 can tell from nothing.
    return dataset.with_bounds(low, torch.where(high > low, high, low + low.abs().clamp_min(1)))
