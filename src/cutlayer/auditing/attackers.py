"""Who attacks: for each threat model the attacks that it grants, quick for a first look, thorough
where it matters."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

from ..attacks import INFERENCES
from ..parts import Part, constructed, resolve
from ..threat import THREATS

Pass = Literal["quick", "thorough"]
QUICK_VICTIMS, QUICK_SAMPLES = 128, 1000
SEARCHED = 100  # victims of attacks that search for each on its own
SAMPLES = 4000  # of the attacker's own, for the thorough attacks
MANY = 10_000  # where an answer says so little that more samples are what helps


@dataclass(frozen=True)
class Attacker:
    """One way to attack a configuration.

    Args:
        name: In a key, "inverse-network". words: In a sentence. attack: As on the command line.
        threat: The weakest model that grants it. threats: All of those feared that do.
        victims: How many at most. samples: Of the attacker's own at most; 0: all.
    """

    name: str
    words: str
    attack: str
    threat: str
    threats: tuple[str, ...]
    victims: int
    samples: int

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_plain(cls, raw: dict[str, Any]) -> "Attacker":
        """The inverse of ``plain``."""
        return cls(**raw | {"threats": tuple(raw["threats"])})


@dataclass(frozen=True)
class _Kind:
    name: str
    words: str
    attack: str
    victims: int = 0  # 0: as many as the audit has
    samples: int = SAMPLES


_ANSWERS = "inverse of the answers"
_QUICK = (
    _Kind("affine-inverse", "affine map", "affine-inverse:samples=1000", QUICK_VICTIMS),
    _Kind("inverse-network", "inverse network", "inverse-network:epochs=8,patience=3"),
    _Kind("confidence-inversion", _ANSWERS, "confidence-inversion:epochs=10,patience=3"),
)
_THOROUGH = (
    _Kind("affine-inverse", "affine map", "affine-inverse"),
    _Kind("inverse-network", "inverse network", "inverse-network"),
    _Kind(
        "maximum-likelihood",
        "maximum likelihood",
        "maximum-likelihood:steps=200,tried_on=8",
        SEARCHED,
    ),
    _Kind("shadow", "shadow network", "shadow:epochs=10,steps=200", SEARCHED),
    _Kind("confidence-inversion", _ANSWERS, "confidence-inversion", samples=MANY),
    _Kind(
        "adaptive-confidence-inversion",
        "adaptive inverse of the answers",
        "confidence-inversion:features=adaptive",
        samples=MANY,
    ),
    _Kind(
        "transposed-confidence-inversion",
        "convolutional inverse of the answers",
        "confidence-inversion:network=transposed,epochs=10",
    ),
)


_READERS = {  # they read a label straight from messages
    "class": (
        _Kind("far-segment-reads", "the server's own prediction", "far-segment-reads"),
        _Kind("label-inference", "classifier of messages", "label-inference"),
    ),
    "attribute": (
        _Kind("label-inference", "classifier of messages", "label-inference"),
        _Kind("answer-inference", "classifier of answers", "answer-inference"),
    ),
}


def attackers(
    when: Pass,
    threats: Sequence[str],
    *,
    protect: str,
    most_victims: int,
    own: Iterable[Part] = (),
) -> list[Attacker]:
    """Everybody who is feared and can do something about what is protected, cheapest first.

    An attack is carried out once, under the weakest threat model that grants it: whoever has more
    can do the same.

    Args:
        own: Attacks of the user's own; they come with the thorough ones.
    """
    kinds = list(_READERS.get(protect, ()))
    if protect != "attribute":  # which no reconstruction is graded by
        kinds += _QUICK if when == "quick" else _THOROUGH
    if when == "thorough":
        kinds += [_Kind(part.kind.rpartition(":")[2], part.kind, str(part)) for part in own]
    found = []
    for kind in kinds:
        granting = granted_by(kind.attack, threats, protect=protect)
        if granting:
            most = QUICK_VICTIMS if when == "quick" else most_victims
            found.append(
                Attacker(
                    name=kind.name,
                    words=kind.words,
                    attack=kind.attack,
                    threat=weakest(granting),
                    threats=granting,
                    victims=min(kind.victims or most, most),
                    samples=QUICK_SAMPLES if when == "quick" else kind.samples,
                )
            )
    return found


def granted_by(attack: str, threats: Sequence[str], *, protect: str) -> tuple[str, ...]:
    """The threat models that grant all that an attack needs.

    Whoever wants to know a private attribute knows that of its own samples.
    """
    needs = _needs(attack)
    if protect == "attribute" and attack in INFERENCES:
        needs -= {"auxiliary_labels"}
    return tuple(name for name in threats if needs <= THREATS[name].has)


@cache
def _needs(attack: str) -> frozenset[str]:
    if attack in INFERENCES:
        return INFERENCES[attack].needs
    part = constructed(Part.parse(attack), "attack")
    needs: frozenset[str] = resolve("attack", part.kind)(**part.args).needs
    return needs


def weakest(threats: Sequence[str]) -> str:
    """The model that has least."""
    return min(threats, key=lambda name: len(THREATS[name].has))
