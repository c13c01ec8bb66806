"""What the owner's defences draw: from torch's generator, or from a keystream of its own secret.

An experiment draws from torch's generator, in the named stream (``streams``), and can be repeated.
A deployment must not. torch's CPU generator keeps the low 32 bits of its seed, a server that
knows the code can try them all (behind a ReLU the zeros show bare noise), and a Mersenne twister
is linear: 624 of its words give all the others.

Within ``drawn_from`` every number comes from AES-256 in counter mode. Its key is HMAC-SHA256 of
the owner's secret, a name, and the very tensor that is perturbed. So the same message, sent again,
carries the same noise; another message under the same name carries other noise. A server may force
that: it says it lost a step, and answers differently the second time. Were the noise the same, the
difference of the two messages would carry none.

The noise itself is in floating point, of which the low bits tell something about the number it was
added to: an (ε, δ) proven for real numbers does not carry over as it is (I. Mironov, "On
significance of the least significant bits for differential privacy", CCS 2012).
"""

import hashlib
import hmac
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

LEAST = 32  # bytes of a secret: as many as the key has


class Keystream:
    """64-bit words that nobody without the secret can tell from random ones.

    Args:
        secret: At least 32 bytes from the operating system, as ``secrets.token_bytes(32)`` gives.
        name: Of the one message that is drawn for.

    Raises:
        ValueError: a shorter secret.
    """

    def __init__(self, secret: bytes, *name: str | int) -> None:
        # Imported here: an experiment has no secret, and needs none of it.
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        check_secret(secret)
        # repr of a tuple, as in streams.seed_of: no two names have the same.
        key = hmac.digest(secret, repr(("cutlayer.draws", *name)).encode(), "sha256")
        # The counter may start at zero: every key has one stream.
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def words(self, count: int) -> Tensor:
        """The next words, ``(count,)`` int64."""
        if not count:
            return torch.empty(0, dtype=torch.int64)
        return torch.frombuffer(bytearray(self._cipher.update(bytes(8 * count))), dtype=torch.int64)

    def unit(self, *shape: int) -> Tensor:
        """The next uniforms on the open interval (0, 1), float64, of one word each.

        They are (k + ½)·2⁻⁵², k whole from 0 to 2⁵² - 1, each held exactly: never nearer to either
        end than 2⁻⁵³, and as near to the one as to the other.
        """
        k = self.words(math.prod(shape)).bitwise_right_shift_(12).bitwise_and_(2**52 - 1)
        return k.double().add_(0.5).mul_(2.0**-52).view(shape)


class _Source:
    """A keystream for each tensor that is perturbed in one block."""

    def __init__(self, secret: bytes, *name: str | int) -> None:
        check_secret(secret)
        self._secret, self._name, self._draws = secret, name, 0

    def unit(self, t: Tensor, *shape: int) -> Tensor:
        """Uniforms on (0, 1), float64, to perturb ``t`` with."""
        plain = t.detach().cpu().contiguous()
        digest = hashlib.sha256(repr((plain.dtype, tuple(plain.shape))).encode())
        if plain.numel():
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
        self._draws += 1
        return Keystream(self._secret, *self._name, self._draws, digest.hexdigest()).unit(*shape)


_source: ContextVar[_Source | None] = ContextVar("source", default=None)


def check_secret(secret: bytes | None) -> None:
    """Refuse a secret that could be guessed.

    Raises:
        ValueError: fewer than 32 bytes.
    """
    if secret is not None and len(secret) < LEAST:
        raise ValueError(
            f"a secret of at least {LEAST} bytes wanted, as secrets.token_bytes({LEAST}) gives: "
            f"got {len(secret)}"
        )


@contextmanager
def drawn_from(secret: bytes | None, *name: str | int) -> Iterator[None]:
    """Within the block defences draw from the keystream of that secret and name.

    ``None`` changes nothing, inside another such block too. Torch's own generator is not touched. A
    thread that is started within the block is outside of it.

    Raises:
        ValueError: a secret of fewer than 32 bytes.
    """
    if secret is None:
        yield
        return
    before = _source.set(_Source(secret, *name))
    try:
        yield
    finally:
        _source.reset(before)


def exponential(like: Tensor, count: int) -> Tensor:
    """Standard exponential draws to perturb ``like`` with, ``(count, *like.shape)``, of its kind.

    From a keystream they are -log(u), from 1.1e-16 to 36.7: beyond that lie 1.1e-16 of the law.
    """
    drawn = torch.empty(count, *like.shape, dtype=like.dtype, device=like.device)
    if (source := _source.get()) is None:
        return drawn.exponential_()
    return drawn.copy_(source.unit(like, *drawn.shape).log_().neg_())


def normal(like: Tensor) -> Tensor:
    """Standard normal draws of the shape, dtype and device of ``like``.

    From a keystream they are the inverse distribution function of u, from -8.2 to 8.2.
    """
    if (source := _source.get()) is None:
        return torch.randn_like(like)
    return torch.empty_like(like).copy_(torch.special.ndtri(source.unit(like, *like.shape)))


def normals(like: Tensor, count: int) -> Tensor:
    """Standard normal draws, ``(count, *like.shape)``; otherwise as ``normal``."""
    if (source := _source.get()) is None:
        return torch.randn(count, *like.shape, dtype=like.dtype, device=like.device)
    drawn = torch.empty(count, *like.shape, dtype=like.dtype, device=like.device)
    return drawn.copy_(torch.special.ndtri(source.unit(like, *drawn.shape)))


def uniform(like: Tensor) -> Tensor:
    """Uniform draws on [-1, 1] of the shape, dtype and device of ``like``."""
    drawn = torch.empty_like(like)
    if (source := _source.get()) is None:
        return drawn.uniform_(-1, 1)
    return drawn.copy_(source.unit(like, *like.shape).mul_(2).sub_(1))


def keep(like: Tensor, probability: float) -> Tensor:
    """1 with that probability and 0 otherwise, of the shape, dtype and device of ``like``."""
    drawn = torch.empty_like(like)
    if (source := _source.get()) is None:
        return drawn.bernoulli_(probability)
    return drawn.copy_(source.unit(like, *like.shape) < probability)
