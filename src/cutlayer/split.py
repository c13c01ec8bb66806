"""Where a network can be cut, and the cutting: one segment for each party.

>>> import torch
>>> from cutlayer.models import MODELS
>>> model, x = MODELS["mlp"]((8,), 3), torch.rand(1, 8)
>>> [f"{point.name} {point.shape}" for point in cut_points(model, x)]
['flat (8,)', 'fc1 (64,)', 'act1 (64,)', 'fc2 (32,)', 'act2 (32,)']
>>> owner, server = cut(model, after="act1", x=x)
>>> torch.equal(server(owner(x)), model(x))
True
"""

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from math import prod
from typing import overload

from torch import Tensor, fx, nn

from . import tracing
from .errors import did_you_mean
from .segment import Segment, attach, attach_unused, compiled
from .tracing import Graphs, OneInput, Program, UntraceableError


@dataclass(frozen=True)
class CutPoint:
    """A place where exactly one tensor crosses.

    Args:
        name: The layer that was called last (``"layer1.0.act1"``), or the function (``"add"``);
            further ones of a name get ``_1``, ``_2`` …; ``"lstm[0]"`` is an element of a tuple.
        kind: The layer's class or the function's name.
        shape: Of what crosses, without the batch dimension.
        bytes_per_sample: Of what crosses, in the dtype it has on the example.
        parameters: Number of parameters before the cut.
        flops: Per sample before the cut, 2 for each multiply-add: matrix products, convolutions
            and attention, as torch.utils.flop_counter knows them; every other operation counts 0.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    bytes_per_sample: int
    parameters: int
    flops: int


@dataclass(frozen=True)
class CutPoints(Sequence[CutPoint]):
    """Every cut point of a network, in the order of the computation.

    ``traced`` is False where torch.fx could not follow ``forward`` and the top-level children are
    listed instead; ``note`` then says why, and also names modules that had to stay whole.
    """

    points: tuple[CutPoint, ...]
    traced: bool = True
    note: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(point.name for point in self.points)

    def __len__(self) -> int:
        return len(self.points)

    @overload
    def __getitem__(self, index: int) -> CutPoint: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[CutPoint, ...]: ...
    def __getitem__(self, index: int | slice) -> CutPoint | tuple[CutPoint, ...]:
        return self.points[index]


def cut_points(model: nn.Module, x: Tensor) -> CutPoints:
    """Every place where a network can be cut: where exactly one tensor crosses.

    The tensor is floating-point and its first dimension is the batch. What is also needed on both
    sides rules a place out: integers such as ``x.size(0)``, tied weights, a layer with parameters
    or buffers that is called on both. The bare input and the finished output are no cuts.

    Args:
        model: Any network that takes one tensor and returns one. It is run on at most three
            samples and left as it was.
        x: Example batch ``(N, *shape)``, N at least 1, on the network's device.

    Raises:
        ValueError: the network does not take ``x``, takes or returns several tensors, or can
            neither be traced nor be read as a chain of its top-level children.
    """
    plan = _Plan(model, x)
    with tracing.preserved(model, x):
        flops = tracing.count_flops(plan.wrapped.eval(), plan.graphs[False], tracing.rows(x, 2))
    points = [plan.describe(place, flops[place.at[False]] // 2) for place in plan.places]
    return CutPoints(tuple(points), plan.traced, plan.note)


def cut(model: nn.Module, after: str | Sequence[str], x: Tensor) -> list[nn.Module]:
    """Cut a network into segments, one more than there are names in ``after``.

    Composed, they compute bit for bit what the network does, in eval and in train mode (with the
    same random seed). They share its parameters and buffers, under the same names: their state
    dicts are a partition of the network's. ``copy.deepcopy`` of a segment makes it independent.

    Args:
        model: The network.
        after: Names of cut points, see ``cut_points``, in the order of the computation.
        x: Example batch ``(N, *shape)``.

    Raises:
        ValueError: as ``cut_points``; an unknown cut, one where several tensors cross, names
            twice or out of order, or none.
    """
    names = [after] if isinstance(after, str) else list(after)
    plan = _Plan(model, x)
    known = {place.name: k for k, place in enumerate(plan.places)}
    for name in names:
        if name not in known:
            raise ValueError(_no_such_cut(name, list(known)))
    indices = [known[name] for name in names]
    if not indices or any(a >= b for a, b in pairwise(indices)):
        order = [plan.places[k].name for k in sorted(set(indices))]
        wanted = f"here {order}" if order else "at least one"
        raise ValueError(
            "cut wants different names in the order of the computation, "
            f"{wanted}: got after={names}"
        )
    return plan.segments([plan.places[k] for k in indices])


def _no_such_cut(name: str, known: list[str]) -> str:
    if f"{name}[0]" in known:
        return f"cannot cut after {name!r}: it returns a tuple; cut after '{name}[0]' instead"
    message = (
        f"cannot cut after {name!r}: cut points of this model are {', '.join(known) or 'none'}"
    )
    hint = did_you_mean(name, known)
    return message + hint if "did you mean" in hint else message


def crossings(nodes: Sequence[fx.Node]) -> dict[int, fx.Node]:
    """Positions in a list of operations behind which exactly one value is still needed; which.

    Parameters and buffers do not cross: each side has its own. The end is left out.
    """
    position = {node: i for i, node in enumerate(nodes)}
    last = {node: max((position[user] for user in node.users), default=-1) for node in nodes}
    end = max(i for i, node in enumerate(nodes) if node.op not in ("get_attr", "output"))
    live: set[fx.Node] = set()
    found = {}
    for i, node in enumerate(nodes[:end]):
        live = {n for n in live | {node} if last[n] > i and n.op != "get_attr"}
        if len(live) == 1:
            (found[i],) = live
    return found


@dataclass(frozen=True)
class _Place:
    """A cut point: by mode, its position, the operation there, and the one whose value crosses."""

    name: str
    position: dict[bool, int]
    at: dict[bool, fx.Node]
    sent: dict[bool, fx.Node]


class _Plan:
    """The operations of a network in both modes, and the places to cut between them."""

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        _check_example(model, x)
        self.model, self.wrapped = model, OneInput(model)
        with tracing.preserved(model, x):
            self.graphs, self.programs, self.traced, self.note = _programs(self.wrapped, x)
        self.uses = {mode: self._uses(program) for mode, program in self.programs.items()}
        self.places = self._places()

    def _places(self) -> list[_Place]:
        found = {mode: _candidates(program) for mode, program in self.programs.items()}
        places: list[_Place] = []
        for pair in tracing.matched(self.programs[False].nodes, self.programs[True].nodes):
            at = dict(zip((False, True), pair, strict=True))
            if any(at[mode] not in found[mode] for mode in at):
                continue
            position = {mode: found[mode][at[mode]][0] for mode in at}
            sent = {mode: found[mode][at[mode]][1] for mode in at}
            if self._per_sample(sent) and not self._shared(position):
                places.append(_Place("", position, at, sent))
        return self._named(sorted(places, key=lambda place: place.position[False]))

    def _per_sample(self, sent: dict[bool, fx.Node]) -> bool:
        """Whether the first dimension is the batch, and the only difference between the runs."""
        values = {mode: self.programs[mode].values[node] for mode, node in sent.items()}
        if not all(v.shape and v.dtype and v.dtype.is_floating_point for v in values.values()):
            return False
        batch = all(v.shape and v.shape[0] == tracing.RUNS[mode] for mode, v in values.items())
        return batch and len({(v.shape and v.shape[1:], v.dtype) for v in values.values()}) == 1

    def _shared(self, position: dict[bool, int]) -> bool:
        """Whether a parameter or buffer is needed on both sides, in whichever mode."""
        before = (u for m, i in position.items() for u in self.uses[m][: i + 1])
        behind = (u for m, i in position.items() for u in self.uses[m][i + 1 :])
        return not set[int]().union(*before).isdisjoint(set[int]().union(*behind))

    def _uses(self, program: Program) -> list[set[int]]:
        """The parameters and buffers of each operation, by id."""
        uses: list[set[int]] = []
        for node in program.nodes:
            read = [n for n in node.all_input_nodes if n.op == "get_attr"]
            used = set[int]().union(*(self._state(n, program) for n in read))
            if node.op == "call_module":
                layer = self.wrapped.get_submodule(str(node.target))
                used |= {id(t) for t in (*layer.parameters(), *layer.buffers())}
            uses.append(used)
        return uses

    def _state(self, node: fx.Node, program: Program) -> set[int]:
        """Empty for a constant: outside the state dict and never written to."""
        owner, _, name = str(node.target).rpartition(".")
        holder = self.wrapped.get_submodule(owner)
        saved = name in holder._parameters or (
            name in holder._buffers and name not in holder._non_persistent_buffers_set
        )
        written = program.final[node] != program.values[node].version
        return {id(getattr(holder, name))} if saved or written else set()

    def _named(self, places: list[_Place]) -> list[_Place]:
        taken: set[str] = set()
        named = []
        for place in places:
            name = stem = _name(place.at[False], self.programs[False])
            for k in count(1):
                if name not in taken:
                    break
                name = f"{stem}_{k}"
            taken.add(name)
            named.append(replace(place, name=name))
        return named

    def describe(self, place: _Place, flops: int) -> CutPoint:
        value = self.programs[False].values[place.sent[False]]
        assert value.shape is not None
        assert value.dtype is not None
        shape = value.shape[1:]
        before = set[int]().union(*self.uses[False][: place.position[False] + 1])
        parameters = sum(p.numel() for p in self.model.parameters() if id(p) in before)
        kind = _kind(place.at[False], self.wrapped, self.programs[False])
        return CutPoint(
            place.name, kind, shape, prod(shape) * value.dtype.itemsize, parameters, flops
        )

    def segments(self, places: list[_Place]) -> list[nn.Module]:
        ends = list(pairwise([None, *places, None]))
        segments = [self._children(*pair) or self._segment(*pair) for pair in ends]
        attach_unused(segments, self.model)
        for segment in segments:
            segment.training = self.model.training
        return segments

    def _children(self, start: _Place | None, stop: _Place | None) -> nn.Module | None:
        """A slice of an nn.Sequential that is cut between its children: faster, and printable."""
        model = self.model
        hooked = model._forward_hooks or model._forward_pre_hooks
        if type(model).forward is not nn.Sequential.forward or hooked or self._overwrites(start):
            return None
        names = list(model._modules)
        ends = [tracing.path(end.at[False].target) for end in (start, stop) if end]
        if len({id(m) for m in model.children()}) < len(names) or not set(ends) <= set(names):
            return None
        first = names.index(ends[0]) + 1 if start else 0
        last = names.index(ends[-1]) + 1 if stop else len(names)
        return nn.Sequential(OrderedDict(list(model._modules.items())[first:last]))  # type: ignore[arg-type]

    def _overwrites(self, start: _Place | None) -> bool:
        return start is not None and any(
            program.written_later(start.sent[mode], start.at[mode])
            for mode, program in self.programs.items()
        )

    def _segment(self, start: _Place | None, stop: _Place | None) -> Segment:
        operations, targets = {}, []
        for mode, program in self.programs.items():
            first = start.position[mode] + 1 if start else 0
            last = stop.position[mode] + 1 if stop else len(program.nodes)
            result = stop.sent[mode] if stop else program.nodes[-1].all_input_nodes[0]
            entry = start.sent[mode] if start else None
            operations[mode], names = compiled(
                program.nodes[first:last], entry, result, clone=self._overwrites(start)
            )
            targets += names
        segment = Segment(operations[False], operations[True])
        for target in sorted(set(targets), key=lambda t: (t.count("."), targets.index(t))):
            constant = "." not in target and not hasattr(self.model, target)
            attach(segment, self.wrapped if constant else self.model, target)
        return segment


def _programs(wrapped: OneInput, x: Tensor) -> tuple[Graphs, dict[bool, Program], bool, str]:
    """Traced if possible, as a chain of children if not: graphs, runs, which of the two, a note."""
    wanted = tracing.outputs(wrapped, x)
    try:
        graphs, note = tracing.trace(wrapped, x)
        return graphs, tracing.run_alike(wrapped, x, graphs, wanted), True, note
    except UntraceableError as e:
        reason = str(e)
    try:
        graphs = tracing.chain(wrapped, tracing.rows(x, 2))
        programs = tracing.run_alike(wrapped, x, graphs, wanted)
    except UntraceableError as e:
        raise ValueError(
            f"cannot find cut points of {type(wrapped.model).__name__}: torch.fx cannot trace its "
            f"forward ({reason}), and its top-level children are no chain: {e}. Move the part that "
            "depends on values into a child module, or make every step between the children a "
            "child (nn.Flatten, say)"
        ) from e
    note = f"forward cannot be traced ({reason}): the top-level children are listed instead"
    return graphs, programs, False, note


def _check_example(model: nn.Module, x: Tensor) -> None:
    if not isinstance(x, Tensor) or x.dim() < 1 or len(x) < 1:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"an example batch (N, *shape) with N >= 1 wanted: got {got}")
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    wanted = [
        p.name
        for p in inspect.signature(model.forward).parameters.values()
        if p.default is p.empty and p.kind not in variadic
    ]
    if len(wanted) > 1:
        raise ValueError(
            f"a network with one input tensor wanted: {type(model).__name__}.forward needs "
            f"{', '.join(wanted)}; give the others defaults, or wrap the network in one that does"
        )


def _candidates(program: Program) -> dict[fx.Node, tuple[int, fx.Node]]:
    """By operation: the position behind it and the operation whose value crosses there.

    They differ where the operation overwrote a value in place and its own result goes unused.
    """
    found: dict[fx.Node, tuple[int, fx.Node]] = {}
    for i, sent in crossings(program.nodes).items():
        node = program.nodes[i]
        at = node if sent in program.writes.get(node, ()) else sent
        if at.op != "placeholder":
            found.setdefault(at, (i, sent))
    return found


def _element(node: fx.Node, program: Program) -> fx.Node | None:
    """The operation whose tuple or list this one takes an element of."""
    if node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem":
        source = node.args[0]
        if isinstance(source, fx.Node) and program.values[source].shape is None:
            return source
    return None


def _name(node: fx.Node, program: Program) -> str:
    if source := _element(node, program):
        return f"{_name(source, program)}[{node.args[1]}]"
    if node.op == "call_function":
        return str(getattr(node.target, "__name__", node.target))
    return tracing.path(node.target)


def _kind(node: fx.Node, wrapped: OneInput, program: Program) -> str:
    if source := _element(node, program):
        return _kind(source, wrapped, program)
    if node.op == "call_module":
        return type(wrapped.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))
