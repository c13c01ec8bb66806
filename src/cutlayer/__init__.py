"""Split a neural network between data and compute, attack the split, defend it.

The flow, and where it is written::

    data ─▶ owner's segment ─▶ defences at the cut ─▶ wire ─▶ server's segment ─▶ prediction
    data/   split, models      defences/               wire/    parties, training
                                        └─ an attack sees the message ─▶ x_hat ─▶ metrics ─▶ record
                                           threat, attacks/, decoders      metrics/, evaluation

``experiment`` is the whole of it: config in, record out. Names are imported on first use, so that
``import cutlayer`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assembly import Assembly as Assembly
    from .attacks import InverseNetwork as InverseNetwork
    from .attacks import MaximumLikelihood as MaximumLikelihood
    from .attacks import Shadow as Shadow
    from .auditing.api import audit as audit
    from .config import Experiment as Experiment
    from .config import parse as parse
    from .data import Dataset as Dataset
    from .data import Shares as Shares
    from .data import share_out as share_out
    from .defences import Chain as Chain
    from .defences import ClipNorm as ClipNorm
    from .defences import Defence as Defence
    from .defences import Defended as Defended
    from .defences import Dropout as Dropout
    from .defences import Gaussian as Gaussian
    from .defences import Laplace as Laplace
    from .defences import NoPeek as NoPeek
    from .defences import StudentT as StudentT
    from .defences import Uniform as Uniform
    from .errors import ConfigError as ConfigError
    from .experiment import run_attack as run_attack
    from .experiment import run_training as run_training
    from .metrics import (
        bias_corrected_distance_correlation as bias_corrected_distance_correlation,
    )
    from .metrics import distance_correlation as distance_correlation
    from .record import Record as Record
    from .record import Store as Store
    from .release import Release as Release
    from .split import cut as cut
    from .split import cut_points as cut_points
    from .threat import Observed as Observed
    from .threat import View as View

_WHERE = {
    "assembly": ("Assembly",),
    "attacks": ("InverseNetwork", "MaximumLikelihood", "Shadow"),
    "auditing.api": ("audit",),
    "config": ("Experiment", "parse"),
    "data": ("Dataset", "Shares", "share_out"),
    "defences": (
        *("Chain", "ClipNorm", "Defence", "Defended", "Dropout", "Gaussian", "Laplace"),
        *("NoPeek", "StudentT", "Uniform"),
    ),
    "errors": ("ConfigError",),
    "experiment": ("run_attack", "run_training"),
    "metrics": ("bias_corrected_distance_correlation", "distance_correlation"),
    "record": ("Record", "Store"),
    "release": ("Release",),
    "split": ("cut", "cut_points"),
    "threat": ("Observed", "View"),
}
_HOME = {name: module for module, names in _WHERE.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cutlayer' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
