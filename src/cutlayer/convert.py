"""The one door for .pt files: tensors only, never code."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # why: only the name of the error that torch.load raises

import torch
from torch import Tensor

from .errors import ConfigError
from .tensor_file import save_tensors


def convert_weights(source: Path, target: Path) -> list[str]:
    """Write the tensors of a ``.pt`` file as safetensors; returns their names.

    Accepts a state dict, or a checkpoint that holds one under ``state_dict`` or ``model``.

    Raises:
        ConfigError: no such file, a file that would run code, or one without tensors.
    """
    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
    except OSError as e:
        raise ConfigError(f"convert {source}: cannot read: {e.strerror or e}") from e
    except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as e:
        raise ConfigError(
            f"convert {source}: a file of tensors wanted, written by "
            "torch.save(model.state_dict(), ...): got a whole model, other objects, or no such "
            "file at all; nothing in it was run"
        ) from e
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        raise ConfigError(f"convert {source}: a state dict wanted: got {type(loaded).__name__}")
    tensors = {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ConfigError(f"convert {source}: tensors by name wanted: got none")
    save_tensors(tensors, target)
    return sorted(tensors)
