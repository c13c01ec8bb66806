"""``cutlayer.audit``: the audit from Python, of a network and data that are at hand."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset as TorchDataset

from ..config import parse
from ..data import Dataset
from ..errors import ConfigError
from ..parts import each_constructed
from ..record import address, store_at
from ..tensor_file import save_tensors
from ..wire.identity import Credentials
from .deliver import deliver
from .limits import FAMILIES, Limits, Protect
from .request import Request
from .result import Audit
from .run import carry_out
from .search import OnTask


def audit(
    model: str | nn.Module = "titcombe",
    data: str | Dataset | TorchDataset[Any] = "digits",
    *,
    weights: str | Path | None = None,
    protect: Protect = "individual",
    threats: Sequence[str] = (),
    cuts: Sequence[str] = (),
    defences: Sequence[str] = FAMILIES,
    attacks: Sequence[str] = (),
    repeats: int = 16,
    victims: int = 500,
    attack_seeds: int = 3,
    retrain: int = 0,
    attribute: str | Path | None = None,
    budget: float | None = None,
    workers: int = 1,
    storage: str | None = None,
    store: str | Path = "runs",
    out: str | Path | None = None,
    queries: int = 0,
    identity: str | Path | None = None,
    accuracy_loss: float | None = None,
    accuracy_floor: float | None = None,
    leakage: float | None = None,
    owner_parameters: float | str | None = None,
    owner_flops: float | str | None = None,
    message_bytes: float | None = None,
    milliseconds: float | None = None,
    distortion: float | None = None,
    on_task: OnTask = lambda running: None,
    **settings: Any,
) -> Audit:
    """Where to cut a network, with which defence and how strong, judged by the strongest attacker.

    In a notebook, the result shows itself. What every argument means: ``cutlayer audit --help``.

    Args:
        model: A built-in name, ``package.module:function``, or a network; a network is audited as
            it is, with its weights.
        data: A built-in name, ``package.module:function``, or a data set. Data and networks that
            are handed over stay in this process: then ``workers`` is 1.
        out: Folder for page, record, policy and weights; by default nothing is written but runs.
        settings: Further fields of an experiment: ``epochs``, ``data_root``, ``shares``, ``seed``…

    Raises:
        ConfigError: everything that is wrong with what is asked, one line each.
        OSError: store, storage or ``out`` cannot be written.
    """
    handed = not (isinstance(model, str) and isinstance(data, str))
    if handed and workers != 1:
        raise ConfigError(
            f"workers: 1 wanted for a network or data set that is handed over, got {workers}: "
            "or give package.module:function"
        )
    store_ = store_at(Path(store))
    raw: dict[str, Any] = dict(settings) | {"data": data if isinstance(data, str) else _data(data)}
    raw["weights"] = None if weights is None else str(weights)
    if isinstance(model, nn.Module):
        raw |= _network(model, store_.root)
    else:
        raw["model"] = model
    limits = {
        "accuracy_loss": accuracy_loss,
        "accuracy_floor": accuracy_floor,
        "leakage": leakage,
        "owner_parameters": owner_parameters,
        "owner_flops": owner_flops,
        "message_bytes": message_bytes,
        "milliseconds": milliseconds,
        "distortion": distortion,
    }
    request = Request(
        experiment=parse({k: v for k, v in raw.items() if v is not None}),
        protect=protect,
        threats=tuple(threats),
        limits=Limits(**limits),  # type: ignore[arg-type]
        cuts=tuple(cuts),
        families=tuple(defences),
        attacks=each_constructed(attacks, "attack"),
        repeats=repeats,
        retrain=retrain,
        attribute=None if attribute is None else str(attribute),
        most_victims=victims,
        attack_seeds=attack_seeds,
    )
    found, what = carry_out(
        request, store=store_, storage=storage, workers=workers, minutes=budget, on_task=on_task
    )
    if out is not None:
        auditor = None if identity is None else Credentials.load(Path(identity))
        deliver(found, what, Path(out), store=store_, queries=queries, auditor=auditor)
    return found


def _network(model: nn.Module, root: Path) -> dict[str, Any]:
    """A network that was handed over, as an experiment names it."""
    state = {k: v.detach().clone() for k, v in model.state_dict().items()}
    name = f"network_{address({'layers': repr(model)})}"
    setattr(_handed(), name, lambda: copy.deepcopy(model))
    weights = root / f"{name}.safetensors"
    save_tensors(state, weights)
    return {"model": f"{__package__}.handed:{name}", "weights": str(weights.absolute())}


def _data(data: Dataset | TorchDataset[Any]) -> str:
    name = f"data_{len(vars(_handed()))}"
    setattr(_handed(), name, lambda: data)
    return f"{__package__}.handed:{name}"


def _handed() -> Any:
    from . import handed

    return handed
