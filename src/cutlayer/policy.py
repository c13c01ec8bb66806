"""A policy: what an audit allows, signed by its auditor, enforced by every party.

It names the network, its cut, the defences with their strengths, the audited weights and how much
may be asked. ``cutlayer serve``, ``relay``, ``join`` and ``predict`` under a policy refuse all that
it does not cover. The file comes from somebody else, so it is trusted with nothing: it names
built-in networks and defences only, every value is checked, and who signed it is looked at first.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from .defences import Defence
from .errors import ConfigError, did_you_mean
from .parts import Part, canonical, constructed, registry, resolve
from .plain import Check, bounds, many, shape, shown, text, whole
from .wire import signed_file
from .wire.identity import Credentials, Identity

SCHEMA_VERSION = 1
MOST_DEPTH = 8  # of what an audit found
MOST_SIGNS = 1000  # of one network's or defence's specification
WAY_OUT = "an auditor signs with 'cutlayer identity sign', see 'cutlayer identity issue auditor'"
Phase = Literal["train", "serve"]
_CHECKSUM = re.compile(r"[0-9a-f]{64}")
_RELEASE = re.compile(r"([0-9]{1,4}\.[0-9]{1,4})[0-9a-zA-Z.+-]{0,40}")


@dataclass(frozen=True)
class Weights:
    """Checksums of the audited weights: of the owner's segment, and of each one behind it."""

    owner: str
    far: tuple[str, ...]

    @classmethod
    def of(cls, segments: Sequence[nn.Module]) -> Self:
        """Of a network that was cut, the owner's segment first."""
        owner, *far = (checksum(segment.state_dict()) for segment in segments)
        return cls(owner, tuple(far))


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What may be done, and what was found about it. Every field is a key of the file.

    Networks and defences are kept with all their arguments written out.

    Args:
        model: A built-in network, "titcombe" or with arguments.
        input_shape: Of one sample. outputs: How many numbers the network gives for it.
        bounds: Range of the samples as they are stored; ``None``: as each data set declares.
        cut: The layers after which the network is cut.
        defence: Built-in ones that act at the input or the cut, in order.
        phases: ("serve",) for the weights that were audited, which ``weights`` names; ("train",
            "serve") for a training under the defences and what comes of it, without ``weights``.
        queries: Samples that each party may ask about; 0: no limit.
        weights: Of the audited network.
        audit: What was found, plain JSON: protect, leakage with its interval, attacker, accuracy…
        federation: Whose; who signs fills it in.
        release: Of cutlayer that made the audit. issued: When, UTC.

    Raises:
        ConfigError: everything that is wrong, one line each.
    """

    model: str
    input_shape: tuple[int, ...]
    outputs: int
    cut: tuple[str, ...]
    bounds: tuple[float, float] | None = None
    defence: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ("serve",)
    queries: int = 0
    weights: Weights | None = None
    audit: Mapping[str, Any] = field(default_factory=dict)
    federation: str | None = None
    release: str = field(default_factory=lambda: version("cutlayer"))
    issued: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        values, faults = _checked({f.name: getattr(self, f.name) for f in fields(self)})
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if faults := faults or self._cross_checks():
            raise ConfigError("\n".join(faults))

    def _cross_checks(self) -> list[str]:
        if "train" in self.phases:
            late = [spec for spec in self.defence if _built(spec)[1].active == "serve"]
            found = [f"defence: one that acts in training as well wanted: got {s}" for s in late]
            if self.weights is not None:
                found.append("weights: none wanted where a training is covered: it makes others")
            return found
        if self.weights is None:
            return ["weights: checksums of the audited ones wanted where serving alone is covered"]
        if (count := len(self.weights.far)) != len(self.cut):
            return [f"weights: {len(self.cut)} far segments wanted, one for each cut: got {count}"]
        return []

    def plain(self) -> dict[str, Any]:
        """As it stands in the file: JSON values."""
        return {k: json.loads(signed_file.canonical(v)) for k, v in asdict(self).items()}

    @classmethod
    def from_plain(cls, raw: Any) -> Self:
        """The inverse of ``plain``.

        Raises:
            ConfigError: everything that is wrong, one line each.
        """
        if not isinstance(raw, dict):
            raise ConfigError(f"a policy's fields wanted: got {shown(raw)}")
        known = {f.name for f in fields(cls)}
        faults = [f"{shown(k)}: unknown{did_you_mean(k, known)}" for k in raw if k not in known]
        faults += [f"{name}: missing" for name in sorted(known - raw.keys())]
        values, more = _checked({k: v for k, v in raw.items() if k in known})
        if faults := faults + more:
            raise ConfigError("\n".join(faults))
        found = cls(**values)
        plain = found.plain()
        faults = [
            f"{name}: {shown(plain[name])} wanted, as cutlayer writes it: got {shown(raw[name])}"
            for name in sorted(known)
            if signed_file.canonical(plain[name]) != signed_file.canonical(raw[name])
        ]
        if faults:
            raise ConfigError("\n".join(faults))
        return found

    @property
    def identity(self) -> str:
        """Another for every policy; the same whoever signs it again."""
        return hashlib.sha256(signed_file.canonical(self.plain())).hexdigest()[:12]

    def write(self, path: Path, credentials: Credentials | None = None) -> Self:
        """Write it, signed by an auditor, or unsigned; what was written.

        Raises:
            ConfigError: nobody who may sign it.
            OSError: the disk is full, or cannot be written.
        """
        written = self
        if credentials is not None:
            auditor = _auditor(signed_file.signer(credentials))
            written = replace(self, federation=self.federation or auditor.federation)
            if auditor.federation != written.federation:
                raise ConfigError(f"an auditor of {written.federation} wanted: got {auditor}")
        signed_file.write(path, "policy", written.plain(), credentials)
        return written


def read(path: Path, *, authority: bytes, revoked: Iterable[int] = ()) -> Policy:
    """A policy that an auditor of the federation has signed, for this release of cutlayer.

    Args:
        authority: The certificate of the federation's authority, PEM.
        revoked: Numbers of certificates that were taken back.

    Raises:
        ConfigError: unsigned, altered, signed by somebody who may not; or everything that is wrong
            with what is signed, one line each.
    """
    try:
        raw, party = signed_file.read_signed(path, "policy", authority, revoked)
        _auditor(party)
        found = Policy.from_plain(raw)
        if found.federation != party.federation:
            said = shown(found.federation)
            raise ConfigError(f"federation: that of {party}, who signed, wanted: got {said}")
        _check_release(found.release)
    except signed_file.UntrustedError as e:
        raise _about(path, ConfigError(f"{e}; {WAY_OUT}")) from e
    except ConfigError as e:
        raise _about(path, e) from e
    return found


def sign(path: Path, credentials: Credentials) -> Policy:
    """Sign a policy that is there, whoever signed it before; what was signed.

    Raises:
        ConfigError: it is no policy, or nobody who may sign it.
        OSError: the disk is full, or cannot be written.
    """
    try:
        raw = signed_file.read_unchecked(path, "policy")
        return Policy.from_plain(raw).write(path, credentials)
    except ConfigError as e:
        raise _about(path, e) from e


def checksum(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors: names in order, types, shapes and every byte.

    >>> a, b = torch.zeros(2, 3), torch.ones(2, dtype=torch.int64)
    >>> checksum({"a": a, "b": b}) == checksum({"b": b, "a": a.t().contiguous().t()})
    True
    >>> checksum({"a": a}) == checksum({"a": a.reshape(3, 2)})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        t = state[name].detach().cpu()
        digest.update(json.dumps([name, str(t.dtype), list(t.shape)]).encode() + b"\n")
        digest.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def spelt_out(specification: str) -> str:
    """A built-in defence that acts before anything is sent, with all its arguments.

    >>> spelt_out("laplace:scale=0.5")
    'laplace:scale=0.5,active=both,site=cut'

    Raises:
        ConfigError: another kind of defence, or arguments that will not do.
    """
    part, defence = _built(specification)
    if defence.site == "output":
        raise ConfigError(f"{part.kind}: one at the input or the cut wanted: it acts later")
    if defence.state_dict():
        raise ConfigError(f"{part.kind}: one without weights of its own wanted")
    return str(part)


def _built(specification: str) -> tuple[Part, Defence]:
    part = constructed(_built_in("defence", specification))
    return part, resolve("defence", part.kind)(**part.args)


def _built_in(what: str, specification: Any) -> Part:
    if len(text(specification)) > MOST_SIGNS:
        raise ConfigError(f"at most {MOST_SIGNS:,} signs wanted: got {len(specification):,}")
    part = Part.parse(specification)
    if part.kind not in (known := registry(what)):
        hint = did_you_mean(part.kind, known)
        raise ConfigError(f"a built-in {what} wanted: got {shown(part.kind)}{hint}")
    return part


def _about(path: Path, error: ConfigError) -> ConfigError:
    return ConfigError("\n".join(f"policy {path}: {line}" for line in str(error).splitlines()))


def _auditor(party: Identity) -> Identity:
    if party.role != "auditor":
        raise signed_file.UntrustedError(f"an auditor's signature wanted: got that of {party}")
    return party


def _check_release(release: str) -> None:
    ours = version("cutlayer")
    pair = [_RELEASE.fullmatch(one) for one in (ours, release)]
    if None in pair or pair[0][1] != pair[1][1]:  # type: ignore[index]
        raise ConfigError(
            f"release: an audit by cutlayer {ours} wanted, or of the same first two numbers: got "
            f"{release}; what is sent may differ: make the audit again, or install that release"
        )


# The fields


def _checked(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Fields as they are kept, and everything that is wrong with them."""
    found, faults = dict[str, Any](), list[str]()
    for name, value in values.items():
        try:
            found[name] = _CHECKS[name](value)
        except (ConfigError, RecursionError) as e:  # brackets in brackets in brackets
            faults += [f"{name}: {line}" for line in str(e).splitlines()]
    return found, faults


def _or_none(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _federation(value: Any) -> str:
    try:
        return Identity(text(value), "auditor", "any").federation
    except ValueError as e:
        raise ConfigError(str(e)) from e


def _model(value: Any) -> str:
    return str(canonical("model", _built_in("model", value)))


def _layers(value: Any) -> tuple[str, ...]:
    found = tuple(map(text, many(value)))
    if not found or not all(found):
        raise ConfigError(f"at least one layer wanted: got {shown(value)}")
    return found


def _defences(value: Any) -> tuple[str, ...]:
    found, faults = list[str](), list[str]()
    for specification in many(value):
        try:
            found.append(spelt_out(specification))
        except ConfigError as e:
            faults.append(str(e))
    if faults:
        raise ConfigError("\n".join(faults))
    return tuple(found)


def _phases(value: Any) -> tuple[str, ...]:
    found = tuple(many(value))
    if found not in (("serve",), ("train", "serve")):
        raise ConfigError(f"[serve] or [train, serve] wanted: got {shown(value)}")
    return found


def _weights(value: Any) -> Weights:
    raw = asdict(value) if isinstance(value, Weights) else value
    if not isinstance(raw, dict) or raw.keys() != {"owner", "far"}:
        raise ConfigError(f"checksums of owner and far wanted: got {shown(value)}")
    every = [raw["owner"], *many(raw["far"])]
    if not all(isinstance(one, str) and _CHECKSUM.fullmatch(one) for one in every):
        raise ConfigError(f"SHA-256 as 64 digits and small letters wanted: got {shown(value)}")
    return Weights(every[0], tuple(every[1:]))


def _release(value: Any) -> str:
    if not _RELEASE.fullmatch(text(value)):
        raise ConfigError(f"a release such as 0.2.0 wanted: got {shown(value)}")
    return text(value)


def _issued(value: Any) -> str:
    try:
        found = datetime.fromisoformat(text(value))
    except ValueError as e:
        raise ConfigError(f"a time such as 2026-01-31T12:00:00+00:00 wanted: {e}") from e
    if found.utcoffset() != timedelta(0):
        raise ConfigError(f"a time in UTC wanted: got {shown(value)}")
    return text(value)


def _found(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or _depth(value) > MOST_DEPTH:
        raise ConfigError(f"names and what was found, at most {MOST_DEPTH} levels deep, wanted")
    made: dict[str, Any] = json.loads(signed_file.canonical(dict(value)))
    return made


def _depth(value: Any, at: int = 0) -> int:
    inside = value.values() if isinstance(value, Mapping) else value
    if at > MOST_DEPTH or not isinstance(value, Mapping | list | tuple):
        return at
    return max((_depth(v, at + 1) for v in inside), default=at + 1)


def _version(value: Any) -> int:
    if type(value) is not int or value != SCHEMA_VERSION:
        raise ConfigError(
            f"{SCHEMA_VERSION} wanted: got {shown(value)}; another version of cutlayer reads it"
        )
    return value


_CHECKS: dict[str, Check] = {
    "model": _model,
    "input_shape": shape,
    "outputs": whole(1, 2**20),
    "cut": _layers,
    "bounds": _or_none(bounds),
    "defence": _defences,
    "phases": _phases,
    "queries": whole(0),
    "weights": _or_none(_weights),
    "audit": _found,
    "federation": _or_none(_federation),
    "release": _release,
    "issued": _issued,
    "schema_version": _version,
}
