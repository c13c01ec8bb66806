"""Somebody stops, stays away, or has no room left: the others go on, and nothing counts twice."""

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from test_federation import (
    authority,
    federation,
    in_one_process,
    owner,
    parties,
    same,
    served,
    taking_part,
    together,
    trained,
)
from torch import nn

from cutlayer import parties as parties_module
from cutlayer.federation import build, demo, serve
from cutlayer.federation.file import Federation
from cutlayer.federation.member import Member
from cutlayer.training import train
from cutlayer.wire import At
from cutlayer.wire.identity import Authority, Credentials
from cutlayer.wire.message import WireError
from cutlayer.wire.remote import UnreachableError
from cutlayer.wire.service import Service

__all__ = ["authority", "parties"]  # fixtures
torch.set_num_threads(1)


class Gone(Exception):  # noqa: N818
    """An owner that leaves without a word."""


def leaving(after: int) -> Callable[[int, int, int, float], None]:
    """Called after every step: leaves after that many."""
    seen = 0

    def on_step(epoch: int, done: int, steps: int, loss: float) -> None:
        nonlocal seen
        seen += 1
        if seen == after:
            raise Gone

    return on_step


@contextmanager
def members(
    f: Federation, parties: Path, folder: Path, sizes: tuple[int, ...]
) -> Iterator[list[Member]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(taking_part(f, i, parties, folder, n)) for i, n in enumerate(sizes)
        ]


def test_an_unfinished_turn_is_undone_and_the_others_go_on(
    parties: Path, authority: Authority, tmp_path: Path
) -> None:
    f = federation(absent="skip", epochs=1)
    alone = owner(f, 0)
    far = build.whole_chain(f)
    train(build.plan_of(f), [alone], far)
    with (
        served(f, parties, authority, tmp_path) as (known, listening),
        members(known, parties, tmp_path, (30, 20)) as (north, south),
    ):
        south.on_step = leaving(3)
        found = together([north.train, south.train])
        assert found[0] is None, found
        assert isinstance(found[1], Gone)
        assert same(north.owner.module, alone.module)
        assert same(listening[0].service.far.module, far.module)  # type: ignore[attr-defined]


@pytest.mark.parametrize("after", [1, 3])
def test_side_by_side_the_others_go_on_without_who_left(
    after: int, parties: Path, authority: Authority, tmp_path: Path
) -> None:
    f = federation(absent="skip", schedule="average", owners=["north", "south", "east"])
    with (
        served(f, parties, authority, tmp_path) as (known, listening),
        members(known, parties, tmp_path, (30, 20, 17)) as (north, south, east),
    ):
        south.on_step = leaving(after)
        found = together([north.train, south.train, east.train])
        assert (found[0], found[2]) == (None, None), found
        assert isinstance(found[1], Gone)
        assert same(north.owner.module, east.owner.module)
        order = listening[0].service.order
        assert [order.participants(epoch) for epoch in range(2)] == [[0, 2], [0, 2]]  # type: ignore[attr-defined]


@pytest.mark.parametrize("schedule", ["hand-over", "average"])
def test_who_was_left_out_comes_back(
    schedule: str, parties: Path, authority: Authority, tmp_path: Path
) -> None:
    f = federation(absent="skip", schedule=schedule, epochs=4, patience=1.0)
    with (
        served(f, parties, authority, tmp_path) as (known, listening),
        members(known, parties, tmp_path, (30, 20)) as (north, south),
    ):
        service = listening[0].service

        def slow(epoch: int, done: int, steps: int, loss: float) -> None:
            if (epoch, done) == (0, 2):
                time.sleep(3)  # longer than anybody's patience

        south.on_step = slow
        north.on_step = lambda epoch, *more: time.sleep(0.3)
        found = together([north.train, south.train])
        assert found == [None, None]
        taken = [service.order.participants(epoch) for epoch in range(4)]  # type: ignore[attr-defined]
        assert taken[0] == [0]
        assert taken[-1] == [0, 1]
        assert same(north.owner.module, south.owner.module)


def test_a_session_may_be_given_up_instead(
    parties: Path, authority: Authority, tmp_path: Path
) -> None:
    f = federation(absent="abort", patience=1.0)
    with (
        served(f, parties, authority, tmp_path) as (known, _),
        members(known, parties, tmp_path, (30, 20)) as (north, _south),
    ):
        (found,) = together([north.train])
        assert isinstance(found, WireError)
        assert "owner 1 has been away for 1 s: the session is over" in str(found)


@pytest.mark.parametrize("schedule", ["hand-over", "average"])
def test_a_server_that_is_started_again_ends_with_the_same_bits(
    schedule: str, parties: Path, authority: Authority, tmp_path: Path
) -> None:
    f = federation(schedule=schedule, epochs=3)
    inside, far = in_one_process(f, (30, 20))
    address = ""
    with ExitStack() as stack:
        first = ExitStack()
        known, listening = first.enter_context(served(f, parties, authority, tmp_path))
        address = known.addresses["hub"]
        north, south = stack.enter_context(members(known, parties, tmp_path, (30, 20)))

        moments = {(0, 3), (1, 1), (2, 4)}

        def restart(epoch: int, done: int, steps: int, loss: float) -> None:
            if (epoch, done) in moments:
                moments.remove((epoch, done))  # it will come there again
                restart.first.close()  # type: ignore[attr-defined]
                again = ExitStack()
                stack.callback(again.close)
                known_at = served(f, parties, authority, tmp_path, address=address)
                restart.listening = again.enter_context(known_at)[1]  # type: ignore[attr-defined]
                restart.first = again  # type: ignore[attr-defined]

        restart.first, restart.listening = first, listening  # type: ignore[attr-defined]
        north.on_step = restart
        found = together([north.train, south.train])
        assert found == [None, None]
        assert same(north.owner.module, inside)
        assert same(south.owner.module, inside)
        assert same(restart.listening[0].service.far.module, far.module)  # type: ignore[attr-defined]


@pytest.mark.parametrize("schedule", ["hand-over", "average"])
def test_an_owner_that_is_started_again_ends_with_the_same_bits(
    schedule: str, parties: Path, authority: Authority, tmp_path: Path
) -> None:
    f = federation(schedule=schedule, epochs=3)
    inside, far = in_one_process(f, (30, 20))
    with ExitStack() as stack:
        known, listening = stack.enter_context(served(f, parties, authority, tmp_path))
        north, south = stack.enter_context(members(known, parties, tmp_path, (30, 20)))
        rests = [
            stack.enter_context(members(known, parties, tmp_path, (30, 20)))[1] for _ in range(3)
        ]
        lives = [south, *rests]
        for life, steps in zip(lives, (1, 3, 4), strict=False):
            life.on_step = leaving(steps)

        def one_after_the_other() -> nn.Module:
            for life in lives:
                try:
                    life.train()
                except Gone:
                    life.remote.close()
                else:
                    return life.owner.module
            raise AssertionError

        found = together([north.train, one_after_the_other])
        assert found[0] is None, found
        assert isinstance(found[1], nn.Module), found
        assert same(found[1], inside)
        assert same(north.owner.module, inside)
        assert same(listening[0].service.far.module, far.module)  # type: ignore[attr-defined]


def test_a_full_disk_of_the_server_is_said_and_loses_nothing(
    parties: Path, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    f = federation(epochs=1, absent="abort", patience=1.0)
    inside, _ = in_one_process(f, (30, 20))
    whole, calls = parties_module.save_tensors, [0]

    def full(tensors: Any, path: Path) -> None:
        calls[0] += "server" in path.name
        if "server" in path.name and calls[0] == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        whole(tensors, path)

    monkeypatch.setattr(parties_module, "save_tensors", full)
    with served(f, parties, authority, tmp_path) as (known, _):
        found = trained(known, parties, tmp_path, (30, 20))
        stopped = [e for e in found if isinstance(e, WireError)]
        assert any("No space left on device" in str(e) for e in stopped), found
    with served(f, parties, authority, tmp_path) as (known, _):
        found = trained(known, parties, tmp_path, (30, 20))  # there is room again
        assert all(isinstance(m, nn.Module) and same(m, inside) for m in found), found


def test_users_may_not_ask_more_than_agreed(
    parties: Path, authority: Authority, tmp_path: Path
) -> None:
    f = federation(queries=10)
    with served(f, parties, authority, tmp_path) as (known, listening):
        with members(known, parties, tmp_path, (30,)) as (north,):
            north.remote.predict(torch.zeros(10, 64))
            with pytest.raises(WireError, match="10 were asked about"):
                north.remote.predict(torch.zeros(1, 64))
        assert listening[0].service.health()["samples_predicted"] == {
            "spiffe://clinics/owner/north": 10
        }
    with (
        served(f, parties, authority, tmp_path) as (known, _),
        members(known, parties, tmp_path, (30,)) as (north,),
        pytest.raises(WireError, match="10 were asked about"),
    ):
        north.remote.predict(torch.zeros(1, 64))


def test_states_of_another_training_are_not_gone_on_from(
    parties: Path, authority: Authority, tmp_path: Path
) -> None:
    f = federation(epochs=1)
    with served(f, parties, authority, tmp_path) as (known, _):
        trained(known, parties, tmp_path, (30, 20))
    with (
        pytest.raises(ValueError, match=r"training .* wanted, got .*; choose another --store"),
        served(federation(epochs=2), parties, authority, tmp_path),
    ):
        pass


def test_service_says_how_it_is(parties: Path, authority: Authority, tmp_path: Path) -> None:
    f = federation(epochs=1)
    with served(f, parties, authority, tmp_path) as (known, listening):
        service: Service = listening[0].service
        assert service.health()["state"] == "waiting for owners"
        trained(known, parties, tmp_path, (30, 20))
        assert service.health()["state"] == "serving"


def test_a_frozen_server_is_noticed_within_ten_seconds() -> None:
    with demo.staged({}) as stage, demo.running(demo.listens(stage, "hub")) as process:
        f, credentials = stage.federation, Credentials.load(stage.folder / "north")
        with serve.reached(f, "hub", credentials) as remote:
            here = At(f.agreed, 0, 0, 0)
            remote.hello(here, 3)
            remote.patience = 0.1
            process.send_signal(signal.SIGSTOP)
            started = time.monotonic()
            try:
                with pytest.raises(UnreachableError):
                    remote.hello(here, 3)
                assert time.monotonic() - started < 10
            finally:
                process.send_signal(signal.SIGCONT)
            remote.patience = 20
            remote.hello(here, 3)  # and it goes on
