"""Images moved and mirrored in training: what comes of them, who sees it, the same when resumed."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cutlayer import Assembly, ConfigError, Store, parse, run_training
from cutlayer.augmentation import AUGMENTATIONS, Augment, augmented, check_augment
from cutlayer.cli import build_parser
from cutlayer.defences import Chain, Defence, Defended, Laplace
from cutlayer.described import plain
from cutlayer.parties import Owner, Server, optimiser, party_state
from cutlayer.streams import generator
from cutlayer.training import Checkpoints, Plan, Progress, train
from cutlayer.wire import At, StepResult, Tap

AT = At("s", 0, 2, 5)
MOVED: tuple[Augment, ...] = ("shift", "shift-and-flip")


def images(n: int = 40, shape: tuple[int, ...] = (2, 8, 16)) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Independent reference: padded with the edge and cropped, one image at a time


def crops(image: Tensor, flip: bool) -> dict[tuple[int, int, bool], Tensor]:
    """Every image that may come of one, by shift and whether it was mirrored."""
    _, height, width = image.shape
    down, along = height // 8, width // 8
    padded = nn.functional.pad(image[None], (along, along, down, down), mode="replicate")[0]
    found = {}
    for i in range(2 * down + 1):
        for j in range(2 * along + 1):
            crop = padded[:, i : i + height, j : j + width]
            found[i, j, False] = crop
            if flip:
                found[i, j, True] = crop.flip(2)
    return found


@pytest.mark.parametrize("augment", MOVED)
def test_each_image_is_a_crop_of_itself_beyond_its_edges(augment: Augment) -> None:
    x, seen = images(600), list[tuple[int, int, bool]]()
    for image, moved in zip(x, augmented(x, augment, rng()), strict=True):
        fitting = [k for k, c in crops(image, augment != "shift").items() if torch.equal(c, moved)]
        assert len(fitting) == 1
        seen += fitting
    assert set(seen) == set(crops(x[0], augment != "shift"))  # every shift there may be
    counts = torch.tensor([seen.count(k) for k in set(seen)]).double()
    deviation = (600 * (1 / len(counts)) * (1 - 1 / len(counts))) ** 0.5
    assert (counts - 600 / len(counts)).abs().max() < 4 * deviation  # alike likely
    if augment != "shift":
        assert abs(sum(flipped for *_, flipped in seen) - 300) < 4 * 150**0.5


# Properties


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(MOVED), st.integers(0, 3), st.integers(8, 40), st.integers(8, 40))
def test_no_value_is_new_and_an_empty_batch_stays_empty(
    augment: Augment, n: int, height: int, width: int
) -> None:
    x = images(n, (3, height, width))
    before, made = x.clone(), augmented(x, augment, rng())
    assert made.shape == x.shape
    assert set(made.unique().tolist()) <= set(x.unique().tolist())
    assert torch.equal(x, before)


def test_a_flat_image_has_no_bar_at_its_edge() -> None:
    x = torch.full((20, 1, 16, 16), 0.8)
    assert torch.equal(augmented(x, "shift-and-flip", rng()), x)


def test_none_draws_nothing_and_copies_nothing() -> None:
    x, untouched = images(), rng(3)
    assert augmented(x, "none", untouched) is x
    assert torch.equal(untouched.get_state(), rng(3).get_state())


# In training


class Watching(Defence):
    """Keeps the inputs that defences and penalties are given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        assert x is not None
        self.seen.append(x)
        return t

    def penalty(self, x: Tensor, z: Tensor, sent: Tensor) -> Tensor:
        self.seen.append(x)
        return z.new_zeros(())


def network() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(7)
    near = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Dropout(0.1))
    return near, nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 14, 4))


def owner(augment: Augment | None, *defences: Defence, n: int = 40, number: int = 0) -> Owner:
    side = Defended(network()[0], Chain(*copy.deepcopy(defences)))
    made, (x, y) = optimiser("amsgrad", side, 1e-2), (images(n), torch.arange(n) % 4)
    if augment is None:  # as it was before there was augmentation
        return Owner(number, side, made, (x, y), root=5)
    return Owner(number, side, made, (x, y), root=5, augment=augment)


def server() -> Server:
    segment = network()[1]
    return Server(segment, optimiser("amsgrad", segment, 1e-2), root=5, shape=(3, 6, 14))


def test_defences_and_penalties_see_what_the_segment_sees() -> None:
    party = owner("shift-and-flip", Watching())
    heard: list[Tensor] = []
    party.defended.segment.register_forward_pre_hook(lambda m, args: heard.append(args[0]))
    party.step(torch.arange(8), server(), at=AT)
    [watching] = party.defended.defence.members
    wanted = augmented(images()[:8], "shift-and-flip", generator(5, "owner0", "augment", 2, 5))
    assert not torch.equal(wanted, images()[:8])
    assert len(watching.seen) == 2  # type: ignore[arg-type]
    for x in (*heard, *watching.seen):  # type: ignore[misc]
        assert torch.equal(x, wanted)
    assert torch.equal(party.data[0], images())  # the owner's own stay as they are


def test_the_noise_of_a_step_does_not_depend_on_the_augmentation() -> None:
    noises = []
    for augment in AUGMENTATIONS:
        party, tap = owner(augment, Laplace(0.5)), Tap(server())
        party.defended.segment[2].p = 0.0  # type: ignore[index]
        party.optimiser = None
        index = torch.arange(8)
        party.step(index, tap, at=AT)
        x = augmented(party.data[0][index], augment, generator(5, "owner0", "augment", 2, 5))
        noises.append(tap.seen[0] - party.defended.segment(x).detach())
    for noise in noises[1:]:
        torch.testing.assert_close(noise, noises[0], rtol=0, atol=1e-6)


def test_images_move_anew_in_every_step_and_epoch_and_for_every_owner() -> None:
    places = [At("s", 0, 0, 0), At("s", 0, 0, 1), At("s", 0, 1, 0)]
    seen = [
        owner("shift", number=number)._samples(torch.arange(8), at)[0]
        for number in (0, 1)
        for at in places
    ]
    assert len({tuple(x.flatten().tolist()) for x in seen}) == len(seen)


class Noisy(Tap):
    """A far side that draws of its own between the steps, as a busy process would."""

    def step(self, z: Tensor, y: Tensor, *, at: At) -> StepResult:
        torch.rand(17)
        return super().step(z, y, at=at)


def trained(
    augment: Augment | None,
    folder: Path | None = None,
    *,
    stop_after: int | None = None,
    owners: int = 1,
    noisy: bool = False,
) -> dict[str, Tensor]:
    everyone = [owner(augment, Laplace(0.1), n=33 + 8 * i, number=i) for i in range(owners)]
    side, keep = server(), Checkpoints(folder, every=4, identity="i") if folder else None

    def on_step(progress: Progress) -> None:
        if progress.done == stop_after:
            raise RuntimeError("killed")

    plan = Plan(session="s", epochs=2, batch_size=8, schedule="average")
    far = Noisy(side) if noisy else side
    holder, progress = train(plan, everyone, far, checkpoints=keep, on_step=on_step)
    parties = [party_state(p.module, p.optimiser) for p in (holder, side)]
    losses = torch.tensor([row["loss"] for row in progress.history], dtype=torch.float64)
    return {f"{i}.{k}": v for i, s in enumerate(parties) for k, v in s.items()} | {"loss": losses}


def assert_bit_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k], b[k])] == []


def test_none_changes_no_bit_of_a_training() -> None:
    assert_bit_equal(trained("none"), trained(None))
    assert not torch.equal(trained("shift")["loss"], trained(None)["loss"])


@pytest.mark.parametrize("owners", [1, 2])
@pytest.mark.parametrize("killed_after", [2, 4, 7])
def test_a_killed_run_resumes_to_the_bit_same_weights(
    tmp_path: Path, owners: int, killed_after: int
) -> None:
    undisturbed = trained("shift-and-flip", owners=owners)
    assert any("max_exp_avg_sq" in k for k in undisturbed)
    with pytest.raises(RuntimeError, match="killed"):
        trained("shift-and-flip", tmp_path, owners=owners, stop_after=killed_after)
    assert_bit_equal(trained("shift-and-flip", tmp_path, owners=owners), undisturbed)


def test_what_else_draws_between_the_steps_changes_nothing() -> None:
    assert_bit_equal(trained("shift-and-flip", noisy=True), trained("shift-and-flip"))


def test_an_empty_batch_is_no_trouble() -> None:
    assert owner("shift").step(torch.arange(0), server(), at=AT) == 0


# As a field of an experiment

SHARES = "owners=96,validation=40,auxiliary=40,attacker_validation=20,victims=20"


def assembly(**changes: object) -> Assembly:
    raw = {"model": "mlp", "shares": SHARES, "epochs": 2, "threads": 1, "device": "cpu"}
    return Assembly.of(parse(raw | changes))


def test_a_network_trained_on_moved_images_is_another_one(tmp_path: Path) -> None:
    plain_run, moved = assembly(), assembly(augment="shift")
    assert "augment" not in plain_run.network_identity()  # runs of before keep their names
    assert len({plain_run.network_run, moved.network_run}) == 2
    assert plain_run.judge_run == moved.judge_run
    store = Store(tmp_path)
    losses = [run_training(a, store).training["epochs"][-1]["loss"] for a in (plain_run, moved)]
    assert losses[0] != losses[1]
    weights = tmp_path / "w.safetensors"
    weights.touch()
    given = {"weights": str(weights), "epochs": None}  # nothing is trained
    untrained = {assembly(augment=augment, **given).network_run for augment in AUGMENTATIONS}
    assert len(untrained) == 1


def test_it_is_a_flag_and_comes_back_from_a_record() -> None:
    line = ["train", "--augment", "shift-and-flip", "--optimiser", "amsgrad"]
    given = build_parser().parse(line)
    assert (given.augment, given.optimiser) == ("shift-and-flip", "amsgrad")
    e = parse({"augment": "shift-and-flip", "optimiser": "amsgrad"})
    assert parse({k: v for k, v in plain(e).items() if v is not None}) == e
    assert (parse({}).augment, parse({}).optimiser) == ("none", "adam")


# Messages


@pytest.mark.parametrize(
    ("augment", "shape", "message"),
    [
        ("shift", (30,), r"'shift' wants images \(C, H, W\), .* at least 8: got .* \(30,\)"),
        ("shift-and-flip", (1, 187), r"samples of shape \(1, 187\); leave augment at 'none'"),
        ("shift", (1, 7, 28), r"each side at least 8: got samples of shape \(1, 7, 28\)"),
        ("shft", (1, 28, 28), "augment 'shft': unknown, did you mean 'shift'"),
    ],
)
def test_what_is_refused_and_how(augment: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_augment(augment, shape)
    check_augment("none", shape)


def test_tables_and_misspelt_names_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="augment 'flip': unknown; known: none, shift, shift-and"):
        parse({"augment": "flip"})
    table, labels = np.random.default_rng(0).random((216, 30)), np.arange(216) % 2
    np.savez(tmp_path / "table.npz", x=table, y=labels)
    of_a_table = assembly(data=f"arrays:path={tmp_path / 'table.npz'}", augment="shift")
    with pytest.raises(ValueError, match=r"augment 'shift' wants images .* of shape \(30,\)"):
        run_training(of_a_table, Store(tmp_path / "runs"))
    assert not list((tmp_path / "runs").glob("train-*"))
