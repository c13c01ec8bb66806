"""A network as one line of operations: torch.fx where that works, its top-level children if not.

Private to ``split``. The network is left as it was found: modes, buffers, random state.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

ROOT = "model"  # what the traced network is called inside its wrapper
Graphs = dict[bool, fx.Graph]  # by mode, training or not: forward may read self.training


class UntraceableError(Exception):
    """Why a network could not be written as one line of operations."""


class OneInput(nn.Module):
    """The network called with one tensor: its other arguments keep their defaults."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.model(x)
        return output


def path(target: object) -> str:
    """The name of a layer, parameter or buffer as the network itself has it."""
    return str(target).removeprefix(f"{ROOT}.")


@contextmanager
def preserved(model: nn.Module, x: Tensor) -> Iterator[None]:
    """Puts back the mode of each module, every buffer and the random state."""
    modes = [(m, m.training) for m in model.modules()]
    buffers = [
        (m, name, b, b.detach().clone())
        for m in model.modules()
        for name, b in m._buffers.items()
        if b is not None
    ]
    devices = [x.device.index] if x.is_cuda else []
    with torch.random.fork_rng(devices), torch.inference_mode(False), torch.no_grad():
        try:
            yield
        finally:
            for m, mode in modes:
                m.training = mode
            for m, name, buffer, kept in buffers:
                m._buffers[name] = buffer
                if not torch.equal(buffer, kept):  # its version would not show a BatchNorm's update
                    buffer.copy_(kept)


class _Tracer(fx.Tracer):
    """Looks into user modules and nn.Sequential; torch.nn's layers and ``opaque`` stay whole."""

    proxy_buffer_attributes = True  # or an update of a buffer would happen now, and never again

    def __init__(self, opaque: set[str]) -> None:
        super().__init__()
        self.opaque = opaque
        self.inside = [ROOT]  # modules being traced; after a failure, the innermost is the last

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name == ROOT:
            return False
        forward = getattr(type(m), "forward", None)
        own = getattr(forward, "__module__", "").startswith("torch.nn.")
        return module_qualified_name in self.opaque or (
            own and forward is not nn.Sequential.forward
        )

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        name = self.path_of_module(m)
        if _unrolls(m) and len(args) == 1 and not kwargs and name not in self.opaque:
            return _unrolled_encoder(m, args[0])
        self.inside.append(name)
        result = super().call_module(m, forward, args, kwargs)
        self.inside.pop()
        return result


def _unrolls(m: nn.Module) -> bool:
    plain = not m._forward_hooks and not m._forward_pre_hooks
    return plain and type(m).forward is nn.TransformerEncoder.forward


def _unrolled_encoder(encoder: Any, z: Any) -> Any:
    """What nn.TransformerEncoder does when it is called without masks."""
    for layer in encoder.layers:
        z = layer(z)
    return z if encoder.norm is None else encoder.norm(z)


def trace(wrapped: OneInput, x: Tensor) -> tuple[Graphs, str]:
    """The operations in eval and in train mode, and a note on modules that stay whole.

    A module whose forward cannot be traced becomes one opaque operation, from the inside out.

    Raises:
        UntraceableError: the network's own forward cannot be traced.
    """
    reasons: dict[str, str] = {}
    while True:
        graphs: Graphs = {}
        try:
            for training in (False, True):
                tracer = _Tracer(set(reasons))
                with preserved(wrapped, x):
                    wrapped.train(training)
                    graphs[training] = _traced(tracer, wrapped)
        except Exception as e:  # a forward that meets a symbol may raise anything
            reason = f"{type(e).__name__}: {str(e).strip().split(chr(10))[0]}"
            culprit = tracer.inside[-1]
            if culprit == ROOT or culprit in reasons:
                raise UntraceableError(reason) from e
            reasons[culprit] = reason
        else:
            notes = [
                f"{path(m)!r} stays whole, it cannot be traced ({r})" for m, r in reasons.items()
            ]
            return graphs, "; ".join(notes)


def _traced(tracer: _Tracer, wrapped: OneInput) -> fx.Graph:
    buffers = dict(wrapped.named_buffers())
    graph = _without_dead_elements(tracer.trace(wrapped))
    for name, buffer in wrapped.named_buffers():
        if buffer is not buffers.get(name):  # the graph would not do that again
            tracer.inside.append(name.rpartition(".")[0])
            raise TypeError(f"assigns to buffer {path(name)!r}; update it in place (add_, copy_)")
    return graph


def _without_dead_elements(graph: fx.Graph) -> fx.Graph:
    """Unpacking asks for every element of a tuple; those that nobody uses would look needed."""
    for node in reversed(list(graph.nodes)):
        name = getattr(node.target, "__name__", "")
        if node.op == "call_function" and name in ("getitem", "getattr") and not node.users:
            graph.erase_node(node)
    return graph


def chain(wrapped: OneInput, x: Tensor) -> Graphs:
    """The top-level children as a chain, in the order in which a real forward calls them.

    Raises:
        UntraceableError: they are no chain; what stands in the way.
    """
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = []

    def watch(name: str) -> Callable[..., None]:
        return lambda _, args, kwargs, output: calls.append((name, args, kwargs, output))

    children = wrapped.model.named_children()
    hooks = [c.register_forward_hook(watch(name), with_kwargs=True) for name, c in children]
    try:
        output = wrapped.eval()(x)
    finally:
        for hook in hooks:
            hook.remove()
    names = [name for name, *_ in calls]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UntraceableError(f"{repeated[0]!r} is called more than once")
    graph, before, sent = fx.Graph(), "the input", x
    node = graph.placeholder("x")
    for name, args, kwargs, returned in calls:
        if kwargs or len(args) != 1 or args[0] is not sent:
            raise UntraceableError(f"{name!r} is not called with just the tensor from {before}")
        node = graph.call_module(f"{ROOT}.{name}", (node,))
        before, sent = repr(name), returned
    if output is not sent:
        raise UntraceableError(f"the output is not the tensor from {before}")
    graph.output(node)
    return {False: graph, True: graph}


@dataclass(frozen=True)
class Value:
    """What one operation returned, as far as it matters here. ``shape``: None for no tensor."""

    shape: tuple[int, ...] | None
    dtype: torch.dtype | None
    version: int  # how often the tensor had been written to


@dataclass
class Program:
    """The operations of one mode in order, with what they did in one run on an example."""

    nodes: list[fx.Node]
    values: dict[fx.Node, Value] = field(default_factory=dict)
    writes: dict[fx.Node, dict[fx.Node, int]] = field(default_factory=dict)  # op: written: version
    final: dict[fx.Node, int] = field(default_factory=dict)  # versions at the end
    output: Tensor | None = None

    def written_later(self, sent: fx.Node, after: fx.Node) -> bool:
        """Whether an in-place operation behind ``after`` overwrites ``sent`` or a view of it."""
        stamp = self.writes.get(after, {}).get(sent, self.values[sent].version)
        return self.final[sent] != stamp


class _Recorder(fx.Interpreter):
    def __init__(self, wrapped: OneInput, graph: fx.Graph) -> None:
        super().__init__(wrapped, garbage_collect_values=False, graph=graph)
        self.program = Program(list(graph.nodes))

    def run_node(self, n: fx.Node) -> Any:
        inputs = {a: v for a in n.all_input_nodes if isinstance(v := self.env[a], Tensor)}
        before = {a: v._version for a, v in inputs.items()}
        result = super().run_node(n)
        written = {a: v._version for a, v in inputs.items() if v._version != before[a]}
        if written:
            self.program.writes[n] = written
        tensor = isinstance(result, Tensor)
        self.program.values[n] = Value(
            tuple(result.shape) if tensor else None,
            result.dtype if tensor else None,
            result._version if tensor else 0,
        )
        return result


def record(wrapped: OneInput, graph: fx.Graph, x: Tensor) -> Program:
    """Run the operations once on ``x`` and write down what each returned and overwrote."""
    recorder = _Recorder(wrapped, graph)
    recorder.program.output = recorder.run(x)
    values = recorder.env.items()
    recorder.program.final = {n: v._version for n, v in values if isinstance(v, Tensor)}
    return recorder.program


def count_flops(wrapped: OneInput, graph: fx.Graph, x: Tensor) -> dict[fx.Node, int]:
    """FLOPs from the start up to and with each operation, by torch's own counter."""
    from torch.utils.flop_counter import FlopCounterMode

    total: dict[fx.Node, int] = {}

    class Counter(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            total[n] = counter.get_total_flops()
            return result

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused encoder layer counts as nothing
    try:
        with FlopCounterMode(display=False) as counter:
            Counter(wrapped, graph=graph).run(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return total


def matched(first: Sequence[fx.Node], second: Sequence[fx.Node]) -> list[tuple[fx.Node, fx.Node]]:
    """The operations that both modes have, in order."""
    from difflib import SequenceMatcher

    a, b = ([f"{n.op} {n.target}" for n in nodes] for nodes in (first, second))
    if a == b:
        return list(zip(first, second, strict=True))
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return [(first[m.a + k], second[m.b + k]) for m in blocks for k in range(m.size)]


RUNS = {False: 2, True: 3}  # samples by mode: only the batch dimension may differ between them


def outputs(wrapped: OneInput, x: Tensor) -> dict[bool, Tensor]:
    """What the network itself returns in both modes.

    Raises:
        ValueError: it fails, or returns something else than a tensor.
    """
    name = type(wrapped.model).__name__
    returned = {}
    for training, n in RUNS.items():
        try:
            output = _alone(wrapped, x, training, wrapped)
        except Exception as e:
            raise ValueError(
                f"a network that takes batches of any size wanted: {name} fails in "
                f"{'train' if training else 'eval'} mode on {n} samples of shape "
                f"{tuple(x.shape[1:])}, {x.dtype}: {type(e).__name__}: {e}"
            ) from e
        if not isinstance(output, Tensor):
            raise ValueError(
                f"a network that returns one tensor wanted: {name} returns "
                f"{type(output).__name__}; wrap it in one that picks the tensor"
            )
        returned[training] = output
    return returned


def run_alike(
    wrapped: OneInput, x: Tensor, graphs: Graphs, wanted: dict[bool, Tensor]
) -> dict[bool, Program]:
    """Run the operations of both modes, and compare with the network's outputs bit for bit.

    Raises:
        UntraceableError: the operations fail, or compute something else than the network.
    """
    programs = {}
    for training, output in wanted.items():
        try:
            program = _alone(wrapped, x, training, partial(record, wrapped, graphs[training]))
        except Exception as e:
            raise UntraceableError(f"the traced operations fail: {e}") from e
        if not torch.equal(program.output, output):
            again = _alone(wrapped, x, training, wrapped)
            if torch.equal(again, output):  # otherwise it is no function of x and the seed
                raise UntraceableError("the traced operations compute something else than forward")
        programs[training] = program
    return programs


def _alone(wrapped: OneInput, x: Tensor, training: bool, run: Callable[[Tensor], Any]) -> Any:
    """One run with a fixed seed, of which nothing remains."""
    with preserved(wrapped, x):
        torch.manual_seed(0)
        wrapped.train(training)
        return run(rows(x, RUNS[training]))


def rows(x: Tensor, n: int) -> Tensor:
    """A copy of the first n samples, repeated where there are fewer."""
    return torch.cat([x[:n]] * n)[:n]
