"""What a configuration is still worth to its owner: accuracy and calibration, and what it costs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..assembly import Assembly
from ..defences import Chain, Defended, in_phase
from ..evaluation import estimate
from ..metrics import accuracy, expected_calibration_error, expected_calibration_error_interval
from ..record import Estimate
from ..streams import generator, stream
from ..trained import Network
from .families import Loudness

MOST = 2000  # samples to measure accuracy on
HELD = 256 * 2**20  # bytes of messages that are kept for the next defence
_TIMED = 15


@dataclass(frozen=True)
class Worth:
    """accuracy, ece: with the defence on. lost: accuracy given up, paired sample by sample.

    distortion: Of what is released: mean L1 distance from what the network says.
    """

    accuracy: Estimate
    lost: Estimate
    ece: Estimate
    distortion: Estimate | None = None


def held_out(assembly: Assembly) -> Tensor:
    """Indices of samples that no owner trained on, in a drawn order, at most ``MOST``."""
    shares = dict(assembly.shares)
    every = torch.cat([i for name, i in shares.items() if not name.startswith("owners")])
    order = torch.randperm(len(every), generator=generator(0, "held-out"))
    return every[order[:MOST]]


class Scale:
    """Weighs defences in front of one trained network."""

    def __init__(self, assembly: Assembly, network: Network) -> None:
        self.assembly, self.network = assembly, network
        self.index = held_out(assembly)

    @cached_property
    def labels(self) -> Tensor:
        return self.assembly.take(self.index)[1]

    @cached_property
    def _messages(self) -> list[Tensor] | None:
        """What the bare segment sends, if that is little enough to be kept."""
        size = torch.Size(self.network.message_shape).numel() * 4 * len(self.index)
        return list(self._sent()) if size <= HELD else None

    @torch.no_grad()
    def _sent(self) -> "list[Tensor]":
        segment = self.network.defended.segment
        return [segment(self._inputs(part)) for part in self.index.split(256)]

    def _inputs(self, index: Tensor) -> Tensor:
        return self.assembly.take(index)[0]

    @torch.no_grad()
    def logits(self, defence: Chain) -> Tensor:
        """Of every held-out sample, ``(N, K)``, through the serving path."""
        defended, made = Defended(self.network.defended.segment, defence).eval(), []
        kept = self._messages if not defence.at("input") else None
        root = self.assembly.experiment.seed
        with in_phase(defence, "serve"):
            for i, part in enumerate(self.index.split(256)):
                with stream(root, "worth", i):
                    sent = defended(self._inputs(part)) if kept is None else defence(kept[i])
                made.append(self.network.far.predict(sent))
        return torch.cat(made)

    @cached_property
    def undefended(self) -> Tensor:
        """``(N,)``: right or wrong without any defence."""
        return accuracy(self.logits(Chain()), self.labels)

    def worth(self, defence: Chain, *, against: Tensor | None = None) -> Worth:
        """Of the network behind a defence.

        Args:
            against: ``(N,)``, right or wrong, that it is compared with; by default the same network
                without a defence.
        """
        return self._judged(self.logits(defence), against)

    def _judged(self, logits: Tensor, against: Tensor | None) -> Worth:
        y = self.labels
        right = accuracy(logits, y)
        before = self.undefended if against is None else against
        p = logits.softmax(1)
        low, high = expected_calibration_error_interval(p, y, resamples=200)
        error = float(expected_calibration_error(p, y))
        return Worth(
            accuracy=estimate(right),
            lost=estimate(before - right, leaks="low"),
            ece=Estimate(value=error, low=low, high=high, n=len(y)),
        )

    @torch.no_grad()
    def loudness(self, samples: int = 512) -> Loudness:
        """Of what the bare segment sends about the owners' training samples."""
        segment, square, count, l1, l2 = self.network.defended.segment, 0.0, 0, [], []
        for part in self.assembly.shares.train[:samples].split(128):
            z = segment(self._inputs(part)).flatten(1).double()
            square, count = square + float(z.square().sum()), count + z.numel()
            l1.append(z.abs().sum(1))
            l2.append(z.square().sum(1).sqrt())
        return Loudness(
            rms=(square / count) ** 0.5,
            l1=float(torch.cat(l1).median()),
            l2=float(torch.cat(l2).median()),
            size=z.shape[1],
        )

    @torch.no_grad()
    def milliseconds(self, defence: Chain) -> float:
        """Of the owner's part for one sample, median."""
        defended = Defended(self.network.defended.segment, defence).eval()
        x = self._inputs(self.index[:1])
        return median_milliseconds(lambda: defended(x))

    def search_step(self) -> float:
        """Seconds of one step of a search for 64 inputs, as an attacker with the segment makes."""
        segment, times = self.network.defended.segment, []
        for _ in range(4):
            started = time.perf_counter()
            x = self._inputs(self.index[:64]).requires_grad_(True)
            segment(x).square().sum().backward()
            times.append(time.perf_counter() - started)
        return sorted(times)[1]


def median_milliseconds(once: Callable[[], object]) -> float:
    """Of one call."""
    times = []
    for _ in range(_TIMED):
        started = time.perf_counter()
        once()
        times.append(1000 * (time.perf_counter() - started))
    return sorted(times)[_TIMED // 2]


def kept(worth: Worth, limits: dict[str, float]) -> bool:
    """Whether the utility that was asked for is kept, the interval's bad end included."""
    loss, floor = limits.get("accuracy_loss"), limits.get("accuracy_floor")
    lost, have, most = worth.lost.high, worth.accuracy.low, limits.get("distortion")
    if lost is None or have is None:
        return False
    if most is not None and worth.distortion is not None and (worth.distortion.high or 0) > most:
        return False
    return (loss is None or lost <= loss) and (floor is None or have >= floor)
