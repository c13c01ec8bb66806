"""What the owner's defences draw: from torch's generator, or from a keystream of its own secret.

An experiment draws from torch's generator, in the named stream (``streams``), and can be repeated.
A deployment must not. torch's CPU generator keeps the low 32 bits of its seed, a server that
knows the code can try them all (behind a ReLU the zeros show bare noise), and a Mersenne twister
is linear: 624 of its words give all the others.

Within ``drawn_from`` every number comes from AES-256 in counter mode. Its key is HMAC-SHA256 of
the owner's secret and a name, so that the same message, sent again, carries the same noise.

The noise itself is in floating point, of which the low bits tell something about the number it was
added to: an (ε, δ) proven for real numbers does not carry over as it is (I. Mironov, "On
significance of the least significant bits for differential privacy", CCS 2012).
"""

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


_keystream: ContextVar[Keystream | None] = ContextVar("keystream", default=None)


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

    A name is for one message. Two different messages under one name carry the same noise, and
    their difference carries none.

    Raises:
        ValueError: a secret of fewer than 32 bytes.
    """
    if secret is None:
        yield
        return
    before = _keystream.set(Keystream(secret, *name))
    try:
        yield
    finally:
        _keystream.reset(before)


def exponential(like: Tensor, count: int) -> Tensor:
    """Standard exponential draws, ``(count, *like.shape)``, in its dtype and on its device.

    From a keystream they are -log(u), from 1.1e-16 to 36.7: beyond that lie 1.1e-16 of the law.
    """
    drawn = torch.empty(count, *like.shape, dtype=like.dtype, device=like.device)
    if (keys := _keystream.get()) is None:
        return drawn.exponential_()
    return drawn.copy_(keys.unit(*drawn.shape).log_().neg_())


def normal(like: Tensor) -> Tensor:
    """Standard normal draws of the shape, dtype and device of ``like``.

    From a keystream they are the inverse distribution function of u, from -8.2 to 8.2.
    """
    if (keys := _keystream.get()) is None:
        return torch.randn_like(like)
    return torch.empty_like(like).copy_(torch.special.ndtri(keys.unit(*like.shape)))


def normals(like: Tensor, count: int) -> Tensor:
    """Standard normal draws, ``(count, *like.shape)``; otherwise as ``normal``."""
    if (keys := _keystream.get()) is None:
        return torch.randn(count, *like.shape, dtype=like.dtype, device=like.device)
    drawn = torch.empty(count, *like.shape, dtype=like.dtype, device=like.device)
    return drawn.copy_(torch.special.ndtri(keys.unit(*drawn.shape)))


def uniform(like: Tensor) -> Tensor:
    """Uniform draws on [-1, 1] of the shape, dtype and device of ``like``."""
    drawn = torch.empty_like(like)
    if (keys := _keystream.get()) is None:
        return drawn.uniform_(-1, 1)
    return drawn.copy_(keys.unit(*like.shape).mul_(2).sub_(1))


def keep(like: Tensor, probability: float) -> Tensor:
    """1 with that probability and 0 otherwise, of the shape, dtype and device of ``like``."""
    drawn = torch.empty_like(like)
    if (keys := _keystream.get()) is None:
        return drawn.bernoulli_(probability)
    return drawn.copy_(keys.unit(*like.shape) < probability)
