"""What an audit found; JSON both ways. Everything that is shown or signed is read from here."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from ..record import Estimate, Scores
from .limits import ANSWERS, PROTECTABLE

__all__ = [
    "PROTECTABLE",
    "Attacked",
    "Audit",
    "Certificate",
    "Configuration",
    "Pictures",
    "Place",
    "Recommendation",
    "from_json",
    "to_json",
]
SCHEMA_VERSION = 1
Answer = Literal["yes", "no", "undecided"]  # undecided: the interval has both sides in it


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The same attack where nothing defends: proof that it works at all.

    Args:
        cut: Where it was carried out; another cut than the certified one if that shows nothing.
        value: What it leaked there. floor: What guessing gives.
        holds: It clearly beats guessing: the low end of its interval is above the floor.
    """

    cut: str
    value: Estimate
    floor: float
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """What one attacker made of one configuration.

    Args:
        name: In words, "inverse network, averaging 16 messages".
        attack: As on the command line, "inverse-network:epochs=30".
        threat: The weakest threat model that grants what it needs.
        threats: Every feared threat model that grants it.
        repeats: Messages of each input that it averages.
        victims: How many inputs were attacked.
        thorough: The full attack on all victims; else the quick one of the first pass.
        leakage: By what is to be hidden; higher is always worse for the owner.
        floors: By the same: what guessing gives.
        scores: Every metric of the record, by its name.
        flags: Reasons not to believe the numbers, names out of ``checks.FLAGS``.
        run: Id of the record. command: Makes it again.
    """

    name: str
    attack: str
    threat: str
    threats: tuple[str, ...]
    repeats: int
    victims: int
    thorough: bool
    leakage: Scores
    floors: Mapping[str, float]
    scores: Scores = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    certificate: Certificate | None = None
    run: str = ""
    command: str = ""
    seed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A cut with its defences, what it costs, and what every attacker made of it.

    Args:
        key: Unique and readable: "fc1/laplace-0.4".
        cut: The layer that is the owner's last.
        defence: As on the command line, in order; none: undefended.
        words: "Laplace 0.4·rms", "undefended".
        strength: Standard deviation of the noise, in units of the message's root mean square;
            ``None`` without noise.
        epsilon: Of one message, where a norm bounds it; else ``None``.
        retrained: The network was trained with the defence.
        accuracy: With the defence on, on samples that nobody trained on. lost: Accuracy given up
            against the undefended network on the same samples, paired; higher is worse.
        ece: Calibration error. distortion: Of what a prediction API releases: mean L1 distance
            from what the network says; ``None`` at a cut.
        bytes: Of one message. parameters, flops: Of the owner's part. milliseconds: Of the
            owner's part for one sample, on the machine of the audit.
        limits: By limit whether it is kept: "accuracy", "leakage", "owner_flops", …
        thorough: The strongest attackers were at it; else it only passed the quick look.
        attacks: By everybody, quick and thorough.
        flags: Of the configuration as a whole.
    """

    key: str
    cut: str
    defence: tuple[str, ...]
    words: str
    strength: float | None = None
    epsilon: float | None = None
    retrained: bool = False
    accuracy: Estimate
    lost: Estimate
    ece: Estimate = field(default_factory=lambda: Estimate(value=None))
    distortion: Estimate | None = None
    bytes: int = 0
    parameters: int = 0
    flops: int = 0
    milliseconds: float | None = None
    limits: Mapping[str, Answer] = field(default_factory=dict)
    thorough: bool = False
    attacks: tuple[Attacked, ...] = ()
    flags: tuple[str, ...] = ()

    def worst(self, protect: str, threats: Iterable[str] = ()) -> Attacked | None:
        """The attacker who learns most, of those that any of the threat models grants.

        Args:
            threats: Who is feared; none: everybody.
        """
        feared = set(threats)
        granted = [a for a in self.attacks if not feared or feared & set(a.threats)]
        known = [a for a in granted if _value(a, protect) is not None]
        return max(known, key=lambda a: _value(a, protect) or 0.0, default=None)

    def same(self, attacked: Attacked) -> list[Attacked]:
        """An attacker's attempts at it, with one seed or several."""

        def who(a: Attacked) -> tuple[str, str, int, int, bool]:
            return a.attack, a.threat, a.repeats, a.victims, a.thorough

        return [a for a in self.attacks if who(a) == who(attacked)]

    @property
    def closely(self) -> int:
        """How many of the strongest attackers were at it."""
        return len({a.attack for a in self.attacks if a.thorough})

    @property
    def given_up(self) -> Estimate:
        """What it costs in use: accuracy at a cut, distortion of what is released."""
        return self.lost if self.distortion is None else self.distortion

    def leakage(self, protect: str, threats: Iterable[str] = ()) -> Estimate:
        """What the worst attacker learns; no value where nobody was measured."""
        worst = self.worst(protect, threats)
        return Estimate(value=None) if worst is None else worst.leakage[protect]


def _value(attacked: Attacked, protect: str) -> float | None:
    found = attacked.leakage.get(protect)
    return None if found is None else found.value


@dataclass(frozen=True, kw_only=True)
class Place:
    """A cut point, whether it was looked at or not.

    Args:
        ruled_out: Why nothing was tried there; empty where something was.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    bytes: int
    parameters: int
    flops: int
    ruled_out: str = ""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What to do.

    Args:
        key: Of the configuration; ``None`` where none keeps all limits, or none was examined.
        nearest: Of the one that comes nearest, where none keeps them.
        words: A paragraph for people.
        give_up: Ways out, one line each, where none keeps all limits.
        reasons: Why this one and not the next ones, one line each.
    """

    key: str | None
    nearest: str | None = None
    words: str = ""
    give_up: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Audit:
    """An audit, whole or as far as its time went.

    Args:
        model, data: As on the command line.
        protect: What must stay hidden. threats: Who is feared.
        limits: What was asked for, by name; without those that were not.
        network: "accuracy" (an ``Estimate``'s fields), "parameters", "flops", "checksum", "epochs".
        chance: By what is to be hidden: what naming the commonest answer gives.
        measure: What the number of ``protect`` is, in words, with its unit.
        places: Every cut point, in the order of the computation.
        configurations: All that were examined, undefended ones first.
        front: Keys of those that no other beats in both accuracy and worst-case leakage, out of
            those that all of the strongest attackers were at, if any were.
        notes: What stands out, one line each: cuts that show everything, or nothing.
        not_examined: What there was no time for, one line each.
        pictures: By ``"originals"`` or ``"<key>|<run>"`` small pictures or curves, see ``Picture``.
        released: The same of what a prediction API releases, where its clients are feared beside
            those who listen at a cut; where they alone are feared, the audit itself is of that.
        command: That makes the audit again.
        seconds: That it took in all. finished: When, UTC.
    """

    model: str
    data: str
    protect: str
    threats: tuple[str, ...]
    limits: Mapping[str, float]
    network: Mapping[str, Any]
    chance: Mapping[str, float]
    measure: str
    places: tuple[Place, ...]
    configurations: tuple[Configuration, ...]
    front: tuple[str, ...]
    recommendation: Recommendation
    notes: tuple[str, ...] = ()
    not_examined: tuple[str, ...] = ()
    pictures: Mapping[str, "Pictures"] = field(default_factory=dict)
    released: "Audit | None" = None
    command: str = ""
    seed: int = 0
    seconds: float = 0.0
    finished: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def of_answers(self) -> bool:
        """Whether it is about what is released, and not about where to cut."""
        return any(place.name == ANSWERS for place in self.places)

    def configuration(self, key: str) -> Configuration:
        """The one with that key.

        Raises:
            KeyError: there is none.
        """
        return {c.key: c for c in self.configurations}[key]

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        from .notebook import notebook

        return notebook(self)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A few samples, the same victims in every one.

    Args:
        shape: Of one sample. values: For each sample its elements in order, 0 to 255.
        victims: Their indices. classes: Names of their classes.
    """

    shape: tuple[int, ...]
    values: tuple[tuple[int, ...], ...]
    victims: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()


def to_json(audit: Audit) -> str:
    """Strict JSON: no NaN, no infinity."""
    return json.dumps(asdict(audit), allow_nan=False)


def from_json(text: str, *, source: str = "audit") -> Audit:
    """The inverse of ``to_json``.

    Raises:
        ValueError: no JSON, no audit, or one of a version that this release does not read.
    """
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as e:
        raise ValueError(f"{source}: JSON of an audit wanted: {e}") from e
    known = {f.name for f in fields(Audit)}
    if not isinstance(raw, dict) or not {"configurations", "recommendation"} <= raw.keys():
        raise ValueError(f"{source}: an audit wanted, as 'cutlayer audit' writes it")
    if raw.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{source}: schema_version {SCHEMA_VERSION} wanted, got {raw.get('schema_version')!r}: "
            "written by another release; make the audit again with this one"
        )
    if strange := sorted(raw.keys() - known):
        raise ValueError(f"{source}: fields of an audit wanted: got {', '.join(strange)}")
    try:
        return _audit(raw)
    except (TypeError, KeyError, AttributeError) as e:
        raise ValueError(f"{source}: an audit wanted, as 'cutlayer audit' writes it: {e}") from e


def _audit(raw: dict[str, Any]) -> Audit:
    made: dict[str, Any] = raw | {
        "places": tuple(Place(**p | {"shape": tuple(p["shape"])}) for p in raw["places"]),
        "configurations": tuple(_configuration(c) for c in raw["configurations"]),
        "recommendation": Recommendation(**_tupled(raw["recommendation"])),
        "pictures": {
            name: Pictures(**_tupled(p) | {"values": tuple(map(tuple, p["values"]))})
            for name, p in raw["pictures"].items()
        },
        "released": _audit(raw["released"]) if raw.get("released") else None,
    }
    return Audit(**_tupled(made))


def _configuration(raw: dict[str, Any]) -> Configuration:
    estimates = {name: Estimate(**raw[name]) for name in ("accuracy", "lost", "ece")}
    if raw.get("distortion"):
        estimates["distortion"] = Estimate(**raw["distortion"])
    attacks = tuple(_attacked(a) for a in raw["attacks"])
    return Configuration(**_tupled(raw | estimates | {"attacks": attacks}))


def _attacked(raw: dict[str, Any]) -> Attacked:
    made = dict(raw)
    for name in ("leakage", "scores"):
        made[name] = {k: Estimate(**v) for k, v in raw[name].items()}
    if certificate := raw["certificate"]:
        made["certificate"] = Certificate(
            **certificate | {"value": Estimate(**certificate["value"])}
        )
    return Attacked(**_tupled(made))


def _tupled(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as the tuples they were."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
