"""Checkerboards and text: inputs that no network was made for."""

import pytest
import torch
from torch import Tensor

from cutlayer.data import DATASETS
from cutlayer.errors import ConfigError
from cutlayer.parts import Part, canonical

DRAWN = ("checkerboard", "text")


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("shape", ["1x28x28", "3x32x20"])
def test_it_is_the_same_by_seed_and_in_range(kind: str, shape: str) -> None:
    d = DATASETS[kind](shape=shape, samples=30)
    assert d.shape == tuple(map(int, shape.split("x")))
    assert d.x.dtype == torch.float32
    assert d.x.min() >= 0
    assert d.x.max() <= 1
    assert d.classes == (kind,)
    assert d.checksum == DATASETS[kind](shape=shape, samples=30).checksum
    assert d.checksum != DATASETS[kind](shape=shape, samples=30, seed=1).checksum
    assert torch.equal(d.take(range(30))[0], d.x)  # it is not scaled once more
    assert len(d.x.flatten(1).unique(dim=0)) == 30


@pytest.mark.parametrize("kind", DRAWN)
def test_two_levels_stand_apart_in_every_channel(kind: str) -> None:
    x = DATASETS[kind](shape="3x28x28", samples=40).x.flatten(2)
    low, high = x.amin(2), x.amax(2)
    thin = 0.1 if kind == "text" else 1e-6  # strokes that are nowhere a whole pixel wide
    assert low.max() <= 0.4 + thin
    assert high.min() >= 0.6 - thin
    assert 0.25 < (x[:, :, 0] < 0.5).float().mean() < 0.75  # either is light now and then
    spread = (x - low[..., None]) / (high - low)[..., None]
    between = ((spread > 0.01) & (spread < 0.99)).float().mean()
    assert between == 0 if kind == "checkerboard" else 0.05 < between < 0.5  # edges of letters


def fields(line: Tensor) -> list[int]:
    """Lengths of the runs of one level, those at the edges left out."""
    change = (line.diff() != 0).nonzero().flatten()
    return change.diff().tolist()


def test_a_checkerboard_has_square_fields_of_many_sizes() -> None:
    sizes = set()
    for picture in DATASETS["checkerboard"](shape="1x40x40", samples=60).x[:, 0]:
        down, right = fields(picture[:, 0]), fields(picture[0])
        both = down + right
        assert max(both) - min(both) <= 1 if both else True  # not always whole pixels
        sizes |= set(both)
        here = picture == picture[0, 0]
        row, column = picture[:1] == picture[0, 0], picture[:, :1] == picture[0, 0]
        assert torch.equal(here, row == column)
    assert len(sizes) > 10
    assert min(sizes) >= 2


def test_text_goes_to_every_edge() -> None:
    x = DATASETS["text"](samples=200).x[:, 0]
    paper = x.flatten(1).median(1).values[:, None, None]
    inked = ((x - paper).abs() > 0.1).float().mean(0)
    assert inked.min() > 0.05


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("checkerboard", {"shape": "28x28"}, "channels, height and width wanted"),
        ("checkerboard", {"shape": "1x3x28"}, "at least 4 pixels a side"),
        ("checkerboard", {"samples": 0}, "checkerboard samples: at least 1 wanted: got 0"),
        ("text", {"shape": "1,28,28"}, "text shape: sides with an x between"),
        ("text", {"shape": "1x28x15"}, "at least 16 pixels a side"),
        ("text", {"samples": -1}, "text samples: at least 1 wanted: got -1"),
    ],
)
def test_what_is_refused(kind: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DATASETS[kind](**arguments)


@pytest.mark.parametrize("kind", DRAWN)
def test_it_is_a_part_like_any_other(kind: str) -> None:
    assert canonical("data", Part.parse(f"{kind}:samples=7")).args["samples"] == 7
    with pytest.raises(ConfigError, match="did you mean 'seed'"):
        canonical("data", Part.parse(f"{kind}:sead=7"))
