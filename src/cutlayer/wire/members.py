"""Who may speak to a service and how much, and what is told of it to whoever counts."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .identity import Identity
from .message import Kind, WireError

Absent = Literal["wait", "skip", "abort"]


@dataclass(frozen=True)
class Members:
    """Who may speak, by name. owners: the number of each."""

    owners: Mapping[str, int]
    users: frozenset[str] = frozenset()
    relays: frozenset[str] = frozenset()
    federation: str | None = None  # an authority may sign for another; None: for any

    def knows(self, party: Identity) -> bool:
        """Whether a party has any business here."""
        ours = self.federation in (None, party.federation)
        return ours and self.may_predict(party)

    def may_predict(self, party: Identity) -> bool:
        """Whether a party may ask for predictions, and for the letters that go with them."""
        names: dict[str, frozenset[str]] = {
            "owner": frozenset(self.owners),
            "user": self.users,
            "relay": self.relays,
        }
        return party.name in names.get(party.role, ())

    def number_of(self, party: Identity, claimed: int) -> int:
        """The owner for whom a party may speak: a relay for each, an owner for itself.

        Raises:
            WireError: for none.
        """
        if party.role == "relay" and party.name in self.relays:
            return claimed
        if party.role != "owner" or party.name not in self.owners:
            raise WireError(f"an owner of this session wanted: got {party}")
        if claimed != self.owners[party.name]:
            raise WireError(f"owner {self.owners[party.name]} wanted, which is {party}: {claimed}")
        return claimed


@dataclass(frozen=True)
class Absence:
    """What is done about an owner that does not come, or stays away in the middle.

    policy: "wait" for it; "skip" it for the epoch after so many seconds of patience; "abort".
    """

    policy: Absent = "wait"
    patience: float = 60.0


@dataclass(frozen=True)
class Exchange:
    """One message and its answer, for whoever counts. seconds: from one to the other."""

    party: Identity
    kind: Kind
    answer: Kind
    received: int
    sent: int
    seconds: float


@dataclass
class Quota:
    """Samples predicted for each party, kept over restarts."""

    path: Path
    most: int  # for each; 0: no limit
    used: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.path.exists():
            self.used = Counter(json.loads(self.path.read_text()))

    def take(self, party: Identity, samples: int) -> None:
        """Count so many more.

        Raises:
            WireError: they would be more than agreed; none is counted.
        """
        name, used = str(party), self.used[str(party)] + samples
        if self.most and used > self.most:
            raise WireError(
                f"at most {self.most:,} samples for each party wanted: {self.used[name]:,} were "
                f"asked about, and now {samples:,}"
            )
        self.used[name] = used
        if self.most:
            aside = self.path.with_suffix(".new")
            aside.write_text(json.dumps(self.used))
            aside.replace(self.path)
