"""What carries out each kind of task of Titcombe et al. 2021."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from ...assembly import Assembly
from ...config import parse
from ...defences import Chain, Defended, Laplace
from ...experiment import Outcome, carry_out, fitted_attack, load_network, run_training, view_of
from ...judge import read
from ...metrics import accuracy
from ...parties import Owner, Server, optimiser
from ...streams import stream
from ...trained import Network, served, trained_judge
from ...training import Plan, train
from ..findings import Found
from ..measure import by_class, messages, spread
from ..perform import Job, keep_strip, perform_task, plain
from . import measure
from .attack import DEVIATION, MEAN, PublishedAttack
from .paper import PAPER
from .published import FIGURE_4_SCALES
from .rounds import attack_epoch, dependence_by_epoch


def perform(key: str, context: Mapping[str, Any]) -> None:
    """What ``cutlayer reproduce`` calls for each task."""
    perform_task(PAPER, RUNS, key, context)


def _classifier(job: Job) -> Found:
    assembly, store = job.assembly, job.store
    record = run_training(assembly, store)
    network = load_network(assembly, store, record.id)
    x, y = assembly.take(assembly.shares.validation)
    z = messages(network, x)
    with stream(assembly.experiment.seed, "measure"), torch.no_grad():
        sent = network.defended.defence(z)
    x_victims, y_victims = assembly.take(assembly.victims)
    with stream(assembly.experiment.seed, "victims"), torch.no_grad():
        parts = [network.far.predict(network.defended(p)) for p in x_victims.split(256)]
    batch = assembly.experiment.batch_size
    found = {
        "record": plain(record),
        "seconds": record.seconds,  # of the training, now or earlier
        "accuracy": asdict(record.utility["accuracy"]),
        "accuracy_on_victims": float(accuracy(torch.cat(parts), y_victims).mean()),
        "dependence": measure.dependence(x, z, batch),
        "dependence_as_sent": measure.dependence(x, sent, batch),
        "spread": spread(z),
    }
    if assembly.dataset.name in ("mnist", "digits"):
        scales = FIGURE_4_SCALES
        root = assembly.experiment.seed
        found["accuracy_by_noise"] = measure.accuracy_by_noise(
            network, z, y, scales, draws=3, root=root
        )
    return found


def _attack(job: Job) -> Found:
    outcome = carry_out(job.assembly, job.store)
    keep_strip(outcome, job.results, job.task.key)
    return {"record": plain(outcome.record), **_of_reconstructions(outcome)}


def _of_reconstructions(outcome: Outcome) -> Found:
    """By class, and how much of the slant is kept."""
    classes = len(outcome.record.data["classes"])
    named_values = {k: v for k, v in outcome.values.items() if k in ("ssim", "read")}
    found: Found = {
        "by_class": {k: by_class(v, outcome.y, classes) for k, v in named_values.items()}
    }
    if outcome.x.dim() == 4 and outcome.x.shape[1] == 1:
        found["slant"] = measure.slants(outcome.x, outcome.x_hat, outcome.y)
    return found


def _published_attack(job: Job) -> Found:
    """Their table, and the same attack on the victims: undisturbed, and at each scale."""
    task, assembly, store = job.task, job.assembly, job.store
    silent = assembly.variant(defence=_without_noise(assembly))
    trained = run_training(assembly, store)
    network = load_network(assembly, store, trained.id)
    kind = f"{PublishedAttack.__module__}:{PublishedAttack.__name__}"
    part = parse({"attack": kind}).attack
    attack = fitted_attack(
        assembly.variant(attack=part), view_of(assembly, network), lambda *_: None
    )
    assert isinstance(attack, PublishedAttack)
    found: Found = {"table": _their_table(job, network, attack), "served": {}}
    noisy = {f"laplace-{b:g}": b for b in task.options["scales"]}
    for name, scale in {"clean": 0.0, **noisy}.items():
        parts = silent.experiment.defence
        if scale:
            after = {"kind": "laplace", "args": {"scale": scale, "active": "serve"}}
            parts = (*parts, *parse({"defence": [after]}).defence)
        # The same classifier: what it was trained with acts in that phase alone.
        variant = silent.variant(defence=parts, attack=part)
        outcome = carry_out(variant, store, trained=trained, fitted=attack)
        keep_strip(outcome, job.results, f"{task.key}-{name}")
        found["served"][name] = {"record": plain(outcome.record), **_of_reconstructions(outcome)}
    return found


def _without_noise(assembly: Assembly) -> tuple[Any, ...]:
    """The defences with noise in training only, so that the same network sends clean messages."""
    raw = [
        {"kind": p.kind, "args": {**p.args, "active": "train"} if "scale" in p.args else p.args}
        for p in assembly.experiment.defence
    ]
    return parse({"defence": raw}).defence


def _their_table(job: Job, network: Network, attack: PublishedAttack) -> Found:
    """Distance correlation of inputs and reconstructions, and who can read these, their way.

    On the images that they validate the attack with; batches of 256; undisturbed messages. Their
    validator is of the victim's kind too: the undefended classifier of another seed.
    """
    assembly, store, (_, validator) = job.assembly, job.store, job.after
    x, y = assembly.take(assembly.shares.attacker_validation)
    made = torch.cat([attack.normalised(z) for z in messages(network, x).split(512)])
    pixels = made * DEVIATION + MEAN
    found: Found = {"dependence": measure.dependence((x - MEAN) / DEVIATION, made, 256)}
    assembled = Assembly.of(parse(validator.experiment))
    reader = load_network(assembled, store, run_training(assembled, store).id)
    answers = torch.cat([reader.without_defences(p) for p in pixels.split(512)])
    found["read_by_validator"] = float(accuracy(answers, y).mean())
    judge, _ = trained_judge(assembly, store)
    if judge is not None:
        found["read_by_judge"] = float(accuracy(read(judge, pixels.clamp(0, 1)), y).mean())
    found["mse"] = float((pixels.clamp(0, 1) - x).square().mean())
    return found


def _server_tuned(job: Job) -> Found:
    """Section 5: train the server's segment further under noise, the owner's stays as it is."""
    task, assembly, store = job.task, job.assembly, job.store
    network = load_network(assembly, store, run_training(assembly, store).id)
    e, scale = assembly.experiment, float(task.options["scale"])
    x, y = assembly.take(assembly.shares.train)
    z = messages(network, x)  # the owner's segment is fixed: computed once
    noise = Chain(Laplace(scale))
    owner = Owner(0, Defended(nn.Identity(), noise), None, (z, y), root=e.seed)
    segment = network.far_segment.requires_grad_(True)
    server = Server(
        segment,
        optimiser(e.optimiser, segment, e.learning_rate),
        root=e.seed,
        shape=network.message_shape,
    )

    def measured() -> dict[str, float]:
        defended = Defended(network.defended.segment, noise)
        answers, labels = served(assembly, defended, server)
        clean, _ = served(assembly, Defended(network.defended.segment, Chain()), server)
        return {
            "under_noise": float(accuracy(answers, labels).mean()),
            "without_noise": float(accuracy(clean, labels).mean()),
        }

    before = measured()
    epochs = int(task.options["epochs"])
    plan = Plan(session="tuned", epochs=epochs, batch_size=e.batch_size)
    train(plan, [owner], server)
    return {"scale": scale, "epochs": epochs, "before": before, "after": measured()}


def _round(job: Job) -> Found:
    return attack_epoch(job.assembly, job.store, int(job.task.options["epoch"]))


def _epochs(job: Job) -> Found:
    return {"epochs": dependence_by_epoch(job.assembly, job.store)}


RUNS: Mapping[str, Callable[[Job], Found]] = {
    "classifier": _classifier,
    "attack": _attack,
    "published_attack": _published_attack,
    "server_tuned": _server_tuned,
    "round": _round,
    "epochs": _epochs,
}
