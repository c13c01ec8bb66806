"""The parts of an audit that need no search: limits, ladders, leakage, verdict, words."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from cutlayer.auditing.advice import notable, recommendation
from cutlayer.auditing.attackers import attackers
from cutlayer.auditing.families import FAMILIES, Loudness, strongest, to_try
from cutlayer.auditing.leakage import leakage_of
from cutlayer.auditing.limits import AT_CUTS, Limits, in_numbers
from cutlayer.auditing.limits import FAMILIES as NAMES
from cutlayer.auditing.request import Request, checked, from_plain
from cutlayer.auditing.result import Answer, Attacked, Certificate, Configuration
from cutlayer.auditing.run import _about_use
from cutlayer.auditing.state import above, below
from cutlayer.auditing.verdict import Verdict
from cutlayer.config import parse
from cutlayer.defences import Chain
from cutlayer.errors import ConfigError
from cutlayer.parts import Part, constructed, resolve
from cutlayer.record import Estimate
from cutlayer.threat import THREATS


def near(value: float, spread: float = 0.01) -> Estimate:
    return Estimate(value=value, low=value - spread, high=value + spread, n=500)


def attacked(leak: float, *, thorough: bool = True, **more: Any) -> Attacked:
    given: dict[str, Any] = {
        "name": "inverse network",
        "attack": "inverse-network",
        "threat": "black-box",
        "threats": ("black-box", "white-box"),
        "repeats": 1,
        "victims": 500,
        "thorough": thorough,
        "leakage": {"individual": near(leak)},
        "floors": {"individual": 0.02},
        "certificate": Certificate(cut="a", value=near(0.9), floor=0.02, holds=True),
    }
    return Attacked(**given | more)


def made(
    key: str,
    *,
    leak: float,
    lost: float = 0.0,
    flops: int = 100,
    thorough: bool = True,
    limits: Mapping[str, Answer] | None = None,
) -> Configuration:
    cut, _, name = key.partition("/")
    return Configuration(
        key=key,
        cut=cut,
        defence=() if name == "undefended" else ("laplace:scale=1",),
        words=name,
        accuracy=near(0.95 - lost, 0.002),
        lost=near(lost, 0.002),
        flops=flops,
        bytes=64,
        limits={"accuracy_loss": "yes"} if limits is None else limits,
        thorough=thorough,
        attacks=(attacked(leak, thorough=thorough),),
    )


def advised(every: list[Configuration], ceiling: float | None = None) -> Any:
    verdict = Verdict("individual", ("black-box",), ceiling)
    return recommendation(verdict, every, limits={"accuracy_loss": 0.02}, whole=1000)


# --- limits and request -------------------------------------------------------


def test_a_share_of_the_network_becomes_a_count() -> None:
    limits = Limits(owner_flops="50%", owner_parameters=7, leakage=0.1)
    found = in_numbers(limits, parameters=10, flops=300)
    assert found == {"owner_flops": 150.0, "owner_parameters": 7.0, "leakage": 0.1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protect": "face"}, "protect 'face': unknown"),
        ({"threats": ("white-bok",)}, "did you mean 'white-box'?"),
        ({"families": ("laplas",)}, "did you mean 'laplace'?"),
        ({"families": ("laplace:scael=1",)}, "did you mean 'scale'?"),
        ({"protect": "attribute"}, "--attribute FILE.npy"),
        ({"repeats": 0}, "repeats: at least 1 wanted, got 0"),
        ({"limits": Limits(leakage=2)}, "leakage: a number from 0 to 1 wanted, got 2"),
        ({"limits": Limits(message_bytes=float("nan"))}, "message_bytes: a number from 0 wanted"),
        ({"limits": Limits(owner_flops="half")}, "a share like 50%"),
    ],
)
def test_a_wrong_request_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(Request(experiment=parse({}), **changes))
    assert said in str(caught.value)


def test_all_faults_are_said_at_once() -> None:
    wrong = Request(experiment=parse({}), repeats=0, threats=("x",), families=("y",))
    with pytest.raises(ConfigError) as caught:
        checked(wrong)
    assert len(str(caught.value).splitlines()) == 3


def test_a_request_travels_as_plain_values() -> None:
    asked = checked(
        Request(
            experiment=parse({"data": "digits", "model": "lenet", "epochs": 3}),
            limits=Limits(owner_flops="50%"),
            attacks=(constructed(Part.parse("inverse-network:epochs=2"), "attack"),),
            threats=("black-box",),
        )
    )
    again = from_plain(asked.plain())
    assert again == asked
    assert again.limits.accuracy_loss == 0.02


def test_who_is_feared_listens_at_a_cut_unless_named() -> None:
    assert set(Request(experiment=parse({})).feared) == THREATS.keys() - {"prediction-api"}


def test_no_name_of_a_family_is_lost() -> None:
    assert set(NAMES) == FAMILIES.keys()


# --- ladders --------------------------------------------------------------------


@pytest.mark.parametrize("name", AT_CUTS)
def test_every_rung_is_a_defence_that_gets_stronger(name: str) -> None:
    rungs = FAMILIES[name].ladder(Loudness(rms=2.0, l1=90.0, l2=20.0))
    assert len({rung.name for rung in rungs}) == len(rungs)
    changed = []
    for rung in rungs:
        parts = [constructed(Part.parse(spec)) for spec in rung.defence]
        chain = Chain(*(resolve("defence", p.kind)(**p.args) for p in parts))
        torch.manual_seed(0)
        z = 2 * torch.randn(64, 100)
        changed.append(float((chain(z) - z).square().mean()))
    if name != "nopeek":  # it changes the training, not the message
        assert changed[0] < changed[-1]


def test_noise_is_in_units_of_the_message() -> None:
    (rung,) = [
        r for r in FAMILIES["laplace"].ladder(Loudness(4.0, 1, 1)) if r.name == "laplace-0.5"
    ]
    part = constructed(Part.parse(rung.defence[0]))
    defence = resolve("defence", part.kind)(**part.args)
    assert defence.noise_deviation() == pytest.approx(0.5 * 4.0, rel=1e-3)


def test_a_clipped_message_has_an_epsilon() -> None:
    (rung, *_) = FAMILIES["clipped-laplace"].ladder(Loudness(rms=1.0, l1=10.0, l2=1.0))
    scale = float(rung.defence[1].partition("scale=")[2].partition(",")[0])
    assert rung.epsilon == pytest.approx(2 * 10.0 / scale)


@pytest.mark.parametrize("last", range(-1, 13))
def test_bisection_finds_the_last_that_keeps_the_limit(last: int) -> None:
    rungs, asked = FAMILIES["laplace"].ladder(Loudness(1, 1, 1)), []

    def keeps(rung: Any) -> bool:
        asked.append(rung)
        return rungs.index(rung) <= last

    assert strongest(rungs, keeps) == last
    assert len(asked) <= 4
    assert to_try(last) == sorted(to_try(last), reverse=True)


# --- who attacks ------------------------------------------------------------------


def test_an_attack_is_granted_to_all_who_have_what_it_needs() -> None:
    every = {
        a.name: a
        for a in attackers("thorough", tuple(THREATS), protect="individual", most_victims=9)
    }
    assert every["inverse-network"].threat == "black-box"
    assert "white-box" in every["inverse-network"].threats
    assert every["shadow"].threats == ("server-and-owner", "query-free")
    assert all(a.victims <= 9 for a in every.values())


def test_for_the_class_somebody_reads_it_straight_from_the_message() -> None:
    crew = attackers("quick", tuple(THREATS), protect="class", most_victims=500)
    assert {"far-segment-reads", "label-inference"} <= {a.name for a in crew}


def test_who_is_not_feared_attacks_nothing() -> None:
    crew = attackers("thorough", ("query-free",), protect="individual", most_victims=500)
    assert [a.name for a in crew] == ["shadow"]


# --- leakage ------------------------------------------------------------------------


def test_without_similarity_pixels_are_the_share_recovered() -> None:
    floors = {"mean": {"mse": near(0.2)}, "class-mean": {"mse": near(0.1)}}
    leaks, guesses = leakage_of({"mse": near(0.05)}, floors)
    assert leaks["pixels"].value == pytest.approx(0.75)
    assert leaks["pixels"].low == pytest.approx(0.7)
    assert guesses["pixels"] == pytest.approx(0.5)


def test_a_class_is_guessed_without_knowing_it() -> None:
    scores = {"read": near(0.9), "top1": near(0.5), "mse": near(0.1)}
    floors = {"mean": {"read": near(0.1), "mse": near(0.2)}, "class-mean": {"read": near(1.0)}}
    floors["class-mean"]["mse"] = near(0.1)
    assert leakage_of(scores, floors)[1]["class"] == 0.1


@pytest.mark.parametrize(
    ("e", "said"), [(near(0.1), "yes"), (near(0.2), "undecided"), (near(0.3), "no")]
)
def test_a_limit_is_kept_by_the_whole_interval(e: Estimate, said: str) -> None:
    assert below(e, 0.2) == said
    assert above(e, 0.2) == {"yes": "no", "no": "yes"}.get(said, said)


# --- verdict ---------------------------------------------------------------------------


def test_the_worst_attacker_counts_of_those_feared() -> None:
    c = made("a/x", leak=0.3)
    other = attacked(0.8, threats=("white-box",), name="maximum likelihood")
    c = replace(c, attacks=(*c.attacks, other))
    assert c.leakage("individual").value == 0.8
    assert c.leakage("individual", ("black-box",)).value == 0.3
    assert c.leakage("pixels").value is None


def test_what_leaks_least_is_recommended() -> None:
    every = [made("a/undefended", leak=0.9), made("a/x", leak=0.3), made("b/x", leak=0.5)]
    assert advised(every).key == "a/x"


def test_intervals_that_overlap_are_no_difference() -> None:
    cheap, dear = made("a/x", leak=0.31, flops=10), made("b/x", leak=0.30, flops=900)
    assert advised([dear, cheap]).key == "a/x"


def test_accuracy_comes_before_the_owners_work() -> None:
    exact, rough = made("b/x", leak=0.3, flops=900), made("a/x", leak=0.3, lost=0.015, flops=10)
    assert advised([rough, exact]).key == "b/x"


def test_only_what_met_the_strongest_is_recommended_where_anything_did() -> None:
    every = [made("a/x", leak=0.5), made("b/x", leak=0.1, thorough=False)]
    assert advised(every).key == "a/x"
    assert advised(every[1:]).key == "b/x"
    assert advised(every[1:]).words.startswith("Provisional")


def test_what_fewer_attackers_saw_does_not_win_by_that() -> None:
    """The winner's curse: who was looked at least looks best."""
    seen = made("a/seen", leak=0.064, thorough=False)
    seen = replace(seen, attacks=(attacked(0.008, thorough=False), attacked(0.064)))
    hidden = made("b/hidden", leak=0.023, thorough=False)
    found = advised([seen, hidden])
    assert found.key == "a/seen"
    assert found.words.startswith("Provisional: only 1 of the strongest attackers")
    assert "only quick attackers" in advised([hidden]).words


def test_a_defence_that_shows_no_effect_is_not_recommended() -> None:
    bare, defended = made("a/undefended", leak=0.067), made("a/dropout", leak=0.064)
    assert advised([bare, defended]).key == "a/undefended"


def test_an_interval_that_reaches_over_the_limit_is_not_recommended() -> None:
    every = [
        made("a/x", leak=0.5),
        made("a/y", leak=0.1, lost=0.019, limits={"accuracy_loss": "undecided"}),
    ]
    assert advised(every).key == "a/x"


def test_where_nothing_keeps_the_limits_the_way_out_is_said() -> None:
    broken: dict[str, Answer] = {"accuracy_loss": "no"}
    found = advised([made("a/x", leak=0.1, lost=0.08, limits=broken)])
    assert (found.key, found.nearest) == (None, "a/x")
    assert found.give_up == ("allow 8.2 points of accuracy (a, x)",)
    assert "Give up one of these" in found.words


def test_nothing_known_is_said_to_be_nothing() -> None:
    assert advised([]).key is None
    assert "Nothing was examined" in advised([]).words


def test_the_front_has_what_nothing_beats() -> None:
    every = [
        made("a/best", leak=0.2),
        made("a/beaten", leak=0.3, lost=0.01),
        made("a/dear", leak=0.1, lost=0.01),
    ]
    front = Verdict("individual", ()).front(every)
    assert [c.key for c in front] == ["a/dear", "a/best"]


def test_what_already_leaks_more_cannot_win() -> None:
    verdict, best = Verdict("individual", ()), made("a/best", leak=0.2)
    assert not verdict.could_win(made("a/x", leak=0.5, thorough=False), best)
    assert verdict.could_win(made("a/x", leak=0.1, thorough=False), best)
    assert not verdict.could_win(made("a/x", leak=0.1, limits={"accuracy_loss": "no"}), best)


def test_words_name_the_attacker_the_interval_and_the_guess() -> None:
    words = advised(
        [made("fc1/undefended", leak=0.9), made("fc1/noise", leak=0.03, lost=0.008)]
    ).words
    for part in (
        "Cut after fc1 and send it with noise.",
        "Accuracy 94.2 % (-0.8 points, -1.0 to -0.6).",
        "an inverse network, re-identifies 3.0 % of 500 victims (2.0 % to 4.0 %; guessing gives",
        "Undefended, 90.0 % would.",
        "The owner computes 10% of the network's FLOPs and sends 64 bytes a sample.",
    ):
        assert part in words


def test_an_owner_who_computes_nearly_all_is_told() -> None:
    helps = "a limit on the owner's FLOPs helps"
    assert helps in advised([made("a/undefended", leak=0.1, flops=950)]).words
    assert helps not in advised([made("a/undefended", leak=0.1, flops=850)]).words


def test_a_network_that_only_guesses_is_named() -> None:
    (told,) = _about_use(near(0.11, 0.02), 0.1)
    assert told.startswith("the network is right for 11.0 %, where naming the commonest class")
    assert not _about_use(near(0.2, 0.02), 0.1)


def test_an_attack_that_never_worked_proves_nothing() -> None:
    failing = Certificate(cut="fc1", value=near(0.02), floor=0.02, holds=False)
    c = made("fc1/noise", leak=0.02)
    c = replace(c, attacks=(attacked(0.02, certificate=failing),))
    assert "proves nothing" in advised([c]).words


def test_cuts_that_show_everything_or_nothing_are_named() -> None:
    copies = [made(f"{name}/undefended", leak=1.0) for name in ("copy", "flat", "same")]
    every = [*copies, made("label/undefended", leak=0.02)]
    assert notable(Verdict("individual", ()), every) == [
        "copy, flat and same show everything, undefended, to an inverse network",
        "label shows nothing to any attacker that guessing does not, undefended",
    ]
