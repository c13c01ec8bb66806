"""Algorithm 1 across a cut: equal to the unsplit network, to itself resumed, to a replay."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cutlayer.defences import Chain, Defence, Defended, Laplace, NoPeek
from cutlayer.parties import OPTIMISERS, Owner, Party, Relay, Server, optimiser, party_state
from cutlayer.precision import Precision, laid_out
from cutlayer.precision import run as run_in
from cutlayer.training import Checkpoints, Plan, Progress, average, batches, steps_per_epoch, train
from cutlayer.wire import At, FarSide, StepResult, Tap

SHAPE = (6,)


def near() -> nn.Sequential:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.2))


def far() -> nn.Sequential:
    torch.manual_seed(8)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def data(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 4, generator=g)
    return x, (x.sum(1) * 1.4).long().clamp(0, 2)


def party(
    number: int = 0,
    n: int = 40,
    defences: tuple[Defence, ...] = (),
    name: str = "adam",
    precision: Precision = "float32",
    halve_every: int = 0,
) -> Owner:
    side = Defended(near(), Chain(*copy.deepcopy(defences)), precision=precision)
    made = optimiser(name, side, 1e-2, halve_every=halve_every)
    return Owner(number, side, made, data(n, number), root=5)


def server(
    name: str = "adam",
    segment: nn.Module | None = None,
    precision: Precision = "float32",
    halve_every: int = 0,
) -> Server:
    segment = segment or far()
    made = optimiser(name, segment, 1e-2, halve_every=halve_every)
    return Server(segment, made, root=5, shape=SHAPE, precision=precision)


AT = At("s", 0, 0, 0)
PLAN = Plan(session="s", epochs=3, batch_size=8)


def state(*parties: object) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for i, p in enumerate(parties):
        found |= {f"{i}.{k}": v for k, v in party_state(p.module, p.optimiser).items()}  # type: ignore[attr-defined]
    return found


def assert_bit_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k], b[k])] == []


@pytest.mark.parametrize("name", OPTIMISERS)
def test_split_training_moves_the_weights_as_one_network_would(name: str) -> None:
    """Reference: the plain loop over the uncut network with one optimiser."""
    owner, side = party(name=name), server(name)
    owner.defended.segment[3].p = side.module[1].momentum = 0.0  # type: ignore[union-attr]
    whole = nn.Sequential(copy.deepcopy(owner.defended.segment), copy.deepcopy(side.module))
    opt = optimiser(name, whole, 1e-2)
    assert opt is not None
    for step, index in enumerate(batches(40, 8, torch.Generator().manual_seed(0))):
        owner.step(index, side, at=At("s", 0, 0, step))
        opt.zero_grad()
        x, y = owner.data
        nn.functional.cross_entropy(whole(x[index]), y[index]).backward()
        opt.step()
    assert_bit_equal(
        {k: v for k, v in whole[0].state_dict().items()}, dict(owner.defended.segment.state_dict())
    )
    assert_bit_equal(dict(whole[1].state_dict()), dict(side.module.state_dict()))


def test_the_penalty_joins_the_task_gradient() -> None:
    owner, side = party(defences=(NoPeek(0.7),), name="sgd"), server("sgd")
    owner.defended.segment[3].p = 0.0  # type: ignore[union-attr]
    f1, f2 = copy.deepcopy(owner.defended.segment), copy.deepcopy(side.module)
    x, y = owner.data[0][:8], owner.data[1][:8]
    z = f1(x)
    loss = nn.functional.cross_entropy(f2(z), y) + NoPeek(0.7).penalty(x, z, z)
    expected = f1[0].weight - 1e-2 * torch.autograd.grad(loss, f1[0].weight)[0]
    owner.step(torch.arange(8), side, at=At("s", 0, 0, 0))
    got = owner.defended.segment[0].weight  # type: ignore[union-attr,index]
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


NOISY = (Laplace(0.1), NoPeek(0.1))


def run(
    folder: Path | None,
    *,
    owners: int,
    schedule: str,
    stop_after: int | None = None,
    every: int = 4,
    halve_every: int = 0,
) -> dict[str, Tensor]:
    everyone = [party(i, 33 + 8 * i, NOISY, halve_every=halve_every) for i in range(owners)]
    side = server(halve_every=halve_every)
    plan = Plan(session="s", epochs=3, batch_size=8, schedule=schedule)  # type: ignore[arg-type]
    keep = Checkpoints(folder, every=every, identity="i") if folder else None

    def on_step(progress: Progress) -> None:
        if progress.done == stop_after:
            raise RuntimeError("killed")

    holder, progress = train(
        plan, everyone, side, checkpoints=keep, on_step=on_step, validate=lambda o, h: 0.5
    )
    assert len(progress.history) == 3
    assert progress.history[0].keys() == {"loss", "validation_accuracy"}
    return state(holder, side) | {
        "losses": torch.tensor([h["loss"] for h in progress.history], dtype=torch.float64)
    }


@pytest.mark.parametrize("schedule", ["hand-over", "average"])
@pytest.mark.parametrize("killed_after", [4, 5, 6, 9])  # steps; an epoch has five
def test_a_training_that_is_resumed_goes_on_at_the_rate_of_its_epoch(
    tmp_path: Path, schedule: str, killed_after: int
) -> None:
    undisturbed = run(None, owners=1, schedule=schedule, halve_every=1)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, owners=1, schedule=schedule, stop_after=killed_after, halve_every=1)
    assert_bit_equal(run(tmp_path, owners=1, schedule=schedule, halve_every=1), undisturbed)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_rate_is_halved_as_a_scheduler_halves_it(name: str) -> None:
    """Reference: the plain loop over the uncut network, with torch's own scheduler."""
    owner, side = party(name=name, halve_every=2), server(name, halve_every=2)
    owner.defended.segment[3].p = side.module[1].momentum = 0.0  # type: ignore[union-attr]
    whole = nn.Sequential(copy.deepcopy(owner.defended.segment), copy.deepcopy(side.module))
    opt = optimiser(name, whole, 1e-2)
    assert opt is not None
    schedule = torch.optim.lr_scheduler.StepLR(opt, 2, gamma=0.5)
    for epoch in range(5):
        for step, index in enumerate(batches(40, 8, torch.Generator().manual_seed(epoch))):
            owner.step(index, side, at=At("s", 0, epoch, step))
            opt.zero_grad()
            x, y = owner.data
            nn.functional.cross_entropy(whole(x[index]), y[index]).backward()
            opt.step()
        schedule.step()
    assert_bit_equal(dict(whole[0].state_dict()), dict(owner.defended.segment.state_dict()))
    assert_bit_equal(dict(whole[1].state_dict()), dict(side.module.state_dict()))
    assert opt.param_groups[0]["lr"] == 2.5e-3


def test_every_station_of_a_chain_halves_its_rate() -> None:
    tail, owner = far(), party(halve_every=3)
    first, last = (optimiser("adam", s, 1e-2, halve_every=3) for s in (tail[:2], tail[2:]))
    end = Server(tail[2:], last, root=5, shape=(8,))
    relay = Relay("relay1", tail[:2], first, end, root=5, shape=SHAPE)
    for epoch, rate in ((0, 1e-2), (2, 1e-2), (3, 5e-3), (8, 2.5e-3)):
        owner.step(torch.arange(8), relay, at=At("s", 0, epoch, 0))
        for p in (owner, relay, end):
            assert p.optimiser is not None
            assert [g["lr"] for g in p.optimiser.param_groups] == [rate]


@pytest.mark.parametrize("schedule", ["hand-over", "average"])
@pytest.mark.parametrize("owners", [1, 3])
@pytest.mark.parametrize("killed_after", [1, 4, 5, 13, 14, 21])
def test_a_killed_run_resumes_to_the_bit_same_weights(
    tmp_path: Path, schedule: str, owners: int, killed_after: int
) -> None:
    undisturbed = run(None, owners=owners, schedule=schedule)
    if killed_after < 12 or owners > 1:
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path, owners=owners, schedule=schedule, stop_after=killed_after)
    assert_bit_equal(run(tmp_path, owners=owners, schedule=schedule), undisturbed)
    assert len(list(tmp_path.glob("*/manifest.json"))) <= 2


def test_randomness_is_the_parties_own() -> None:
    """What else draws between the steps changes nothing."""

    class Noisy(Tap):
        def step(self, z: Tensor, y: Tensor, *, at: At) -> object:  # type: ignore[override]
            torch.rand(17)
            return super().step(z, y, at=at)

    results = []
    for wrap in (lambda s: s, Noisy):
        owner, side = party(defences=NOISY), server()
        train(PLAN, [owner], wrap(side))  # type: ignore[no-untyped-call]
        results.append(state(owner, side))
    assert_bit_equal(*results)


def test_a_replayed_message_gets_the_same_reply_and_changes_nothing() -> None:
    owner, side = party(), server()
    owner.step(torch.arange(8), side, at=At("s", 0, 0, 0))
    z, y, at = torch.randn(8, 6), owner.data[1][:8], At("s", 0, 0, 1)
    first = side.step(z, y, at=at)
    before = copy.deepcopy(state(side))
    again = side.step(z, y, at=at)
    assert torch.equal(first.gradient, again.gradient)
    assert first.loss == again.loss
    assert_bit_equal(state(side), before)


def test_halves_of_a_step_equal_the_whole() -> None:
    """Labels at the owner: forward, loss there, backward; the same weights as ``step``."""
    whole, halves = server(), server()
    z, y, at = torch.randn(8, 6), torch.randint(3, (8,)), At("s", 0, 0, 0)
    expected = whole.step(z, y, at=at)
    out = halves.forward(z, at=at).requires_grad_()
    assert torch.equal(halves.forward(z, at=at), out)  # a replay
    nn.functional.cross_entropy(out, y).backward()
    assert out.grad is not None
    got = halves.backward(out.grad, at=at)
    torch.testing.assert_close(got, expected.gradient)
    assert torch.equal(halves.backward(out.grad, at=at), got)  # a replay
    for a, b in zip(whole.module.parameters(), halves.module.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="after its forward"):
        halves.backward(out.grad, at=At("s", 0, 0, 9))


def test_a_chain_of_three_learns_as_two_parties_do() -> None:
    two, tail = server(), far()
    middle, last = tail[:2], tail[2:]
    relay = Relay(
        "relay1",
        middle,
        optimiser("adam", middle, 1e-2),
        Server(last, optimiser("adam", last, 1e-2), root=5, shape=(8,)),
        root=5,
        shape=SHAPE,
    )
    owners = [party(), party()]
    train(PLAN, [owners[0]], two)
    train(PLAN, [owners[1]], relay)
    assert_bit_equal(state(owners[0]), state(owners[1]))
    x = torch.randn(5, 6)
    assert torch.equal(two.predict(x), relay.predict(x))


def test_owners_who_train_in_parallel_end_with_one_segment_weighted_by_samples() -> None:
    owners = [party(0, 10), party(1, 30)]
    with torch.no_grad():
        for i, o in enumerate(owners):
            o.defended.segment[0].weight.fill_(float(i))  # type: ignore[union-attr,index,operator]
            o.defended.segment[1].num_batches_tracked.fill_(5 + i)  # type: ignore[union-attr,index,operator]
    average(owners)
    for o in owners:
        assert (o.defended.segment[0].weight == 0.75).all()  # type: ignore[union-attr,index]
        assert o.defended.segment[1].num_batches_tracked == 6  # type: ignore[union-attr,index]


def test_a_handed_over_segment_comes_with_its_moments() -> None:
    giver, taker, side = party(0), party(1), server()
    for step in range(3):
        giver.step(torch.arange(8), side, at=At("s", 0, 0, step))
    taker.load(giver.state(), source="giver")
    assert_bit_equal(state(giver), state(taker))


@pytest.mark.parametrize("name", ["adam", "amsgrad"])
def test_the_fast_optimiser_is_taken(name: str) -> None:
    """One kernel over all parameters: up to 1.5 times the steps of the loop over them."""
    made = optimiser(name, near(), 1e-3)
    assert made is not None
    assert made.defaults["fused"] is True


@pytest.mark.parametrize(("name", "epsilon"), [("adam", 1e-8), ("amsgrad", 1e-3)])
def test_adam_divides_by_its_second_moment_and_amsgrad_by_the_largest_so_far(
    name: str, epsilon: float
) -> None:
    """Reference: the formulas in float64. Steep steps first: the largest is not the last."""
    layer = nn.Linear(3, 2, bias=False)
    made, w = optimiser(name, layer, 1e-2), layer.weight.detach().double()
    assert made is not None
    first, second, largest = (torch.zeros_like(w) for _ in range(3))
    for step in range(1, 31):
        gradient = torch.randn(2, 3, dtype=torch.float64) / step**2
        layer.weight.grad = gradient.float()
        made.step()
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        largest = second if name == "adam" else torch.maximum(largest, second)
        deviation = (largest / (1 - 0.999**step)).sqrt() + epsilon
        w = w - 1e-2 * first / (1 - 0.9**step) / deviation
    assert (largest > second).any() == (name == "amsgrad")
    torch.testing.assert_close(layer.weight.detach().double(), w, rtol=1e-5, atol=1e-6)


def test_an_empty_batch_changes_no_weight() -> None:
    owner, side = party(), server()
    before = copy.deepcopy(state(side))
    assert owner.step(torch.arange(0), side, at=At("s", 0, 0, 0)) == 0
    assert_bit_equal(state(side), before)


def test_no_batch_of_one_is_left_over() -> None:
    for n in range(2, 70):
        assert steps_per_epoch([n, 5], 8) == len(batches(n, 8, torch.Generator())) + 1
        sizes = [len(b) for b in batches(n, 8, torch.Generator())]
        assert sum(sizes) == n
        assert min(sizes) >= 2


@pytest.mark.parametrize("order", ["stored", "shuffled"])
def test_samples_come_as_they_are_stored_or_in_an_order_of_each_epoch(
    order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt: dict[int, list[Tensor]] = {0: [], 1: []}
    real = Owner.step

    def step(self: Owner, index: Tensor, far: FarSide, *, at: At) -> float:
        dealt[at.epoch].append(index)
        return real(self, index, far, at=at)

    monkeypatch.setattr(Owner, "step", step)
    plan = Plan(session="s", epochs=2, batch_size=8, order=order)  # type: ignore[arg-type]
    train(plan, [party(n=33)], server())
    first, second = torch.cat(dealt[0]), torch.cat(dealt[1])
    assert torch.equal(first, torch.arange(33)) == (order == "stored")
    assert torch.equal(first, second) == (order == "stored")
    assert torch.equal(second.sort().values, torch.arange(33))


def test_what_is_measured_after_an_epoch_is_told_the_epochs_before_it() -> None:
    told = []

    def validate(owner: Owner, history: Sequence[Mapping[str, float]]) -> float:
        told.append([row["validation_accuracy"] for row in history])
        return float(len(history))

    _, progress = train(PLAN, [party()], server(), validate=validate)
    assert told == [[], [0.0], [0.0, 1.0]]
    assert [row["validation_accuracy"] for row in progress.history] == [0.0, 1.0, 2.0]


def test_the_wire_carries_what_the_defence_let_through() -> None:
    """Defence on: what crosses differs from z; the tap hears exactly what the server was given."""
    owner, tap = party(defences=(Laplace(3.0),)), Tap(server())
    owner.step(torch.arange(8), tap, at=At("s", 0, 0, 0))
    with torch.no_grad():
        clean = owner.defended.segment.eval()(owner.data[0][:8])
    assert (tap.seen[0] - clean).abs().mean() > 1
    assert not tap.seen[0].requires_grad


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda s: s.step(torch.zeros(2, 5), torch.zeros(2), at=AT),
            r"\(N, 6\) wanted: got \(2, 5",
        ),
        (lambda s: s.predict(torch.full((2, 6), torch.nan)), "finite values wanted.*learning rate"),
        (lambda s: optimiser("adma", s.module, 1e-3), "unknown, did you mean 'adam'"),
        (lambda s: optimiser("sgd", s.module, 0.0), "learning rate must be > 0: got 0"),
        (lambda s: optimiser("sgd", s.module, 1.0, halve_every=-1), "halve_every must be >= 0"),
    ],
)
def test_what_is_refused_and_how(break_it: Callable[[Server], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        break_it(server())


def test_a_restored_server_forgets_its_replies(tmp_path: Path) -> None:
    side, z, y = server(), torch.randn(8, 6), torch.randint(3, (8,))
    side.save(AT, tmp_path)
    later = At("s", 0, 0, 1)
    first = side.step(z, y, at=later)
    after = copy.deepcopy(state(side))
    side.restore(AT, tmp_path)
    again = side.step(z, y, at=later)
    assert torch.equal(first.gradient, again.gradient)
    assert_bit_equal(state(side), after)


def test_a_relay_keeps_the_same_promises(tmp_path: Path) -> None:
    """Nothing learned from an empty batch, a replay touches nothing, owners do not mix."""
    tail = far()
    relay = Relay("relay1", tail[:2], optimiser("adam", tail[:2], 1e-2), server(segment=tail[2:]),
                  root=5, shape=SHAPE)  # fmt: skip
    relay.far.shape = (8,)  # type: ignore[attr-defined]
    y = torch.randint(3, (8,))
    relay.step(torch.randn(8, 6), y, at=At("s", 0, 0, 0))
    before = copy.deepcopy(state(relay))
    relay.step(torch.empty(0, 6), y[:0], at=At("s", 0, 0, 1))
    assert_bit_equal(state(relay), before)
    first, second = torch.randn(4, 6), torch.randn(4, 6)
    ahead = relay.forward(first, at=At("s", 0, 0, 2))
    counted = copy.deepcopy(state(relay))
    assert torch.equal(relay.forward(first, at=At("s", 0, 0, 2)), ahead)
    assert_bit_equal(state(relay), counted)
    relay.forward(second, at=At("s", 1, 0, 0))
    assert relay.backward(torch.ones(4, 3), at=At("s", 0, 0, 2)).shape == (4, 6)


def test_a_checkpoint_of_another_training_or_network_is_refused(tmp_path: Path) -> None:
    run(tmp_path, owners=1, schedule="hand-over")
    other = Checkpoints(tmp_path, every=4, identity="other")
    with pytest.raises(ValueError, match="training other of version 1 wanted, got i"):
        other.restore([party()], server())
    wider = nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 3))
    same = Checkpoints(tmp_path, every=4, identity="i")
    with pytest.raises(ValueError, match="weights of this network wanted"):
        same.restore([party()], server(segment=wider))


def test_a_checkpoint_cut_short_is_not_one(tmp_path: Path) -> None:
    run(tmp_path, owners=1, schedule="hand-over")
    newest, kept = sorted(tmp_path.iterdir())[::-1]
    (newest / "manifest.json").unlink()
    owner, side = party(), server()
    progress = Checkpoints(tmp_path, every=4, identity="i").restore([owner], side)
    assert progress.done == json.loads((kept / "manifest.json").read_text())["progress"]["done"]


# In which arithmetic


def test_bfloat16_rounds_what_is_multiplied_and_nothing_else() -> None:
    """Reference: the operands rounded by hand, and the sums as float32 keeps them."""
    layer, x = nn.Linear(64, 32), torch.randn(16, 64)
    rounded = [t.bfloat16().double() for t in (x, layer.weight, layer.bias)]
    exact = rounded[0] @ rounded[1].T + rounded[2]
    got = run_in(layer, x, "bfloat16")
    assert got.dtype == torch.float32
    torch.testing.assert_close(
        got.double(), exact, rtol=2**-8, atol=1e-6
    )  # the result's own digits
    assert torch.equal(run_in(layer, x, "float32"), layer(x))
    assert not torch.equal(got, layer(x))
    got.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


class Crossing(Tap):
    """Keeps the replies too."""

    def step(self, z: Tensor, y: Tensor, *, at: At) -> StepResult:
        self.reply = super().step(z, y, at=at)
        return self.reply


def test_bfloat16_learns_as_float32_does_and_exchanges_float32() -> None:
    plan, results = Plan(session="s", epochs=8, batch_size=8), {}
    for precision in ("float32", "bfloat16"):
        owner = party(n=80, precision=precision)
        side = server(precision=precision)
        tap = Crossing(side)
        _, progress = train(plan, [owner], tap)
        results[precision] = progress.history, state(owner, side)
        assert {t.dtype for t in tap.seen} == {torch.float32}
        assert tap.reply.gradient.dtype == torch.float32
        floating = [t for t in results[precision][1].values() if t.is_floating_point()]
        assert {t.dtype for t in floating} == {torch.float32}
    (exact, weights), (near_it, rounded) = results["float32"], results["bfloat16"]
    assert exact[-1]["loss"] < 0.8 * exact[0]["loss"]
    assert near_it[-1]["loss"] == pytest.approx(exact[-1]["loss"], rel=0.05)
    assert not torch.equal(
        weights["0.segment.segment.0.weight"], rounded["0.segment.segment.0.weight"]
    )
    assert not torch.equal(weights["1.segment.0.weight"], rounded["1.segment.0.weight"])


def test_relays_round_too() -> None:
    tail, z = far(), torch.randn(8, 6)
    out = []
    for precision in ("float32", "bfloat16"):
        relay = Relay("relay1", copy.deepcopy(tail[:2]), None, server(segment=tail[2:]), root=5,
                      shape=SHAPE, precision=precision)  # fmt: skip
        relay.far.shape = (8,)  # type: ignore[attr-defined]
        out.append(relay.forward(z, at=AT))
    assert not torch.equal(out[0], out[1])
    assert {t.dtype for t in out} == {torch.float32}


def test_what_is_trained_in_bfloat16_serves_in_float32() -> None:
    x, z = torch.rand(9, 4), torch.randn(9, 6)
    exact, rounded = party(), party(precision="bfloat16")
    for owner in (exact, rounded):
        owner.defended.segment[3].p = 0.0  # type: ignore[index]
    both = exact.defended, rounded.defended
    assert torch.equal(both[0].eval()(x), both[1].eval()(x))
    assert torch.equal(both[0].repeats(x, 2), both[1].repeats(x, 2))
    assert torch.equal(server().predict(z), server(precision="bfloat16").predict(z))
    assert not torch.equal(both[0].train()(x), both[1].train()(x))


class Weighing(Defence):
    """Keeps the arithmetic that it was used in."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.dtype, bool]] = []

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        assert x is not None
        self.seen += [(t.dtype, _rounding()), (x.dtype, _rounding())]
        return t

    def penalty(self, x: Tensor, z: Tensor, sent: Tensor) -> Tensor:
        self.seen += [(t.dtype, _rounding()) for t in (x, z, sent, x @ x.T, z @ z.T)]
        return 0.1 * (x @ x.T - z @ z.T).square().mean()


def _rounding() -> bool:
    return torch.is_autocast_enabled("cpu")


def test_defences_and_penalties_work_in_float32_whatever_the_segment_does() -> None:
    owner = party(defences=(Weighing(),), precision="bfloat16")
    owner.step(torch.arange(8), server(precision="bfloat16"), at=AT)
    weighing = owner.defended.defence.members[0]
    assert len(weighing.seen) == 7  # type: ignore[arg-type]
    assert set(weighing.seen) == {(torch.float32, False)}  # type: ignore[arg-type]


# How weights are stored


def images(n: int = 12) -> tuple[Tensor, Tensor]:
    x = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    return x, torch.arange(n) % 3


def convolutions() -> nn.Sequential:
    torch.manual_seed(4)
    layers = nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 2), nn.MaxPool2d(2, 1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(20, 3))


def test_weights_stored_channels_last_give_the_same_values() -> None:
    plain, ours = convolutions(), laid_out(convolutions())
    assert [*plain.state_dict()] == [*ours.state_dict()]
    x, y = images()
    gradients = []
    for network in (plain, ours):
        nn.functional.cross_entropy(network(x), y).backward()
        gradients.append([p.grad for p in network.parameters()])
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)
    lies = [n[2].weight.is_contiguous(memory_format=torch.channels_last) for n in (plain, ours)]  # type: ignore[index]
    assert lies == [False, True]


def test_a_gradient_meets_pooling_channels_last_once() -> None:
    """After a flattening it comes back contiguous, and every layer below would turn it again."""
    network, came = laid_out(laid_out(convolutions())), list[Tensor]()
    pooling = network.get_submodule("3")
    assert len(pooling._forward_hooks) == 1  # laid out twice, one turn

    def listen(module: nn.Module, args: object, out: Tensor) -> None:
        assert out.grad_fn is not None
        out.grad_fn.register_prehook(lambda gradients: came.append(gradients[0]))

    pooling.register_forward_hook(listen)
    x, y = images()
    nn.functional.cross_entropy(network(x), y).backward()
    assert came[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_moments_of_weights_stored_channels_last_come_back_from_disk(
    name: str, tmp_path: Path
) -> None:
    """The fused kernel takes moments as they lie in memory: they have to lie as the weights do."""
    x, y = images()

    def learner() -> Party:
        module = laid_out(convolutions())
        return Party("owner0", module, optimiser(name, module, 1e-2), root=5)

    def step(of: Party) -> None:
        nn.functional.cross_entropy(of.module(x), y).backward()
        of.update(AT)

    undisturbed, resumed = learner(), learner()
    for _ in range(3):
        step(undisturbed)
    undisturbed.save(AT, tmp_path)
    resumed.restore(AT, tmp_path)
    assert_bit_equal(state(resumed), state(undisturbed))
    for _ in range(2):
        step(undisturbed)
        step(resumed)
    assert_bit_equal(state(resumed), state(undisturbed))
