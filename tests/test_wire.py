"""Messages as bytes: what is sent is what is read, and nothing else is."""

import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cutlayer.wire import At
from cutlayer.wire.message import (
    COUNTS,
    Kind,
    Limits,
    Message,
    WireError,
    decode,
    encode,
    session_of,
)

AT = At("train-0123456789ab", 1, 2, 3)
# The protocol, byte for byte: a change here is another version.
GOLDEN = bytes.fromhex(
    "4355544c"
    "01"
    "01"
    "02"
    "00" + session_of(AT.session).hex() + "0100"  # magic, version, STEP, two tensors, no flags
    "0000"
    "02000000"
    "03000000"  # owner, zero, epoch, step
    "01"
    "02"
    "0000"
    "0800000000000000"
    "01000000"
    "02000000"
    + "00000000"
    * 6  # float32 1×2
    + "03"
    "01"
    "0000"
    "0800000000000000"
    "01000000"
    + "00000000"
    * 7  # int64, one
    + "0000803f"
    "000000c0"
    "0700000000000000"
)
STEP = Message.at(Kind.STEP, AT, torch.tensor([[1.0, -2.0]]), torch.tensor([7]))


def test_the_bytes_are_those_that_were_agreed() -> None:
    assert encode(STEP) == GOLDEN
    read = decode(GOLDEN)
    assert (read.kind, read.owner, read.epoch, read.step) == (Kind.STEP, 1, 2, 3)
    assert read.tensors[0].tolist() == [[1.0, -2.0]]
    assert read.tensors[1].tolist() == [7]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3), (1,) * 8])
def test_every_type_and_shape_comes_back(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    t = (50 * torch.rand(shape)).to(dtype)
    read = decode(encode(Message.at(Kind.OUTPUT, AT, t))).tensors[0]
    assert read.dtype == dtype
    assert torch.equal(read, t)


def test_what_lies_otherwise_in_memory_comes_back_too() -> None:
    t = torch.rand(4, 3, 5, 5).to(memory_format=torch.channels_last)[:, ::2].requires_grad_()
    assert torch.equal(decode(encode(Message.at(Kind.OUTPUT, AT, t))).tensors[0], t)


def test_a_tensor_that_was_read_may_be_written_to() -> None:
    data = encode(STEP)
    decode(data).tensors[0].zero_()
    assert encode(decode(data)) == data


def test_replies_belong_to_what_was_asked() -> None:
    result = STEP.reply(Kind.RESULT, torch.tensor(0.5), torch.rand(1, 2), summed=True)
    read = decode(encode(result))
    assert read.answers(STEP)
    assert read.summed
    assert not read.answers(Message.at(Kind.STEP, At(AT.session, 1, 2, 4), *STEP.tensors))
    assert not read.answers(Message.at(Kind.STEP, At("another", 1, 2, 3), *STEP.tensors))


def test_a_refusal_is_words_and_not_too_many() -> None:
    assert decode(encode(STEP.refusal("shape (3,) wanted – got (2,)"))).text.endswith("got (2,)")
    assert len(decode(encode(STEP.refusal("é" * 5000))).text) <= 1000
    assert decode(encode(STEP.refusal(""))).text == "?"


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (0, b"HTTP", "version 1 wanted"),
        (4, b"\x02", "version 1 wanted"),
        (5, b"\x63", "known kind"),
        (6, b"\x01", "known kind"),
        (7, b"\x80", "later version"),
        (26, b"\x01", "later version"),
        (36, b"\x00", "known type"),
        (36, b"\x05", "known type"),
        (37, b"\x09", "known type"),
        (38, b"\x01", "known type"),
        (40, struct.pack("<Q", 2**63), "bytes for it"),
        (48, struct.pack("<I", 2**32 - 1), "bytes for it"),
        (56, struct.pack("<I", 1), "known type"),
    ],
)
def test_every_field_is_checked(at: int, value: bytes, said: str) -> None:
    broken = GOLDEN[:at] + value + GOLDEN[at + len(value) :]
    with pytest.raises(WireError, match=said):
        decode(broken)


def test_lengths_are_checked_before_anything_is_set_aside() -> None:
    for broken in (b"", GOLDEN[:35], GOLDEN[:60], GOLDEN[:-1], GOLDEN + b"\0"):
        with pytest.raises(WireError):
            decode(broken)
    with pytest.raises(WireError, match="to 100 bytes wanted: got 140"):
        decode(GOLDEN, Limits(bytes=100))
    both = struct.pack("<BBHQ8I", 1, 8, 0, 2**42, *[32] * 8)  # shape and length agree on 4 TiB
    with pytest.raises(WireError, match="as long as its tensors"):
        decode(encode(Message.at(Kind.OUTPUT, AT, torch.zeros(1)))[:36] + both)


def test_what_cannot_be_sent_is_refused_where_it_is() -> None:
    for message in (
        Message.at(Kind.OUTPUT, AT, torch.zeros(1, dtype=torch.complex64)),
        Message.at(Kind.OUTPUT, AT, torch.zeros((1,) * 9)),
        Message.at(Kind.STEP, AT, torch.zeros(1)),
    ):
        with pytest.raises(WireError, match="wanted"):
            encode(message)


def test_every_kind_has_its_count() -> None:
    assert set(COUNTS) == set(Kind)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(GOLDEN) - 1), st.binary(min_size=1, max_size=12))
def test_a_changed_message_is_refused_or_another_message(at: int, value: bytes) -> None:
    changed = GOLDEN[:at] + value + GOLDEN[at + len(value) :]
    try:
        read = decode(changed)
    except WireError:
        return
    assert encode(read) == changed
