"""The file that all parties of a federation share: what is trained, by whom, under which rules.

It comes from another party, so it is trusted with nothing: it names built-in networks only, every
value is checked, and no defence stands in it; that is each owner's own.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from ..config import Experiment, parse
from ..errors import ConfigError, did_you_mean
from ..parts import Part
from ..plain import bounds, choice, many, seconds, shape, shown, text, whole
from ..roles import Role
from ..wire.identity import Identity
from ..wire.members import Absence
from ..wire.message import Limits

SCHEMA_VERSION = 1
MOST = 100_000  # bytes of the file
_PORT = re.compile(r"[0-9]{1,5}")
# Fields that mean the same as in an experiment, and are checked there.
AS_IN_EXPERIMENT = (
    *("model", "cut", "schedule", "epochs", "batch_size", "optimiser", "learning_rate"),
    *("halve_every", "order", "precision", "seed"),
)


@dataclass(frozen=True, kw_only=True)
class Federation:
    """One training session and what comes of it. Every field is a key of the file.

    Args:
        federation: Name of the authority that all certificates are of.
        session: Name of this training; another name begins anew.
        input_shape: Of one sample.
        outputs: How many numbers the network gives for one sample.
        bounds: Range of the samples as they are stored, brought to [0, 1] by every owner alike.
        owners: Their names, in the order of their turns.
        addresses: HOST:PORT of the server and of each relay, by name.
        relays: Middle participants of a chain, from the owners' side on; as many as there are cuts
            beyond the first.
        users: Who may ask for predictions without being an owner.
        labels: Where the loss is computed; "owner": the server sees no label.
        checkpoint_every: Steps between two checkpoints of all parties.
        absent: What is done about an owner that stays away: wait, skip, abort.
        patience: Seconds until it counts as absent.
        message_bytes: Of the largest message that is read.
        queries: Samples that each party may ask about; 0: no limit.
        experiment: The settings of the training.
    """

    federation: str
    session: str
    input_shape: tuple[int, ...]
    outputs: int
    bounds: tuple[float, float] | None = None
    owners: tuple[str, ...]
    server: str
    addresses: Mapping[str, str] = field(default_factory=dict)
    relays: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    labels: Literal["server", "owner"] = "server"
    checkpoint_every: int = 100
    absent: Literal["wait", "skip", "abort"] = "wait"
    patience: float = 60.0
    message_bytes: int = 64 * 2**20
    queries: int = 0
    experiment: Experiment

    @property
    def identity(self) -> str:
        """Address of everything that decides the weights; a checkpoint of another is refused."""
        e = self.experiment
        settings = {name: getattr(e, name) for name in AS_IN_EXPERIMENT}
        settings["model"] = str(e.model)
        own = {k: v for k, v in asdict(self).items() if k in _DECIDING}
        text = json.dumps([own, settings], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def chain(self) -> tuple[str, ...]:
        """Everybody behind the owners, in order; the server is the last."""
        return (*self.relays, self.server)

    @property
    def agreed(self) -> str:
        """The session's name with everything that was agreed on: who has another file is told."""
        return f"{self.session} {self.identity}"

    @property
    def limits(self) -> Limits:
        most = max(Limits().samples, self.experiment.batch_size + 1)
        return Limits(bytes=self.message_bytes, samples=most)

    @property
    def absence(self) -> Absence:
        return Absence(self.absent, self.patience)

    def address_of(self, name: str) -> str:
        """HOST:PORT of the server or a relay.

        Raises:
            ConfigError: the file has none.
        """
        if name not in self.addresses:
            raise ConfigError(f"addresses: HOST:PORT of {name} wanted: got none")
        return self.addresses[name]

    def number_of(self, party: Identity) -> int:
        """An owner's number.

        Raises:
            ConfigError: the party is no owner of this federation.
        """
        if (party.federation, party.role) != (self.federation, "owner") or (
            party.name not in self.owners
        ):
            known = ", ".join(self.owners)
            raise ConfigError(f"an owner of {self.federation} wanted ({known}): got {party}")
        return self.owners.index(party.name)

    def place_of(self, party: Identity) -> int:
        """A relay's or the server's place in the chain; 0 is next to the owners.

        Raises:
            ConfigError: the party is neither.
        """
        role: Role = "server" if party.name == self.server else "relay"
        if party.name not in self.chain or (party.federation, party.role) != (
            self.federation,
            role,
        ):
            known = ", ".join(self.chain)
            raise ConfigError(f"server or relay of {self.federation} ({known}) wanted: got {party}")
        return self.chain.index(party.name)

    def owner(self, number: int) -> Identity:
        """Who has that number."""
        return Identity(self.federation, "owner", self.owners[number])


_DECIDING = (
    *("federation", "session", "input_shape", "outputs", "bounds", "owners", "relays"),
    *("labels", "checkpoint_every"),
)
_OWN = {f.name for f in fields(Federation)} - {"experiment"}


def read(path: Path) -> Federation:
    """A federation from its file.

    Raises:
        ConfigError: no such file, or everything that is wrong with it, one line each.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST + 1)
        if len(content) > MOST:
            raise ConfigError(f"federation {path}: at most {MOST:,} bytes wanted")
        raw = yaml.load(content, Loader=_NoAliases)
    except OSError as e:
        raise ConfigError(f"federation {path}: cannot read: {e.strerror}") from e
    except (yaml.YAMLError, RecursionError, ValueError) as e:
        raise ConfigError(f"federation {path}: YAML wanted: {e}") from e
    if not isinstance(raw, dict):
        raise ConfigError(f"federation {path}: 'field: value' lines wanted")
    try:
        return from_plain({str(k): v for k, v in raw.items()})
    except ConfigError as e:
        lines = "\n".join(f"federation {path}: {line}" for line in str(e).splitlines())
        raise ConfigError(lines) from e


class _NoAliases(yaml.SafeLoader):
    """A few lines of aliases of aliases would fill the memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("a file without aliases wanted")
        return super().compose_node(parent, index)


def from_plain(raw: Mapping[str, Any]) -> Federation:
    """A federation from plain values.

    Raises:
        ConfigError: everything that is wrong, one line each.
    """
    version = raw.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise ConfigError(
            f"schema_version: {SCHEMA_VERSION} wanted: got {shown(version)}; "
            "another version of cutlayer reads it"
        )
    given = {k: v for k, v in raw.items() if k != "schema_version"}
    known = _OWN | set(AS_IN_EXPERIMENT)
    faults = [f"{k}: unknown{did_you_mean(k, known)}" for k in given if k not in known]
    values: dict[str, Any] = {}
    for name, check in _CHECKS.items():
        try:
            if name in given:
                values[name] = check(given[name])
            elif name in _WANTED:
                raise ConfigError("missing")
        except ConfigError as e:
            faults.append(f"{name}: {e}")
    try:
        values["experiment"] = _experiment(given)
    except ConfigError as e:
        faults.append(str(e))
    if not faults:
        faults = _cross_checks(values)
    if faults:
        raise ConfigError("\n".join(faults))
    return Federation(**values)


def _experiment(given: Mapping[str, Any]) -> Experiment:
    settings = {k: given[k] for k in AS_IN_EXPERIMENT if k in given}
    if "model" not in settings:
        raise ConfigError("model: missing, as in model: titcombe")
    if ":" in Part.parse(settings["model"]).kind:
        raise ConfigError(f"model: a built-in name wanted in a shared file: {settings['model']!r}")
    if not all(isinstance(name, str) for name in _as_list(settings.get("cut", []))):
        raise ConfigError(f"cut: names of layers wanted: got {shown(settings['cut'])}")
    return parse(settings)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _cross_checks(values: Mapping[str, Any]) -> list[str]:
    e, found = values["experiment"], []
    cuts, relays = max(len(e.cut), 1), values.get("relays", ())
    if len(relays) != cuts - 1:
        found.append(f"relays: {cuts - 1} wanted, one for each cut but one: got {len(relays)}")
    names = [*values["owners"], *values.get("users", ()), *relays, values["server"]]
    if twice := sorted(n for n, count in Counter(names).items() if count > 1):
        found.append(f"owners, users, relays, server: each name once wanted: {', '.join(twice)}")
    if strangers := sorted(values.get("addresses", {}).keys() - {*relays, values["server"]}):
        found.append(f"addresses: of server and relays wanted: got {', '.join(strangers)}")
    return found


def _name(value: Any) -> str:
    try:
        Identity("any", "owner", text(value))
    except ValueError as e:
        raise ConfigError(str(e)) from e
    return text(value)


def _names(value: Any) -> tuple[str, ...]:
    return tuple(map(_name, many(value)))


def _owners(value: Any) -> tuple[str, ...]:
    found = _names(value)
    if not 0 < len(found) < 2**16:
        raise ConfigError(f"at least one name wanted: got {len(found)}")
    return found


def _addresses(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ConfigError(f"'NAME: HOST:PORT' lines wanted: got {shown(value)}")
    for name, address in value.items():
        host, _, port = text(address).rpartition(":")
        if not (host and _PORT.fullmatch(port) and int(port) < 2**16):
            raise ConfigError(f"HOST:PORT of {name} wanted: got {shown(address)}")
    return {_name(k): v for k, v in value.items()}


_CHECKS: dict[str, Any] = {
    "federation": _name,
    "session": _name,
    "input_shape": shape,
    "outputs": whole(1, 2**20),
    "bounds": bounds,
    "owners": _owners,
    "server": _name,
    "addresses": _addresses,
    "relays": _names,
    "users": _names,
    "labels": choice("server", "owner"),
    "checkpoint_every": whole(0),
    "absent": choice(*get_args(Literal["wait", "skip", "abort"])),
    "patience": seconds,
    "message_bytes": whole(1024, 2**31 - 2048),
    "queries": whole(0),
}
_WANTED = ("federation", "session", "input_shape", "outputs", "owners", "server")
