"""One party's part of a network as a module that shares the network's layers."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, fx, nn

from .tracing import path


class Segment(nn.Module):
    """One party's part of a network: its own layers, shared and under their own names."""

    def __init__(self, evaluate: Callable[..., Tensor], train: Callable[..., Tensor]) -> None:
        super().__init__()
        self._operations = {False: evaluate, True: train}  # forward may have read self.training

    def forward(self, z: Tensor) -> Tensor:
        return self._operations[self.training](self, z)


def compiled(
    nodes: Sequence[fx.Node], entry: fx.Node | None, result: fx.Node, clone: bool
) -> tuple[Callable[..., Tensor], list[str]]:
    """Some operations as one Python function ``(owner of the layers, z)``, and what they refer to.

    fx.GraphModule is no faster, and would turn every constant into saved state.
    """
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    targets: list[str] = []

    def fetch(node: fx.Node) -> fx.Node:
        if node not in copies:  # a parameter or buffer: wherever it is used
            copies[node] = copy(node)
        return copies[node]

    def copy(node: fx.Node) -> fx.Node:
        made = graph.node_copy(node, fetch)
        if node.op in ("call_module", "get_attr"):
            made.target = path(node.target)
            targets.append(made.target)
        return made

    if entry is not None:
        z = graph.placeholder("z")
        copies[entry] = graph.call_method("clone", (z,)) if clone else z
    for node in nodes:
        if node.op not in ("get_attr", "output"):
            copies[node] = copy(node)
    graph.output(fetch(result))
    code = graph.python_code("self")
    scope = dict(code.globals)
    exec(code.src, scope)  # why: torch.fx's own source for a graph traced here, never from a file
    return scope["forward"], targets


def attach(segment: nn.Module, source: nn.Module, target: str) -> None:
    """Give a segment a layer, parameter or buffer of the network, under the same name."""
    *above, name = target.split(".")
    for step in above:
        source = source.get_submodule(step)
        if step not in segment._modules:
            segment.add_module(step, nn.Module().train(source.training))
        segment = segment.get_submodule(step)
        if segment is source:  # inside a layer that is here as a whole
            return
    if name in source._modules:
        segment.add_module(name, source._modules[name])
    elif name in source._parameters:
        segment.register_parameter(name, source._parameters[name])
    else:  # plain attributes become buffers, so that they move between devices
        saved = name in source._buffers and name not in source._non_persistent_buffers_set
        segment.register_buffer(name, getattr(source, name), persistent=saved)


def attach_unused(segments: list[nn.Module], model: nn.Module) -> None:
    """State that no operation uses: beside its alias if it has one, otherwise in the last."""
    home: dict[int, nn.Module] = {}
    present: set[str] = set()
    for segment in segments:
        for name, tensor in _state(segment):
            present.add(name)
            home[id(tensor)] = segment
    for name, tensor in _state(model):
        if name not in present:
            attach(home.get(id(tensor), segments[-1]), model, name)


def _state(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)
