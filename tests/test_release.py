"""Defences of answers as an operator serves them: prepared, written to a file, read back."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cutlayer.defences import DEFENCES
from cutlayer.defences.outputs import (
    AdversarialNoise,
    Codebook,
    LabelFlippingPoisoning,
    LabelOnly,
    LabelPreservingPoisoning,
    OutputDefence,
    OutputNoise,
    PoisoningGenerator,
    Private,
    Purification,
    Rounding,
    SameClassSwap,
    Temperature,
    TopK,
)
from cutlayer.release import Release
from cutlayer.tensor_file import save_tensors

torch.set_num_threads(1)
DEFENDED: tuple[Callable[[], OutputDefence], ...] = (
    lambda: Rounding(2),
    lambda: TopK(2),
    lambda: Temperature(3),
    LabelOnly,
    lambda: OutputNoise(0.1, law="laplace", decimals=3),
    lambda: SameClassSwap(0.1),
    lambda: Codebook(0.05),
    lambda: Purification(2, epochs=2),
    lambda: LabelPreservingPoisoning(0.05, steps=3, surrogate_epochs=(1, 2)),
    lambda: AdversarialNoise(0.05, steps=3, surrogate_epochs=(1,)),
    lambda: LabelFlippingPoisoning(0.2, steps=2, surrogate_epochs=(1,)),
    lambda: PoisoningGenerator(0.05, steps=2, epochs=2, samples=128, latent=3),
)


def private(n: int = 300, k: int = 4) -> Private:
    g = torch.Generator().manual_seed(0)
    p = torch.softmax(3 * torch.randn(n, k, generator=g), 1)
    return Private(torch.rand(n, 1, 3, 3, generator=g), p.argmax(1), p)


@pytest.fixture(scope="module")
def own() -> Private:
    return private()


def asked() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(7)
    return torch.softmax(3 * torch.randn(40, 4, generator=g), 1), torch.rand(
        40, 1, 3, 3, generator=g
    )


def prepared(own: Private, *members: OutputDefence) -> Release:
    return Release.prepared(members, own)


def test_every_defence_of_answers_is_tried() -> None:
    tried = {type(make()) for make in DEFENDED}
    assert tried == {d for d in DEFENCES.values() if d.site == "output"}


@pytest.mark.parametrize("make", DEFENDED, ids=lambda make: type(make()).__name__)
def test_what_is_read_back_answers_the_same(
    make: Callable[[], OutputDefence], own: Private, tmp_path: Path
) -> None:
    made, path = prepared(own, make()), tmp_path / "defence.safetensors"
    made.save(path)
    assert path.stat().st_mode & 0o077 == 0  # it holds the keys
    p, x = asked()
    answers = made(p, x)
    assert torch.equal(Release.load(path)(p, x), answers)
    assert not torch.equal(answers, p)


def test_a_chain_is_read_back_in_its_order(own: Private, tmp_path: Path) -> None:
    made = prepared(own, SameClassSwap(0.2), OutputNoise(0.1), Rounding(2))
    made.save(tmp_path / "d")
    found = Release.load(tmp_path / "d")
    p, x = asked()
    assert torch.equal(found(p, x), made(p, x))
    assert [type(m) for m in found.members] == [SameClassSwap, OutputNoise, Rounding]
    assert torch.equal((100 * found(p)).round() / 100, found(p))
    assert not found.needs_input


def test_served_for_real_the_keys_are_nobody_elses(own: Private) -> None:
    """Two that are prepared alike answer differently; those of an experiment do not."""
    p, _ = asked()
    torch.manual_seed(0)
    one = prepared(own, OutputNoise(0.1), PoisoningGenerator(0.05, steps=1, epochs=1, samples=64))
    torch.manual_seed(0)
    other = prepared(own, OutputNoise(0.1), PoisoningGenerator(0.05, steps=1, epochs=1, samples=64))
    for mine, its in zip(one.members, other.members, strict=True):
        assert isinstance(mine.key, Tensor)
        assert isinstance(its.key, Tensor)
        assert not torch.equal(mine.key, its.key)
    assert not torch.equal(one(p), other(p))
    again = [Release.prepared([OutputNoise(0.1)], own, root=3, secret=False)(p) for _ in range(2)]
    assert torch.equal(*again)


def test_only_those_that_look_at_queries_want_them(own: Private) -> None:
    p, x = asked()
    prepared(own, Rounding(2))(p)
    looking = prepared(own, LabelPreservingPoisoning(0.05, steps=1, surrogate_epochs=(1,)))
    looking(p, x)
    with pytest.raises(ValueError, match=r"the queries wanted.*pass x"):
        looking(p)
    with pytest.raises(ValueError, match=r"queries of shape \(40, 1, 3, 3\) wanted"):
        looking(p, x[:, :, :2])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.rand(2, 5), r"vectors \(N, 4\) wanted: got \(2, 5\)"),
        (torch.rand(4), r"vectors \(N, 4\) wanted: got \(4,\)"),
        (torch.full((2, 4), 2.0), r"sums from 8 to 8; logits take softmax\(1\) first"),
        (torch.tensor([[2.0, -1, 0, 0]]), "entries from -1"),
        (torch.full((2, 4), float("nan")), "entries from nan"),
    ],
)
def test_what_is_no_confidence_vector_is_refused(own: Private, wrong: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepared(own, Rounding(2))(wrong)


def test_nobody_at_all_may_ask(own: Private) -> None:
    assert prepared(own, Rounding(2))(torch.empty(0, 4)).shape == (0, 4)


def test_noise_that_is_drawn_afresh_is_not_served(own: Private, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make it repeatable"):
        prepared(own, OutputNoise(0.1, repeatable=False)).save(tmp_path / "d")
    assert not list(tmp_path.iterdir())


class Own(Rounding):
    pass


def test_a_file_names_built_in_defences_only(own: Private, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="built-in defences wanted: got Own"):
        prepared(own, Own(2)).save(tmp_path / "d")


def told(**changes: str) -> dict[str, str]:
    usual = {"format": "cutlayer release 1", "classes": "4", "input_shape": "[1, 3, 3]"}
    return usual | {"defences": '["rounding:decimals=2"]', "dtype": "float32"} | changes


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({}, r"defences of answers wanted \('cutlayer release 1'\): got None"),
        (told(format="cutlayer release 9"), "got 'cutlayer release 9'"),
        (told(defences="[]]"), "undamaged defences of answers wanted"),
        (told(defences='["os:system"]'), "a built-in defence wanted, got 'os:system'"),
        (told(defences='["laplace:scale=1"]'), "a defence of answers wanted, got 'laplace'"),
        (told(defences='["codebook"]'), "undamaged defences of answers wanted.*entries"),
        (told(defences='["rounding:decimals=99"]'), "decimals"),
        (told(classes="many"), "undamaged"),
        (told(classes="0"), "2 classes or more"),
        (told(classes="-5"), "2 classes or more"),
        (told(input_shape="[0]"), "a shape wanted"),
        (told(input_shape="[Infinity]"), "undamaged"),
        (told(input_shape="3"), "undamaged"),
        (told(dtype="int8"), "undamaged"),
        (told(), "Unexpected key"),
        ({"format": "cutlayer release 1"}, "classes, defences, dtype, input_shape wanted"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    head: dict[str, str], message: str, tmp_path: Path
) -> None:
    save_tensors({"a": torch.zeros(1)}, tmp_path / "d", head)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        Release.load(tmp_path / "d")


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("members.0.key", torch.zeros(0, dtype=torch.int64)),
        ("members.0.key", torch.zeros(9, dtype=torch.int64)),
        ("members.0.key", torch.zeros(4)),
        ("members.0.others", torch.rand(3, 5)),
        ("members.0.others", torch.rand(3)),
        ("members.0.others", torch.full((3, 4), float("nan"))),
        ("members.0.others", torch.zeros(3, 4, dtype=torch.int64)),
        ("members.1.key", torch.zeros(4, dtype=torch.int64)),
    ],
)
def test_a_file_with_other_tensors_is_refused(
    name: str, tensor: Tensor, own: Private, tmp_path: Path
) -> None:
    made = prepared(own, SameClassSwap(0.1))
    save_tensors(dict(made.state_dict()) | {name: tensor}, tmp_path / "d", made.told())
    with pytest.raises(ValueError, match="undamaged defences of answers wanted"):
        Release.load(tmp_path / "d")


def test_a_head_that_asks_for_much_memory_gets_none(tmp_path: Path) -> None:
    much = told(defences='["lpa"]', input_shape=f"[{10**11}]")
    save_tensors({"a": torch.zeros(1)}, tmp_path / "d", much)
    with pytest.raises(ValueError, match="undamaged"):
        Release.load(tmp_path / "d")


def test_what_was_audited_is_what_is_served_but_for_the_keys(own: Private) -> None:
    def made(*, secret: bool) -> dict[str, Tensor]:
        members = (Purification(2, epochs=1), PoisoningGenerator(0.05, steps=1, epochs=1))
        return Release.prepared(members, own, root=5, secret=secret).state_dict()

    audited, served = made(secret=False), made(secret=True)
    assert {k for k in audited if not torch.equal(audited[k], served[k])} == {"members.1.key"}


def test_it_answers_in_the_dtype_it_was_prepared_in(own: Private, tmp_path: Path) -> None:
    p, x = asked()
    double = Private(own.x.double(), own.y, own.p.double())
    for given in (own, double):
        made = prepared(given, Purification(2, epochs=1), OutputNoise(0.1))
        made.save(tmp_path / "d")
        found = Release.load(tmp_path / "d")
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            assert found(torch.eye(4).to(dtype)).dtype == given.p.dtype
        assert torch.equal(found(p, x), made(p, x))


def test_numbers_of_numpy_are_numbers(own: Private, tmp_path: Path) -> None:
    prepared(own, OutputNoise(float(np.float64(0.02))), Temperature(np.float64(2.5))).save(
        tmp_path / "d"
    )
    Release.load(tmp_path / "d")
    with pytest.raises(ValueError, match="temperature"):
        prepared(own, Temperature(torch.tensor(2.0))).save(tmp_path / "e")  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_flip_by_chance_does_not_look_at_the_query(own: Private) -> None:
    flips = LabelFlippingPoisoning(0.3, select="random", poison=False, surrogate_epochs=(1,))
    p, _ = asked()
    assert not torch.equal(prepared(own, flips)(p), p)


def test_a_damaged_file_is_refused(own: Private, tmp_path: Path) -> None:
    prepared(own, Codebook(0.05)).save(tmp_path / "d")
    (tmp_path / "d").write_bytes((tmp_path / "d").read_bytes()[:-9])
    with pytest.raises(ValueError, match="undamaged safetensors"):
        Release.load(tmp_path / "d")
    with pytest.raises(FileNotFoundError):
        Release.load(tmp_path / "none")
