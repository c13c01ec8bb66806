"""The paper's own statistics, and those that its claims need."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...metrics import bias_corrected_distance_correlation, distance_correlation
from ...streams import generator, stream
from ...trained import Network
from ..findings import Found

HONEST_SAMPLES = 2000  # one n for every row


def by_batches(x: Tensor, z: Tensor, batch_size: int, *, exponent: float = 2.0) -> Found:
    """Their table's statistic: the mean over batches of the distance correlation at exponent 2.

    Biased up by small batches: compare only at one ``batch_size``. Higher means more leaked.

    Args:
        x, z: ``(N, ...)``, in the order in which they are cut into batches; a last batch of one
            sample is left out.

    Returns:
        ``mean``; ``error``, the standard deviation over batches by the root of their number;
        ``batches``, ``batch_size``, ``exponent``.
    """
    pairs = zip(x.split(batch_size), z.split(batch_size), strict=True)
    found = [distance_correlation(a, b, exponent=exponent) for a, b in pairs if len(a) > 1]
    every = torch.stack(found).double()
    return {
        "mean": float(every.mean()),
        "error": float(every.std(correction=0) / len(every) ** 0.5),
        "batches": len(every),
        "batch_size": batch_size,
        "exponent": exponent,
    }


def dependence(x: Tensor, z: Tensor, batch_size: int) -> Found:
    """``by_batches``, the same on rows that do not belong together, and the honest statistic.

    Honest: bias-corrected, exponent 1, squared; n = ``HONEST_SAMPLES`` for every row.
    """
    order = torch.randperm(len(z), generator=generator(0, "shuffled")).to(z.device)
    n = min(HONEST_SAMPLES, len(x))
    a, b = x[:n].double(), z[:n].double()
    return {
        "published": by_batches(x, z, batch_size),
        "floor": by_batches(x, z[order], batch_size),
        "bias_corrected": float(bias_corrected_distance_correlation(a, b)),
        "bias_corrected_floor": float(bias_corrected_distance_correlation(a, b[order[order < n]])),
        "n": n,
    }


@torch.no_grad()
def accuracy_by_noise(
    network: Network, z: Tensor, y: Tensor, scales: Sequence[float], *, draws: int, root: int
) -> list[Found]:
    """Accuracy under Laplace noise on undisturbed messages ``z``, as in figure 4.

    Returns:
        For each scale ``scale``, ``accuracy`` (mean over draws) and ``spread`` (largest minus
        smallest).
    """
    from ...defences import Laplace

    found = []
    for scale in scales:
        noise = Laplace(scale)
        right = []
        for draw in range(draws if scale else 1):
            with stream(root, "figure 4", str(scale), draw):
                answers = torch.cat([network.far.predict(noise(part)) for part in z.split(512)])
            right.append(float((answers.argmax(1) == y).double().mean()))
        mean = sum(right) / len(right)
        found.append({"scale": scale, "accuracy": mean, "spread": max(right) - min(right)})
    return found


def slant(x: Tensor) -> Tensor:
    """The slant of each picture ``(N, 1, H, W)``: pixels to the right per pixel up, ``(N,)``.

    From second moments of the ink: −μ₁₁/μ₀₂. NaN where there is no ink or no height.
    """
    ink = x[:, 0].clamp_min(0).double()
    total = ink.sum((1, 2))
    rows = torch.arange(ink.shape[1], dtype=ink.dtype, device=ink.device)[None, :, None]
    columns = torch.arange(ink.shape[2], dtype=ink.dtype, device=ink.device)[None, None, :]
    down = rows - ((ink * rows).sum((1, 2)) / total)[:, None, None]
    right = columns - ((ink * columns).sum((1, 2)) / total)[:, None, None]
    return -(ink * down * right).sum((1, 2)) / (ink * down * down).sum((1, 2))


def slants(x: Tensor, x_hat: Tensor, y: Tensor) -> Found:
    """How much of the slant within a class a reconstruction keeps.

    Returns:
        ``kept``: the slope of the reconstruction's slant over the original's, class means taken
        off; 1 keeps all of it, 0 none. ``correlation`` of the two. ``n``: pictures with both.
    """
    ours, theirs = slant(x), slant(x_hat.clamp(0, 1))
    good = ours.isfinite() & theirs.isfinite()
    a, b, labels = ours[good], theirs[good], y[good]
    for label in labels.unique():
        rows = labels == label
        a[rows] -= a[rows].mean()
        b[rows] -= b[rows].mean()
    product, own, other = (a * b).sum(), (a * a).sum(), (b * b).sum()
    return {
        "kept": float(product / own) if own else None,
        "correlation": float(product / (own * other).sqrt()) if own and other else None,
        "n": int(good.sum()),
    }
