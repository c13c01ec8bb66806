"""Messages that are well formed and would still harm: refused, and no weight or buffer differs.

The server's segment has a BatchNorm here: its statistics move before anything can be found wrong.
"""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from attacked import party, same_values
from torch import Tensor, nn

from cutlayer.parties import Server, optimiser
from cutlayer.wire import At
from cutlayer.wire.mailbox import Mailbox
from cutlayer.wire.members import Members
from cutlayer.wire.message import Kind, Limits, Message, bytes_tensor, decode, encode
from cutlayer.wire.service import Service
from cutlayer.wire.states import States
from cutlayer.wire.turns import Sequence

HERE = At("first", 0, 0, 0)
Z, Y = torch.rand(4, 6), torch.zeros(4, dtype=torch.int64)
Ask = Callable[..., Message]


def segment() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3))


@pytest.fixture
def service(tmp_path: Path) -> Service:
    network = segment()
    return Service(
        Server(network, optimiser("adam", network, 1e-2), root=5, shape=(6,)),
        session="first",
        members=Members(owners={"north": 0, "south": 1}, users=frozenset({"u1"})),
        order=Sequence(),
        states=States(tmp_path / "states", "any"),
        mailbox=Mailbox(tmp_path / "mailbox"),
        limits=Limits(bytes=100_000),
    )


def asked(service: Service, kind: Kind, *tensors: Tensor, at: At = HERE) -> Message:
    data = encode(Message.at(kind, at, *tensors))
    return decode(service.answer(data, party("north")))


def state(service: Service) -> dict[str, Tensor]:
    far = service.far
    assert isinstance(far, Server)
    return {k: v.clone() for k, v in far.state().items()}


STEPS = {
    "a label that there is not": (Z, Y + 99),
    "one label that there is not": (Z, torch.tensor([0, 1, 2, 3])),
    "a negative label": (Z, Y - 1),
    "labels that count for nothing": (Z, Y - 100),
    "double precision": (Z.double(), Y),
    "one sample, which has no variance": (Z[:1], Y[:1]),
    "values that overflow": (Z * 3e38, Y),
    "a number alone": (torch.tensor(1.0), Y),
    "two numbers alone": (torch.tensor(1.0), torch.tensor(1)),
    "no samples, but labels": (Z[:0], Y),
    "rows of nothing": (torch.zeros(4, 0), Y),
    "two million rows of nothing": (torch.zeros(2**21, 0), Y),
}


@pytest.mark.parametrize(("z", "y"), STEPS.values(), ids=STEPS)
def test_a_step_that_cannot_be_learned_from_leaves_no_trace(
    service: Service, z: Tensor, y: Tensor
) -> None:
    before = state(service)
    assert asked(service, Kind.STEP, z, y).kind == Kind.REFUSED
    assert same_values(before, state(service))
    assert asked(service, Kind.STEP, Z, Y).kind == Kind.RESULT  # the same place is still open
    alone = segment()
    Server(alone, optimiser("adam", alone, 1e-2), root=5, shape=(6,)).step(Z, Y, at=HERE)
    learned = {k.removeprefix("segment."): v for k, v in state(service).items() if "segment" in k}
    assert same_values(learned, dict(alone.state_dict()))


GRADIENTS = {
    "NaN": torch.full((4, 3), torch.nan),
    "infinite": torch.full((4, 3), torch.inf),
    "too narrow": torch.zeros(4, 2),
    "too few": torch.zeros(3, 3),
    "whole numbers": torch.zeros(4, 3, dtype=torch.int64),
    "a number alone": torch.tensor(0.0),
    "overflowing": torch.full((4, 3), 3e38),
}


@pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
def test_a_gradient_that_cannot_be_learned_from_leaves_no_trace(
    service: Service, gradient: Tensor
) -> None:
    out = asked(service, Kind.FORWARD, Z)
    before = state(service)
    assert asked(service, Kind.BACKWARD, gradient).kind == Kind.REFUSED
    assert same_values(before, state(service))
    assert torch.equal(asked(service, Kind.FORWARD, Z).tensors[0], out.tensors[0])


@pytest.mark.parametrize("kind", [Kind.FETCH, Kind.POST])
@pytest.mark.parametrize("name", ["north", "u1"])
def test_a_subject_that_is_no_text_is_refused(service: Service, kind: Kind, name: str) -> None:
    one = torch.tensor(65, dtype=torch.uint8)
    for subject in (one, one.reshape(1, 1), one.float(), torch.zeros(0, 3, dtype=torch.uint8)):
        tensors = (subject, one)[: 2 if kind == Kind.POST else 1]
        data = encode(Message.at(kind, HERE, *tensors))
        for answer in (service.answer, service.predicted):
            assert decode(answer(data, party(name))).kind == Kind.REFUSED


def test_a_prediction_for_what_is_no_sample_is_refused(service: Service) -> None:
    before = state(service)
    bad = (torch.tensor(1.0), Z[0], Z[:, 1:], Z / 0, Z.long(), Z.byte(), torch.zeros(2**21, 0))
    for z in bad:
        data = encode(Message.at(Kind.PREDICT, HERE, z))
        assert decode(service.predicted(data, party("u1"))).kind == Kind.REFUSED, z.shape
    assert same_values(before, state(service))


MANY = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
from cutlayer.wire.turns import Turns
for schedule in ("hand-over", "average"):
    turns = Turns(2, 2, schedule, 1)
    for owner, steps in ((0, 3), (1, 2**31 - 1)):
        try:
            turns.hello(owner, steps)
        except ValueError:
            pass
    turns.now
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_very_many_steps_take_no_memory() -> None:
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = subprocess.run(
        [sys.executable, "-c", MANY], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr[-500:]
    assert int(found.stdout) < ours + 200_000  # kibibytes


def test_the_start_of_another_owner_cannot_be_replaced(service: Service) -> None:
    for subject in ("start", "start/0", "final/0", "letter/0/0"):
        message = Message.at(
            Kind.POST, At("first", 1, 0, 0), bytes_tensor(subject.encode()), bytes_tensor(b"x")
        )
        reply = decode(service.answer(encode(message), party("south")))
        assert reply.kind == Kind.REFUSED, subject
    assert service.mailbox.find("letter/0/0") is None
