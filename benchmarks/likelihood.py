"""Searching for many victims side by side against one at a time: the same answers, cheaper.

LeNet on random images at the cuts of He et al.; 64 victims. CPU seconds, since other work on the
machine does not count in them, of the same search in one batch and in batches of one.
"""

import time

import torch
from torch import Tensor, nn

from benchmarks import Row
from cutlayer.attacks import MaximumLikelihood
from cutlayer.models import MODELS
from cutlayer.threat import Observed, build_view, threat_model

VICTIMS, STEPS = 64, 50


def run(repeats: int) -> list[Row]:
    """One row for each cut and size of batch; medians over up to three turns."""
    model = lenet()
    rows: list[Row] = []
    for end, cut in enumerate(("conv1", "ReLU1", "pool1", "conv2", "ReLU2"), start=1):
        rows += at_cut(model[:end], cut, min(repeats, 3))
    return rows


def lenet() -> nn.Sequential:
    torch.manual_seed(0)
    model = MODELS["lenet"]((1, 28, 28), 10)
    assert isinstance(model, nn.Sequential)
    return model.eval().requires_grad_(False)


def at_cut(segment: nn.Module, cut: str, repeats: int) -> list[Row]:
    x = torch.rand(VICTIMS + 64, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    messages = segment(x[:VICTIMS])[:, None]
    attack = fitted(segment, x[VICTIMS:])
    together, alone = [], []
    for _ in range(repeats):
        seconds, batch = timed(attack, [messages])
        together.append(seconds)
        seconds, single = timed(attack, list(messages.split(1)))
        alone.append(seconds)
    base = sorted(alone)[len(alone) // 2]
    return [
        {
            "table": f"{VICTIMS} victims of LeNet, {STEPS} steps",
            "cut": cut,
            "searched for": name,
            "CPU ms per victim": 1e3 * (t := sorted(taken)[len(taken) // 2]) / VICTIMS,
            "one at a time / this": base / t,
            "largest difference": float((batch - single).abs().max()),
        }
        for name, taken in (("one at a time", alone), ("side by side", together))
    ]


def fitted(segment: nn.Module, x: Tensor) -> MaximumLikelihood:
    y = torch.zeros(len(x), dtype=torch.long)
    view = build_view(
        threat_model("white-box"),
        auxiliary=(x, y),
        validation=(x[:4], y[:4]),
        send=lambda t, m: segment(t)[:, None],
        stochastic=False,
        owner_segment=segment,
        far_segment=nn.Identity(),
        defence=(),
        repeats=1,
        classes=1,
    )
    choices = {"solver": "descent", "prior": "variation", "weight": 0.1}
    attack = MaximumLikelihood(steps=STEPS, **choices).fit(view)  # type: ignore[arg-type]
    attack.guesses_ = False
    return attack


def timed(attack: MaximumLikelihood, parts: list[Tensor]) -> tuple[float, Tensor]:
    start = time.process_time()
    found = torch.cat([attack.reconstruct(Observed(z)) for z in parts])
    return time.process_time() - start, found
