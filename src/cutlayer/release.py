"""What an operator puts between a classifier and its clients: defences of answers, prepared.

The same object releases answers in an experiment, where an attacker hears them, and behind a real
API, where it comes from a file. There its keys are secret: they come from the operating system and
stand in no record.
"""

import inspect
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
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
_HEAD = {"format", "defences", "classes", "input_shape", "dtype"}
_SUM = 1e-3  # that the entries of a vector may be off 1 in all
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Release(nn.Module):
    """Confidence vectors in, what is released out.

    Args:
        members: Prepared, in the order in which they act.
        classes: Entries of a vector, 2 at least. input_shape: Of a query, without the batch.
        dtype: Of all that is computed and answered.
    """

    def __init__(
        self,
        members: Sequence[OutputDefence],
        *,
        classes: int,
        input_shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.classes = classes
        self.input_shape = tuple(input_shape)
        self.dtype = dtype

    @classmethod
    def prepared(
        cls,
        members: Sequence[OutputDefence],
        own: Private,
        *,
        root: int | None = None,
        secret: bool = True,
    ) -> Self:
        """Each fitted to what comes from those before it.

        Args:
            own: The operator's samples, of training, and what the classifier says of them.
            root: Of the random streams that fitting draws from; none: nobody knows it.
            secret: The keys come from the operating system, as for whoever serves for real. A
                class of the user's own has its key replaced if that is a buffer ``key`` ``(4,)`` of
                int64. Otherwise ``root`` gives the keys as well, so that an experiment can be
                repeated.
        """
        p, ready = own.p, list[OutputDefence]()
        for i, member in enumerate(members):
            if ready:
                with torch.no_grad():
                    parts = zip(p.split(256), own.x.split(256), strict=True)
                    p = torch.cat([ready[-1](q, x=part) for q, part in parts])
            with stream(secrets.randbits(63) if root is None else root, "output-defence", i):
                ready.append(member.fit(Private(own.x, own.y, p)).eval())
        shape = tuple(own.x.shape[1:])
        made = cls(ready, classes=own.classes, input_shape=shape, dtype=own.p.dtype)
        if secret:
            for key in made.keys().values():
                key.copy_(torch.frombuffer(bytearray(os.urandom(32)), dtype=torch.int64))
        return made

    def keys(self) -> dict[str, Tensor]:
        """What noise is drawn from, by the name of the buffer, ``(4,)`` of int64 each."""
        return {
            name: held
            for name, held in self.named_buffers()
            if name.endswith(".key") and held.shape == (4,) and held.dtype == torch.int64
        }

    @property
    def needs_input(self) -> bool:
        """Whether answers hang on the query as well as on what the classifier says of it."""
        return any(member.needs_input for member in self._members())

    def forward(self, p: Tensor, x: Tensor | None = None) -> Tensor:
        """What is released instead of ``p``.

        Args:
            p: ``(N, K)``, entries >= 0 that sum to 1: a softmax.
            x: ``(N, ...)``, the queries, where ``needs_input``.

        Returns:
            ``(N, K)`` of ``dtype``.

        Raises:
            ValueError: not such vectors, or the queries are missing or of another shape.
        """
        p = p.to(self.dtype)
        self._check(p, x)
        return self.answered(p, None if x is None else x.to(self.dtype))

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
            ValueError: a member is not built in, or has an argument that no file can hold; or it
                draws afresh for every answer, from a generator whose seed has 32 bits: a client
                could try them all.
            OSError: the place cannot be written.
        """
        told = self.told()
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            aside.touch(mode=0o600)
            save_tensors(self.state_dict(), aside, told)
            aside.chmod(0o600)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def told(self) -> dict[str, str]:
        """What the head of its file says: everything but the tensors.

        Raises:
            ValueError: as ``save`` does.
        """
        return {
            "format": _FORMAT,
            "defences": json.dumps([_spec(member) for member in self._members()]),
            "classes": str(self.classes),
            "input_shape": json.dumps(list(self.input_shape)),
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    @classmethod
    def load(cls, path: Path) -> Self:
        """What ``save`` wrote, ready to serve. Nothing in the file is run, and no more memory is
        taken than it has bytes.

        Raises:
            OSError: there is no such file.
            ValueError: it is none of these, or a damaged one.
        """
        tensors, told = load_described(path)
        if told.get("format") != _FORMAT:
            raise ValueError(
                f"{path}: defences of answers wanted ({_FORMAT!r}): got {told.get('format')!r}"
            )
        if lacking := _HEAD - told.keys():
            raise ValueError(f"{path}: {', '.join(sorted(lacking))} wanted in its head")
        try:
            return cls._of(tensors, told).requires_grad_(False).eval()
        except (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError) as e:
            raise ValueError(f"{path}: undamaged defences of answers wanted: {e}") from e

    @classmethod
    def _of(cls, tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> Self:
        classes, dtype = int(told["classes"]), _DTYPES[told["dtype"]]
        shape = tuple(int(side) for side in json.loads(told["input_shape"]))
        if classes < 2 or min(shape, default=1) < 1:
            raise ValueError(f"2 classes or more and a shape wanted: got {classes} and {shape}")
        members = []
        for spec in json.loads(told["defences"]):
            with torch.device("meta"):
                members.append(_member(str(spec)).laid_out(classes, shape).to(dtype))
        made = cls(members, classes=classes, input_shape=shape, dtype=dtype)
        for name, held in made.named_buffers():
            if name in tensors and held.shape == (0, 0):
                if tensors[name].ndim != 2 or tensors[name].shape[1] != classes:
                    raise ValueError(f"{name}: (n, {classes}) wanted, got {tensors[name].shape}")
                place = made.get_submodule(name.rpartition(".")[0])
                setattr(place, name.rpartition(".")[2], held.new_empty(tensors[name].shape))
        for name, held in made.state_dict().items():
            if name in tensors and not _is_sound(tensors[name], held.dtype):
                raise ValueError(f"{name}: finite numbers of {held.dtype} wanted")
        made.load_state_dict(dict(tensors), assign=True)
        return made

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


def _is_sound(t: Tensor, dtype: torch.dtype) -> bool:
    return t.dtype == dtype and bool(t.isfinite().all())


def _spec(member: OutputDefence) -> str:
    """As on the command line, with every argument, from which it can be made again."""
    if member.stochastic:
        raise ValueError(
            f"{type(member).__name__} that gives the same answer to the same question wanted: got "
            "one that draws afresh, which repeats average away; make it repeatable"
        )
    known = {target: kind for kind, target in registry("defence").items()}
    if type(member) not in known:
        raise ValueError(
            f"built-in defences wanted: got {type(member).__name__}, which a file cannot name"
        )
    every = {n: getattr(member, n) for n in inspect.signature(type(member)).parameters}
    spec = str(Part(known[type(member)], {n: v for n, v in every.items() if v is not None}))
    _member(spec)
    return spec


def _member(spec: str) -> OutputDefence:
    """A defence as on the command line.

    Raises:
        ValueError: it is not built in, or not of answers, or has arguments that it does not take.
    """
    try:
        part = Part.parse(spec)
        if part.kind not in registry("defence"):
            raise ValueError(f"a built-in defence wanted, got {part.kind!r}")
        part = constructed(part)
    except ConfigError as e:
        raise ValueError(str(e)) from e
    member = resolve("defence", part.kind)(**part.args)
    if not isinstance(member, OutputDefence):
        raise ValueError(f"a defence of answers wanted, got {part.kind!r}")
    return member
