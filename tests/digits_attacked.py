"""The embedded digits, small networks for them, and what an adversary has of these."""

import torch
from torch import Tensor, nn

from cutlayer.adversary import Seat
from cutlayer.attacks import MeanSample, Reconstruction
from cutlayer.data import DATASETS
from cutlayer.defences import Chain, Defence, Defended, OwnerSide
from cutlayer.threat import Observed, View, build_view, threat_model

DIGITS = DATASETS["digits"]()
X, Y = DIGITS.take(torch.randperm(1797, generator=torch.Generator().manual_seed(0)))
X = nn.functional.adaptive_avg_pool2d(X, 8)  # as they were written
VICTIMS = slice(1500, 1564)


def trained(*layers: nn.Module, epochs: int, x: Tensor = X) -> nn.Sequential:
    """A small classifier of the embedded digits."""
    model = nn.Sequential(*layers)
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(epochs):
        for index in torch.randperm(800).split(32):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[index]), Y[index]).backward()
            optimiser.step()
    return model.eval().requires_grad_(False)


def two_convolutions() -> nn.Sequential:
    """A network with an activation behind each of two convolutions."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten()]
    return trained(*layers, nn.Linear(128, 10), epochs=4)


def view(
    model: nn.Sequential,
    cut: int,
    *defences: Defence,
    threat: str = "white-box",
    m: int = 1,
    x: Tensor = X,
) -> tuple[View, Defended]:
    side = Defended(model[:cut], Chain(*defences)).eval()
    seat = Seat(side, [model[cut:]], (2,))
    made = build_view(
        threat_model(threat),
        auxiliary=(x[800:1300], Y[800:1300]),
        validation=(x[1300:1500], Y[1300:1500]),
        send=side.repeats,
        stochastic=side.defence.is_stochastic(),
        owner_segment=model[:cut],
        far_segment=model[cut:],
        defence=(),
        repeats=m,
        classes=10,
        owner_side=OwnerSide(side),
        imitate=lambda segment: seat.imitate(segment, m),
        message_shape=tuple(side(x[:1]).shape[1:]),
    )
    return made, side


def error(attack: Reconstruction, side: Defended, m: int = 1, x: Tensor = X) -> float:
    torch.manual_seed(3)
    x = x[VICTIMS]
    with torch.no_grad():
        seen = Observed(side.repeats(x, m), Y[VICTIMS])
    return float((attack.reconstruct(seen) - x).square().mean())


def floor(model: nn.Sequential) -> float:
    v, side = view(model, 1)
    return error(MeanSample().fit(v), side)
