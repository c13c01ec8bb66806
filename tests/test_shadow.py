"""Shadows: networks that an adversary trains in the place of one that it cannot have."""

from dataclasses import replace

import pytest
import torch
from digits_attacked import X, error, floor, trained, two_convolutions, view
from torch import Tensor, nn

from cutlayer.attacks import MeanSample, Shadow
from cutlayer.attacks.lesson import Answers, FromLabels, batches, imitate
from cutlayer.defences import ClipNorm, Defence, Dropout, Gaussian
from cutlayer.encoders import ENCODERS, encoder
from cutlayer.threat import Bare


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
    blind = Shadow(epochs=3, steps=60).fit(replace(v, imitate=Bare)).fitted_["weight"]
    assert noisy >= blind


# Behind a defence that draws


def test_behind_dropout_it_learns_from_what_was_not_zeroed(model: nn.Sequential) -> None:
    v, side = view(model, 2, Dropout(0.6), threat="black-box")
    attack = Shadow(epochs=12, steps=100, learn_from="queries", structure="auto").fit(v)
    assert attack.fitted_["learned_from_nonzero"]
    assert attack.fitted_["nonzero_only"]
    assert error(attack, side) < 0.4 * floor(model)  # of shrunken messages: 0.58
    # The second shadow has what was answered to the first.
    assert v.counts["queries"] == 12 * 500 + 2 * 200 + 2 * 16


def test_where_nothing_is_zeroed_one_shadow_does(model: nn.Sequential) -> None:
    v, _ = view(model, 2, Gaussian(0.5), threat="black-box")
    attack = Shadow(epochs=3, steps=5, learn_from="queries", structure="auto").fit(v)
    assert "learned_from_nonzero" not in attack.fitted_
    assert v.counts["queries"] == 3 * 500 + 2 * 200 + 16


def test_many_answers_come_nearer_to_the_message_than_one(model: nn.Sequential) -> None:
    every = slice(None)
    clean, x = model[:2](X[:40]), X[:40]
    noisy, zeroed, fixed = (
        Answers(view(model, 2, d, threat="black-box", m=2)[0], x)
        for d in (Gaussian(1.0), Dropout(0.5), ClipNorm(0.1))
    )
    for answers in (noisy, zeroed, fixed):
        for _ in range(24):
            answers.ask()
    assert (noisy.asked, fixed.asked) == (25, 1)
    assert float((noisy.mean(every) - clean).std()) == pytest.approx(1 / 50**0.5, rel=0.05)
    told, counted = zeroed.mean_of_nonzero(every)
    torch.testing.assert_close(told, clean)
    assert torch.equal(counted, clean != 0)
    assert zeroed.zeros_come_and_go()
    assert not noisy.zeros_come_and_go()
    assert not fixed.zeros_come_and_go()


# Among the defences that it knows


class Fifth(Defence):
    """Sends a fifth of the message: twice is not once."""

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        return 0.2 * t


def test_what_is_not_random_is_done_to_a_message_once(model: nn.Sequential) -> None:
    v, side = view(model, 2, Fifth(), Gaussian(1e-4), threat="query-free", m=3)
    mine = v.imitate(model[:2])
    with torch.no_grad():
        sent = side.segment(X[:4]) / 5
        torch.testing.assert_close(mine.side()(X[:4]), sent)
        torch.testing.assert_close(mine.trained(X[:4]), sent, rtol=0, atol=1e-3)
        heard = mine.overheard(X[:4])
    assert heard.shape[:2] == (4, 3)
    torch.testing.assert_close(heard, sent[:, None].expand_as(heard), rtol=0, atol=1e-3)


def test_what_acts_only_while_serving_is_not_trained_through(model: nn.Sequential) -> None:
    v, side = view(model, 2, Gaussian(1.0, active="serve"), threat="query-free")
    mine = v.imitate(model[:2])
    with torch.no_grad():
        assert torch.equal(mine.trained(X[:4]), side.segment(X[:4]))
        assert float((mine.overheard(X[:4])[:, 0] - side.segment(X[:4])).std()) > 0.8


def test_a_query_free_search_draws_the_noise_on_the_input(model: nn.Sequential) -> None:
    v, _ = view(model, 2, Gaussian(0.3, site="input"), threat="query-free")
    attack = Shadow(epochs=2, steps=5).fit(v)
    assert attack.search_.moves_
    assert not Shadow(epochs=2, steps=5).fit(replace(v, imitate=Bare)).search_.moves_


# Batch normalisation


def normalised() -> nn.Sequential:
    """A network whose messages, and what is made of them, are normalised by the batch."""
    layers = [nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 32)]
    return trained(*layers, nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10), epochs=3)


def test_statistics_of_the_owner_are_no_part_of_its_structure() -> None:
    model = normalised()
    v, _ = view(model, 3, threat="query-free")
    assert v.owner_structure is not None
    assert torch.equal(v.owner_structure[1].running_mean, torch.zeros(6))  # type: ignore[index]
    assert not torch.equal(model[1].running_mean, torch.zeros(6))


def test_a_shadow_is_used_with_the_statistics_of_its_best_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    v, _ = view(normalised(), 3, threat="query-free")
    losses, seen = iter([2.0, 1.0, 3.0, 3.0]), list[Tensor]()

    def loss(self: FromLabels, send: object) -> float:
        shadow = send.__self__.defended.segment  # type: ignore[attr-defined]
        assert not shadow.training
        seen.append(shadow[1].running_mean.clone())
        return next(losses)

    monkeypatch.setattr(FromLabels, "validation_loss", loss)
    attack = Shadow(epochs=4, steps=2, weight=0.1).fit(v)
    assert torch.equal(attack.segment_[1].running_mean, seen[1])  # type: ignore[index]
    assert not torch.equal(seen[1], seen[3])


def test_what_is_learned_along_takes_the_statistics_of_its_batches() -> None:
    model = normalised()
    v, _ = view(model, 3, threat="query-free")
    lost = nn.Sequential()
    lost.add_module("held2", model[3:5])
    lost.add_module("end3", nn.Sequential(nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)))
    attack = Shadow(epochs=3, steps=2, weight=0.1)
    lesson = FromLabels(replace(v, far_segment=lost), attack._adam)
    lesson.begin(0)
    shadow = model[:3].eval()
    lesson.loss(shadow, torch.arange(64)).backward()
    statistics = lesson.far.get_submodule("end3")[0].running_mean  # type: ignore[index]
    assert statistics.abs().sum() > 0
    kept = statistics.clone()
    lesson.validation_loss(shadow)
    assert torch.equal(statistics, kept)
    assert lesson.stand_ins == {"end3": "learned along with the shadow"}


def test_a_stand_in_gives_one_message_what_it_gave_many() -> None:
    torch.manual_seed(0)
    honest = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    given = 3 + 5 * torch.rand(801, 6)  # far from what a layer without statistics takes it for
    with torch.no_grad():
        made = honest(given)
    honest.eval()
    part = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)).eval()
    imitate(part, given, made, lambda p: torch.optim.Adam(p, 1e-2))
    assert not part.training
    assert (part(given[:1]) - made[:1]).square().mean() < 0.1 * made.var()
    assert part[1].running_mean.abs().max() > 1


def test_no_batch_holds_a_single_sample() -> None:
    assert [len(b) for b in batches(65, 32)] == [32, 32]
    assert [len(b) for b in batches(66, 32)] == [32, 32, 2]
    assert [len(b) for b in batches(1, 32)] == [1]


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
