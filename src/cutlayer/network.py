"""From an experiment's settings to its network, cut, and the party that holds each segment."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .config import Experiment
from .errors import ConfigError, said
from .models import DEFAULT_CUT
from .parties import Relay, Server, check_weights, optimiser
from .parts import resolve
from .precision import laid_out
from .split import cut
from .streams import stream
from .tensor_file import load_tensors
from .wire import FarSide


def cut_after(e: Experiment) -> list[str]:
    """The layers to cut after.

    Raises:
        ConfigError: none given, and the model has no customary one.
    """
    if not e.cut and e.model.kind not in DEFAULT_CUT:
        raise ConfigError(f"cut: model {e.model.kind!r} has no customary cut: give --cut LAYER")
    return list(e.cut) or [DEFAULT_CUT[e.model.kind]]


def bare_model(e: Experiment, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The whole network of an experiment, uncut, initialised from its stream or from ``weights``.

    Raises:
        ConfigError: it cannot be built for inputs of that shape, or its weights do not fit.
    """
    target = resolve("model", e.model.kind)
    accepted = inspect.signature(target).parameters
    given: dict[str, Any] = {"input_shape": input_shape, "classes": classes}
    given = {k: v for k, v in given.items() if k in accepted}
    try:
        with stream(e.seed, "network"):
            model = target(**given, **e.model.args)
    except Exception as error:  # whatever a user's own code may raise
        raise ConfigError(f"model {e.model.kind}: {said(error)}") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"model {e.model.kind}: a torch.nn.Module wanted, got {type(model).__name__}"
        )
    if e.weights:
        _load_weights(model, Path(e.weights))
    return model


def segments(e: Experiment, example: Tensor, classes: int) -> list[nn.Module]:
    """The network cut, one segment for each party.

    Args:
        example: ``(N, *shape)``, N >= 2, any input of the right shape.

    Raises:
        ConfigError: the model does not fit the inputs, the cut or the weights.
    """
    model = bare_model(e, tuple(example.shape[1:]), classes)
    try:
        return cut(model, cut_after(e), example)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"model {e.model.kind}: {error}") from error


def on_device(parts: Sequence[nn.Module], device: torch.device) -> list[nn.Module]:
    """Segments where they compute, their weights stored as convolutions like them."""
    return [laid_out(part.to(device)) for part in parts]


@torch.no_grad()
def message_shapes(
    e: Experiment, parts: Sequence[nn.Module], example: Tensor, classes: int
) -> list[tuple[int, ...]]:
    """Shape of one message behind every segment but the last.

    Raises:
        ConfigError: the last does not end in one number for each class.
    """
    passing, shapes = example, []
    for part in parts:
        passing = part.eval()(passing)
        shapes.append(tuple(passing.shape[1:]))
    if shapes[-1] != (classes,):
        raise ConfigError(
            f"model {e.model.kind}: one output for each of {classes} classes wanted: got outputs "
            f"of shape {shapes[-1]}"
        )
    return shapes[:-1]


def own_optimiser(e: Experiment, module: nn.Module) -> Optimizer | None:
    """The optimiser of one party, as the experiment has it."""
    return optimiser(e.optimiser, module, e.learning_rate, halve_every=e.halve_every)


def far_party(
    e: Experiment, number: int, segment: nn.Module, shape: tuple[int, ...], behind: FarSide | None
) -> Server | Relay:
    """Who holds a segment behind a cut.

    Args:
        number: Of its segment: 1 is next to the owners.
        shape: Of one message that it gets.
        behind: Who comes after it; nobody after the server.
    """
    common = dict[str, Any](root=e.seed, shape=shape, precision=e.precision)
    own = own_optimiser(e, segment)
    if behind is None:
        return Server(segment, own, **common)
    return Relay(f"relay{number}", segment, own, behind, **common)


def _load_weights(model: nn.Module, path: Path) -> None:
    try:
        weights = load_tensors(path)
        check_weights(model, weights, source=f"weights {path}")
    except OSError as e:
        raise ConfigError(f"weights {path}: cannot read: {e.strerror or e}") from e
    except ValueError as e:
        raise ConfigError(f"{e}; a .pt file goes through 'cutlayer convert'") from e
    model.load_state_dict(weights)
