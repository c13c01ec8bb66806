"""Grade reconstructions: the only place where private inputs and reconstructions meet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .metrics import (
    METRICS,
    accuracy,
    bias_corrected_distance_correlation,
    bootstrap,
    distance_correlation,
    expected_calibration_error,
    expected_calibration_error_interval,
    reidentification_rank,
    ssim_applies,
)
from .record import Estimate, Scores
from .streams import generator

DEPENDENCE_SAMPLES = 512  # distance correlation is biased by n: always the same n where possible
GALLERY = 5000  # originals among which a reconstruction has to find its own

Reader = Callable[[Tensor], Tensor]  # inputs (N, ...) to logits (N, K)


@dataclass(frozen=True)
class Truth:
    """What the evaluation knows and the adversary does not.

    x: ``(N, ...)`` the victims in [0, 1]. y: ``(N,)``, ``None`` where they are of no class that
    the network knows: then nothing is read. sent: ``(n, ...)`` the messages of the
    first n of them, n at most ``DEPENDENCE_SAMPLES``. readers: by metric name ("read",
    "read_by_victim"), classifiers that are shown the reconstructions. others: ``(M, ...)`` further
    originals for whom a reconstruction may be mistaken.
    """

    x: Tensor
    y: Tensor | None
    sent: Tensor
    readers: Mapping[str, Reader]
    others: Tensor | None = None


def per_sample(truth: Truth, x_hat: Tensor) -> dict[str, Tensor]:
    """Every metric that has a value for each victim, ``(N,)``; inapplicable ones are left out."""
    scores: dict[str, Tensor] = {}
    for name, metric in METRICS.items():
        if metric.per_sample and (name != "ssim" or ssim_applies(tuple(truth.x.shape[1:]))):
            scores[name] = metric.per_sample(truth.x, x_hat)
    distinct, rows = x_hat, torch.arange(len(x_hat), device=x_hat.device)
    if _repetitive(x_hat):
        distinct, rows = x_hat.unique(dim=0, return_inverse=True)  # a guess is read once
    if truth.y is not None:
        for name, reader in truth.readers.items():
            scores[name] = (reader(distinct).argmax(1)[rows] == truth.y).float()
    n = min(len(x_hat), GALLERY)
    rank = reidentification_rank(truth.x[:n], x_hat[:n], others=truth.others)
    scores |= {"top1": (rank < 1).float(), "top5": (rank < 5).float()}
    if truth.y is not None:
        within = reidentification_rank(truth.x[:n], x_hat[:n], labels=truth.y[:n])
        scores["top1_in_class"] = (within < 1).float()
    return scores


def _repetitive(x_hat: Tensor, look: int = 64) -> bool:
    """Whether the first few are no more than half of them distinct."""
    few = x_hat[:look]
    return len(few) > 1 and 2 * len(few.unique(dim=0)) <= len(few)


def grade(truth: Truth, x_hat: Tensor) -> tuple[Scores, dict[str, Tensor]]:
    """Estimates by metric name, and the values by sample behind them.

    Samples whose reconstruction is not finite are left out; the caller flags them.
    """
    finite = x_hat.flatten(1).isfinite().all(1)
    if not finite.any():
        return {"mse": Estimate(value=None)}, {}
    if not finite.all():
        kept = finite[: len(truth.sent)]
        y = None if truth.y is None else truth.y[finite]
        truth = Truth(truth.x[finite], y, truth.sent[kept], truth.readers, truth.others)
        x_hat = x_hat[finite]
    values = per_sample(truth, x_hat)
    scores = {name: estimate(v, leaks=METRICS[name].leaks) for name, v in values.items()}
    scores |= dependence("dcor_x_xhat", truth.x[: len(truth.sent)], x_hat[: len(truth.sent)])
    return scores, values


def leakage_of(truth: Truth, x_hat: Tensor) -> tuple[Scores, dict[str, Tensor]]:
    """``grade``, with what the messages show whatever is made of them; every metric is named."""
    scores, values = grade(truth, x_hat)
    messages = dependence("dcor_x_z", truth.x, truth.sent)
    return {name: Estimate(value=None) for name in METRICS} | messages | scores, values


def utility_of(logits: Tensor, y: Tensor) -> Scores:
    """What the service is still worth: accuracy and calibration error of ``logits`` ``(N, K)``."""
    probabilities = logits.softmax(1)
    low, high = expected_calibration_error_interval(probabilities, y)
    error = float(expected_calibration_error(probabilities, y))
    return {
        "accuracy": estimate(accuracy(logits, y)),
        "ece": Estimate(value=error, low=low, high=high, n=len(y)),
    }


def released_utility(p: Tensor, released: Tensor, y: Tensor) -> Scores:
    """What a prediction API is still worth: ``utility_of`` of what it releases, and how far that is
    from what the classifier said.

    label_agreement: share of answers with the classifier's label. l1_distortion: mean L1 distance
    of the vectors, in [0, 2].

    Args:
        p: ``(N, K)`` of the classifier. released: ``(N, K)``.
    """
    agree = (p.argmax(1) == released.argmax(1)).float()
    away = (p.double() - released.double()).abs().sum(1).float()
    return utility_of(released.clamp_min(1e-30).log(), y) | {
        "label_agreement": estimate(agree, leaks="low"),
        "l1_distortion": estimate(away),
    }


def estimate(values: Tensor, *, leaks: str = "high") -> Estimate:
    """Mean, interval, and the value that the worst-off 5 % of the victims reach or pass."""
    low, high = bootstrap(values)
    graded = values.unique().numel() > 2  # a yes or no has no quantile worth printing
    tail = 0.95 if leaks == "high" else 0.05
    worst = float(values.float().quantile(tail)) if graded else None
    return Estimate(value=float(values.mean()), low=low, high=high, n=len(values), worst=worst)


def dependence(name: str, x: Tensor, z: Tensor) -> Scores:
    """Distance correlation, plain and bias-corrected, always with n.

    No interval: resampling with replacement makes coincident points, which biases it.
    """
    n = min(len(x), len(z))
    x, z = x[:n].double(), z[:n].double()
    plain = float(distance_correlation(x, z)) if n > 1 else None
    corrected = float(bias_corrected_distance_correlation(x, z)) if n > 3 else None
    return {name: Estimate(value=plain, n=n), f"{name}_corrected": Estimate(value=corrected, n=n)}


def shuffled_dependence(truth: Truth) -> Scores:
    """The same statistics on rows that do not belong together: what independence reads."""
    order = torch.randperm(len(truth.sent), generator=generator(0, "shuffled"))
    return dependence("dcor_x_z", truth.x, truth.sent[order.to(truth.sent.device)])


def advantage(leakage: Scores, floors: Mapping[str, Scores]) -> dict[str, float | None]:
    """(attack - best floor) / (perfect - best floor), by metric; 0 is guessing, 1 is perfect."""
    found: dict[str, float | None] = {}
    for name, metric in METRICS.items():
        mine = leakage[name].value if name in leakage else None
        others = [s[name].value for s in floors.values() if name in s]
        known = [v for v in others if v is not None]
        if mine is None or not known:
            continue
        best = max(known) if metric.leaks == "high" else min(known)
        room = metric.perfect - best
        found[name] = (mine - best) / room if abs(room) > 1e-12 else None
    return found


def gallery(
    x: Tensor, y: Tensor, x_hat: Tensor, values: Mapping[str, Tensor], *, show: int = 10
) -> dict[str, Tensor]:
    """Victims to look at: the same typical ones in every run, the ones that leak most and least.

    Typical are the first of each class, then the first of all. Keys ``<group>.x``,
    ``<group>.x_hat``, ``<group>.victim``, ``<group>.label``, group out of typical, best, worst
    (from the attacker's side).
    """
    first = [int(hits[0]) for k in y.unique() if len(hits := (y == k).nonzero().flatten())]
    rest = [i for i in range(len(y)) if i not in first]
    groups = {"typical": torch.tensor((first + rest)[:show])}
    by = "ssim" if "ssim" in values else "mse"
    if by in values and len(values[by]) == len(x):
        order = values[by].argsort(descending=METRICS[by].leaks == "high")
        groups |= {"best": order[:show], "worst": order[-show:].flip(0)}
    found = {}
    for group, index in groups.items():
        found[f"{group}.x"], found[f"{group}.x_hat"] = x[index], x_hat[index]
        found[f"{group}.victim"], found[f"{group}.label"] = index, y[index]
    return found
