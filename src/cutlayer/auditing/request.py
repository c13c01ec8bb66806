"""What an audit is asked: which network, what it may cost, whom to fear, what to hide."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..config import Experiment, parse
from ..described import jsonable
from ..errors import ConfigError, did_you_mean
from ..parts import Part, constructed, each_constructed
from .families import of_answers
from .limits import CLIENT, FAMILIES, PROTECTABLE, Limits, Protect, faults_of

# Settings of an experiment that an audit decides itself.
DECIDES = (
    "defence",
    "threat",
    "adversaries",
    "attack",
    "repeats",
    "victims_from",
    "keep",
    "attack_seed",
)

_OF_A_CUT = ("owner_parameters", "owner_flops", "message_bytes", "milliseconds")  # limits


@dataclass(frozen=True, kw_only=True)
class Request:
    """One audit.

    Args:
        experiment: Network, data, shares, training, machine.
        protect: What must stay hidden; it sets the leakage that the recommendation minimises.
        threats: Who is feared.
        cuts: Where to look; none: everywhere.
        families: Defences to try, out of ``FAMILIES``.
        attacks: Further ones of the user's own, ``package.module:Class``.
        repeats: How many messages of one input an attacker may hear and average.
        retrain: Epochs of a training with a defence; 0: as many as the network's, or 3 where its
            weights were given.
        attribute: NumPy file with the private attribute of every sample, or none.
        most_victims: Of the thorough attacks.
        attack_seeds: How many the worst attacker of what is recommended is tried with.
    """

    experiment: Experiment
    protect: Protect = "individual"
    threats: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    cuts: tuple[str, ...] = ()
    families: tuple[str, ...] = FAMILIES
    attacks: tuple[Part, ...] = ()
    repeats: int = 16
    retrain: int = 0
    attribute: str | None = None
    most_victims: int = 500
    attack_seeds: int = 3

    @property
    def feared(self) -> tuple[str, ...]:
        """Threat models; by default all that listen at a cut."""
        from ..threat import THREATS

        every = tuple(n for n, m in THREATS.items() if "confidences" not in m.has)
        return self.threats or every

    @property
    def epochs_again(self) -> int:
        """Epochs of a training with a defence."""
        return self.retrain or (3 if self.experiment.weights else self.experiment.passes)

    def plain(self) -> dict[str, Any]:
        """As JSON values, folders of this machine included, which ``from_plain`` reads."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        found |= {"experiment": jsonable(asdict(self.experiment)), "limits": asdict(self.limits)}
        found["attacks"] = [str(part) for part in self.attacks]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}


def from_plain(raw: Mapping[str, Any]) -> Request:
    """The inverse of ``Request.plain``."""
    found: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    found["experiment"] = parse(raw["experiment"])
    found["limits"] = Limits(**raw["limits"])
    found["attacks"] = each_constructed(raw["attacks"], "attack")
    return Request(**found)


def checked(request: Request) -> Request:
    """The request with its defaults filled in.

    Raises:
        ConfigError: everything that is wrong with it, one line each.
    """
    from ..threat import THREATS

    faults = [
        *_unknown("protect", [request.protect], PROTECTABLE),
        *_unknown("threat", request.threats, THREATS),
        *_defences(request.families),
        *faults_of(request.limits),
    ]
    e = request.experiment
    if request.protect == "attribute" and request.attribute is None:
        faults.append("protect attribute: a file wanted: --attribute FILE.npy, one value a sample")
    if request.repeats < 1:
        faults.append(f"repeats: at least 1 wanted, got {request.repeats}")
    if request.attack_seeds < 1:
        faults.append(f"attack_seeds: at least 1 wanted, got {request.attack_seeds}")
    if e.victims_from is not None:
        faults.append("victims_from: an audit attacks the victims' share: leave it out")
    if faults := faults or _misplaced(request):
        raise ConfigError("\n".join(faults))
    limits = request.limits
    if limits.accuracy_loss is None and limits.accuracy_floor is None:
        limits = replace(limits, accuracy_loss=0.02)
    if limits.distortion is None and CLIENT in request.feared:
        limits = replace(limits, distortion=0.02)
    return replace(request, limits=limits)


def scopes(request: Request) -> list[Request]:
    """One for those who listen at a cut, one for a prediction API's clients, if they are feared.

    Each has what concerns it of threats, defences and limits.
    """
    listeners = tuple(name for name in request.feared if name != CLIENT)
    found = []
    if listeners:
        found.append(_scope(request, listeners, answers=False, without=("distortion",)))
    if CLIENT in request.feared:
        found.append(_scope(request, (CLIENT,), answers=True, without=_OF_A_CUT))
    return found


def _scope(
    request: Request, threats: tuple[str, ...], *, answers: bool, without: Sequence[str]
) -> Request:
    families = tuple(f for f in request.families if of_answers(f) is answers)
    limits = replace(request.limits, **dict.fromkeys(without))
    return replace(request, threats=threats, families=families, limits=limits)


def _misplaced(request: Request) -> list[str]:
    """What concerns nobody who is feared."""
    clients, limits, found = CLIENT in request.feared, request.limits, []
    if clients and request.protect == "class":
        found.append(
            f"protect class: an answer is there to tell the class: leave {CLIENT} out, or protect "
            "something else"
        )
    if not clients and limits.distortion is not None:
        found.append(f"distortion: of what is released: it takes threat {CLIENT}")
    if set(request.feared) == {CLIENT}:
        given = [n for n in _OF_A_CUT if getattr(limits, n) is not None]
        given += ["cut"] if request.cuts else []
        found += [f"{name}: of a cut, where no {CLIENT} listens: leave it out" for name in given]
    if request.families != FAMILIES:
        found += [
            f"defence {name!r}: {'of what is released' if of_answers(name) else 'at a cut'}, where "
            "nobody who is feared listens: leave it out, or fear another one"
            for name in request.families
            if not any(name in s.families for s in scopes(request))
        ]
    return found


def _defences(names: Sequence[str]) -> list[str]:
    """What is neither one of ours nor a defence as on the command line."""
    found = []
    for name in names:
        if name in FAMILIES:
            continue
        try:
            if ":" not in name:
                raise ConfigError(f"unknown{did_you_mean(name, FAMILIES)}")
            constructed(Part.parse(name))
        except ConfigError as e:
            found.append(f"defence {name!r}: {e}")
    return found


def _unknown(
    what: str, given: Sequence[str], known: Mapping[str, Any] | Sequence[str]
) -> list[str]:
    return [
        f"{what} {name!r}: unknown{did_you_mean(name, known)}"
        for name in given
        if name not in known
    ]
