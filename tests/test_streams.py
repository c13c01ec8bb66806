"""Randomness by name: independent of call order, invisible outside."""

import platform

import torch

from cutlayer.memory import keep_freed_memory
from cutlayer.streams import generator, seed_of, stream


def test_the_same_name_gives_the_same_numbers_whatever_came_before() -> None:
    with stream(3, "owner", 1):
        expected = torch.rand(4)
    torch.rand(100)
    with stream(3, "owner", 1):
        assert torch.equal(torch.rand(4), expected)


def test_names_do_not_run_into_each_other() -> None:
    names = [(0, "a", 12), (0, "a1", 2), (0, "a", "12"), (1, "a", 12), (0, "a", 1, 2)]
    assert len({seed_of(*name) for name in names}) == len(names)


def test_the_callers_numbers_are_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with stream(0, "x"):
        torch.rand(10)
    generator(0, "y")
    assert torch.equal(torch.rand(3), expected)


def test_a_stream_draws_what_manual_seed_would() -> None:
    with stream(0, "owner", 3):
        ours = torch.rand(4), torch.empty(3).exponential_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(0, "owner", 3))
        theirs = torch.rand(4), torch.empty(3).exponential_()
    assert all(map(torch.equal, ours, theirs))


def test_freed_memory_is_kept_where_the_c_library_can() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
