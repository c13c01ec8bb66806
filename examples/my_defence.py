"""A defence of your own: a class with plain constructor arguments, used by its import path.

In the folder of this file::

    cutlayer attack --defence my_defence:Quantise:levels=16
    cutlayer attack --defence my_defence:Quantise:levels=4 --defence laplace:scale=0.5

Nothing has to be registered. The arguments are checked against the constructor, the defended path
of training, serving and attack is the same object, and the record names the class and its values.
"""

from torch import Tensor

from cutlayer.defences import Active, Defence


class Quantise(Defence):
    """Send every element as the nearest of ``levels`` values, evenly spaced on [-bound, bound].

    While training, gradients pass as if nothing had been rounded (straight through).

    Args:
        levels: At least 2.
        bound: > 0, in units of the message; what lies outside is clipped. A message that comes
            out of a tanh lies within 1.
        active: "train", "serve" or "both".

    Raises:
        ValueError: levels or bound out of range.
    """

    def __init__(self, levels: int, *, bound: float = 1.0, active: Active = "both") -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"Quantise levels must be at least 2: got {levels}")
        if not 0 < bound < float("inf"):
            raise ValueError(f"Quantise bound must be > 0, in units of the message: got {bound}")
        self.levels = levels
        self.bound = bound
        self.active = active

    def forward(self, t: Tensor, *, x: Tensor | None = None) -> Tensor:
        step = 2 * self.bound / (self.levels - 1)
        places = ((t.clamp(-self.bound, self.bound) + self.bound) / step).round()
        return t + (places * step - self.bound - t).detach()
