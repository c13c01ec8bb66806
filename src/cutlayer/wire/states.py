"""What a party keeps so that it can go back: its own state, and where the training was."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from .far_side import At

SCHEMA_VERSION = 1


class Keeps(Protocol):
    """A party with a state of its own."""

    def save(self, at: At, folder: Path) -> None:
        """Write it to a folder."""
        ...

    def restore(self, at: At, folder: Path) -> None:
        """Take it from there."""
        ...


@dataclass(frozen=True)
class State:
    """One of them. order: where the training was, see ``Order.to_dict``."""

    folder: Path
    at: At
    order: dict[str, Any]

    @property
    def place(self) -> tuple[int, int]:
        """Epoch, and the step that came next."""
        return self.at.epoch, self.at.step


class States:
    """The last states of one party, each whole or not there at all.

    Args:
        folder: Of this party alone.
        identity: Of what is trained; a state of anything else is refused.
        kept: How many. A far side needs two more than it has owners: each may end its epoch, and
            so have its last state, in another place.
    """

    def __init__(self, folder: Path, identity: str, *, kept: int = 3) -> None:
        self.folder, self.identity, self.kept = folder, identity, kept

    def save(self, at: At, party: Keeps, order: dict[str, Any]) -> None:
        """Keep the present one, and drop the oldest.

        Raises:
            OSError: the disk is full, or cannot be written; nothing is lost that was there.
        """
        kept = self._names()
        name = f"{int(kept[0]) + 1 if kept else 0:09d}"
        aside = self.folder / f".{name}.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            party.save(at, aside)
            manifest = {
                "schema_version": SCHEMA_VERSION,
                "identity": self.identity,
                "at": asdict(at),
                "order": order,
            }
            (aside / "manifest.json").write_text(json.dumps(manifest))
            aside.rename(self.folder / name)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self._drop_old(at)

    def newest_first(self) -> Iterator[State]:
        """All of them.

        Raises:
            ValueError: one is of another training, or damaged.
        """
        for name in self._names():
            yield self._read(self.folder / name)

    def _read(self, folder: Path) -> State:
        way_out = "choose another --store, or delete that folder to begin anew"
        try:
            found = json.loads((folder / "manifest.json").read_text())
            version, identity = found["schema_version"], found["identity"]
            state = State(folder, At(**found["at"]), found["order"])
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise ValueError(f"state {folder}: a whole manifest wanted: {e}; {way_out}") from e
        if (version, identity) != (SCHEMA_VERSION, self.identity):
            raise ValueError(
                f"state {folder}: training {self.identity} of version {SCHEMA_VERSION} wanted, "
                f"got {identity} of {version}; {way_out}"
            )
        return state

    def _drop_old(self, at: At) -> None:
        """All but the last, and the one that the present owner's turn started from."""
        for state in list(self.newest_first())[self.kept :]:
            started = (state.at.owner, state.at.epoch, state.at.step) == (at.owner, at.epoch, 0)
            if not started:
                shutil.rmtree(state.folder, ignore_errors=True)

    def _names(self) -> list[str]:
        found = self.folder.glob("*/manifest.json")
        return sorted((p.parent.name for p in found if p.parent.name.isdigit()), reverse=True)
