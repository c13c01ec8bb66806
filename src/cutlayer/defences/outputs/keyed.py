"""Random numbers that belong to an answer: the same question is given the same ones again.

Whoever asks a defended API a thousand times for one input averages fresh noise away. So a defence
draws from a secret key and the confidence vector itself. It looks at the vector's logarithms, and
these are rounded, so that questions that are nearly the same mostly share their numbers, and
confident answers, alike but for their tails, do not. Each row has its own: who else asks does not
matter.
"""

import hashlib
from functools import cache

import numpy as np
import torch
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_11, _27, _30, _31 = (np.uint64(bits) for bits in (11, 27, 30, 31))


def new_key() -> Tensor:
    """A secret key from the random stream in force: ``(4,)`` of int64."""
    return torch.randint(-(2**63), 2**63 - 1, (4,), dtype=torch.int64)


def uniforms(p: Tensor, key: Tensor, count: int, *, grain: float = 0.1) -> Tensor:
    """Numbers in (0, 1) that depend on the key and on the row, ``(N, count)`` in float64.

    Args:
        p: ``(N, K)`` confidence vectors.
        key: From ``new_key``.
        grain: To which the decimal logarithms are rounded; below 1e-12 all are one.
    """
    tails = np.maximum(p.numpy(force=True), 1e-12, dtype=np.float64)
    np.rint(np.divide(np.log10(tails, out=tails), grain, out=tails), out=tails)
    rounded = tails.astype("<i4", order="C")
    keyed = hashlib.blake2b(digest_size=8, key=key.numpy(force=True).astype("<i8", copy=False).data)
    seeds = np.frombuffer(b"".join(_digest(keyed, row) for row in rounded), "<u8")
    mixed = _mixed(seeds[:, None] + _steps(count))
    return torch.from_numpy(((mixed >> _11) + 0.5) / 2.0**53).to(p.device)


def normals(p: Tensor, key: Tensor, count: int, *, grain: float = 0.1) -> Tensor:
    """As ``uniforms``, of the standard normal law."""
    drawn: Tensor = torch.special.ndtri(uniforms(p, key, count, grain=grain))
    return drawn


def _digest(keyed: "hashlib.blake2b", row: np.ndarray) -> bytes:
    found = keyed.copy()
    found.update(row.data)
    return found.digest()


@cache
def _steps(count: int) -> np.ndarray:
    """SplitMix64's, so many of them."""
    return np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN


def _mixed(z: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), in place: every bit of it hangs on all
    of z."""
    z ^= z >> _30
    z *= _FIRST
    z ^= z >> _27
    z *= _SECOND
    z ^= z >> _31
    return z
