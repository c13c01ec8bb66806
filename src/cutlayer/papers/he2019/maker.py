"""How tasks that attack one network are made."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..paper import Options
from ..task import Task
from .published import NORMALISATION, Data, Inversion
from .settings import attacked, lengthened

REVISION = 1  # of what a task computes; raise it, and finished tasks are done anew
REVISIONS = {  # of the tasks of an attack
    "shadow": 2,  # says whether the shadow itself had converged
    "maximum-likelihood": 2,  # takes as many steps as help
}
PUBLISHED = "cutlayer.papers.he2019.attack:PublishedLikelihood"
LEARNING = {"epochs": 5}  # passes over the attacker's 10,000 samples; ``--full`` makes them fifty


class Maker:
    """Tasks that attack one network.

    Args:
        network: What trains it.
        fields: Of every experiment, where the network is not the one of the data set.
    """

    def __init__(self, data: Data, options: Options, network: Task, **fields: Any) -> None:
        self.data, self.options, self.network, self.fields = data, options, network, fields

    def attack(
        self,
        kind: str,
        name: str,
        threat: str,
        attack: Mapping[str, Any],
        *,
        cut: str | Sequence[str] | None = None,
        **fields: Any,
    ) -> Task:
        """One attack; the network is part of what it depends on."""
        attack = lengthened(attack) if self.options.full else attack
        cuts = [cut or name] if cut is None or isinstance(cut, str) else cut
        fields = self.fields | fields
        raw = attacked(self.data, self.options, cuts, threat, attack, **fields)
        return Task(
            f"{self.data}/{kind}/{name}",
            "attack",
            raw,
            (self.network.key,),
            {"classifier": self.network.address},
            revision=REVISIONS.get(attack["kind"], REVISION),
        )


def classifier_key(data: Data) -> str:
    """The key of the network that all attacks on a data set share."""
    return f"{data}/classifier/seed-0"


def published_search(make: Maker, setting: Inversion) -> dict[str, Any]:
    """The authors' search by one of their settings."""
    mean, deviation = NORMALISATION[make.data]
    args = {
        "steps": 50 if make.options.quick else setting.steps,
        "learning_rate": setting.learning_rate,
        "total_variation": setting.total_variation,
        "l2": setting.l2,
        "mean": list(mean),
        "deviation": list(deviation),
    }
    return {"kind": PUBLISHED, "args": args}


def shadow(**args: Any) -> dict[str, Any]:
    """The query-free attack, as long as the others learn."""
    return {"kind": "shadow", "args": LEARNING | args}


ALONG: Mapping[str, dict[str, Any]] = {  # the attacker of each of their threat models, in short
    "white-box": {"kind": "maximum-likelihood"},
    "black-box": {"kind": "inverse-network", "args": {"decoder": "auto", **LEARNING}},
    "query-free": {"kind": "shadow", "args": LEARNING},
}
