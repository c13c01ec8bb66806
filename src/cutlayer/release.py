"""What an operator puts between a classifier and its clients: defences of answers, prepared.

The same object releases answers in an experiment, where an attacker hears them, and behind a real
API, where it comes from a file. There its keys are secret: they come from the operating system and
stand in no record.
"""

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from .defences.outputs import OutputDefence, Private
from .errors import ConfigError
from .parts import Part, constructed, registry, resolve
from .streams import stream
from .tensor_file import load_described, save_tensors

_FORMAT = "cutlayer release 1"
_SUM = 1e-3  # that the entries of a vector may be off 1 in all


class Release(nn.Module):
    """Confidence vectors in, what is released out.

    Args:
        members: Prepared, in the order in which they act.
        classes: Entries of a vector. input_shape: Of a query, without the batch.
    """

    def __init__(
        self, members: Sequence[OutputDefence], *, classes: int, input_shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.classes = classes
        self.input_shape = tuple(input_shape)

    @classmethod
    def prepared(
        cls, members: Sequence[OutputDefence], own: Private, *, root: int | None = None
    ) -> Self:
        """Each fitted to what comes from those before it.

        Args:
            own: The operator's samples, of training, and what the classifier says of them.
            root: Of the random streams, so that an experiment can be repeated. Without it the keys
                come from the operating system: so does whoever serves for real.
        """
        p, ready = own.p, list[OutputDefence]()
        for i, member in enumerate(members):
            if ready:
                with torch.no_grad():
                    parts = zip(p.split(256), own.x.split(256), strict=True)
                    p = torch.cat([ready[-1](q, x=part) for q, part in parts])
            with stream(secrets.randbits(63) if root is None else root, "output-defence", i):
                ready.append(member.fit(Private(own.x, own.y, p)).eval())
            if root is None:
                _give_secret_keys(member)
        return cls(ready, classes=own.classes, input_shape=tuple(own.x.shape[1:]))

    @property
    def needs_input(self) -> bool:
        """Whether answers hang on the query as well as on what the classifier says of it."""
        return any(member.needs_input for member in self._members())

    def forward(self, p: Tensor, x: Tensor | None = None) -> Tensor:
        """What is released instead of ``p``.

        Args:
            p: ``(N, K)``, entries >= 0 that sum to 1: a softmax.
            x: ``(N, ...)``, the queries, where ``needs_input``.

        Raises:
            ValueError: not such vectors, or the queries are missing or of another shape.
        """
        self._check(p, x)
        return self.answered(p, x)

    @torch.no_grad()
    def answered(self, p: Tensor, x: Tensor | None) -> Tensor:
        """The same without looking at what is given."""
        for member in self._members():
            p = member.forward(p, x=x)
        return p

    def save(self, path: Path) -> None:
        """Write it as safetensors, for ``load``. Whoever reads the file can undo keyed noise: it is
        readable to its owner alone.

        Raises:
            ConfigError: a member is not built in.
            ValueError: a member draws afresh for every answer, from a generator whose seed has 32
                bits: a client could try them all.
            OSError: the place cannot be written.
        """
        for member in self._members():
            if member.stochastic:
                raise ValueError(
                    f"{type(member).__name__} that gives the same answer to the same question "
                    "wanted: got one that draws afresh, which repeats average away; make it "
                    "repeatable"
                )
        told = {
            "format": _FORMAT,
            "defences": json.dumps([_spec(member) for member in self._members()]),
            "classes": str(self.classes),
            "input_shape": json.dumps(list(self.input_shape)),
        }
        path.touch(mode=0o600)
        save_tensors(self.state_dict(), path, told)
        path.chmod(0o600)

    @classmethod
    def load(cls, path: Path) -> Self:
        """What ``save`` wrote, ready to serve.

        Raises:
            OSError: there is no such file.
            ValueError: it is none of these, or a damaged one.
        """
        tensors, told = load_described(path)
        if told.get("format") != _FORMAT:
            raise ValueError(
                f"{path}: defences of answers wanted ({_FORMAT!r}): got {told.get('format')!r}"
            )
        try:
            classes, shape = int(told["classes"]), tuple(map(int, json.loads(told["input_shape"])))
            members = [_member(str(spec)) for spec in json.loads(told["defences"])]
            for i, member in enumerate(members):
                own = {
                    name.removeprefix(f"members.{i}."): t
                    for name, t in tensors.items()
                    if name.startswith(f"members.{i}.")
                }
                member.laid_out(classes, shape)
                for name in own.keys() & dict(member.named_buffers(recurse=False)).keys():
                    setattr(member, name, torch.empty_like(own[name]))
                member.load_state_dict(own)
        except (KeyError, TypeError, ValueError, RuntimeError, ConfigError) as e:
            raise ValueError(f"{path}: undamaged defences of answers wanted: {e}") from e
        found = cls(members, classes=classes, input_shape=shape)
        return found.requires_grad_(False).eval()

    def _members(self) -> Iterator[OutputDefence]:
        for member in self.members:
            assert isinstance(member, OutputDefence)
            yield member

    def _check(self, p: Tensor, x: Tensor | None) -> None:
        if p.ndim != 2 or p.shape[1] != self.classes:
            raise ValueError(f"vectors (N, {self.classes}) wanted: got {tuple(p.shape)}")
        if len(p) and not (p.amin() >= 0 and (p.sum(1) - 1).abs().amax() <= _SUM):
            raise ValueError(
                "confidence vectors wanted, entries >= 0 that sum to 1: got entries from "
                f"{p.min():.3g} and sums from {p.sum(1).min():.3g} to {p.sum(1).max():.3g}; "
                "logits take softmax(1) first"
            )
        if x is None and self.needs_input:
            raise ValueError("the queries wanted, which this defence looks at: pass x")
        if x is not None and x.shape != (len(p), *self.input_shape):
            raise ValueError(
                f"queries of shape {(len(p), *self.input_shape)} wanted: got {tuple(x.shape)}"
            )


def _give_secret_keys(member: OutputDefence) -> None:
    """Keys out of the operating system; torch's generator keeps 32 bits of a seed."""
    for name, held in member.named_buffers():
        if name.rpartition(".")[2] == "key":
            held.copy_(torch.frombuffer(bytearray(os.urandom(8 * len(held))), dtype=torch.int64))


def _spec(member: OutputDefence) -> str:
    """As on the command line, with every argument."""
    import inspect

    for kind in registry("defence"):
        target = resolve("defence", kind)
        if target is type(member):
            every = {n: getattr(member, n) for n in inspect.signature(target).parameters}
            return str(Part(kind, {n: v for n, v in every.items() if v is not None}))
    raise ConfigError(
        f"built-in defences wanted: got {type(member).__name__}, which a file cannot name"
    )


def _member(spec: str) -> OutputDefence:
    part = Part.parse(spec)
    if part.kind not in registry("defence"):
        raise ValueError(f"a built-in defence wanted, got {part.kind!r}")
    part = constructed(part)
    member = resolve("defence", part.kind)(**part.args)
    if not isinstance(member, OutputDefence):
        raise ValueError(f"a defence of answers wanted, got {part.kind!r}")
    return member
