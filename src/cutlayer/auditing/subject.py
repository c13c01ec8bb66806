"""What is audited: a trained network, and the places where it can be cut."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..assembly import Assembly
from ..config import Experiment
from ..errors import ConfigError, did_you_mean
from ..models import DEFAULT_CUT
from ..network import bare_model
from ..parts import each_constructed
from ..record import Record, Store
from ..split import CutPoint, CutPoints, cut_points
from ..tensor_file import save_tensors
from ..trained import OnProgress, run_training, silent, whole
from .request import Request
from .result import Place

_RESHAPES = ("Flatten", "flatten", "Identity", "view", "reshape", "Dropout", "Unflatten")


@dataclass(frozen=True)
class Subject:
    """What is audited, ready to be cut.

    weights: File of the whole network. record: Of its training, if that was ours.
    points: Where it can be cut. flops, parameters: Of all of it.
    """

    request: Request
    assembly: Assembly
    weights: Path
    record: Record | None
    points: Sequence[CutPoint]
    flops: int
    parameters: int

    @property
    def anywhere(self) -> str:
        """A cut, for what does not depend on where it is."""
        return first_cut(self.request.experiment, self.points)

    @property
    def checksum(self) -> str:
        """SHA-256 of the weights' file."""
        return hashlib.sha256(self.weights.read_bytes()).hexdigest()


def subject(request: Request, store: Store, on_progress: OnProgress = silent) -> Subject:
    """The network of a request, trained first where it comes without weights.

    Raises:
        ConfigError, ValueError: it cannot be built, read or cut.
        OSError: the store cannot be written.
    """
    e, record = request.experiment, None
    assembly = Assembly.of(e)
    example = assembly.dataset.take(assembly.shares.train[:2])[0]
    shape = tuple(example.shape[1:])
    points = points_of(bare_model(e, shape, assembly.classes), example)
    weights = Path(e.weights).absolute() if e.weights else None
    if weights is None or e.passes:
        uncut = assembly.variant(cut=(first_cut(e, points),))
        record = run_training(uncut, store, on_progress=on_progress)
        weights = (store.root / f"{record.id}.safetensors").absolute()
        if not weights.is_file():
            save_tensors(whole(store, record.id), weights)
    trained = bare_model(replace(e, weights=str(weights)), shape, assembly.classes)
    return Subject(request, assembly, weights, record, points, *size_of(trained, example))


def points_of(model: nn.Module, example: Tensor) -> CutPoints:
    """Where a network can be cut.

    Raises:
        ConfigError: nowhere.
    """
    try:
        points = cut_points(model, example)
    except (ValueError, RuntimeError) as e:
        raise ConfigError(f"model: {e}") from e
    if not points:
        raise ConfigError(f"model: a place wanted where one tensor crosses: none; {points.note}")
    return points


def first_cut(e: Experiment, points: Sequence[CutPoint]) -> str:
    """Where the network is cut to be trained; the weights do not depend on it."""
    return DEFAULT_CUT.get(e.model.kind, points[0].name)


def size_of(model: nn.Module, example: Tensor) -> tuple[int, int]:
    """FLOPs for one sample, and parameters, of the whole network."""
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model.eval()(example)
    return counted.get_total_flops() // len(example), sum(p.numel() for p in model.parameters())


def places(points: Sequence[CutPoint], request: Request, limits: dict[str, float]) -> list[Place]:
    """Every cut point, and why nothing is tried at some.

    Raises:
        ConfigError: a cut was asked for that is none.
    """
    names = [point.name for point in points]
    if unknown := [name for name in request.cuts if name not in names]:
        raise ConfigError(f"cut {unknown[0]!r}: unknown{did_you_mean(unknown[0], names)}")
    found: list[Place] = []
    for point in points:
        facts = {
            "name": point.name,
            "kind": point.kind,
            "shape": tuple(point.shape),
            "bytes": point.bytes_per_sample,
            "parameters": point.parameters,
            "flops": point.flops,
        }
        why = _ruled_out(point, found[-1] if found else None, request, limits)
        found.append(Place(**facts, ruled_out=why))  # type: ignore[arg-type]
    return found


def _ruled_out(
    point: CutPoint, before: Place | None, request: Request, limits: dict[str, float]
) -> str:
    if request.cuts and point.name not in request.cuts:
        return "not among the cuts that were asked for"
    sizes = {
        "owner_parameters": (point.parameters, "parameters at the owner"),
        "owner_flops": (point.flops, "FLOPs at the owner"),
        "message_bytes": (point.bytes_per_sample, "bytes a message"),
    }
    for name, (size, words) in sizes.items():
        if name in limits and size > limits[name]:
            return f"{size:,} {words}: at most {limits[name]:,.0f} wanted"
    same_size = before is not None and before.bytes == point.bytes_per_sample
    if before is not None and point.kind in _RESHAPES and same_size and not before.ruled_out:
        return f"sends what {before.name} sends"
    return ""


def served_at(base: Assembly, cut: str, weights: Path | str, **changes: Any) -> Assembly:
    """The network as it was trained, cut there, but for changes."""
    given = {"cut": (cut,), "weights": str(weights), "epochs": 0, "keep": "last"}
    return base.variant(**(given | changes))


def trained_with(
    base: Assembly, cut: str, defence: Sequence[str], epochs: int, **changes: Any
) -> Assembly:
    """A network that is trained with a defence, from where the audited one began."""
    return base.variant(cut=(cut,), defence=each_constructed(defence), epochs=epochs, **changes)
