"""What an adversary reads straight from messages: the victims' class, or a private attribute."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .assembly import Assembly
from .attacks import Inference, LabelInference, about
from .checks import of_inference
from .defences import in_phase
from .evaluation import estimate
from .experiment import duplicated, listening_post, view_of
from .metrics.interval import percentiles, resampled
from .overhear import served
from .record import Estimate
from .streams import stream
from .threat import Observed, View
from .trained import Network, OnProgress, silent


@dataclass(frozen=True)
class Inferred:
    """How many of the victims' labels were read off their messages.

    accuracy: Share of the victims whose label was named; higher leaks more. balanced: The same as
    mean over the labels, answered as if all were equally common; where one label is common, it
    still shows what accuracy hides. chance, balanced_chance: Of naming always the commonest label,
    and of any answer that goes by nothing. queries: That the attack asked. converged, facts: As
    of the fitted attack. flags: Names out of ``checks.FLAGS``. scores: ``(N, K)`` logits. truth:
    ``(N,)``.
    """

    accuracy: Estimate
    balanced: Estimate
    chance: float
    balanced_chance: float
    queries: int
    converged: bool | None
    facts: dict[str, Any]
    flags: tuple[str, ...]
    scores: Tensor = field(repr=False)
    truth: Tensor = field(repr=False)

    @property
    def advantage(self) -> float | None:
        """(accuracy - chance) / (1 - chance); ``None`` where all victims have the same label."""
        if self.accuracy.value is None or self.chance == 1:
            return None
        return (self.accuracy.value - self.chance) / (1 - self.chance)


def infer(
    assembly: Assembly,
    network: Network,
    attack: Inference | None = None,
    *,
    labels: Tensor | None = None,
    on_progress: OnProgress = silent,
) -> Inferred:
    """Have the experiment's adversary read a label of its victims, and count.

    It has what the experiment's threat model grants, hears what the experiment's attack would have
    heard, and knows the labels of its own samples: the classes if the model grants them, a private
    attribute in any case.

    Args:
        attack: Not fitted yet; by default a ``LabelInference``.
        labels: ``(len(assembly.dataset),)`` int64 from 0 on, a private attribute of every sample;
            by default what is read is the class.

    Raises:
        ValueError: the threat model withholds what the attack needs; there is not one label for
            each sample; the victims or the adversary's samples are of another data set, whose
            labels mean something else.
    """
    e, post = assembly.experiment, listening_post(assembly, network)
    attack = LabelInference() if attack is None else attack
    truth = _truth(assembly, labels)
    view = view_of(assembly, network, post)
    view = _knowing(assembly, view, attack, labels)
    attack.on_progress = on_progress
    with stream(e.attack_root, "infer"):
        attack.fit(view)
    x, _ = assembly.take(assembly.victims, assembly.attacked.dataset)
    scores, queries = [], view.counts["queries"]
    chain = network.defended.defence
    with in_phase(chain, "serve"):
        for i, part, messages in served(network, x, repeats=e.repeats, root=e.attack_root):
            heard = post.heard(messages, part)
            with stream(e.attack_root, "read", i):
                scores.append(attack.score(Observed(heard)))
        stochastic = chain.is_stochastic()
    logits = torch.cat(scores)
    accuracy = estimate((logits.argmax(1) == truth).float())
    balanced, found = _balanced(logits - _commonness(view, logits), truth)
    chance = float(truth.bincount().max()) / len(truth)
    flags = of_inference(
        guessed=[(accuracy, chance), (balanced, 1 / found)],
        victims=len(truth),
        finite=bool(logits.isfinite().all()),
        converged=attack.converged_,
        stochastic=stochastic,
        repeats=e.repeats,
        duplicates=duplicated(assembly),
    )
    return Inferred(
        accuracy=accuracy,
        balanced=balanced,
        chance=chance,
        balanced_chance=1 / found,
        queries=queries,
        converged=attack.converged_,
        facts=attack.fitted_,
        flags=tuple(flags),
        scores=logits,
        truth=truth,
    )


def _truth(assembly: Assembly, labels: Tensor | None) -> Tensor:
    """``(N,)``: the victims' labels."""
    whose = assembly.attacked
    if not whose.known_kind:
        raise ValueError(
            f"victims of {assembly.dataset.name} wanted, whose labels are known: they come from "
            f"{whose.dataset.name}; leave out victims_from"
        )
    if labels is None:
        return assembly.take(whose.index, whose.dataset)[1]
    if labels.shape != (len(assembly.dataset),) or labels.is_floating_point():
        raise ValueError(
            f"labels: a whole number for each of {len(assembly.dataset)} samples of "
            f"{assembly.dataset.name} wanted: got {tuple(labels.shape)} of {labels.dtype}"
        )
    if int(labels.min()) < 0:
        raise ValueError(f"labels: numbers from 0 on wanted: got {int(labels.min())}")
    return labels.long()[whose.index].to(assembly.device)


def _knowing(assembly: Assembly, view: View, attack: Inference, labels: Tensor | None) -> View:
    """The view with the labels that the attack learns from."""
    own = assembly.auxiliary
    if "auxiliary_labels" not in attack.needs:
        return view
    means = own.dataset.classes == assembly.dataset.classes
    if own.dataset is not assembly.dataset and (labels is not None or not means):
        raise ValueError(
            f"samples of {assembly.dataset.name} wanted for {type(attack).__name__}: the "
            f"adversary's come from {own.dataset.name}, whose labels mean something else"
        )
    if labels is None:
        return view
    learn, stop = (labels[i].to(assembly.device) for i in (own.learn, own.stop))
    return about(view, learn, stop, values=int(labels.max()) + 1)


def _commonness(view: View, logits: Tensor) -> Tensor:
    """Logarithm of how common each label is among the adversary's samples, ``(K,)``."""
    if view.auxiliary_labels is None:
        return torch.zeros_like(logits[0])
    counts = view.auxiliary_labels.bincount(minlength=logits.shape[1])[: logits.shape[1]]
    return (counts / counts.sum()).clamp_min(1e-6).log()


def _balanced(logits: Tensor, truth: Tensor) -> tuple[Estimate, int]:
    """Mean over the labels that there are of the share named rightly, and how many there are.

    The interval is over other victims with as many of each label.
    """
    hits, there = (logits.argmax(1) == truth).double().cpu(), truth.unique().cpu()
    drawn = []
    for k in there:
        own = hits[truth.cpu() == k]
        draws = resampled(len(own), resamples=2000, seed=int(k))
        drawn.append(torch.cat([own[index].mean(1) for index in draws]))
    low, high = percentiles(torch.stack(drawn).mean(0), level=0.95)
    value = float(torch.stack([hits[truth.cpu() == k].mean() for k in there]).mean())
    return Estimate(value=value, low=low, high=high, n=len(truth)), len(there)
