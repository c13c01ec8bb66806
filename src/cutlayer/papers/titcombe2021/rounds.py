"""Appendix A: a server that keeps every message, and what it learns from those of each epoch."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from ...assembly import Assembly
from ...defences import Defended
from ...evaluation import Truth, leakage_of
from ...experiment import fitted_attack, load_network, view_of
from ...judge import read
from ...parties import Owner
from ...record import Store
from ...streams import stream
from ...tensor_file import load_tensors, save_tensors
from ...threat import Observed
from ...trained import run_training, trained_judge
from ...training import Plan, train
from ...wire import Tap
from .. import measure
from .measure import by_batches

EVERY = 40  # of the owner's training images, one in so many is a victim
SHOWN = ("ssim", "mse", "read", "top1", "top1_in_class")


def victims(assembly: Assembly) -> Tensor:
    """The owner's training images whose messages are attacked."""
    return assembly.shares.owners[0][::EVERY]


def kept_messages(assembly: Assembly, store: Store) -> list[dict[str, Tensor]]:
    """For each epoch ``messages`` ``(n, ...)`` of the victims as they were sent in training.

    Beside them ``segment.*``: the owner's segment at the end of that epoch. The classifier of the
    experiment is trained once more, bit for bit the same, with a tap on the wire; from disk, if
    that has been done.

    Raises:
        ValueError: the samples are shuffled, so that no one knows which message is whose.
    """
    e = assembly.experiment
    if e.order != "stored" or e.owners != 1:
        raise ValueError("rounds: one owner and the order 'stored' wanted, to tell messages apart")
    folder = store.root / ".rounds" / assembly.network_run
    paths = [folder / f"epoch-{i + 1}.safetensors" for i in range(e.passes)]
    with store.making(f"rounds-{assembly.network_run}"):
        if not all(p.exists() for p in paths):
            folder.mkdir(parents=True, exist_ok=True)
            for path, content in zip(paths, _listened(assembly), strict=True):
                save_tensors(content, path.with_suffix(".part"))
                path.with_suffix(".part").replace(path)
    return [load_tensors(p) for p in paths]


def _listened(assembly: Assembly) -> list[dict[str, Tensor]]:
    e, found = assembly.experiment, list[dict[str, Tensor]]()
    owners, far = assembly.parties(assembly.segments())
    tap = Tap(far)

    def at_epoch_end(owner: Owner, history: Sequence[Mapping[str, Any]]) -> None:
        segment = copy.deepcopy(owner.defended.segment.state_dict())
        heard = torch.cat(tap.seen)[::EVERY].clone()
        tap.seen.clear()
        found.append({"messages": heard} | {f"segment.{k}": v for k, v in segment.items()})

    plan = Plan(
        session=assembly.network_run,
        epochs=e.passes,
        batch_size=e.batch_size,
        order=e.order,
    )
    train(plan, owners, tap, validate=at_epoch_end)
    return found


def _segment(kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of the owner's segment out of what was kept of an epoch."""
    return {k.removeprefix("segment."): v for k, v in kept.items() if k.startswith("segment.")}


def dependence_by_epoch(assembly: Assembly, store: Store) -> list[dict[str, Any]]:
    """The published statistic on the validation images after each epoch, and the accuracy then.

    Where the epoch that did best is kept, chance decides which: this shows what hangs on it.
    """
    record = run_training(assembly, store)
    network = load_network(assembly, store, record.id)
    x, _ = assembly.take(assembly.shares.validation)
    found = []
    for epoch, kept in enumerate(kept_messages(assembly, store)):
        network.defended.segment.load_state_dict(_segment(kept))
        z = measure.messages(network, x)
        row = record.training["epochs"][epoch]
        found.append(
            {
                "epoch": epoch + 1,
                "accuracy": row["validation_accuracy"],
                "dependence": by_batches(x, z, assembly.experiment.batch_size),
            }
        )
    return found


def attack_epoch(assembly: Assembly, store: Store, epoch: int) -> dict[str, Any]:
    """An attacker fitted to the owner's segment after one epoch, on the messages of that epoch.

    The attacker of the last epoch is tried on the messages of every epoch.

    Args:
        epoch: 1 is the first.

    Returns:
        By epoch of the messages, each metric of ``SHOWN`` with its interval.
    """
    e, kept = assembly.experiment, kept_messages(assembly, store)
    network = load_network(assembly, store, run_training(assembly, store).id)
    segment = copy.deepcopy(network.defended.segment)
    segment.load_state_dict(_segment(kept[epoch - 1]))
    then = replace(network, defended=Defended(segment, network.defended.defence).eval())
    attack = fitted_attack(assembly, view_of(assembly, then), lambda *_: None)
    judge, _ = trained_judge(assembly, store)
    x, y = assembly.take(victims(assembly))
    readers = {} if judge is None else {"read": lambda x_hat: read(judge, x_hat)}
    found = {}
    heard = range(1, e.passes + 1) if epoch == e.passes else (epoch,)
    for number in heard:
        messages = kept[number - 1]["messages"].to(x)
        with stream(e.seed, "reconstruct", number):
            x_hat = attack.reconstruct(Observed(messages.unsqueeze(1)))
        scores, _ = leakage_of(Truth(x, y, messages[:512], readers), x_hat)
        found[str(number)] = {k: asdict(scores[k]) for k in SHOWN if k in scores}
    return {"epoch": epoch, "converged": attack.converged_, "messages_of": found}
