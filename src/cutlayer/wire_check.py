"""Whether defences do on the wire, while serving, what they say of themselves."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .assembly import Assembly
from .defences import Active, Chain, ClipNorm, Defence, Site, in_phase
from .overhear import served
from .streams import stream
from .trained import Network
from .wire import Tap

ELEMENTS = 1 << 16  # to measure noise of: heavy tails are within 5 %
MOST = 1 << 21  # to hold of one message of each
ENOUGH = 0.9  # of the deviation that is claimed
SAME = 0.8  # of what a defence changes while training
ROUNDING = 1 + 1e-4  # of a norm


@dataclass(frozen=True)
class Measured:
    """What one defence did to what it was given, on its way to the wire.

    name: Of its class. site: Of what it changes. active: In which phases, by what it says.
    changed: Whether anything came out otherwise. claimed, deviation: Of its noise: what it says and
    what was measured, in units of what it is added to. norm, largest: The bound that it says, and
    what came out; ``None`` where it says none. serving, training: Mean size of the change of an
    element in either phase; training is ``None`` for those that do not act in both. penalises: It
    works through a penalty in training.
    """

    name: str
    site: Site
    active: Active
    changed: bool
    claimed: float
    deviation: float
    norm: float | None
    largest: float | None
    serving: float
    training: float | None
    penalises: bool

    @property
    def off(self) -> bool:
        """It says that it acts while serving, and changed nothing.

        A bound that every message keeps changes nothing, and so does one that only penalises.
        """
        idle = (self.norm is not None or self.penalises) and not self.training
        return self.active != "train" and not self.changed and not idle

    @property
    def weaker(self) -> bool:
        """It did less than it says, or than it did while training."""
        above = self.norm is not None and (self.largest or 0.0) > self.norm * ROUNDING
        less = self.training is not None and self.serving < SAME * self.training
        return self.deviation < ENOUGH * self.claimed or above or less


@dataclass(frozen=True)
class WireCheck:
    """What crossed the wire, and what the defences say of it.

    samples: How many inputs were sent. repeats: Messages of each. claimed, measured: Deviation of
    all noise at the cut. claims_chance: Two messages of one input differ, it is said; differ:
    whether they did. crossed: What crossed is what the last defence let go, bit for bit. parts: One
    by one, those of the output left out. flags: Names out of ``checks.FLAGS``.
    """

    samples: int
    repeats: int
    claimed: float
    measured: float
    claims_chance: bool
    differ: bool
    crossed: bool
    parts: tuple[Measured, ...]
    flags: tuple[str, ...]


@dataclass
class _Ear:
    """What went into a defence and came out, in the order of its calls."""

    given: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor | None] = field(default_factory=list)
    made: list[Tensor] = field(default_factory=list)

    def before(self, _: nn.Module, args: tuple[Tensor], more: dict[str, Tensor | None]) -> None:
        self.given.append(args[0].clone())  # it may be changed in place
        self.inputs.append(more["x"])

    def after(self, _: nn.Module, args: tuple[Tensor], made: Tensor) -> None:
        self.made.append(made.clone())

    def change(self) -> Tensor:
        """Of every element of every call."""
        pairs = zip(self.given, self.made, strict=True)
        return torch.cat([torch.zeros(0), *((b - a).flatten().cpu() for a, b in pairs)]).double()


@contextmanager
def _listening(members: list[Defence]) -> Iterator[list[_Ear]]:
    ears, handles = [_Ear() for _ in members], list[RemovableHandle]()
    for member, ear in zip(members, ears, strict=True):
        handles.append(member.register_forward_pre_hook(ear.before, with_kwargs=True))
        handles.append(member.register_forward_hook(ear.after))
    try:
        yield ears
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def check_wire(assembly: Assembly, network: Network, *, samples: int = 256) -> WireCheck:
    """Send samples of the owners through the defended serving path, and listen behind it.

    The path is that on which the victims' messages go, with a tap in front of the far side; every
    defence is held against what it was given and what it let go. Nothing of the network changes,
    and no stream of an experiment is drawn from.

    Args:
        samples: To send, at most; fewer of large messages.

    Raises:
        ValueError: fewer than one sample.
    """
    if samples < 1:
        raise ValueError(f"check_wire samples must be at least 1: got {samples}")
    size = math.prod(network.message_shape)
    x, _ = assembly.take(assembly.shares.train[: min(samples, max(2, MOST // size))])
    chain, tap = network.defended.defence, Tap(network.far)
    members = [*chain.at("input"), *chain.at("cut")]
    repeats = max(2, min(32, math.ceil(ELEMENTS / (size * len(x)))))
    tapped, root = replace(network, far=tap), assembly.experiment.seed + 1
    last, differ = list[Tensor](), False
    with in_phase(chain, "serve"), _listening(members) as ears:
        for _, _, messages in served(tapped, x, repeats=repeats, root=root):
            for message in messages.unbind(1):
                tap.predict(message)
            last += messages.unbind(1)
            differ |= not torch.equal(messages[:, 0], messages[:, 1])
        claims_chance = any(m.stochastic and m.acts() for m in members)
        claimed = chain.noise_deviation()
    parts = tuple(_measured(m, ear, root) for m, ear in zip(members, ears, strict=True))
    let_go = [e.made for m, e in zip(members, ears, strict=True) if m.site == "cut" and e.made]
    crossed = all(map(torch.equal, tap.seen, let_go[-1] if let_go else last))
    noise = [p.deviation for p in parts if p.site == "cut" and p.claimed]
    return WireCheck(
        samples=len(x),
        repeats=repeats,
        claimed=claimed,
        measured=float(sum(d * d for d in noise) ** 0.5),
        claims_chance=claims_chance,
        differ=differ,
        crossed=crossed,
        parts=parts,
        flags=_flags(parts, chain, odd=claims_chance != differ or not crossed),
    )


def _measured(defence: Defence, ear: _Ear, root: int) -> Measured:
    acts, change, norm, largest = defence.active != "train", ear.change(), None, None
    if isinstance(defence, ClipNorm) and acts:
        norm, flat = defence.norm, [m.flatten(1) for m in ear.made]
        largest = max(float(torch.linalg.vector_norm(m, defence.order, dim=1).max()) for m in flat)
    return Measured(
        name=type(defence).__name__,
        site=defence.site,
        active=defence.active,
        changed=bool((change != 0).any()),
        claimed=defence.noise_deviation() if acts else 0.0,
        deviation=float(change.std()) if len(change) > 1 else 0.0,
        norm=norm,
        largest=largest,
        serving=float(change.abs().mean()) if len(change) else 0.0,
        training=_while_training(defence, ear, root),
        penalises=type(defence).penalty is not Defence.penalty,
    )


def _while_training(defence: Defence, ear: _Ear, root: int) -> float | None:
    """What a copy of it changes in the other phase, given the same."""
    if defence.active != "both" or not ear.given:
        return None
    twin = copy.deepcopy(defence).train()
    other = _Ear(ear.given)
    with in_phase(twin, "train"), stream(root, "wire-check"):
        for given, x in zip(ear.given, ear.inputs, strict=True):
            other.made.append(twin(given.clone(), x=x))
    return float(other.change().abs().mean())


def _flags(parts: tuple[Measured, ...], chain: Chain, *, odd: bool) -> tuple[str, ...]:
    """By what the parts did, and whether what crossed contradicts them."""
    found = []
    # One that perturbs in training alone leaves the owner bare, unless another one is there.
    bare = parts and all(p.active == "train" and not p.penalises for p in parts)
    if (bare and not chain.at("output")) or any(p.off for p in parts):
        found.append("defence-off-when-serving")
    if odd or any(p.weaker for p in parts):
        found.append("defence-weaker-than-claimed")
    return tuple(found)
