"""Cut points and segments: complete, and bit-equal to the network."""

import copy
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from cutlayer.models import MODELS
from cutlayer.split import CutPoint, crossings, cut, cut_points

SHAPES = {
    "titcombe": (1, 10, 10),
    "lenet": (1, 16, 16),
    "cifar10cnn": (3, 8, 8),
    "ecg": (1, 20),
    "mlp": (6,),
    "stack": (2, 8, 8),
    "resnet18": (3, 8, 8),
    "transformer": (1, 8, 8),
}


def compose(segments: list[nn.Module], x: Tensor) -> Tensor:
    for segment in segments:
        x = segment(x)
    return x


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    return {name: p.grad for name, p in model.named_parameters()}


def assert_alike(model: nn.Module, after: list[str], x: Tensor) -> None:
    """Outputs, gradients and buffers, in both modes, with every boundary crossed as a wire does."""
    twin = copy.deepcopy(model)
    segments = cut(twin, after, x)
    names = [name for segment in segments for name in segment.state_dict()]
    assert sorted(names) == sorted(model.state_dict()), "the state dicts are a partition"
    for training in (False, True):
        for m in (model, twin, *segments):
            m.train(training)
            m.zero_grad()
        torch.manual_seed(1)
        wanted = model(x.clone())
        wanted.square().sum().backward()
        torch.manual_seed(1)
        sent, received = [], [x.clone()]
        for segment in segments:
            sent.append(segment(received[-1]))
            received.append(sent[-1].detach().requires_grad_())
        assert torch.equal(sent[-1], wanted)
        for z, z_far in zip(sent[:-1], received[1:-1], strict=True):
            assert torch.equal(z, z_far), "the far side overwrote what was sent"
        gradient = 2 * wanted.detach()
        for z, z_near in zip(reversed(sent), reversed(received[:-1]), strict=True):
            if z.requires_grad:  # not before the first layer with parameters
                z.backward(gradient)
            gradient = z_near.grad
        for name, grad in gradients(twin).items():
            other = gradients(model)[name]
            assert (grad is None) == (other is None), name
            assert grad is None or torch.equal(grad, other), name
        state = model.state_dict()
        assert all(torch.equal(t, state[name]) for name, t in twin.state_dict().items())


def assert_every_cut_alike(model: nn.Module, x: Tensor) -> tuple[str, ...]:
    names = cut_points(model, x).names
    for name in names:
        assert_alike(model, [name], x)
    return names


# Networks for the tests


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(F.relu(x + self.conv(x)))


class TwoBranches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.left(x), self.right(x).tanh()], 1))


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(8, 4), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in (self.a, self.b):
            features.append(layer(torch.cat(features, 1)))
        return self.c(torch.cat(features, 1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Linear(4, 5), nn.LSTM(5, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(self.embed(x))
        return self.head(out[:, -1])


class Reused(nn.Module):
    """One ReLU for all, as many networks have it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.act = *(nn.Linear(4, 4) for _ in range(3)), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.act(self.b(self.act(self.a(x)))))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode, self.middle, self.decode = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.decode.weight = self.encode.weight
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.decode(self.middle(self.encode(x)).tanh()))


class Sizes(nn.Module):
    def __init__(self, early: bool) -> None:
        super().__init__()
        self.conv, self.head, self.early = nn.Conv2d(1, 2, 3), nn.Linear(8, 2), early

    def forward(self, x: Tensor) -> Tensor:
        n = x.size(0)
        x = self.conv(x).relu()
        return self.head(x.view(n if self.early else x.size(0), -1))


class Branching(nn.Module):
    """Control flow on values: torch.fx cannot follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 1e9 else x * 2


class Functional(nn.Module):
    """Reads self.training, as F.dropout wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, scale: float | None = None) -> Tensor:
        x = F.dropout(self.a(x), 0.5, self.training)
        if scale is not None:
            x = x * scale
        if self.training:
            x = x + 0.1 * torch.randn_like(x)
        return self.b(x.tanh())


class Normed(nn.Linear):
    """A layer of the user's own, with a parametrised weight and a constant made in forward."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.inner = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(super().forward(x) + torch.arange(4.0))
        return self.head(x * torch.arange(4.0))


class Inplace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.act = nn.Linear(4, 4), nn.ReLU(inplace=True)
        self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        z = self.act(self.a(x))
        z = self.b(z)
        z.view(-1).mul_(2)  # through a view, and the result unused
        z += 1
        return self.c(z.relu_())


class Counting(nn.Module):
    """A buffer that forward itself updates, an unused layer and an alias."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.unused = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(1, 1)
        self.alias = self.a
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("offset", torch.ones(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return self.b((self.a(x + self.offset) + self.offset).relu() + self.offset)


# Independent reference: liveness by its definition


def brute_force(graph: fx.Graph) -> dict[int, fx.Node]:
    nodes = list(graph.nodes)
    found = {}
    for i in range(len(nodes)):
        before, behind = nodes[: i + 1], nodes[i + 1 :]
        if all(n.op in ("output", "get_attr") for n in behind):
            break
        needed = {a for n in behind for a in n.all_input_nodes if a in before}
        values = [n for n in needed if n.op != "get_attr"]
        if len(values) == 1:
            found[i] = values[0]
    return found


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_crossings_are_where_one_value_is_still_needed(data):
    graph = fx.Graph()
    values = [graph.placeholder("x")]
    for _ in range(data.draw(st.integers(1, 8))):
        if data.draw(st.integers(0, 4)) == 0:
            values.append(graph.get_attr("weight"))
        near = st.integers(max(0, len(values) - 3), len(values) - 1)
        inputs = data.draw(st.lists(near, min_size=1, max_size=2))
        values.append(graph.call_function(torch.add, tuple(values[k] for k in inputs)))
    graph.output(values[-1])
    assert crossings(list(graph.nodes)) == brute_force(graph)


def test_numbers_of_a_cut_point_by_hand():
    model = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 8, 3), flat=nn.Flatten(), fc=nn.Linear(8 * 16, 5), a=nn.ReLU()
        )
    ).double()
    points = cut_points(model, torch.rand(4, 3, 6, 6, dtype=torch.float64))
    conv_flops = 2 * 8 * 16 * 27
    assert list(points) == [
        CutPoint("conv", "Conv2d", (8, 4, 4), 128 * 8, 8 * 28, conv_flops),
        CutPoint("flat", "Flatten", (128,), 128 * 8, 8 * 28, conv_flops),
        CutPoint("fc", "Linear", (5,), 5 * 8, 8 * 28 + 129 * 5, conv_flops + 2 * 128 * 5),
    ]


# Properties: bit-equal at every cut


@pytest.mark.parametrize("name", MODELS)
def test_every_model_at_every_cut(name):
    torch.manual_seed(0)
    options = {"width": 4} if name == "resnet18" else {}
    model = MODELS[name](SHAPES[name], 3, **options)
    x = torch.rand(3, *SHAPES[name])
    names = cut_points(model, x).names
    twin = copy.deepcopy(model)
    state = copy.deepcopy(model.state_dict())
    for after in names:
        segments = cut(twin, after, x)
        for training in (False, True):
            for m in (model, *segments):
                m.train(training)
            assert torch.equal(compose(segments, x), model(x)), (after, training)
            model.load_state_dict(state)
            twin.load_state_dict(state)
    assert_alike(model, [names[len(names) // 2]], x)
    assert_alike(model, [names[0], names[len(names) // 2], names[-1]], x)


@st.composite
def sequentials(draw):
    """In-place only behind a linear layer: autograd itself refuses it behind, say, a ReLU."""
    layers: list[nn.Module] = [nn.Linear(4, 4)]
    width = 4
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["linear", "norm", "plus", "dropout", "inplace", "nested"]))
        if kind in ("linear", "inplace", "nested"):
            before, width = width, draw(st.integers(1, 6))
            dense, act = nn.Linear(before, width), nn.ReLU(inplace=True)
            made = {
                "linear": [dense],
                "inplace": [dense, act],
                "nested": [nn.Sequential(dense, act)],
            }
            layers += made[kind]
        else:
            layers += [
                {"norm": nn.BatchNorm1d(width), "plus": nn.Softplus(), "dropout": nn.Dropout(0.3)}[
                    kind
                ]
            ]
    return nn.Sequential(*layers, nn.Linear(width, 2))


@settings(max_examples=25, deadline=None)
@given(sequentials(), st.data())
def test_random_sequentials(model, data):
    x = torch.rand(5, 4)
    names = cut_points(model, x).names
    indices = data.draw(st.sets(st.integers(0, len(names) - 1), min_size=1, max_size=3))
    assert_alike(model, [names[k] for k in sorted(indices)], x)


@pytest.mark.parametrize(
    ("model", "shape", "wanted"),
    [
        (Residual, (4,), "stem add relu"),
        (TwoBranches, (4,), "cat"),
        (Dense, (4,), "cat"),
        (Recurrent, (3, 4), "embed lstm[0] getitem"),
        (Reused, (4,), "a act b act_1"),
        (Tied, (4,), "decode"),
        (Functional, (4,), "a dropout tanh"),
        (Normed, (4,), "linear add inner mul"),
        (Inplace, (4,), "a act b add relu_"),
        (Counting, (4,), "add a add_1 relu add_2"),
    ],
)
def test_cuts_of_a_network_and_their_segments(model, shape, wanted):
    torch.manual_seed(0)
    names = assert_every_cut_alike(model(), torch.rand(3, *shape))
    assert " ".join(names) == wanted


def test_transformer_encoder_is_unrolled():
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True),
        3,
        norm=nn.LayerNorm(8),
        enable_nested_tensor=False,
    )
    model = nn.Sequential(OrderedDict(embed=nn.Linear(4, 8), encoder=encoder, head=nn.Linear(8, 2)))
    points = cut_points(model, x := torch.rand(2, 5, 4))
    layers = tuple(f"encoder.layers.{k}" for k in range(3))
    assert points.names == ("embed", *layers, "encoder.norm")
    assert points[1].flops > points[0].flops, "the fused kernel would count as nothing"
    for name in points.names:
        assert_alike(model, [name], x)
    with torch.no_grad():  # the fused kernel
        model.eval()
        assert torch.equal(compose(cut(model, layers[0], x), x), model(x))


def test_batchnorm_statistics_move_as_in_the_network():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.BatchNorm1d(4))
    assert_every_cut_alike(model, torch.rand(8, 4))


# Known traps


def test_integers_that_cross_rule_a_cut_out():
    x = torch.rand(2, 1, 4, 4)
    assert cut_points(Sizes(early=True), x).names == ("view",)
    assert cut_points(Sizes(early=False), x).names == ("conv", "relu", "view")


def test_a_reused_layer_with_parameters_rules_cuts_out():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(nn.Linear(4, 4), layer, nn.ReLU(), layer, nn.Linear(4, 2))
    assert cut_points(model, torch.rand(2, 4)).names == ("0", "1")


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_what_has_no_batch_dimension_is_no_message(steps):
    class Merged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            z = self.b(self.a(x).transpose(0, 1)).transpose(0, 1)  # time first, as nn.LSTM has it
            return self.c(z.flatten(0, 1)).unflatten(0, (-1, steps)).mean(1)

    points = cut_points(Merged(), torch.rand(steps, steps, 4))
    assert points.names == ("a", "transpose", "unflatten")


def test_an_untraceable_child_stays_whole():
    model = nn.Sequential(
        OrderedDict(a=nn.Linear(4, 4), gate=Branching(), block=Residual(), flow=Branching())
    )
    points = cut_points(model, x := torch.rand(2, 4))
    assert points.traced
    assert points.names == ("a", "gate", "block.stem", "add", "relu", "block.head")
    assert "'gate' stays whole" in points.note
    for name in points.names:
        assert_alike(model, [name], x)


class Chained(nn.Module):
    def __init__(self, between: bool = False) -> None:
        super().__init__()
        self.a, self.act = nn.Linear(4, 4), nn.ReLU(inplace=True)
        self.b, self.between = nn.Linear(4, 2), between

    def forward(self, x: Tensor) -> Tensor:
        if x.isnan().any():
            raise ValueError("NaN")
        x = self.act(self.a(x))
        return self.b(x + 0 if self.between else x)


def test_an_untraceable_forward_is_read_as_a_chain_of_children():
    points = cut_points(Chained(), x := torch.rand(3, 4))
    assert (points.traced, points.names) == (False, ("a", "act"))
    assert "control flow" in points.note
    assert points[1].parameters == 20
    assert_every_cut_alike(Chained(), x)


def test_hooks_on_a_sequential_are_kept():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model.register_forward_hook(lambda *call: call[-1] * 3)
    x = torch.rand(2, 4)
    assert torch.equal(compose(cut(model, "1", x), x), model(x))


def test_an_update_of_a_buffer_happens_once_a_call():
    model = Counting()
    segments = cut(model, "relu", torch.rand(1, 4))
    assert model.calls == 0, "looking at a network leaves it as it was"
    compose(segments, torch.rand(5, 4))
    compose(segments, torch.rand(5, 4))
    assert model.calls == 2


def test_a_buffer_that_is_assigned_makes_its_module_opaque():
    class Averaging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            return x - self.mean

    model = nn.Sequential(nn.Linear(4, 4), Averaging(), nn.Linear(4, 2))
    points = cut_points(model, x := torch.rand(3, 4))
    assert points.names == ("0", "1")
    assert "'1' stays whole" in points.note
    assert "assigns to buffer '1.mean'" in points.note
    assert_every_cut_alike(model, x)


def test_looking_leaves_the_network_as_it_was():
    model = MODELS["resnet18"]((1, 8, 8), 2, width=2)
    model.layer1.eval()
    modes = [m.training for m in model.modules()]
    state = copy.deepcopy(model.state_dict())
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    cut_points(model, torch.rand(1, 1, 8, 8, generator=torch.Generator()))
    assert torch.equal(torch.rand(1), wanted)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(t, state[k]) for k, t in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_a_silently_wrong_trace_is_noticed():
    class Mistraced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            z = self.a(x)
            return self.b(z if isinstance(z, Tensor) else -z)

    points = cut_points(Mistraced(), torch.rand(2, 4))
    assert (points.traced, points.names) == (False, ("a",))
    assert "something else" in points.note


def test_the_sent_tensor_is_cloned_only_where_it_would_be_overwritten():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    x = torch.rand(2, 4)
    assert type(cut(model, "1", x)[1]) is nn.Sequential
    far = cut(model, "0", x)[1]
    z = -torch.ones(2, 4)
    far(z)
    assert (z == -1).all()


# Edges


def test_segments_share_and_deepcopy_parts():
    model = Residual()
    near, far = cut(model, "add", torch.rand(1, 4))
    assert near.stem is model.stem
    apart = copy.deepcopy(far)
    assert apart.head is not model.head
    assert torch.equal(apart(z := torch.rand(2, 4)), far(z))
    assert far.state_dict().keys() == {"head.weight", "head.bias"}


def test_an_alias_stays_with_its_layer():
    near, far = copy.deepcopy(cut(Counting(), "relu", torch.rand(1, 4)))
    assert near.alias.weight is near.a.weight
    assert "unused.weight" in far.state_dict()
    assert "offset" not in {**near.state_dict(), **far.state_dict()}


def test_children_of_a_sequential_stay_a_sequential():
    model = MODELS["mlp"]((4,), 2)
    near, far = cut(model, ["act1"], torch.rand(1, 4))
    assert list(dict(near.named_children())) == ["flat", "fc1", "act1"]
    assert type(far) is nn.Sequential


def test_one_sample_is_enough_of_an_example_for_batchnorm():
    assert cut_points(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), torch.rand(1, 4)).names


def test_points_are_a_sequence():
    points = cut_points(Residual(), torch.rand(1, 4))
    assert len(points) == 3
    assert [p.name for p in points[1:]] == ["add", "relu"]
    assert points[-1].kind == "relu"


# Messages


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (
            "head",
            "'head': cut points of this model are flat, fc1, act1, fc2, act2$",
        ),
        ("act3", "flat, fc1, act1, fc2, act2, did you mean 'act2'"),
        (["act1", "fc1"], r"order .* here \['fc1', 'act1'\]: got after=\['act1', 'fc1'\]"),
        (["fc1", "fc1"], r"different names .*: got after=\['fc1', 'fc1'\]"),
        ([], "at least one: got after="),
    ],
)
def test_a_cut_that_does_not_exist(after, message):
    with pytest.raises(ValueError, match=message):
        cut(MODELS["mlp"]((4,), 2), after, torch.rand(1, 4))


def test_after_a_tuple_the_element_is_named():
    with pytest.raises(ValueError, match=r"'lstm': it returns a tuple; cut after 'lstm\[0\]'"):
        cut(Recurrent(), "lstm", torch.rand(1, 3, 4))


def test_several_inputs():
    with pytest.raises(ValueError, match=r"one input tensor wanted: Bilinear.* input1, input2"):
        cut_points(nn.Bilinear(2, 2, 2), torch.rand(1, 2))


def test_several_outputs():
    with pytest.raises(ValueError, match="returns one tensor wanted: LSTM returns tuple"):
        cut_points(nn.LSTM(2, 2), torch.rand(1, 2, 2))


def test_an_example_that_does_not_fit():
    with pytest.raises(
        ValueError, match=r"Sequential fails in eval mode on 2 samples of shape \(5,\)"
    ):
        cut_points(MODELS["mlp"]((4,), 2), torch.rand(1, 5))
    with pytest.raises(ValueError, match=r"N >= 1 wanted: got \(0, 4\)"):
        cut_points(MODELS["mlp"]((4,), 2), torch.rand(0, 4))


def test_neither_traceable_nor_a_chain():
    message = "no chain: 'b' is not called with just the tensor from 'act'.*nn.Flatten"
    with pytest.raises(ValueError, match=message):
        cut_points(Chained(between=True), torch.rand(2, 4))
