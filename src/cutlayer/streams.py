"""Randomness by name, not by call order.

Every party draws, at every step, from a stream of its own, derived from (root, party, epoch, step).
So a longer attack cannot change the victim, and a run over a network equals the run in one process.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_of(root: int, *name: str | int) -> int:
    """A 63-bit seed for the stream of that name.

    >>> seed_of(0, "owner", 1) == seed_of(0, "owner", 1)
    True
    >>> seed_of(0, "owner", 1) == seed_of(0, "owner", 2)
    False
    """
    digest = hashlib.sha256(repr((root, *name)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@contextmanager
def stream(root: int, *name: str | int) -> Iterator[None]:
    """Within the block torch draws from the named stream; outside, nothing has changed."""
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        _seed(seed_of(root, *name))
        yield


def _seed(seed: int) -> None:
    if torch.cuda.is_available():
        torch.manual_seed(seed)
    else:  # the same draws; asking for every kind of device takes a quarter of a millisecond
        torch.default_generator.manual_seed(seed)


def generator(root: int, *name: str | int) -> torch.Generator:
    """A CPU generator of its own for the named stream."""
    return torch.Generator().manual_seed(seed_of(root, *name))
