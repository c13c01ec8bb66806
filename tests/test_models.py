"""The networks: published layers and sizes, any sensible input, clear refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cutlayer.config import parse
from cutlayer.described import plain
from cutlayer.layers import layers
from cutlayer.models import (
    DEFAULT_CUT,
    MODELS,
    Normalise,
    cifar10cnn,
    ecg,
    lenet,
    mlp,
    stack,
    titcombe,
)
from cutlayer.precision import laid_out
from cutlayer.split import cut, cut_points

SHAPES = {
    "titcombe": (1, 28, 28),
    "lenet": (1, 28, 28),
    "cifar10cnn": (3, 32, 32),
    "ecg": (1, 187),
    "mlp": (30,),
    "stack": (1, 20, 12),
    "resnet18": (3, 16, 16),
    "transformer": (1, 10, 14),
}


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# Independent reference: counts printed for the authors' code, and by hand


def test_titcombe_has_the_published_parameters():
    model = titcombe((1, 28, 28), 10)
    assert parameters(model) == 320 + 18_496 + 4_608_500 + 64_128 + 1_290
    assert cut_points(model, torch.rand(1, 1, 28, 28))[6].parameters == 320 + 18_496 + 4_608_500


def test_lenet_layers_are_the_papers():
    model = lenet((1, 28, 28), 10)
    names = "conv1 ReLU1 pool1 conv2 ReLU2 pool2 flatten fc1 fc1act fc2 fc2act fc3"
    assert [name for name, _ in model.named_children()] == names.split()
    assert parameters(model) == 208 + 3_216 + 256 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10


def test_cifar10cnn_layers_are_the_papers():
    model = cifar10cnn((3, 32, 32), 10)
    stages = [f"conv{k}1 ReLU{k}1 conv{k}2 ReLU{k}2 pool{k}".split() for k in (1, 2, 3)]
    wanted = [*sum(stages, []), "flatten", "fc1", "fc1act", "fc2"]  # noqa: RUF017
    assert [name for name, _ in model.named_children()] == wanted
    assert isinstance(model.fc1act, nn.Sigmoid)
    assert (model.fc1.in_features, model.fc1.out_features) == (2048, 512)


LENET = "conv8k5p0 relu max2 conv16k5p0 relu max2 fc120 relu fc84 relu"


def test_lenet_in_words_is_lenet():
    torch.manual_seed(0)
    theirs = lenet((1, 28, 28), 10)
    torch.manual_seed(0)
    words = stack((1, 28, 28), 10, layers=LENET)
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(words(x), theirs(x))
    names = "conv1 act1 pool1 conv2 act2 pool2 flatten fc1 act3 fc2 act4 head"
    assert [name for name, _ in words.named_children()] == names.split()


def test_cut_widths_are_the_papers():
    for model, shape, name, wanted in (
        (titcombe, (1, 28, 28), "act3", (500,)),
        (lenet, (1, 28, 28), "ReLU2", (16, 8, 8)),
        (cifar10cnn, (3, 32, 32), "ReLU22", (128, 16, 16)),
        (ecg, (1, 128), "pool2", (16, 32)),
    ):
        points = cut_points(model(shape, 5), torch.rand(1, *shape))
        assert {p.name: p.shape for p in points}[name] == wanted


def test_titcombe_scales_its_input_and_ends_in_a_softmax_where_the_published_code_does():
    ours = titcombe((1, 9, 9), 4, width=8).eval()
    theirs = titcombe((1, 9, 9), 4, width=8, mean=0.1307, deviation=0.3081, softmax=True).eval()
    theirs.load_state_dict(ours.state_dict())  # neither has anything to learn
    x = torch.rand(5, 1, 9, 9)
    answer = theirs(x)
    torch.testing.assert_close(answer, torch.softmax(ours((x - 0.1307) / 0.3081), 1))
    torch.testing.assert_close(answer.sum(1), torch.ones(5))
    names = [name for name, _ in theirs.named_children()]
    assert (names[0], names[-1]) == ("norm", "softmax")
    points = cut_points(theirs, x)
    assert points.traced
    assert DEFAULT_CUT["titcombe"] in points.names


SCALED = (
    "titcombe",
    "lenet",
    "cifar10cnn",
    "stack",
    "resnet18",
)  # those that take mean and deviation
IMAGENET = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}


def twins(name: str, shape: tuple[int, ...], **scale: object) -> list[nn.Module]:
    """The network as it is, and one that scales its input, from the same seed."""
    made = []
    for arguments in ({}, scale):
        torch.manual_seed(3)
        made.append(MODELS[name](shape, 4, **arguments).eval())
    return made


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize(
    "scale", [{"mean": 0.5, "deviation": 0.5}, {"mean": 0.5}, IMAGENET, {"deviation": (2, 3, 4)}]
)
def test_scales_its_input_by_one_number_or_one_for_each_channel(name, scale):
    """Reference: the bare network on images scaled channel by channel."""
    x = torch.rand(3, 3, 20, 20)
    bare, ours = twins(name, x.shape[1:], **scale)
    wanted = x.clone()
    for channel in range(3):
        mean, deviation = (scale.get(k, d) for k, d in (("mean", 0.0), ("deviation", 1.0)))
        m, d = (v[channel] if isinstance(v, tuple) else v for v in (mean, deviation))
        wanted[:, channel] = (x[:, channel] - m) / d
    assert torch.equal(ours(x), bare(wanted))


@pytest.mark.parametrize("name", SCALED)
def test_scaling_adds_nothing_to_learn_or_to_store(name):
    bare, ours = twins(name, (3, 20, 20), **IMAGENET)
    assert [n for n, _ in ours.named_children()] == ["norm", *(n for n, _ in bare.named_children())]
    assert [*ours.state_dict()] == [*bare.state_dict()]
    for (n, a), (m, b) in zip(bare.named_parameters(), ours.named_parameters(), strict=True):
        assert n == m
        assert torch.equal(a, b)  # the same first weights
    usual = MODELS[name]((3, 20, 20), 4, mean=0.0, deviation=1.0)
    assert [n for n, _ in usual.named_children()] == [n for n, _ in bare.named_children()]


def test_scaling_works_on_signals_and_follows_device_and_number_type():
    signal = Normalise((1.0, 2.0), (3.0, 4.0), sides=1)
    x = torch.rand(5, 2, 9)
    wanted = torch.stack([(x[:, 0] - 1) / 3, (x[:, 1] - 2) / 4], 1)
    assert torch.equal(signal(x), wanted)
    table = Normalise([1.0, 2.0], 4, sides=0)
    assert torch.equal(table(x[:, :, 0]), (x[:, :, 0] - torch.tensor([1.0, 2.0])) / 4)
    assert not [*signal.parameters(), *signal.state_dict()]
    there = signal.to("meta")
    assert {b.device.type for b in there.buffers()} == {"meta"}
    assert there(x.to("meta")).device.type == "meta"


@pytest.mark.parametrize("mean", [0.5, (0.485, 0.456, 0.406)])
def test_a_network_that_scales_is_cut_behind_it(mean):
    """The first segment scales, keeps nothing for it, and computes what the network does."""
    model, x = (
        cifar10cnn((3, 16, 16), 5, mean=mean, deviation=(0.2, 0.3, 0.4)),
        torch.rand(4, 3, 16, 16),
    )
    near, far = cut(model, after="ReLU22", x=x)
    assert torch.equal(far(near(x)), model(x))
    assert [*near.state_dict()] == [k for k in model.state_dict() if k[:5] in ("conv1", "conv2")]
    torch.testing.assert_close(laid_out(near)(x), near(x))
    there = near.to("meta")
    assert there(x.to("meta")).shape == (4, 128, 8, 8)


def test_numbers_for_each_channel_come_from_a_configuration_and_go_into_a_record():
    scale = {k: list(v) for k, v in IMAGENET.items()}
    e = parse({"data": "cifar10", "model": {"kind": "cifar10cnn", **scale}})
    assert e.model.args == IMAGENET
    assert parse({k: v for k, v in plain(e).items() if v is not None}) == e
    assert parse({"model": "lenet:mean=0.5,deviation=5e-1"}).model.args["deviation"] == 0.5


# Properties


@pytest.mark.parametrize("name", MODELS)
def test_returns_logits_and_has_its_default_cut(name):
    shape = SHAPES[name]
    model = MODELS[name](shape, 7)
    x = torch.rand(2, *shape)
    logits = model(x)
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    points = cut_points(model, x)
    assert points.traced
    assert DEFAULT_CUT[name] in points.names


def test_every_model_has_a_default_cut_and_a_shape_here():
    assert set(MODELS) == set(DEFAULT_CUT) == set(SHAPES)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(MODELS)), st.data())
def test_any_sensible_size(name, data):
    least = {"titcombe": 6, "lenet": 16, "cifar10cnn": 8, "ecg": 4, "stack": 4}.get(name, 1)
    channels = data.draw(st.integers(1, 3))
    sides = data.draw(st.tuples(st.integers(least, least + 9), st.integers(least, least + 9)))
    shape = (channels, sides[0]) if name == "ecg" else (channels, *sides)
    model = MODELS[name](shape, 2).eval()
    assert model(torch.rand(3, *shape)).shape == (3, 2)


@pytest.mark.parametrize(
    ("word", "shape", "wanted"),
    [
        ("conv5", (2, 9, 6), (5, 9, 6)),  # the size is kept
        ("conv5k5", (2, 9, 6), (5, 9, 6)),
        ("conv5k4", (2, 9, 6), (5, 8, 5)),
        ("conv5k5s2", (2, 9, 6), (5, 5, 3)),
        ("conv5k5p0", (2, 9, 6), (5, 5, 2)),
        ("conv5k3", (2, 9), (5, 9)),
        ("max2", (2, 9, 6), (2, 4, 3)),
        ("avg3s1", (2, 9, 6), (2, 9, 6)),
        ("max3s2", (2, 9), (2, 5)),
        ("fc7", (2, 9, 6), (7,)),
        ("fc7", (9,), (7,)),
        ("tanh", (9,), (9,)),
    ],
)
def test_what_a_word_makes_of_a_shape(word, shape, wanted):
    made = layers(word, shape)
    assert nn.Sequential(*made.values())(torch.rand(2, *shape)).shape == (2, *wanted)


def test_layers_are_numbered_by_kind():
    words = "conv4 tanh max2 conv4 leaky avg3s1 fc5 sigmoid fc6"
    assert " ".join(layers(words, (1, 8, 8))) == (
        "conv1 act1 pool1 conv2 act2 pool2 flatten fc1 act3 fc2"
    )
    kinds = [type(layer).__name__ for layer in layers("leaky sigmoid tanh relu", (3,)).values()]
    assert kinds == ["LeakyReLU", "Sigmoid", "Tanh", "ReLU"]


def test_words_come_from_a_configuration():
    e = parse({"model": "stack:layers=conv4k3s2 relu fc8"})
    assert e.model.args["layers"] == "conv4k3s2 relu fc8"
    model = MODELS["stack"]((1, 9, 9), 3, **e.model.args)
    assert cut_points(model, torch.rand(1, 1, 9, 9)).names[:2] == ("conv1", "act1")


def test_transformer_sees_every_pixel():
    model = MODELS["transformer"]((1, 9, 5), 3)
    x = torch.rand(1, 1, 9, 5, requires_grad=True)
    model(x).logsumexp(1).sum().backward()
    assert (x.grad != 0).all()


def test_transformer_takes_signals():
    assert MODELS["transformer"]((2, 187), 5)(torch.rand(2, 2, 187)).shape == (2, 5)


def test_width_of_the_cut_is_settable():
    assert titcombe((1, 8, 8), 10, width=32).fc1.out_features == 32
    assert mlp((4,), 2, width=1)(torch.rand(1, 4)).shape == (1, 2)


# Trap: an in-place activation would overwrite what is sent


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_computed_in_place(name):
    modules = MODELS[name](SHAPES[name], 3).modules()
    assert not any(getattr(m, "inplace", False) for m in modules)


# Messages


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("lenet", (30,), r"lenet wants images \(C, H, W\), each side at least 16: got .* \(30,\)"),
        ("lenet", (1, 15, 28), r"lenet wants .* at least 16: got samples of shape \(1, 15, 28\)"),
        ("titcombe", (1, 5, 28), "titcombe wants images .* at least 6"),
        ("cifar10cnn", (3, 7, 7), "cifar10cnn wants images .* at least 8"),
        ("ecg", (1, 28, 28), r"ecg wants signals \(C, L\).*mlp takes any shape"),
        ("ecg", (1, 3), "ecg wants signals .* at least 4"),
        ("resnet18", (8,), "resnet18 wants images"),
        ("transformer", (8,), "transformer wants images"),
        ("mlp", (), "mlp wants a shape of positive sides"),
        ("stack", (30,), r"stack: layer 'conv8k5' wants signals or images: got \(30,\)"),
        ("stack", (1, 3, 28), r"stack: layer 'max2' does not fit .*, \(16, 1, 14\)"),
        ("mlp", (3, 0), "mlp wants a shape of positive sides"),
    ],
)
def test_a_shape_that_does_not_fit(name, shape, message):
    with pytest.raises(ValueError, match=message):
        MODELS[name](shape, 10)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("conv8 gelu", "stack: layer 'gelu': unknown; .*relu, leaky, tanh, sigmoid: activation"),
        ("conv0", "stack: layer 'conv0': unknown"),
        ("conv8x5", "stack: layer 'conv8x5': unknown; .*convNkKsSpP"),
        ("fc8 conv4", r"stack: layer 'conv4' wants signals or images: got \(8,\)"),
        ("max9s9", r"stack: layer 'max9s9' does not fit what comes to it, \(1, 8, 8\)"),
        (" ", "stack: at least one layer wanted: got none"),
    ],
)
def test_words_that_make_no_network(words, message):
    with pytest.raises(ValueError, match=message):
        stack((1, 8, 8), 10, layers=words)


def test_no_classes():
    with pytest.raises(ValueError, match="mlp: at least one class wanted: got 0"):
        mlp((3,), 0)


def test_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="width a multiple of heads wanted: got 30 and 4"):
        MODELS["transformer"]((1, 8, 8), 2, width=30)


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"deviation": 0.0}, "deviation must be > 0 and finite: got 0.0"),
        ({"deviation": -1.0}, "deviation must be > 0 and finite: got -1.0"),
        ({"deviation": float("nan")}, "deviation must be > 0 and finite: got nan"),
        ({"deviation": float("inf")}, "deviation must be > 0 and finite: got inf"),
        ({"deviation": (0.2, 0.0, 0.2)}, r"> 0 and finite: got \(0.2, 0.0, 0.2\)"),
        ({"mean": (0.5, float("nan"), 0.5)}, "mean must be finite: got"),
        ({"mean": (0.5, 0.5)}, r"mean must be one number, or one for each .* 3: got \(0.5, 0.5\)"),
        ({"deviation": (0.5,)}, r"deviation must be one number, or one .* here 3: got \(0.5,\)"),
        ({"mean": ()}, r"mean must be one number, .* got \(\)"),
    ],
)
def test_numbers_that_nothing_can_be_scaled_by(name, scale, message):
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        MODELS[name]((3, 28, 28), 10, **scale)
