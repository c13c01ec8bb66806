"""Shadows: networks that an adversary trains in the place of one that it cannot have."""

from dataclasses import replace

import pytest
import torch
from digits_attacked import X, error, floor, trained, two_convolutions, view
from torch import nn

from cutlayer.attacks import MeanSample, Shadow
from cutlayer.defences import Gaussian
from cutlayer.encoders import ENCODERS, encoder


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    return two_convolutions()


def test_a_shadow_trained_on_labels_alone_reads_a_first_convolution() -> None:
    torch.manual_seed(0)
    front = [nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU()]
    back = [nn.Flatten(), nn.Linear(256, 40), nn.ReLU(), nn.Linear(40, 10)]
    x = nn.functional.interpolate(X, 16, mode="bilinear")
    larger = trained(*front, *back, epochs=8, x=x)
    v, side = view(larger, 1, threat="query-free", x=x)
    torch.manual_seed(1)
    attack = Shadow(epochs=30, steps=100).fit(v)
    assert v.counts["queries"] == 0
    # Not half: five hundred labels teach one shadow more and another less.
    assert error(attack, side, x=x) < 0.75 * error(MeanSample().fit(v), side, x=x)


def test_a_shadow_trained_on_queries_reads_behind_an_activation(model: nn.Sequential) -> None:
    v, side = view(model, 2, threat="black-box")
    attack = Shadow(epochs=12, steps=100, learn_from="queries", structure="auto").fit(v)
    assert v.counts["queries"] == 500 + 200 + 16
    assert error(attack, side) < 0.5 * floor(model)


def test_a_query_free_search_knows_what_noise_will_be_on_the_message(
    model: nn.Sequential,
) -> None:
    v, _ = view(model, 1, Gaussian(1.0), threat="query-free")
    torch.manual_seed(1)
    noisy = Shadow(epochs=3, steps=60).fit(v).fitted_["weight"]
    torch.manual_seed(1)
    blind = Shadow(epochs=3, steps=60).fit(replace(v, disturb=None)).fitted_["weight"]
    assert noisy >= blind


# Stand-ins by name


FITS = {
    "he-lenet-conv1": ((1, 28, 28), (8, 24, 24)),
    "he-lenet-relu2": ((1, 28, 28), (16, 8, 8)),
    "he-cifar-conv11": ((3, 32, 32), (64, 32, 32)),
    "he-cifar-relu22": ((3, 32, 32), (128, 16, 16)),
    "he-cifar-relu32": ((3, 32, 32), (128, 8, 8)),
}


def test_the_papers_stand_ins_fit_the_papers_cuts() -> None:
    assert FITS.keys() == ENCODERS.keys() - {"auto"}
    for name, (inputs, message) in FITS.items():
        assert encoder(name, inputs, message)(torch.rand(2, *inputs)).shape == (2, *message)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((1, 28, 28), (8, 24, 24)),
        ((3, 32, 32), (500,)),
        ((1, 128), (16, 32)),
        ((1, 128), (40,)),
        ((30,), (64,)),
        ((30,), (4, 5)),
        ((1, 9, 9), (65, 8)),
    ],
)
def test_the_automatic_encoder_fits_any_two_shapes(
    inputs: tuple[int, ...], message: tuple[int, ...]
) -> None:
    assert encoder("auto", inputs, message)(torch.rand(2, *inputs)).shape == (2, *message)
