"""One piece of an audit's work: what is in the study's log, and what a worker does about it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..record import address
from .attackers import Attacker

Kind = Literal["weigh", "retrain", "attack"]


@dataclass(frozen=True)
class Task:
    """Weigh the defences at a cut, train with one, or attack a configuration.

    Args:
        cut: The layer cut after. name: Of the configuration at that cut, "laplace-0.5". about: The
            same in words.
        defence: As on the command line, in order.
        loudness: Of the undefended messages there; with it, ``name`` is a family to be weighed.
        attacker: With "attack". thorough: As the attacker is.
        retrained: The network was trained with the defence.
        epochs: Of such a training.
        seed: Of the attack; none: that of the experiment.
        seconds: It will take about so long.
    """

    kind: Kind
    cut: str
    name: str = "undefended"
    about: str = "undefended"
    defence: tuple[str, ...] = ()
    loudness: Mapping[str, float] | None = None
    attacker: Attacker | None = None
    repeats: int = 1
    thorough: bool = False
    retrained: bool = False
    epochs: int = 0
    seed: int | None = None
    seconds: float = 0.0

    @property
    def configuration(self) -> str:
        """Key of what it is about."""
        return f"{self.cut}/{self.name}"

    @property
    def key(self) -> str:
        """Unique and readable."""
        if self.kind != "attack" or self.attacker is None:
            return f"{self.kind}/{self.configuration}"
        if self.seed is not None:
            return f"again/{self.configuration}/{self.attacker.name}-{self.seed}"
        how = "thorough" if self.thorough else "quick"
        return f"{how}/{self.configuration}/{self.attacker.name}"

    @property
    def words(self) -> str:
        """For the progress display."""
        return self.words_of(self.key)

    @staticmethod
    def words_of(key: str) -> str:
        """A task's key for people.

        >>> Task.words_of("thorough/fc1/laplace-0.5/shadow"), Task.words_of("weigh/fc1/dropout")
        ('fc1, laplace-0.5: shadow, thorough', 'fc1: weighing dropout')
        """
        kind, *at = key.split("/")
        if kind in ("quick", "thorough", "again"):
            *cut, name, attacker = at
            return f"{'/'.join(cut)}, {name}: {attacker}, {kind}"
        *cut, name = at
        return f"{'/'.join(cut)}: {'weighing' if kind == 'weigh' else 'training with'} {name}"

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_plain(cls, raw: Mapping[str, Any]) -> "Task":
        """The inverse of ``plain``."""
        values = dict(raw)
        values["defence"] = tuple(values["defence"])
        if values["attacker"]:
            values["attacker"] = Attacker.from_plain(values["attacker"])
        return cls(**values)

    def address(self, base: Mapping[str, Any]) -> str:
        """Of the task on one network and data set.

        Args:
            base: What the network and the data are, as JSON values.
        """
        own = {k: v for k, v in self.plain().items() if k != "seconds"}
        if self.seed is None:
            del own["seed"]
        return address({"base": dict(base), "task": own})
