"""A model user: asks for predictions with the owners' segment and defence, and trained nothing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ..defences import Defended
from ..draws import drawn_from
from ..errors import ConfigError
from ..parties import check_weights
from ..parts import Part, each_constructed, registry
from ..wire import FarSide
from .build import chain_of, give_weights, segments
from .file import Federation


@dataclass
class Served:
    """The owner's side as it serves: segment, defence, names of the classes.

    Args:
        secret: What the defence draws from; of this process alone, never the same twice.
        defence: What ``defended`` does, in order.
        allow: Told of how many samples are about to be sent; what it raises, stops them.
    """

    defended: Defended
    classes: tuple[str, ...]
    secret: bytes
    defence: tuple[Part, ...] = ()
    allow: Callable[[int], None] = lambda samples: None
    _calls: Iterator[int] = field(default_factory=count)

    @classmethod
    def opened(
        cls, f: Federation, state: dict[str, Tensor], about: dict[str, Any], secret: bytes
    ) -> Self:
        """From an owner's final letter.

        Raises:
            ConfigError: a defence that is not built in, or weights of another network.
        """
        found = about.get("defence"), about.get("classes")
        if not all(isinstance(v, list) and all(isinstance(s, str) for s in v) for v in found):
            raise ConfigError("a letter that names defences and classes wanted")
        specs = list(about["defence"])
        for spec in specs:
            if Part.parse(spec).kind not in registry("defence"):
                raise ConfigError(f"a built-in defence wanted in an owner's letter: got {spec!r}")
        built = each_constructed(specs)
        defended = Defended(segments(f, 0)[0], chain_of(built, 0))
        try:
            check_weights(defended, state, source="the owner's letter")
        except ValueError as e:
            raise ConfigError(str(e)) from e
        defended.load_state_dict(state)
        return cls(_serving(defended), tuple(about["classes"]), secret, built)

    @classmethod
    def given(
        cls,
        f: Federation,
        weights: Path,
        defence: Sequence[Part],
        classes: tuple[str, ...],
        secret: bytes,
    ) -> Self:
        """From a file with the owner's segment.

        Raises:
            ConfigError: weights of another segment, or a defence that cannot act here.
        """
        segment = segments(f, 0)[0]
        give_weights(segment, weights)
        defended = Defended(segment, chain_of(defence, 0))
        return cls(_serving(defended), classes, secret, tuple(defence))

    @torch.no_grad()
    def predict(self, x: Tensor, far: FarSide, *, batch_size: int = 256) -> Iterator[Tensor]:
        """Probabilities ``(n, outputs)`` for ``x`` ``(N, *shape)``, a batch at a time.

        Every call draws noise that was not drawn before: a message that is asked about twice does
        not carry the same.
        """
        for part in x.split(batch_size):
            self.allow(len(part))
            with drawn_from(self.secret, "predict", next(self._calls)):
                sent = self.defended(part)
            yield far.predict(sent).softmax(1)


def _serving(defended: Defended) -> Defended:
    return defended.eval().requires_grad_(False)


def about_final(defence: list[str], classes: tuple[str, ...]) -> dict[str, Any]:
    """What a user has to know besides the weights."""
    return {"defence": defence, "classes": list(classes)}
