"""What a run found, and the store that keeps it: content-addressed, JSON and safetensors only."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from .tensor_file import load_tensors, save_tensors

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SCHEMA_VERSION = 1
_VOLATILE = (
    "environment",
    "seconds",
)  # facts of one execution; two equal runs differ in these only


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One number with what is needed to believe it.

    value: mean over the samples (or the statistic itself), ``None`` where not finite or not
        applicable. low, high: 95 % bootstrap interval over samples, ``None`` where resampling
        would bias the statistic. n: samples. worst: the 5 % quantile on the side that is bad for
        the data owner, ``None`` where there is no per-sample value.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    worst: float | None = None


Scores = dict[str, Estimate]  # by metric name, see cutlayer.metrics.METRICS


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run: numbers, not strings; ``flags`` say why not to believe them.

    A ``train`` run has ``config``, ``data``, ``training`` and ``utility``; an ``attack`` run has
    all the fields, and names the train run whose network it attacked in ``victim``.
    """

    id: str  # address of config: the folder's name in the store
    kind: Literal["train", "judge", "attack"]
    name: str  # short label for tables: the defence and its strength, "undefended" without one
    config: dict[str, Any]  # everything that determines the result, and nothing else
    data: dict[str, Any] = field(default_factory=dict)  # name, checksum, shape, classes, shares
    training: dict[str, Any] = field(default_factory=dict)  # steps, loss and accuracy by epoch
    victim: str | None = None  # id of the train run that was attacked
    threat: dict[str, Any] = field(default_factory=dict)  # what the adversary had, see threat.py
    defence: dict[str, Any] = field(default_factory=dict)  # parts, noise relative to the message
    attack: dict[str, Any] = field(default_factory=dict)  # attack's name, epochs run, queries
    utility: Scores = field(default_factory=dict)
    leakage: Scores = field(default_factory=dict)
    floors: dict[str, Scores] = field(default_factory=dict)  # by floor: mean, class-mean, nearest
    advantage: dict[str, float | None] = field(
        default_factory=dict
    )  # by metric, against best floor
    flags: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def findings(self) -> dict[str, Any]:
        """Everything but time and host: equal for two executions of the same run."""
        return {k: v for k, v in asdict(self).items() if k not in _VOLATILE}


def address(config: Mapping[str, Any]) -> str:
    """Twelve hex digits of SHA-256 over the canonical JSON of a config.

    >>> address({"a": 1, "b": 2}) == address({"b": 2, "a": 1})
    True
    """
    text = json.dumps(config, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def to_json(record: Record) -> str:
    """Strict JSON, a line for each field: no NaN, no infinity (they are ``null`` and a flag)."""
    lines = (
        f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in asdict(record).items()
    )
    return "{\n " + ",\n ".join(lines) + "\n}"


def from_json(text: str, *, source: str = "record") -> Record:
    """The inverse of ``to_json``.

    Raises:
        ValueError: not JSON, not a record, or of a version this release does not read.
    """
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as e:
        raise ValueError(f"{source}: JSON wanted: {e}") from e
    if not isinstance(raw, dict) or "schema_version" not in raw:
        raise ValueError(f"{source}: a cutlayer record wanted: got JSON without 'schema_version'")
    if raw["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"{source}: schema_version {SCHEMA_VERSION} wanted, got {raw['schema_version']!r}: "
            "written by another release; run it again with this one, or install that release"
        )
    known = {f.name for f in fields(Record)}
    if not {"id", "kind", "name", "config"} <= raw.keys() <= known:
        raise ValueError(f"{source}: fields of a record wanted: got {', '.join(sorted(raw))}")
    for key in ("utility", "leakage"):
        raw[key] = _scores(raw.get(key, {}))
    raw["floors"] = {k: _scores(v) for k, v in raw.get("floors", {}).items()}
    return Record(**raw)


def _scores(raw: Mapping[str, Any]) -> Scores:
    return {k: Estimate(**v) for k, v in raw.items()}


class Store:
    """A folder of runs, one sub-folder each, named ``<kind>-<address>``.

    A run is written aside and moved into place, so a run that is there is whole. A full disk or a
    kill leaves earlier runs untouched.
    """

    def __init__(self, root: Path | str = "runs") -> None:
        self.root = Path(root)

    def folder(self, run: str) -> Path:
        return self.root / run

    def __contains__(self, run: object) -> bool:
        return isinstance(run, str) and (self.root / run / "record.json").is_file()

    def __iter__(self) -> Iterator[Record]:
        for path in self._paths():
            yield from_json(path.read_text(), source=str(path))

    def _paths(self) -> list[Path]:
        """The records of finished runs; a folder with a dot is one that was never finished."""
        found = self.root.glob("*/record.json")
        return sorted(p for p in found if not p.parent.name.startswith("."))

    def find(self, prefix: str) -> str:
        """The full id of the one run that starts with ``prefix``, with or without its kind.

        Raises:
            ValueError: none or several do.
        """
        every = [p.parent.name for p in self._paths()]
        hits = [i for i in every if i.startswith(prefix) or i.split("-", 1)[-1].startswith(prefix)]
        if prefix in hits:
            return prefix
        if len(hits) != 1:
            what = f"several runs start so: {', '.join(hits)}" if hits else "no such run"
            known = ", ".join(every[:8]) or "none yet"
            raise ValueError(f"run {prefix!r}: {what}; runs in {self.root}: {known}")
        return hits[0]

    def record(self, run: str) -> Record:
        path = self.folder(self.find(run)) / "record.json"
        return from_json(path.read_text(), source=str(path))

    def tensors(self, run: str, name: str) -> dict[str, Tensor]:
        """The named safetensors file of a run: ``owner0``, ``server``, ``samples`` …"""
        return load_tensors(self.folder(self.find(run)) / f"{name}.safetensors")

    def write(self, record: Record, **tensors: Mapping[str, Tensor]) -> Path:
        """Put a finished run in its place; an existing run of that id is replaced whole."""
        target = self.folder(record.id)
        aside = self.root / f".{record.id}.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            for name, content in tensors.items():
                save_tensors(content, aside / f"{name}.safetensors")
            (aside / "record.json").write_text(to_json(record))
            if target.exists():
                old = self.root / f".{record.id}.{os.getpid()}.old"
                target.rename(old)
                aside.rename(target)
                shutil.rmtree(old, ignore_errors=True)
            else:
                aside.rename(target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return target

    @contextmanager
    def making(self, run: str) -> Iterator[None]:
        """While one process makes a run, others on this machine that want it wait here.

        A process that dies lets go. Where the system knows no such locks, nobody waits, and the
        run is made twice with one result.
        """
        if fcntl is None:
            yield
            return
        path = self.root / ".making" / run
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def remove(self, run: str) -> int:
        """Delete a run; returns the bytes freed.

        Raises:
            ValueError: it is a train run that attack runs still refer to.
        """
        run = self.find(run)
        users = [r.id for r in self if r.victim == run]
        if users:
            raise ValueError(
                f"cannot remove {run}: attacked by {', '.join(users)}; remove them first"
            )
        freed = self.bytes(run)
        shutil.rmtree(self.folder(run))
        return freed

    def bytes(self, run: str) -> int:
        """Disk use of a run."""
        return sum(p.stat().st_size for p in self.folder(run).rglob("*") if p.is_file())


def store_at(path: Path) -> Store:
    """The store in a folder, which is made if need be.

    Raises:
        OSError: it cannot be written.
    """
    store = Store(path)
    store.root.mkdir(parents=True, exist_ok=True)
    probe = store.root / f".writable.{os.getpid()}"
    probe.touch()
    probe.unlink()
    return store
