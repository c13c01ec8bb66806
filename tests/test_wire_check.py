"""What crosses the wire while serving, held against what the defences say of themselves."""

from pathlib import Path

import pytest
import torch
from test_experiment import assembly
from torch import Tensor

from cutlayer import wire_check
from cutlayer.defences import DEFENCES, Defence, Laplace
from cutlayer.experiment import load_network, run_training
from cutlayer.record import Store
from cutlayer.trained import as_built
from cutlayer.wire_check import WireCheck, check_wire

OFF, WEAKER = "defence-off-when-serving", "defence-weaker-than-claimed"
BUILT_IN = {
    "laplace": "laplace:scale=0.5",
    "gaussian": "gaussian:scale=0.5",
    "uniform": "uniform:scale=0.5,active=serve",
    "student-t": "student-t:scale=0.5",
    "clip-norm": "clip-norm:norm=0.5",
    "nopeek": "nopeek:weight=0.1",
    "mid": "mid:weight=0.1",
    "dropout": "dropout:rate=0.3",
}


def checked(*defence: str, **changes: object) -> WireCheck:
    a = assembly(defence=list(defence), **changes)
    return check_wire(a, as_built(a))


class EvalLaplace(Laplace):
    """Looks at ``self.training``, which is off while serving."""

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return super().forward(t, x=x) if self.training else t


class Shrinks(Defence):
    """Says nothing of noise: it makes a message smaller, but hardly so while serving."""

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return t * (0.5 if self.training else 0.99)


class Rounds(Defence):
    """Is off in eval mode, without noise and without a word about it."""

    active = "serve"

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return t.round() if self.training else t


class Half(Laplace):
    """Adds half of the noise that it says."""

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return t + 0.5 * (super().forward(t, x=x) - t)


class InPlace(Laplace):
    """Changes what it is given, so that every message of an input is the same, noise and all."""

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return t.add_(self.scale * self.sample(t))


class Secret(Laplace):
    """Draws without saying so, so that nobody would average."""

    stochastic = False


class Fixed(Laplace):
    """Always the same draw, though it says that two messages differ."""

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return super().forward(t, x=x)


class Penalty(Defence):
    """Works through the weights alone, and says nothing of phases."""

    def penalty(self, x: Tensor, z: Tensor, sent: Tensor) -> Tensor:
        return z.square().mean()


class Both(EvalLaplace):
    """Penalises as well, so that it might be thought to work through that."""

    def penalty(self, x: Tensor, z: Tensor, sent: Tensor) -> Tensor:
        return z.square().mean()

    def noise_deviation(self) -> float:
        return 0.0


def own(name: str) -> str:
    return f"test_wire_check:{name}"


def test_every_defence_is_under_test() -> None:
    known = {k for k, d in DEFENCES.items() if d.site != "output"}
    assert BUILT_IN.keys() == known


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_defence_of_ours_is_flagged(name: str) -> None:
    found = checked(BUILT_IN[name])
    assert found.flags == ()
    assert found.crossed
    (part,) = found.parts
    assert part.changed == (name not in ("nopeek", "mid"))
    assert found.differ == (name not in ("nopeek", "mid", "clip-norm")) == found.claims_chance
    assert found.measured == pytest.approx(found.claimed, rel=0.05)
    if part.norm is not None:
        assert part.largest == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize(
    "defences",
    [
        ("clip-norm:norm=1", "laplace:scale=0.5", "nopeek:weight=0.1"),
        ("laplace:scale=0.5", "clip-norm:norm=1"),  # the noise is clipped as well
        ("gaussian:scale=0.1,site=input", "dropout:rate=0.5"),
        ("laplace:scale=0.5,active=train", "laplace:scale=0.5,active=serve"),
        ("laplace:scale=0.5,active=train", "nopeek:weight=0.1"),
        ("mid:weight=0.1,active=both",),
        ("clip-norm:norm=1000",),  # a bound that every message keeps
        (),
    ],
    ids=str,
)
def test_nor_are_several_in_any_order(defences: tuple[str, ...]) -> None:
    found = checked(*defences)
    assert found.flags == ()
    assert len(found.parts) == len(defences)
    assert found.crossed


def test_noise_is_measured_in_its_own_units_at_its_own_place() -> None:
    found = checked("gaussian:scale=0.1,site=input", "clip-norm:norm=1", "laplace:scale=0.3")
    assert found.claimed == pytest.approx(0.3 * 2**0.5)
    assert found.measured == pytest.approx(found.claimed, rel=0.02)
    assert [p.site for p in found.parts] == ["input", "cut", "cut"]
    assert found.parts[0].deviation == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("name", ["EvalLaplace:scale=1", "Rounds", "Both:scale=1"])
def test_a_defence_that_is_off_in_eval_mode_is_noticed(name: str) -> None:
    found = checked(own(name))
    assert OFF in found.flags
    assert not found.parts[0].changed
    assert OFF in checked("clip-norm:norm=0.5", own(name), "dropout:rate=0.1").flags


def test_noise_of_training_alone_is_off_where_nothing_else_is_there() -> None:
    assert checked("laplace:scale=1,active=train").flags == (OFF,)
    assert checked("laplace:scale=1,active=train", "dropout:rate=0.5,active=train").flags == (OFF,)


@pytest.mark.parametrize("name", ["Half:scale=1", "Shrinks", "Secret:scale=1", "Fixed:scale=1"])
def test_one_that_does_less_than_it_says_is_noticed(name: str) -> None:
    assert checked(own(name)).flags == (WEAKER,)


def test_noise_weaker_by_half_reads_as_half() -> None:
    found = checked(own("Half:scale=1"))
    assert found.measured == pytest.approx(found.claimed / 2, rel=0.05)


def test_what_is_changed_in_place_is_measured_all_the_same() -> None:
    found = checked(own("InPlace:scale=1"))
    assert found.parts[0].deviation == pytest.approx(2**0.5, rel=0.05)
    assert not found.differ
    assert found.flags == (WEAKER,)


def test_one_that_only_penalises_is_not_off() -> None:
    assert checked(own("Penalty")).flags == ()


def test_a_norm_that_is_not_kept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DEFENCES["clip-norm"], "forward", lambda self, t, *, x=None: t * 0.9)
    assert checked("clip-norm:norm=0.01").flags == (WEAKER,)


def test_defences_of_the_output_cross_another_wire() -> None:
    found = checked(
        "output-noise:budget=0.1", threat="prediction-api", attack="confidence-inversion"
    )
    assert (found.parts, found.flags) == ((), ())


def test_a_trained_network_is_left_as_it_was_and_says_the_same_twice(tmp_path: Path) -> None:
    a = assembly(defence=["nopeek:weight=0.1", "laplace:scale=0.3"], epochs=1)
    store = Store(tmp_path)
    network = load_network(a, store, run_training(a, store).id)
    state = torch.get_rng_state()
    first = check_wire(a, network)
    assert torch.equal(state, torch.get_rng_state())
    assert check_wire(a, network) == first
    assert first.flags == ()
    members = network.defended.defence.members
    assert not [m for m in members if m._forward_hooks or m._forward_pre_hooks or m.training]
    with pytest.raises(ValueError, match="samples must be at least 1: got 0"):
        check_wire(a, network, samples=0)


def test_large_messages_are_sent_of_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    a = assembly(defence="laplace:scale=1")
    network = as_built(a)
    monkeypatch.setattr(wire_check, "MOST", 10 * network.message_shape[0] + 1)
    found = check_wire(a, network)
    assert found.samples == 10
    assert found.flags == ()
