"""Messages that are not what they should be: refused, one by one, and nothing is learned."""

import re
import struct
from collections.abc import Callable

import grpc
import pytest
import torch
from attacked import LIMIT, Attacked, resident, same_values, sample, tree, words

from cutlayer.wire import At
from cutlayer.wire.message import Kind, Message, bytes_tensor, encode
from cutlayer.wire.remote import PREDICT

Made = Callable[[At], Message | bytes]
Z, Y = sample()


def step(at: At, z: torch.Tensor = Z, y: torch.Tensor = Y) -> Message:
    return Message.at(Kind.STEP, at, z, y)


def placed(at: At, **changes: object) -> At:
    return At(**(vars(at) | changes))  # type: ignore[arg-type]


def patched(data: bytes, at: int, *, code: str, value: int) -> bytes:
    """The same message with one field changed."""
    size = struct.calcsize(code)
    return data[:at] + struct.pack(code, value) + data[at + size :]


def header(field: int, code: str, value: int) -> Made:
    return lambda at: patched(encode(step(at)), field, code=code, value=value)


# In the owner's own turn, at the place that comes next: only what it says is wrong.
WRONG: dict[str, tuple[Made, str]] = {
    "whole numbers": (lambda at: step(at, Z.long()), "floating point"),
    "one bit each": (lambda at: step(at, Z.byte()), "floating point"),
    "rank 1": (lambda at: step(at, Z[:, 0]), r"samples \(N, ...\)"),
    "rank 3": (lambda at: step(at, Z[None]), "shape|labels"),
    "too narrow": (lambda at: step(at, Z[:, 1:]), r"shape \(N, 64\) wanted"),
    "infinite": (lambda at: step(at, Z / 0), "finite values wanted"),
    "one NaN": (lambda at: step(at, Z.where(Z[3, 3] != Z, torch.nan)), "finite values wanted"),
    "labels in a column": (lambda at: step(at, y=Y[:, None]), "8 labels of int64"),
    "another session": (
        lambda at: step(placed(at, session="second")),
        "session first [0-9a-f]+ wanted",
    ),
    "another session's bytes": (header(8, "<Q", 0), "session first [0-9a-f]+ wanted"),
    "another owner": (lambda at: step(placed(at, owner=0)), "owner 1 wanted"),
    "an owner that there is not": (lambda at: step(placed(at, owner=65535)), "owner 1 wanted"),
    "another magic": (header(0, "<I", 0), "message CUTL"),
    "a later version": (header(4, "B", 2), "version 1 wanted"),
    "an unknown kind": (header(5, "B", 99), "known kind"),
    "an answer": (lambda at: Message.at(Kind.DONE, at), "wanted: got DONE"),
    "the tensors of another kind": (header(5, "B", Kind.FORWARD), "known kind and its tensors"),
    "no tensors": (header(6, "B", 0), "known kind and its tensors"),
    "255 tensors": (header(6, "B", 255), "known kind and its tensors"),
    "unknown flags": (header(7, "B", 255), "unused fields"),
    "a field in use": (header(26, "<H", 1), "unused fields"),
    "an unknown type": (header(36, "B", 9), "known type and rank"),
    "rank 200": (header(37, "B", 200), "known type and rank"),
    "a side beyond the rank": (header(36 + 12 + 28, "<I", 1), "known type and rank"),
    "2 GB promised": (header(36 + 4, "<Q", 2**31), "for it"),
    "2 GB and their sides promised": (
        lambda at: patched(
            patched(encode(step(at)), 40, code="<Q", value=2**23 * 64 * 4),
            48,
            code="<I",
            value=2**23,
        ),
        "as long as its tensors",
    ),
    "2**64 - 1 bytes promised": (header(36 + 4, "<Q", 2**64 - 1), "for it"),
    "sides beyond 2**64": (header(36 + 12, "<I", 2**32 - 1), "for it"),
    "one byte less": (lambda at: encode(step(at))[:-1], "as long as its tensors"),
    "one byte more": (lambda at: encode(step(at)) + b"\0", "as long as its tensors"),
    "its header alone": (lambda at: encode(step(at))[:36], "it ends before"),
    "no byte": (lambda at: b"", "bytes wanted: got 0"),
    "a web browser": (lambda at: b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n" * 9, "message CUTL"),
    "a pickle": (lambda at: b"\x80\x04cos\nsystem\n(S'true'\ntR." + bytes(40), "message CUTL"),
    "a backward on its own": (lambda at: Message.at(Kind.BACKWARD, at, Z), "after its forward"),
    "a subject of floats": (lambda at: Message.at(Kind.FETCH, at, Z[0]), "bytes wanted"),
}


def test_what_is_wrong_is_refused_in_its_own_turn_too(attacked: Attacked) -> None:
    with attacked.beside() as at:
        before = attacked.weights()
        for name, (made, said) in WRONG.items():
            (reply,) = attacked.say("south", made(at))
            assert re.search(said, words(reply)), (name, words(reply))
            assert same_values(before, attacked.weights()), name


PLACES = {  # epoch, step
    "replayed": (0, 0),
    "skipped": (0, 3),
    "an epoch skipped": (1, 2),
    "the last of all": (2**32 - 1, 2**32 - 1),
}


def test_a_step_of_another_place_is_told_where_to_go_on(attacked: Attacked) -> None:
    with attacked.beside() as at:
        before = attacked.weights()
        for name, (epoch, number) in PLACES.items():
            (reply,) = attacked.say("south", step(placed(at, epoch=epoch, step=number)))
            assert isinstance(reply, Message), name
            assert reply.kind == Kind.BEHIND, name
            assert tuple(map(int, reply.tensors[0])) == (at.epoch, at.step), name
        assert same_values(before, attacked.weights())


def test_the_step_just_done_is_answered_again_and_not_learned_again(attacked: Attacked) -> None:
    attacked.pause = ("south", 6)  # behind a step
    with attacked.beside() as at:
        before = attacked.weights()
        # other values than the honest ones: they are not looked at
        (reply,) = attacked.say("south", step(placed(at, step=at.step - 1)))
        assert isinstance(reply, Message)
        assert reply.kind == Kind.RESULT
        assert same_values(before, attacked.weights())


def test_who_has_no_part_in_the_training_is_refused_whatever_it_says(attacked: Attacked) -> None:
    with attacked.beside() as at:
        before = attacked.weights()
        kinds = {
            Kind.STEP: (Z, Y),
            Kind.FORWARD: (Z,),
            Kind.BACKWARD: (Z,),
            Kind.SAVE: (),
            Kind.RESTORE: (),
            Kind.HELLO: (torch.tensor(3),),
            Kind.POST: (bytes_tensor(b"start"), bytes_tensor(b"x")),
            Kind.FETCH: (bytes_tensor(b"letter/0/0"),),
        }
        messages = [Message.at(kind, at, *tensors) for kind, tensors in kinds.items()]
        for name in ("u1", "u2", "east", "middle", "hub"):
            for message in messages:
                (reply,) = attacked.say(name, message)
                assert reply == grpc.StatusCode.PERMISSION_DENIED, (name, message.kind)
        assert same_values(before, attacked.weights())


def test_what_is_not_for_predictions_is_refused_there(attacked: Attacked) -> None:
    with attacked.beside() as at:
        subjects = (b"letter/0/0", b"start", b"giver", b"queries.json", b"../queries.json")
        fetched = [Message.at(Kind.FETCH, at, bytes_tensor(subject)) for subject in subjects]
        for message in (step(at), Message.at(Kind.SAVE, at), Message.at(Kind.RESTORE, at)):
            (reply,) = attacked.say("u1", message, method=PREDICT)
            assert "PREDICT wanted here" in words(reply)
        for message in fetched:
            (reply,) = attacked.say("u1", message, method=PREDICT)
            assert "final/OWNER wanted" in words(reply)
        for name in ("u2", "east", "middle", "hub"):
            (reply,) = attacked.say(name, Message.at(Kind.PREDICT, at, Z), method=PREDICT)
            assert reply == grpc.StatusCode.PERMISSION_DENIED, name


def test_subjects_lead_nowhere_else(attacked: Attacked) -> None:
    bad = [b"..", b"../x", b"a/../b", b"/etc/passwd", b"a//b", b"a" * 300, b"a/b/c/d/e", b""]
    bad += [b"\0", b"A", b".", b"letter/0/0\n", "é".encode(), b"\xff\xff"]
    with attacked.beside() as at:
        files = tree(attacked)
        for subject in bad:
            letter = bytes_tensor(subject), bytes_tensor(b"x")
            for message in (
                Message.at(Kind.FETCH, at, letter[0]),
                Message.at(Kind.POST, at, *letter),
            ):
                (reply,) = attacked.say("south", message)
                assert words(reply), (subject, message.kind)
        assert tree(attacked) == files


def test_a_letter_for_another_owner_or_epoch_is_refused(attacked: Attacked) -> None:
    with attacked.beside() as at:
        files = tree(attacked)
        for subject in ("letter/0/0", "letter/1/1", "final/0", "final/2", "certificate/owner/u1"):
            letter = bytes_tensor(subject.encode()), bytes_tensor(b"x")
            (reply,) = attacked.say("south", Message.at(Kind.POST, at, *letter))
            assert "a letter of this owner and epoch wanted" in words(reply), subject
        own = bytes_tensor(b"letter/1/0"), bytes_tensor(b"x")  # before the epoch is over
        (reply,) = attacked.say("south", Message.at(Kind.POST, at, *own))
        assert isinstance(reply, Message)
        assert reply.kind == Kind.BEHIND
        assert tree(attacked) == files


STEPS = {
    "none": torch.tensor(0),
    "negative": torch.tensor(-1),
    "one too many": torch.tensor(2**31),
    "the least": torch.tensor(-(2**63)),
    "fractional": torch.tensor(1.5),
    "NaN": torch.tensor(torch.nan),
    "one in brackets": torch.tensor([3]),
    "other than before": torch.tensor(4),
    "very many, after three": torch.tensor(2**31 - 1),
}


def test_a_number_of_steps_that_is_none_is_refused(attacked: Attacked) -> None:
    with attacked.beside() as at:
        for name, steps in STEPS.items():
            (reply,) = attacked.say("south", Message.at(Kind.HELLO, placed(at), steps))
            assert "steps in an epoch wanted" in words(reply), name


def test_a_message_above_the_limit_ends_the_stream(attacked: Attacked) -> None:
    with attacked.beside():
        before = resident()
        for size in (LIMIT + 1025, 4 * LIMIT, 64 * 2**20):
            assert attacked.say("south", bytes(size)) == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert resident() - before < 3 * 64 * 2**20  # this process sends it, too
        (reply,) = attacked.say("south", bytes(LIMIT + 1))
        assert "200,000 bytes wanted" in words(reply)


def test_who_is_refused_a_hundred_times_in_a_row_is_hung_up_on(attacked: Attacked) -> None:
    with attacked.beside() as at:
        replies = attacked.say("south", *[step(placed(at, owner=0))] * 150)
        assert len(replies) == 101
        assert replies[-1] == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert all("owner 1 wanted" in words(reply) for reply in replies[:-1])


def test_a_method_that_there_is_not(attacked: Attacked) -> None:
    names = ("Train", "exchange", "", "../Exchange", "Exchange/x", "x" * 1000)
    with attacked.beside(), attacked.channel("south") as channel:
        for name in names:
            ask = channel.unary_unary(f"/cutlayer.Split/{name}")
            with pytest.raises(grpc.RpcError) as caught:
                ask(b"", timeout=10)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED, name
