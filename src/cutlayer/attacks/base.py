"""The one interface every attack has."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self, final

import torch
from torch import Tensor

from ..threat import Observed, View

Query = Callable[[Tensor], Tensor]  # samples (N, ...) to messages (N, m, ...)


def averaged(query: Query, x: Tensor) -> Tensor:
    """Samples ``(N, ...)`` to the mean of the messages of each, ``(N, ...)``, asked in parts."""
    return torch.cat([query(part).mean(1) for part in x.split(256)])


class Attack(ABC):
    """Learn from a ``View``, then tell something about what was overheard.

    Attributes:
        needs: What it cannot do without: names of ``View`` fields; an instance may need more than
            its class.
        converged_: Set by ``fit``: whether more training would not have helped, as far as the
            attacker's own validation share can tell; ``None`` where the question does not arise.
        fitted_: Facts of the fit for the record.
        on_progress: Told (stage, done, total) while fitting.
    """

    needs: frozenset[str] = frozenset()
    converged_: bool | None = None
    on_progress: Callable[[str, int, int], None] = staticmethod(lambda stage, done, total: None)

    @final
    def fit(self, view: View) -> Self:
        """Prepare the attack with what the view hands out.

        Raises:
            ValueError: the threat model withholds something the attack needs.
        """
        for name in sorted(self.needs):
            if getattr(view, name) is None:
                what = {"query": "queries", "auxiliary_labels": "labelled auxiliary data"}
                what |= {"owner_segment": "the weights of the owner's segment"}
                what |= {"owner_structure": "the layers of the owner's segment"}
                what |= {"confidences": "the confidence vectors of a prediction API"}
                what |= {"far_segment": "the segment behind the cut"}
                raise ValueError(
                    f"{type(self).__name__} needs {what.get(name, name)}, "
                    f"which threat model {view.threat.name!r} withholds"
                )
        self.fitted_: dict[str, Any] = {}
        self.input_shape_ = tuple(view.auxiliary.shape[1:])
        self._fit(view)
        return self

    @abstractmethod
    def _fit(self, view: View) -> None: ...


class Reconstruction(Attack):
    """Turns messages back into inputs. Subclasses write ``_fit`` and ``_reconstruct``."""

    @final
    @torch.no_grad()
    def reconstruct(self, seen: Observed) -> Tensor:
        """Messages ``(N, m, ...)`` to inputs ``(N, ...)`` in [0, 1]. Never sees the truth."""
        x_hat = self._reconstruct(seen).clamp(0, 1)
        wanted = (len(seen.messages), *self.input_shape_)
        assert tuple(x_hat.shape) == wanted, (type(self).__name__, tuple(x_hat.shape), wanted)
        return x_hat

    @abstractmethod
    def _reconstruct(self, seen: Observed) -> Tensor: ...
