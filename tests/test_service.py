"""What a server answers when it, or somebody else, has lost something."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cutlayer.parties import Server, load_party_state, optimiser, party_state
from cutlayer.wire import At
from cutlayer.wire.identity import Identity
from cutlayer.wire.mailbox import Mailbox, letter_of
from cutlayer.wire.members import Absence, Members
from cutlayer.wire.message import Kind, Limits, Message, bytes_tensor, decode, encode, tensor_bytes
from cutlayer.wire.service import MOST_RETURNS, Service
from cutlayer.wire.states import States
from cutlayer.wire.turns import Turns

NAMES = ("north", "south", "east", "west")


class Talk:
    """A server without a network, and owners who say what they are told to."""

    def __init__(
        self, folder: Path, steps: tuple[int, ...] = (2, 2), schedule: str = "average", **more: Any
    ) -> None:
        self.folder, self.steps, self.schedule, self.more = folder, steps, schedule, more
        self.start()

    def start(self) -> None:
        """As a new process: it knows its files."""
        torch.manual_seed(1)
        segment = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3))
        self.far = Server(segment, optimiser("adam", segment, 1e-2), root=5, shape=(6,))
        count = len(self.steps)
        self.service = Service(
            self.far,
            session="s",
            members=Members({name: i for i, name in enumerate(NAMES[:count])}, frozenset({"u"})),
            order=Turns(count, 2, self.schedule, 1),  # type: ignore[arg-type]
            states=States(self.folder / "states", "any", kept=count + 2),
            mailbox=Mailbox(self.folder / "mailbox"),
            limits=Limits(bytes=200_000, samples=64),
            **self.more,
        )
        self.service.resume()

    def say(self, kind: Kind, owner: int, epoch: int, step: int, *tensors: Tensor) -> Message:
        """One message and its answer, without waiting."""
        data = encode(Message.at(kind, At("s", owner, epoch, step), *tensors))
        party = Identity("f", "owner", NAMES[owner])
        return decode(self.service.answer(data, party, lambda: False))

    def hello(self) -> None:
        for owner, n in enumerate(self.steps):
            assert self.say(Kind.HELLO, owner, 0, 0, torch.tensor(n)).kind == Kind.DONE

    def step(self, owner: int, epoch: int, step: int) -> Message:
        rng = torch.Generator().manual_seed(step)
        z = torch.rand(4, 6, generator=rng)
        return self.say(Kind.STEP, owner, epoch, step, z, torch.tensor([0, 1, 2, 0]))

    def fetch(self, owner: int, epoch: int, subject: str) -> Message:
        return self.say(Kind.FETCH, owner, epoch, 0, bytes_tensor(subject.encode()))

    def post(self, owner: int, epoch: int, step: int, subject: str = "") -> Message:
        name = bytes_tensor((subject or letter_of(owner, epoch)).encode())
        return self.say(Kind.POST, owner, epoch, step, name, bytes_tensor(b"sealed"))

    def until(self, act: str, owner: int, epoch: int, step: int) -> None:
        """All that comes before that, each answered as it should be."""
        while (now := self.service.order.now) != (act, owner, epoch, step):  # type: ignore[attr-defined]
            assert now is not None
            if now.act == "step":
                assert self.step(*now[1:]).kind == Kind.RESULT
            elif now.act == "save":
                assert self.say(Kind.SAVE, *now[1:]).kind == Kind.DONE
            else:
                assert self.post(*now[1:]).kind == Kind.DONE


def place(message: Message) -> tuple[int, ...]:
    """Where a server that says "behind" is."""
    assert message.kind == Kind.BEHIND, message
    return tuple(message.tensors[0].tolist())


def weights(talk: Talk) -> list[Tensor]:
    return [t.clone() for t in talk.far.module.state_dict().values()]


def unchanged(talk: Talk, before: list[Tensor]) -> bool:
    return all(map(torch.equal, before, weights(talk)))


# The server has forgotten


def test_who_said_hello_before_is_asked_to_say_it_again(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    talk.hello()
    talk.start()  # before anything was kept
    assert place(talk.fetch(0, 0, "starter")) == (0, 0)
    assert place(talk.say(Kind.SAVE, 1, 0, 0)) == (0, 0)
    talk.hello()
    assert talk.say(Kind.SAVE, 0, 0, 0).kind == Kind.DONE


@pytest.mark.parametrize("schedule", ["average", "hand-over"])
def test_a_letter_that_was_left_just_before_is_asked_for_again(
    schedule: str, tmp_path: Path
) -> None:
    talk = Talk(tmp_path, schedule=schedule)
    talk.hello()
    talk.until("post", 0, 1, 2)
    assert talk.post(0, 1, 2).kind == Kind.DONE
    talk.start()  # its order is as of the last state: before the letter
    subject = "participants" if schedule == "average" else "giver"
    asked = 1 if schedule == "average" else 2
    assert place(talk.fetch(0, asked, subject)) == (1, 2)
    assert talk.say(Kind.RESTORE, 0, 1, 2).kind == Kind.DONE
    assert talk.say(Kind.SAVE, 0, 1, 2).kind == Kind.DONE
    assert talk.post(0, 1, 2).kind == Kind.DONE


def test_owners_who_end_their_epochs_in_different_places_can_all_go_back(tmp_path: Path) -> None:
    talk = Talk(tmp_path, steps=(2, 3, 4, 5))
    talk.service.order.every = 0  # type: ignore[attr-defined]
    talk.hello()
    talk.until("step", 3, 0, 4)
    talk.start()
    talk.service.order.every = 0  # type: ignore[attr-defined]
    talk.service.resume()
    for owner, n in enumerate(talk.steps):
        reply = talk.say(Kind.RESTORE, owner, 0, n if owner < 3 else 0)
        assert reply.kind in (Kind.DONE, Kind.BEHIND), reply.text


def test_who_stays_away_is_still_away_when_the_server_starts_again(tmp_path: Path) -> None:
    talk = Talk(tmp_path, absence=Absence("skip", 0.0))
    talk.say(Kind.HELLO, 0, 0, 0, torch.tensor(2))
    talk.service.order.give_up(1)  # type: ignore[attr-defined]
    assert talk.say(Kind.SAVE, 0, 0, 0).kind == Kind.DONE
    talk.start()
    assert talk.service.order.missing == []  # type: ignore[attr-defined]
    assert talk.step(0, 0, 0).kind == Kind.RESULT


@pytest.mark.parametrize("schedule", ["average", "hand-over"])
def test_a_training_that_is_over_stays_so(schedule: str, tmp_path: Path) -> None:
    talk = Talk(tmp_path, schedule=schedule)
    talk.hello()
    last = 1
    talk.until("post", last, 1, 2)
    assert talk.post(last, 1, 2).kind == Kind.DONE
    assert talk.service.health()["state"] == "serving"
    before = weights(talk)
    talk.start()
    assert talk.service.health()["state"] == "serving"
    assert talk.service.finished.is_set()
    assert unchanged(talk, before)
    assert talk.say(Kind.RESTORE, 0, 1, 2).kind == Kind.DONE
    assert talk.post(0, 1, 2).kind == Kind.DONE


# An owner does harm


@pytest.mark.parametrize("value", [3e38, -3e38], ids=str)
def test_a_finite_message_that_would_leave_nothing_but_nan_is_not_learned(
    value: float, tmp_path: Path
) -> None:
    talk = Talk(tmp_path)
    talk.hello()
    talk.until("step", 0, 0, 0)
    before = weights(talk)
    z, y = torch.full((4, 6), value), torch.zeros(4).long()
    z[0] = -z[0]
    assert "NaN or infinite" in talk.say(Kind.STEP, 0, 0, 0, z, y).text
    assert unchanged(talk, before)
    assert talk.step(0, 0, 0).kind == Kind.RESULT


@pytest.mark.parametrize(
    "dh", [torch.full((4, 3), torch.nan), torch.zeros(4, 2), torch.zeros(3, 3)], ids=str
)
def test_a_gradient_is_checked_and_the_step_can_go_on(dh: Tensor, tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    talk.hello()
    talk.until("step", 0, 0, 0)
    z = torch.rand(4, 6)
    assert talk.say(Kind.FORWARD, 0, 0, 0, z).kind == Kind.OUTPUT
    before = weights(talk)
    assert "finite gradient of shape (4, 3)" in talk.say(Kind.BACKWARD, 0, 0, 0, dh).text
    assert unchanged(talk, before)
    assert talk.say(Kind.BACKWARD, 0, 0, 0, torch.rand(4, 3)).kind == Kind.OUTPUT


def test_a_label_of_no_class_leaves_nothing_behind(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    talk.hello()
    talk.until("step", 0, 0, 0)
    before = weights(talk)
    reply = talk.say(Kind.STEP, 0, 0, 0, torch.rand(4, 6), torch.full((4,), 99))
    assert reply.kind == Kind.REFUSED
    assert unchanged(talk, before)  # BatchNorm's statistics as well


@pytest.mark.parametrize("steps", [0, -1, 2**31 - 1, 2**62])
def test_nobody_has_that_many_steps(steps: int, tmp_path: Path) -> None:
    reply = Talk(tmp_path).say(Kind.HELLO, 0, 0, 0, torch.tensor(steps))
    assert "steps in an epoch wanted" in reply.text


def test_few_bytes_do_not_become_many_samples(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    talk.hello()
    talk.until("step", 0, 0, 0)
    reply = talk.say(Kind.STEP, 0, 0, 0, torch.zeros(65, 6), torch.zeros(65).long())
    assert "N at most 64" in reply.text
    data = encode(Message.at(Kind.PREDICT, At("", 0, 0, 0), torch.zeros(65, 6)))
    reply = decode(talk.service.predicted(data, Identity("f", "user", "u")))
    assert "N at most 64" in reply.text


def test_old_letters_are_not_kept_for_ever(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    talk.hello()
    talk.service.order.epochs = 9  # type: ignore[attr-defined]
    talk.until("step", 0, 8, 0)
    for epoch in reversed(range(8)):
        assert talk.post(0, epoch, 2).kind == Kind.DONE
    kept = sorted(p.name for p in (tmp_path / "mailbox" / "letter" / "0").iterdir())
    assert kept == ["6", "7"]
    assert talk.post(0, 7, 1).kind == Kind.BEHIND  # a step at which it never ends


def test_nobody_sends_all_back_for_ever(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    talk.hello()
    for _ in range(MOST_RETURNS):
        talk.until("step", 0, 0, 1)
        assert talk.say(Kind.RESTORE, 0, 0, 0).kind == Kind.DONE
    talk.until("step", 0, 0, 1)
    assert "returns to one place" in talk.say(Kind.RESTORE, 0, 0, 0).text


def test_what_all_start_from_is_one_owners_alone(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    talk.hello()
    assert "letter of this owner" in talk.post(1, 0, 0, "start/0").text
    assert talk.post(0, 0, 0, "start/0").kind == Kind.DONE
    assert tensor_bytes(talk.fetch(1, 0, "start/0").tensors[0]) == b"sealed"
    talk.service.order.give_up(0)  # type: ignore[attr-defined]
    assert talk.fetch(1, 0, "start/0").kind == Kind.BEHIND  # ask again who starts
    assert tensor_bytes(talk.fetch(1, 0, "starter").tensors[0]) == b"1"


def test_who_was_left_out_sends_nobody_back(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    talk.hello()
    talk.until("step", 0, 1, 0)
    talk.service.order.give_up(1)  # type: ignore[attr-defined]
    assert talk.say(Kind.RESTORE, 1, 0, 2).kind == Kind.OUT
    assert talk.step(0, 1, 0).kind == Kind.RESULT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimiser.0.exp_avg", torch.zeros(1)),
        ("optimiser.99.exp_avg", torch.zeros(2, 3)),
        ("optimiser.0.other", torch.zeros(2, 3)),
        ("optimiser.x.step", torch.zeros(())),
        ("optimiser.0.step", torch.zeros(2)),
        ("optimiser.0", torch.zeros(2, 3)),
    ],
)
def test_moments_of_another_shape_are_refused_before_a_kernel_reads_them(
    name: str, value: Tensor
) -> None:
    module = nn.Linear(3, 2)
    own = optimiser("adam", module, 1e-3)
    assert own is not None
    module(torch.rand(4, 3)).sum().backward()
    own.step()
    state = party_state(module, own)
    load_party_state(module, own, state, source="north")
    with pytest.raises(ValueError, match="north: moments"):
        load_party_state(module, own, state | {name: value}, source="north")
    del state["optimiser.0.step"]
    with pytest.raises(ValueError, match="north: moments"):
        load_party_state(module, own, state, source="north")
