"""Whose message comes next: always somebody's, in the order of one process."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutlayer.wire.turns import Event, Turns

STEPS = st.lists(st.integers(1, 9), min_size=1, max_size=4)
SCHEDULES = st.sampled_from(["hand-over", "average"])


def turns(steps: list[int], schedule: str, every: int = 2, epochs: int = 2) -> Turns:
    found = Turns(len(steps), epochs, schedule, every)  # type: ignore[arg-type]
    for owner, n in enumerate(steps):
        found.hello(owner, n)
    return found


def run(t: Turns) -> list[Event]:
    done = []
    while now := t.now:
        assert t.standing(now) == "now"
        done.append(now)
        t.done(now)
    return done


@given(STEPS, SCHEDULES, st.integers(0, 4))
def test_everybody_does_every_step_once(steps: list[int], schedule: str, every: int) -> None:
    t = turns(steps, schedule, every)
    done = run(t)
    assert t.finished
    for owner, n in enumerate(steps):
        taken = [e[2:] for e in done if e.owner == owner and e.act == "step"]
        assert taken == [(epoch, step) for epoch in range(2) for step in range(n)]
        posted = [e.epoch for e in done if e.owner == owner and e.act == "post"]
        assert posted == [0, 1]


def test_owners_side_by_side_go_in_rounds() -> None:
    steps = [(e.step, e.owner) for e in run(turns([3, 1], "average", epochs=1)) if e.act == "step"]
    assert steps == [(0, 0), (0, 1), (1, 0), (2, 0)]


def test_owners_in_turn_finish_their_epoch() -> None:
    steps = [
        (e.owner, e.step) for e in run(turns([2, 2], "hand-over", epochs=1)) if e.act == "step"
    ]
    assert steps == [(0, 0), (0, 1), (1, 0), (1, 1)]


@given(STEPS, SCHEDULES, st.integers(0, 40))
def test_what_comes_early_waits_and_what_is_over_is_not_done_again(
    steps: list[int], schedule: str, at: int
) -> None:
    t, every = turns(steps, schedule), run(turns(steps, schedule))
    for event in every[: at % len(every)]:
        t.done(event)
    here = at % len(every)
    assert t.standing(every[here]) == "now"
    for owner in range(len(steps)):
        own = [e for e in every[here:] if e.owner == owner]
        if own and own[0] != every[here]:
            # What an epoch starts with, another epoch's owners may still be before.
            assert t.standing(own[0]) == "later"
        for skipped in own[1:]:
            assert t.standing(skipped) == "behind", skipped
        past = [e for e in every[:here] if e.owner == owner]
        for old in past[:-2]:
            assert t.standing(old) in ("behind", "again")
            assert old.act != "step" or t.standing(old) == "behind"


@given(STEPS, SCHEDULES, st.integers(0, 40), st.integers(0, 40))
def test_it_can_go_back_to_where_it_was(
    steps: list[int], schedule: str, first: int, more: int
) -> None:
    every = run(turns(steps, schedule))
    first %= len(every)
    t = turns(steps, schedule)
    for event in every[:first]:
        t.done(event)
    kept = t.to_dict()
    for event in every[first : first + more]:
        t.done(event)
    t.load(kept)
    assert run(t) == every[first:]


@given(STEPS, SCHEDULES, st.integers(0, 40), st.data())
def test_without_one_owner_the_others_go_on(
    steps: list[int], schedule: str, at: int, data: st.DataObject
) -> None:
    every = run(turns(steps, schedule))
    t = turns(steps, schedule)
    for event in every[: at % len(every)]:
        t.done(event)
    gone = data.draw(st.integers(0, len(steps) - 1))
    if len(steps) == 1:
        with pytest.raises(ValueError, match="at least one owner"):
            t.give_up(gone)
        return
    t.give_up(gone)
    epoch = t.epoch
    rest = run(t)
    assert gone not in {e.owner for e in rest}
    assert [e for e in rest if e.act == "step"] == [
        e for e in every[at % len(every) :] if e.act == "step" and e.owner != gone
    ]
    assert t.standing(Event("step", gone, epoch, 0)) == "out" or t.finished


def test_who_was_given_up_comes_back_in_the_next_epoch() -> None:
    t = turns([2, 2], "average", epochs=3)
    t.give_up(1)
    while t.epoch == 0:
        t.done(t.now)  # type: ignore[arg-type]
    assert t.participants(0) == [0]
    t.hello(1, 2)  # in epoch 1, which began without it
    assert t.standing(Event("save", 1, 1, 0)) == "out"
    while t.epoch == 1:
        t.done(t.now)  # type: ignore[arg-type]
    assert t.participants(2) == [0, 1]


def test_nobody_begins_before_all_are_there() -> None:
    t = Turns(2, 1, "average")
    t.hello(0, 3)
    assert t.now is None
    assert t.standing(Event("save", 0, 0, 0)) == "later"
    t.hello(1, 3)
    assert t.standing(Event("save", 0, 0, 0)) == "now"
    with pytest.raises(ValueError, match="3 steps in an epoch wanted"):
        t.hello(1, 4)


def test_a_segment_is_taken_from_who_had_it_last() -> None:
    t = turns([1, 1, 1], "hand-over", epochs=3)
    assert t.giver(0, 0) is None
    assert t.giver(2, 0) == (1, 0)
    assert t.giver(0, 1) == (2, 0)
    t.give_up(1)
    assert t.giver(2, 0) == (0, 0)


@given(STEPS, SCHEDULES)
def test_a_state_is_whole_when_all_have_kept_theirs(steps: list[int], schedule: str) -> None:
    t = turns(steps, schedule)
    while now := t.now:
        completes = t.completes(now)
        t.done(now)
        following = t.now
        together = following and following.act == "save" and following[2:] == now[2:]
        if schedule == "average":
            assert completes == (now.act == "save" and not together)
        else:
            assert completes == (now.act == "save")
