"""Noise of any shape, for an attacker without data."""

import pytest
import torch

from cutlayer.data import DATASETS
from cutlayer.errors import ConfigError
from cutlayer.parts import Part, canonical


def test_noise_has_the_shape_and_the_law_asked_for() -> None:
    d = DATASETS["noise"](shape="2x9", samples=4000, mean=0.5, deviation=0.1)
    assert d.shape == (2, 9)
    assert d.x.mean() == pytest.approx(0.5, abs=0.01)
    assert d.x.std() == pytest.approx(0.1, rel=0.05)
    again = DATASETS["noise"](shape="2x9", samples=4000, mean=0.5, deviation=0.1)
    assert d.checksum == again.checksum
    assert d.checksum != DATASETS["noise"](shape="2x9", samples=4000, seed=1).checksum


def test_what_falls_outside_is_clipped() -> None:
    x, _ = DATASETS["noise"](samples=50).take(torch.arange(50))
    assert x.min() == 0
    assert x.max() == 1
    assert 0.2 < ((x == 0) | (x == 1)).float().mean() < 0.45  # a third lies beyond one deviation


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": "28,28"}, "sides with an x between"),
        ({"shape": "0x3"}, "sides with an x between"),
        ({"samples": 0}, "at least 1 wanted"),
        ({"deviation": 0.0}, "deviation must be > 0"),
    ],
)
def test_what_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DATASETS["noise"](**arguments)


def test_it_is_a_part_like_any_other() -> None:
    assert canonical("data", Part.parse("noise:samples=7")).args["samples"] == 7
    with pytest.raises(ConfigError, match="did you mean 'samples'"):
        canonical("data", Part.parse("noise:smaples=7"))
