"""A chain of parties: who hears what, who holds what, and what that is worth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cutlayer.adversary import Seat
from cutlayer.assembly import Assembly
from cutlayer.attacks import InverseNetwork, MaximumLikelihood, MeanSample, Shadow
from cutlayer.config import parse
from cutlayer.data import DATASETS, Dataset
from cutlayer.defences import Chain, Defended, Gaussian
from cutlayer.errors import ConfigError
from cutlayer.experiment import load_network, run_attack, run_training, seat_of, view_of
from cutlayer.record import Store
from cutlayer.report.command import command_line
from cutlayer.threat import Observed, without_weights

OWNER = nn.Linear(4, 6)


def parties() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(a, b), nn.Tanh()) for a, b in ((6, 5), (5, 4), (4, 3))]


def seat(*adversaries: int, scale: float = 0.0) -> Seat:
    side = Defended(OWNER, Chain(Gaussian(scale))).eval().requires_grad_(False)
    return Seat(side, parties(), adversaries)


def through(modules: Sequence[nn.Module], z: Tensor) -> Tensor:
    for module in modules:
        z = module(z)
    return z


@pytest.mark.parametrize(("adversaries", "honest"), [((2, 3, 4), 0), ((3,), 1), ((4,), 2)])
def test_an_adversary_hears_what_its_first_party_is_sent(
    adversaries: tuple[int, ...], honest: int
) -> None:
    s, x = seat(*adversaries), torch.rand(7, 4)
    wanted = through(s.behind[:honest], OWNER(x))
    torch.testing.assert_close(s.send(x, 2), torch.stack([wanted, wanted], dim=1))
    assert torch.equal(s.owner_segment()(x), wanted)
    assert torch.equal(s.owner_side()(x), wanted)


@pytest.mark.parametrize(
    ("adversaries", "names"),
    [
        ((2, 3, 4), ["held2"]),
        ((2, 3), ["held2", "end4"]),
        ((2,), ["held2", "end3"]),
        ((2, 4), ["held2", "between3", "held4"]),
        ((3,), ["held3", "end4"]),
        ((4,), ["held4"]),
    ],
)
def test_it_holds_its_own_segments_and_no_other_weights(
    adversaries: tuple[int, ...], names: list[str]
) -> None:
    s = seat(*adversaries)
    far = s.far_segment()
    assert [name for name, _ in far.named_children()] == names
    z = s.send(torch.rand(5, 4), 1)[:, 0]
    assert far(z).shape == (5, 3)
    held = [p.detach() for n in adversaries for p in s.behind[n - 2].parameters()]
    for name, part in far.named_children():
        for p in part.parameters():
            known = any(p.shape == q.shape and torch.equal(p, q) for q in held)
            assert known == name.startswith("held")
            assert p.requires_grad == (not known)
    truth = through(s.behind[adversaries[0] - 2 :], z)
    assert torch.equal(far(z), truth) == (names == [names[0]])


def test_what_went_through_an_honest_party_between_two_others_was_written_down() -> None:
    s, x = seat(2, 4), torch.rand(9, 4)
    traffic = s.traffic(x)
    assert [*traffic] == ["between3"]
    given, made = traffic["between3"]
    assert torch.equal(given, s.behind[0](OWNER(x)))
    assert torch.equal(made, s.behind[1](given))
    for others in ((2, 3, 4), (2, 3), (3,), (2,)):
        assert seat(*others).traffic(x) == {}


def test_noise_before_an_honest_party_is_part_of_what_is_expected() -> None:
    torch.manual_seed(1)
    x = torch.rand(3, 4)
    near, behind = seat(2, scale=1.0).owner_side(), seat(3, scale=1.0).owner_side()
    assert torch.equal(near(x), near(x))
    assert not torch.equal(behind(x), behind(x))


def test_an_imitation_has_the_noise_where_the_owner_has_it() -> None:
    x, s = torch.rand(500, 4), seat(3, scale=1.0)
    mine = s.imitate(s.owner_segment(), 2)
    heard, truth = mine.overheard(x), s.send(x, 2)
    assert heard.shape == truth.shape
    torch.testing.assert_close(heard.std((0, 1)), truth.std((0, 1)), rtol=0.15, atol=0)
    assert not torch.equal(heard[:, 0], heard[:, 1])
    side = mine.side()
    assert not torch.equal(side(x), side(x))
    # In a network of another structure nobody can say where it belongs.
    other = s.imitate(nn.Linear(4, 5), 2).overheard(x)
    assert torch.equal(other[:, 0], other[:, 1])


def test_an_imitation_is_trained_where_it_stands() -> None:
    s = seat(3, scale=0.1)
    shadow = without_weights(s.owner_segment())
    s.imitate(shadow, 1).trained(torch.rand(3, 4)).sum().backward()
    assert all(p.grad is not None for p in shadow.parameters())


# In an experiment


def small() -> Dataset:
    digits = DATASETS["digits"]()
    x = nn.functional.adaptive_avg_pool2d(digits.x.float(), 8)
    return Dataset(name="small", x=x, y=digits.y, classes=digits.classes, bounds=digits.bounds)


def chain() -> nn.Module:
    layers = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10))


SHARES = "owners=800,validation=150,auxiliary=300,attacker_validation=100,victims=100"


def assembly(**raw: Any) -> Assembly:
    usual = {"model": "test_adversary:chain", "cut": ["0", "3", "6"], "epochs": 5, "threads": 1}
    return Assembly.of(parse(usual | {"shares": SHARES, "victims": 60} | raw), small())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    kept = Store(tmp_path_factory.mktemp("chain"))
    run_training(assembly(), kept)
    return kept


def error(store: Store, fitted: Any, **raw: Any) -> float:
    a, attack = assembly(**raw), fitted
    network = load_network(a, store, run_training(a, store).id)
    view = view_of(a, network)
    torch.manual_seed(1)
    attack.fit(view)
    x, _ = a.take(a.victims)
    seen = Observed(seat_of(a, network).send(x, 1))
    return float((attack.reconstruct(seen) - x).square().mean())


def test_with_queries_only_the_first_adversary_counts(store: Store) -> None:
    found = {
        who: error(store, InverseNetwork(epochs=15), adversaries=list(who), threat="black-box")
        for who in ((2, 3, 4), (2,), (3,), (4,))
    }
    assert found[2,] == found[2, 3, 4]
    assert max(found.values()) < 0.6 * error(store, MeanSample())


def test_weights_in_front_are_searched_through_as_a_whole(store: Store) -> None:
    found = {
        n: error(store, MaximumLikelihood(steps=100), adversaries=[n], threat="white-box")
        for n in (2, 3, 4)
    }
    assert found[2] < 1e-9  # a first convolution
    assert found[3] < 0.6 * error(store, MeanSample())
    assert found[3] < found[4]


def test_a_shadow_fills_in_what_the_adversary_does_not_hold(store: Store) -> None:
    for who in ((2, 3, 4), (2, 4), (2,)):
        attack = Shadow(epochs=8, steps=20, weight=0.1, prior="gaussian")
        error(store, attack, adversaries=list(who), threat="query-free", attack="shadow")
        losses = attack.fitted_["shadow_validation_loss"]
        assert losses[-1] < losses[0] - 0.05  # it learns its labels through what it lacks


def test_the_record_says_who_attacked(store: Store) -> None:
    kinds = {"attack": "inverse-network:epochs=2", "threat": "black-box"}
    one, two = (run_attack(assembly(adversaries=n, **kinds), store) for n in ([3], [2, 4]))
    assert one.id != two.id
    assert one.victim == two.victim  # who attacks does not change the network
    assert one.threat["holds"] == "party 3 of 4"
    assert "holds the segments of parties 2 and 4 of 4" in two.threat["words"]
    assert (one.threat["honest"], two.threat["honest"]) == ("parties 2 and 4 of 4", "party 3 of 4")
    everyone = run_attack(assembly(adversaries=[2, 3, 4], **kinds), store)
    assert "honest" not in everyone.threat
    assert one.data["message_shape"] == [8, 6, 6]  # what leaves the owner
    assert "--adversaries 2 --adversaries 4" in command_line(two)


@pytest.mark.parametrize(
    ("adversaries", "message"),
    [
        ([1], "parties 2 to 4 wanted, the owner is 1 and every cut adds one: got 1"),
        ([5], "parties 2 to 4 wanted.*: got 5"),
    ],
)
def test_strangers_are_refused_before_anything_is_trained(
    adversaries: list[int], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_attack(assembly(adversaries=adversaries), Store(tmp_path))
    assert not list(Store(tmp_path))


@pytest.mark.parametrize("value", ["two", [2, 2], [2.5, "x"]])
def test_parties_are_numbers(value: object) -> None:
    with pytest.raises(ConfigError, match="adversaries: "):
        parse({"adversaries": value})


def test_what_the_adversary_lacks_is_drawn_from_the_experiments_seed(store: Store) -> None:
    def lacked() -> list[Tensor]:
        a = assembly(adversaries=[2], threat="query-free", attack="shadow")
        far = view_of(a, load_network(a, store, run_training(a, store).id)).far_segment
        assert far is not None
        return [p for p in far.parameters() if p.requires_grad]

    torch.manual_seed(1)
    one = lacked()
    torch.manual_seed(2)
    assert one
    assert all(map(torch.equal, one, lacked()))


def test_what_was_written_down_is_no_answer_to_a_sample_of_ones_own(store: Store) -> None:
    a = assembly(adversaries=[2, 4], threat="query-free", attack="shadow", auxiliary_share="owners")
    view = view_of(a, load_network(a, store, run_training(a, store).id))
    given, _ = view.traffic["between3"]
    network = load_network(a, store, run_training(a, store).id)
    own = seat_of(a, network).send(view.auxiliary[: len(given)], 1)[:, 0]
    through = network.behind[0](own)
    assert (given[: len(through)] - through).flatten(1).abs().amax(1).min() > 1e-3


def test_the_record_says_what_stood_in_for_honest_parties(store: Store) -> None:
    kinds = {"attack": "shadow:epochs=1,steps=2,weight=0.1", "threat": "query-free"}
    records = {
        who: run_attack(assembly(adversaries=list(who), **kinds), store)
        for who in ((2, 4), (2, 3), (2, 3, 4))
    }
    assert records[2, 4].attack["stand_ins"] == {
        "between3": "learned before, from 800 messages seen on either side"
    }
    assert records[2, 3].attack["stand_ins"] == {"end4": "learned along with the shadow"}
    assert "stand_ins" not in records[2, 3, 4].attack


def test_parts_without_weights_are_stood_in_for(store: Store) -> None:
    raw = {"cut": ["3", "5", "6"], "adversaries": [2, 4], "threat": "query-free"}
    attack = Shadow(epochs=1, steps=2, weight=0.1, prior="gaussian")
    assert error(store, attack, **raw, attack="shadow") > 0
