"""The named threat models, and the View: everything an adversary may touch.

A threat model is data: it says who attacks and with what, goes into the record, and stands in every
table row. An attack that needs more than its model grants is refused before it starts.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .errors import did_you_mean

CAPABILITIES: dict[str, str] = {
    "auxiliary": "samples of its own",
    "auxiliary_labels": "labels for its own samples",
    "query": "may send its own samples through the defended owner's side and see the message",
    "owner_segment": "holds the weights of the owner's segment",
    "owner_structure": "knows the layers of the owner's segment, not the weights",
    "far_segment": "holds the segment behind the cut",
    "defence": "knows the defence and its strength",
    "confidences": "sees the confidence vectors of the prediction API",
}


@dataclass(frozen=True)
class ThreatModel:
    """Who attacks, and what they have.

    Args:
        name: As records and the command line call it.
        who: The adversary, in plain words.
        has: Names out of ``CAPABILITIES``.
        source: Where the model was described.
    """

    name: str
    who: str
    has: frozenset[str]
    source: str

    def in_words(self) -> list[str]:
        """One clause for each thing the adversary has."""
        implied = {"owner_structure"} if "owner_segment" in self.has else set()
        return [words for name, words in CAPABILITIES.items() if name in self.has - implied]

    def to_dict(self) -> dict[str, Any]:
        """For the record."""
        return {**asdict(self), "has": sorted(self.has), "words": self.in_words()}


def _model(name: str, who: str, source: str, *has: str) -> ThreatModel:
    assert set(has) <= CAPABILITIES.keys()
    return ThreatModel(name, who, frozenset({"auxiliary", "defence", *has}), source)


_TITCOMBE, _HE = "Titcombe et al. 2021, appendix A", "He et al. 2019, table 1"
THREATS: dict[str, ThreatModel] = {
    m.name: m
    for m in (
        _model(
            "server-and-owner",
            "the computation server and one data owner, working together",
            _TITCOMBE,
            *("auxiliary_labels", "query", "owner_segment", "owner_structure", "far_segment"),
        ),
        _model(
            "server-alone",
            "the computation server, with a stolen copy of the owner's segment",
            _TITCOMBE,
            *("query", "owner_segment", "owner_structure", "far_segment"),
        ),
        _model(
            "owner-alone",
            "a data owner who intercepts another owner's messages",
            _TITCOMBE,
            *("auxiliary_labels", "query", "owner_segment", "owner_structure"),
        ),
        _model(
            "white-box",
            "a server that knows the owner's segment",
            _HE,
            *("query", "owner_segment", "owner_structure", "far_segment"),
        ),
        _model(
            "black-box",
            "a server that may query the owner's side but not look inside",
            _HE,
            *("query", "far_segment"),
        ),
        _model(
            "query-free",
            "a server that only listens",
            _HE,
            *("auxiliary_labels", "owner_structure", "far_segment"),
        ),
        _model(
            "prediction-api",
            "a client of a prediction API",
            "Zhou et al. 2024",
            "confidences",
        ),
    )
}


def threat_model(name: str) -> ThreatModel:
    """The threat model of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in THREATS:
        raise ValueError(f"threat {name!r}: unknown{did_you_mean(name, THREATS)}")
    return THREATS[name]


@dataclass(frozen=True)
class Observed:
    """What was overheard: ``messages`` ``(N, m, ...)``, m repeats of one input each.

    labels: ``(N,)`` where the adversary knows them, else ``None``.
    """

    messages: Tensor
    labels: Tensor | None = None


class Imitation(Protocol):
    """A segment of the adversary's own in the owner's place, among the defences that it knows."""

    def trained(self, x: Tensor) -> Tensor:
        """Samples to messages as while the network is trained; gradients reach the segment."""

    def overheard(self, x: Tensor) -> Tensor:
        """Samples to messages as they would be overheard, ``(N, m, ...)``."""

    def side(self) -> nn.Module:
        """A copy as it is now, in the form of ``View.owner_side``."""


@dataclass(frozen=True)
class Bare:
    """An imitation without any defence."""

    segment: nn.Module

    def trained(self, x: Tensor) -> Tensor:
        message: Tensor = self.segment(x)
        return message

    @torch.no_grad()
    def overheard(self, x: Tensor) -> Tensor:
        return self.trained(x)[:, None]

    def side(self) -> nn.Module:
        return copy.deepcopy(self.segment)


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything the adversary may touch; what the threat model withholds is ``None``.

    auxiliary, validation: ``(M, ...)`` samples in [0, 1] that the adversary owns, disjoint from
        the victims; from the owners' data, too, unless the experiment gives it these, or one of
        several owners attacks alone with its own. ``validation`` is for stopping and choosing.
    auxiliary_labels, validation_labels: their labels.
    query: ``(N, ...)`` samples to messages ``(N, m, ...)``, through the defended serving path,
        m = ``repeats``; counted.
    confidences: Of a prediction API, ``(N, ...)`` samples to the vectors that it releases,
        ``(N, m, K)``; counted.
    query_repeats: Two queries of the same sample give the same message.
    owner_side: Samples to the message that the known defence starts from: everything but what is
        random at the cut. Differentiable; random where a defence on the input is.
    imitate: Puts a segment of the adversary's own among the defences it knows: all the owner's,
        or none.
    traffic: By name of a part of ``far_segment`` that the adversary does not hold: messages that
        went into it, and what came out, ``(M, ...)`` each.
    message_shape: Of one message; anyone who listens sees it.
    repeats: How many messages of each victim's input are overheard.
    """

    threat: ThreatModel
    auxiliary: Tensor
    validation: Tensor
    auxiliary_labels: Tensor | None = None
    validation_labels: Tensor | None = None
    query: Callable[[Tensor], Tensor] | None = None
    confidences: Callable[[Tensor], Tensor] | None = None
    query_repeats: bool = True
    owner_segment: nn.Module | None = None
    owner_side: nn.Module | None = None
    owner_structure: nn.Module | None = None
    far_segment: nn.Module | None = None
    defence: tuple[str, ...] | None = None
    imitate: Callable[[nn.Module], Imitation] = Bare
    traffic: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    repeats: int = 1
    classes: int = 0
    message_shape: tuple[int, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


@torch.no_grad()
def without_weights(segment: nn.Module) -> nn.Module:
    """The same layers with weights drawn anew: all that knowing the structure gives."""
    blank = copy.deepcopy(segment)
    for parameter in blank.parameters():
        nn.init.normal_(parameter, std=0.05)
    for module in blank.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return blank.requires_grad_(True)


def build_view(
    threat: ThreatModel,
    *,
    auxiliary: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    send: Callable[[Tensor, int], Tensor],
    stochastic: bool,
    owner_segment: nn.Module,
    far_segment: nn.Module,
    defence: tuple[str, ...],
    repeats: int,
    classes: int,
    owner_side: nn.Module | None = None,
    imitate: Callable[[nn.Module], Imitation] = Bare,
    message_shape: tuple[int, ...] = (),
    traffic: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> View:
    """Hand out what the threat model grants, and nothing else.

    Args:
        send: The defended serving path: ``(N, ...)`` and m to messages ``(N, m, ...)``, or to what
            a prediction API releases.
        stochastic: Whether two calls of it differ.
        owner_side: The same path without what is random at the cut, for an adversary who knows
            the defence.
        imitate: What the adversary can put in the owner's place, knowing the defence.
    """
    counts = {"queries": 0}

    @torch.no_grad()
    def query(x: Tensor) -> Tensor:
        counts["queries"] += len(x) * repeats
        return send(x, repeats)

    def granted(name: str, value: Any) -> Any:
        return value if name in threat.has else None

    inside = {"owner_segment", "defence"} <= threat.has
    return View(
        threat=threat,
        auxiliary=auxiliary[0],
        validation=validation[0],
        auxiliary_labels=granted("auxiliary_labels", auxiliary[1]),
        validation_labels=granted("auxiliary_labels", validation[1]),
        query=granted("query", query),
        confidences=granted("confidences", query),
        query_repeats=not stochastic,
        owner_segment=granted("owner_segment", copy.deepcopy(owner_segment)),
        owner_side=copy.deepcopy(owner_side) if inside else None,
        owner_structure=granted("owner_structure", without_weights(owner_segment)),
        far_segment=granted("far_segment", copy.deepcopy(far_segment)),
        defence=granted("defence", defence),
        imitate=granted("defence", imitate) or Bare,
        traffic=granted("far_segment", traffic) or {},
        repeats=repeats,
        classes=classes,
        message_shape=message_shape,
        counts=counts,
    )
