"""The search of an audit, in a world where the truth is known."""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit_world import CUTS, calls, leakage, lost, plan, searched

from cutlayer.auditing.advice import recommendation
from cutlayer.auditing.crew import together
from cutlayer.auditing.result import Recommendation
from cutlayer.auditing.search import AT_ONCE, Search, spread
from cutlayer.auditing.task import Task

STRONGEST = "maximum-likelihood"


def advised(search: Search) -> Recommendation:
    every = search.known.configurations()
    return recommendation(search.verdict, every, limits=search.plan.limits, whole=1000)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """One process, no limit but that of accuracy."""
    return searched(tmp_path_factory.mktemp("alone"))


def test_it_finds_what_a_search_without_narrowing_finds(alone: Search) -> None:
    search = alone
    key = advised(search).key
    assert key is not None
    every = [c for c in search.known.configurations() if lost(c.key.partition("/")[2]) <= 0.018]
    truth = {c.key: leakage(c.cut, c.key.partition("/")[2], STRONGEST) for c in every}
    assert truth[key] == pytest.approx(min(truth.values()), abs=0.02)


def test_the_strongest_attackers_come_only_where_something_could_win(alone: Search) -> None:
    every = alone.known.configurations()
    closely = {c.cut for c in every if any(a.thorough for a in c.attacks)}
    assert "a" not in closely  # it leaks .99, whatever is done
    assert len(every) > 2 * len([c for c in every if c.thorough])


def test_what_is_recommended_met_every_thorough_attacker(alone: Search) -> None:
    key = advised(alone).key
    (chosen,) = [c for c in alone.known.configurations() if c.key == key]
    assert {a.attack.partition(":")[0] for a in chosen.attacks if a.thorough} == {
        "affine-inverse",
        "inverse-network",
        "maximum-likelihood",
        "shadow",
    }
    worst = chosen.worst("individual")
    assert worst is not None
    assert worst.name.startswith("maximum likelihood")
    assert worst.certificate is not None
    assert worst.certificate.holds


def test_its_worst_attacker_was_tried_with_other_seeds(alone: Search) -> None:
    """And the most that any of them found counts: a seed is worth .01 in this world."""
    found = advised(alone)
    every = {c.key: c for c in alone.known.configurations()}
    chosen = every[found.key or ""]
    worst = chosen.worst("individual")
    assert worst is not None
    attempts = chosen.same(worst)
    assert sorted(a.seed for a in attempts) == [0, 1, 2]
    assert worst.seed == 2
    least, most = (sorted(a.leakage["individual"].value or 0 for a in attempts)[i] for i in (0, 2))
    assert most == pytest.approx(least + 0.02)
    assert f"the most of 3 seeds ({100 * least:.1f} % to {100 * most:.1f} %)" in found.words
    single = {k for k, c in every.items() for a in c.attacks if "one-seed" in a.flags}
    assert not any("one-seed" in a.flags for a in attempts)
    assert single == {k for k, c in every.items() if c.attacks}  # the others were tried once


def test_a_seed_that_finds_more_may_change_what_is_recommended(
    tmp_path: Path, alone: Search
) -> None:
    first = advised(alone).key
    search = searched(tmp_path, world={"lucky": first})
    found = advised(search)
    assert found.key not in (None, first)
    again = {k.removeprefix("again/").rpartition("/")[0] for k in calls(tmp_path) if "again" in k}
    assert {first, found.key} <= again


def test_one_seed_will_do_where_no_more_are_asked_for(tmp_path: Path) -> None:
    search = searched(tmp_path, attack_seeds=1)
    assert not [k for k in calls(tmp_path) if k.startswith("again/")]
    assert "seeds" not in advised(search).words


def test_a_budget_leaves_time_for_other_seeds(tmp_path: Path) -> None:
    search = searched(tmp_path, world={"seconds": 0.02}, attack_seeds=1)
    search.plan = replace(search.plan, until=1000.0)
    assert search._end() == 1000
    search.request = replace(search.request, attack_seeds=3)
    assert search._end() == pytest.approx(1000 - 2 * 0.02)


def test_what_an_earlier_search_did_takes_no_time_now(tmp_path: Path) -> None:
    """Or a second budget would be kept for what the first one did."""
    searched(tmp_path, world={"seconds": 0.02})
    again = Search(plan(tmp_path, until=time.time() + 60))
    for task, found in _first_look(again):
        again.known.add(task, found)
    assert again._other_seeds()
    assert again._end() == again.plan.until


def _first_look(search: Search) -> list[tuple[Task, dict[str, Any]]]:
    """What an earlier search found, without other seeds."""
    done = Search(search.plan)
    done.run()
    return [(t, done.known.found[k]) for k, t in done.known.tasks.items() if t.seed is None]


def test_other_seeds_do_not_make_more_closer_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cutlayer.auditing.search.MOST_CONFIRMED", 2)
    world = {"seconds": 0.0, "alike": True}  # so that everything could still win
    search = searched(tmp_path, world=world, families=("laplace", "gaussian", "dropout"))
    looked = [c.key for c in search.known.configurations() if c.thorough and c.defence]
    assert search._waiting(set())
    assert len(looked) == AT_ONCE + 2


def test_a_ceiling_gives_up_no_more_accuracy_than_it_takes(tmp_path: Path) -> None:
    search = searched(tmp_path, limits={"leakage": 0.75})
    key = advised(search).key
    assert key == "b/undefended"  # .7 leak, nothing is given up, and c computes more


def test_where_nothing_meets_the_limits_it_says_what_to_give_up(tmp_path: Path) -> None:
    found = advised(searched(tmp_path, limits={"leakage": 0.001}))
    assert found.key is None
    assert found.nearest is not None
    assert "No setting" in found.words
    assert any(line.startswith("allow a leakage of") for line in found.give_up)


def test_who_is_not_feared_does_not_count(tmp_path: Path) -> None:
    search = searched(tmp_path, threats=("black-box",))
    assert not [k for k in calls(tmp_path) if STRONGEST in k or "shadow" in k]
    assert advised(search).key is not None


def test_a_second_search_repeats_nothing(alone: Search) -> None:
    folder = Path(alone.plan.store)
    done = calls(folder)
    assert advised(searched(folder)) == advised(alone)
    assert calls(folder) == done
    assert max(Counter(done).values()) == 1


def test_without_time_nothing_is_recommended(tmp_path: Path) -> None:
    search = searched(tmp_path, until=time.time() - 1)
    found = advised(search)
    assert found.key is None
    assert "no recommendation" in found.words
    assert list(search.not_examined())
    assert not calls(tmp_path)


def test_it_goes_on_where_the_budget_ended(tmp_path: Path, alone: Search) -> None:
    for budget in (0.6, 1.5):
        searched(tmp_path, until=time.time() + budget)
    assert advised(searched(tmp_path)).key == advised(alone).key
    assert max(Counter(calls(tmp_path)).values()) == 1


def test_an_attack_that_fails_is_named_and_the_others_count(tmp_path: Path) -> None:
    search = searched(tmp_path, world={"broken": ["shadow"]})
    assert advised(search).key is not None
    assert any("failed" in line and "shadow" in line for line in search.not_examined())


def test_two_processes_share_the_work_and_agree(tmp_path: Path, alone: Search) -> None:
    shared = plan(tmp_path)
    together(shared, 2, lambda running: None)
    done = calls(tmp_path)
    search = Search(shared)
    search.run()
    assert advised(search) == advised(alone)
    assert calls(tmp_path) == done  # the last look repeats nothing
    assert max(Counter(done).values()) == 1
    assert set(done) == set(calls(Path(alone.plan.store)))


def test_one_that_is_killed_is_made_up_for(tmp_path: Path, alone: Search) -> None:
    victim = "quick/c/undefended/affine-inverse"
    shared = plan(tmp_path, world={"kill": victim})
    together(shared, 2, lambda running: None)
    search = Search(shared)
    search.run()
    assert advised(search) == advised(alone)
    again = Counter(calls(tmp_path))
    assert again.pop(victim) == 2
    assert max(again.values()) == 1


def test_killed_at_a_random_moment_it_comes_to_the_same(tmp_path: Path, alone: Search) -> None:
    shared, chance = plan(tmp_path, world={"seconds": 0.02}), random.Random(3)
    for _ in range(2):
        start = multiprocessing.get_context("fork").Process(target=_alone, args=(shared,))
        start.start()
        time.sleep(chance.uniform(0.5, 1.5))
        os.kill(start.pid or 0, signal.SIGKILL)
        start.join()
    search = Search(shared)
    search.run()
    assert advised(search) == advised(alone)
    again = Counter(calls(tmp_path))
    assert sum(again.values()) <= len(again) + 2  # those that were cut off


def _alone(shared: object) -> None:
    Search(shared).run()  # type: ignore[arg-type]


def test_the_most_promising_cuts_come_first() -> None:
    assert spread(list(CUTS), 2) == ["a", "b"]
    assert spread(list(CUTS), 9) == list(CUTS)


def test_left_out_is_only_what_could_still_win_in_the_end(tmp_path: Path) -> None:
    search = searched(tmp_path, families=("laplace", "gaussian", "dropout", "nopeek"))
    left = {subject for what, subject in search.left if what == "the strongest attackers"}
    assert left == {c.key for c in search._waiting(set())}


def test_a_quick_look_at_large_messages_hears_fewer(alone: Search) -> None:
    c = next(c for c in alone.known.configurations() if c.defence)
    quick = {
        size: alone._repeats(replace(c, bytes=size), thorough=False)
        for size in (32, 75_000, 10_000_000)
    }
    assert quick == {32: 16, 75_000: 8, 10_000_000: 2}
    assert alone._repeats(replace(c, bytes=10_000_000), thorough=True) == 16
