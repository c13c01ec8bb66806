"""What may not be exceeded, and what must stay hidden. Importing this module imports no torch."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Protect = Literal["class", "individual", "attribute", "pixels"]
PROTECTABLE: dict[str, str] = {
    "class": "what class an input is of",
    "individual": "whose input it is, out of all victims",
    "attribute": "a private attribute of the input",
    "pixels": "what the input looks like",
}
SERVED = ("laplace", "gaussian", "dropout", "clip-norm", "clipped-laplace", "dropout-laplace")
RETRAINED = ("nopeek", "laplace-in-training", "nopeek-laplace")
AT_CUTS = (*SERVED, *RETRAINED)
OF_ANSWERS = (
    *("rounding", "top-k", "temperature", "output-noise", "rounded-noise", "same-class-swap"),
    *("codebook", "purification", "adversarial-noise", "lpa-generator", "label-only"),
)
FAMILIES = (*AT_CUTS, *OF_ANSWERS)  # of defences to try
ANSWERS = "the answers"  # where a prediction API's clients listen; no layer has such a name
CLIENT = "prediction-api"  # the threat model of those who see the answers


def _help(text: str, **more: Any) -> dict[str, Any]:
    return {"help": text, **more}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may not be exceeded; ``None`` is no limit. Every field is a flag.

    Counts of the owner's part may be written as a share of the whole network, "50%".
    """

    accuracy_loss: float | None = field(
        default=None,
        metadata=_help("accuracy that may be given up, 0.02 where no floor is given", most=1),
    )
    accuracy_floor: float | None = field(
        default=None, metadata=_help("accuracy that must be kept", most=1)
    )
    leakage: float | None = field(
        default=None, metadata=_help("leakage that the worst attacker may reach", most=1)
    )
    owner_parameters: float | str | None = field(
        default=None, metadata=_help("parameters of the owner's part, a count or 50%%")
    )
    owner_flops: float | str | None = field(
        default=None, metadata=_help("FLOPs of the owner's part for one sample, a count or 50%%")
    )
    message_bytes: float | None = field(
        default=None, metadata=_help("bytes of the message about one sample")
    )
    milliseconds: float | None = field(
        default=None,
        metadata=_help("time of the owner's part for one sample, on the machine of the audit"),
    )
    distortion: float | None = field(
        default=None,
        metadata=_help(
            "mean L1 distance between what a prediction API releases and what the network says, "
            "0 to 2; 0.02 where its clients are feared and none is given",
            most=2,
        ),
    )


def faults_of(limits: Limits) -> list[str]:
    """What is wrong with them, one line each."""
    found = []
    for f in fields(limits):
        value = getattr(limits, f.name)
        most = f.metadata.get("most", math.inf)
        if isinstance(value, str):
            share = _share(value)
            if share is None or f.name not in ("owner_parameters", "owner_flops"):
                found.append(f"{f.name}: a number{_or_share(f.name)} wanted, got {value!r}")
        elif value is not None and not 0 <= value <= most:
            top = "" if most == math.inf else f" to {most}"
            found.append(f"{f.name}: a number from 0{top} wanted, got {value}")
    return found


def _or_share(name: str) -> str:
    return ", or a share like 50%," if name.startswith("owner_") else ""


def _share(text: str) -> float | None:
    """A share of the whole, "50%", as a number.

    >>> _share("50%"), _share("half")
    (0.5, None)
    """
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        return None
    return value if text.endswith("%") and 0 <= value <= 1 else None


def in_numbers(limits: Limits, *, parameters: int, flops: int) -> dict[str, float]:
    """The limits by name, shares of the network as counts.

    Args:
        parameters, flops: Of the whole network.

    >>> in_numbers(Limits(owner_flops="50%", leakage=0.1), parameters=10, flops=300)
    {'leakage': 0.1, 'owner_flops': 150.0}
    """
    whole = {"owner_parameters": parameters, "owner_flops": flops}
    found = {}
    for name, value in asdict(limits).items():
        if isinstance(value, str):
            share = _share(value)
            assert share is not None
            found[name] = share * whole[name]
        elif value is not None:
            found[name] = float(value)
    return found
