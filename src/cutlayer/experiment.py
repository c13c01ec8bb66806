"""READ FIRST. Config in, record out: the whole flow.

data -> owner's segment -> defences -> wire -> server's segment -> prediction
                                   '-> an attack sees the message -> x_hat -> metrics -> record
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .adversary import TRAFFIC, Seat
from .assembly import Assembly
from .attacks import FLOORS, Reconstruction
from .checks import of_run
from .data import Dataset
from .defences import ClipNorm, Kept
from .described import defences_in_words, name_of
from .evaluation import (
    DEPENDENCE_SAMPLES,
    Reader,
    Truth,
    advantage,
    gallery,
    grade,
    leakage_of,
    released_utility,
    shuffled_dependence,
    utility_of,
)
from .judge import read
from .metrics import accuracy
from .overhear import Heard, overhear
from .parts import resolve
from .placebo import suspicion, untouched
from .prediction_api import PRIVATE, PredictionApi
from .record import Record, Scores, Store
from .streams import stream
from .threat import CAPABILITIES, View, build_view, threat_model
from .trained import (
    Network,
    OnProgress,
    environment,
    load_network,
    once,
    run_training,
    silent,
    trained_judge,
)
from .victims import Victims

__all__ = [
    "Network",
    "Outcome",
    "carry_out",
    "load_network",
    "run_attack",
    "run_training",
    "samples_of",
    "with_reference",
]


@dataclass(frozen=True)
class Outcome:
    """An attack carried out: its record, and the victims beside what was made of them.

    x, y: ``(N, ...)``, ``(N,)``, labels of the victims' own data set. x_hat: ``(N, ...)``.
    values: ``(N,)`` by metric. attack: fitted, as it was carried out.
    """

    record: Record
    x: Tensor
    y: Tensor
    x_hat: Tensor
    values: dict[str, Tensor]
    attack: Reconstruction


def run_attack(
    assembly: Assembly, store: Store, *, every: int = 500, on_progress: OnProgress = silent
) -> Record:
    """Attack the network of an experiment, or find it attacked already: train it if need be,
    overhear, reconstruct, grade.

    Raises:
        ConfigError, ValueError: the experiment cannot be built, or the threat model withholds
            what the attack needs.
        OSError: the store cannot be written.
    """
    # What cannot be had is missed before anything is trained.
    _ = assembly.attackers_own(), assembly.adversaries
    trained = run_training(assembly, store, every=every, on_progress=on_progress)

    def attack() -> Record:
        found = carry_out(assembly, store, trained=trained, on_progress=on_progress)
        samples = gallery(found.x, found.y, found.x_hat, found.values)
        store.write(found.record, samples=samples, values=found.values)
        return found.record

    return once(store, assembly.attack_run, attack)


def carry_out(
    assembly: Assembly,
    store: Store,
    *,
    trained: Record | None = None,
    fitted: Reconstruction | None = None,
    on_progress: OnProgress = silent,
) -> Outcome:
    """``run_attack`` without looking for an earlier one, and without keeping it.

    Args:
        trained: The run whose network is attacked, with the experiment's defences in front of it;
            by default the experiment's own.
        fitted: The experiment's attack as fitted before, where what it learned from was the same.
    """
    e = assembly.experiment
    trained = trained or run_training(assembly, store, on_progress=on_progress)
    judge, judged_by = trained_judge(assembly, store, on_progress)
    started = time.perf_counter()
    network = load_network(assembly, store, trained.id)
    post = listening_post(assembly, network)
    view = view_of(assembly, network, post)
    attack = fitted or fitted_attack(assembly, view, on_progress)
    queries = view.counts["queries"]
    strange = untouched(attack) if ":" in e.attack.kind else None
    guesses = fitted_floors(assembly, view, post)
    listeners = {"attack": attack, **guesses}

    whose = assembly.attacked
    x, y = assembly.take(whose.index, whose.dataset)
    heard = overhear(
        network,
        post,
        listeners,
        x,
        y,
        repeats=e.repeats,
        root=e.attack_root,
        keep=DEPENDENCE_SAMPLES,
        on_progress=on_progress,
    )
    readers: dict[str, Reader] = {"read_by_victim": network.without_defences}
    if judge is not None:
        readers["read"] = lambda x_hat: read(judge, x_hat)
        judged_by["accuracy_on_clean_victims"] = float(accuracy(read(judge, x), y).mean())

    truth = Truth(
        x, y if whose.known_kind else None, heard.sent, readers, _others_to_find(assembly)
    )
    leakage, values = leakage_of(truth, heard.x_hat["attack"])
    floors = {name: grade(truth, heard.x_hat[name])[0] for name in guesses}
    utility = _utility(heard, y) if whose.known_kind else {}
    # Last, and only of what we did not write: it costs a run of the attack.
    suspected = suspicion(assembly, network, post, strange, x, heard) if strange else None
    message = network.message_shape if heard.released is None else heard.released.shape[1:]
    record = Record(
        id=assembly.attack_run,
        kind="attack",
        name=name_of(e),
        config={**assembly.attack_identity(), "experiment": assembly.plain()},
        data=assembly.described_attacked() | {"message_shape": list(message)},
        training=trained.training,
        victim=trained.id,
        threat=described_threat(assembly, seat_of(assembly, network))
        | {"auxiliary": len(view.auxiliary), "queries": queries},
        defence=described_defence(assembly, network, heard.rms),
        attack={
            "name": e.attack.kind,
            "queries": queries,
            "converged": attack.converged_,
            "judge": judged_by,
            **attack.fitted_,
            **(suspected.to_dict() if suspected else {}),
        },
        utility=utility,
        leakage=leakage,
        floors=floors | {"shuffled": shuffled_dependence(truth)},
        advantage=advantage(leakage, floors),
        flags=of_run(
            leakage=leakage,
            floors=floors,
            utility=utility,
            chance=float(y.bincount().max()) / len(y),
            victims=len(y),
            finite=bool(heard.x_hat["attack"].isfinite().all()),
            converged=attack.converged_,
            stochastic=network.defended.defence.is_stochastic(),
            repeats=e.repeats,
            duplicates=duplicated(assembly),
            tells_label=heard.released is not None and not e.defence,
            knows_victims=suspected is not None and suspected.knows,
        ),
        seconds={"attack": time.perf_counter() - started},
        environment=environment(),
    )
    return Outcome(record, x, y, heard.x_hat["attack"], values, attack)


def seat_of(assembly: Assembly, network: Network) -> Seat:
    """Where the experiment's adversary sits."""
    return Seat(network.defended, network.behind, assembly.adversaries)


def listening_post(assembly: Assembly, network: Network) -> Seat | PredictionApi:
    """Where the experiment's adversary listens: at a cut, or at the prediction API."""
    e = assembly.experiment
    if "confidences" not in threat_model(e.threat).has:
        return seat_of(assembly, network)
    return prediction_api(assembly, network)


def prediction_api(assembly: Assembly, network: Network, *, secret: bool = False) -> PredictionApi:
    """The network as an API, with its output defences prepared on the owners' samples.

    Args:
        secret: With keys that stand in no record, to serve for real.
    """
    own = assembly.take(assembly.shares.train[:PRIVATE])
    return PredictionApi.prepared(network, own, root=assembly.experiment.seed, secret=secret)


def _others_to_find(assembly: Assembly) -> Tensor | None:
    """Victims who are not attacked, but may be taken for one who is."""
    e, attacked = assembly.experiment, len(assembly.victims)
    if e.gallery <= attacked:
        return None
    return assembly.take(assembly.shares.victims[attacked : e.gallery])[0]


def _utility(heard: Heard, y: Tensor) -> Scores:
    if heard.released is None:
        return utility_of(heard.logits, y)
    return released_utility(heard.logits.softmax(1), heard.released, y)


def view_of(assembly: Assembly, network: Network, post: Seat | PredictionApi | None = None) -> View:
    """What the experiment's adversary may touch.

    Args:
        post: Where it listens, if that is there already.
    """
    e, seat, kept = assembly.experiment, seat_of(assembly, network), Kept()
    post = post or listening_post(assembly, network)
    auxiliary, validation = assembly.attackers_own()
    before, _ = assembly.take(_others(assembly)[:TRAFFIC])
    with stream(e.attack_root, "view"):
        return build_view(
            threat_model(e.threat),
            auxiliary=auxiliary,
            validation=validation,
            send=lambda x, m: post.send(x, m, kept=kept),
            stochastic=network.defended.defence.is_stochastic(),
            owner_segment=seat.owner_segment(),
            far_segment=seat.far_segment(),
            defence=defences_in_words(e),
            repeats=e.repeats,
            classes=assembly.classes,
            owner_side=seat.owner_side(),
            imitate=lambda segment: seat.imitate(segment, e.repeats),
            message_shape=tuple(post.send(before[:1], 1).shape[2:]),
            traffic=seat.traffic(before),
        )


def _others(assembly: Assembly) -> Tensor:
    """Indices of those who used the network before: no sample of the attacker's own.

    Messages of these, and knowing which is whose, would be answers to queries.
    """
    mine, train = assembly.auxiliary, assembly.shares.train
    if mine.dataset is not assembly.dataset:
        return train
    left = train[~torch.isin(train, torch.cat([mine.learn, mine.stop]))]
    return left if len(left) else train[-1:]


def fitted_attack(assembly: Assembly, view: View, on_progress: OnProgress) -> Reconstruction:
    """The experiment's attack, prepared with what the view hands out."""
    part = assembly.experiment.attack
    with stream(assembly.experiment.attack_root, "attack"):
        attack: Reconstruction = resolve("attack", part.kind)(**part.args)
        attack.on_progress = on_progress
        return attack.fit(view)


def fitted_floors(
    assembly: Assembly, view: View, post: Seat | PredictionApi
) -> dict[str, Reconstruction]:
    """Every floor. They are the evaluation's, not the adversary's: nothing is withheld.

    So they know the victims' own data set, also where the adversary has another. One that goes by
    class is left out where the victims are of no class that the network knows.
    """
    whose, most = assembly.attacked, len(assembly.shares.auxiliary)
    samples, labels = assembly.take(whose.others[:most], whose.dataset)
    m = assembly.experiment.repeats

    def query(x: Tensor) -> Tensor:
        return post.send(x, m)

    everything = replace(view, auxiliary=samples, auxiliary_labels=labels, query=query)
    floors = {}
    for name, floor in FLOORS.items():
        if "auxiliary_labels" in floor.needs and not whose.known_kind:
            continue
        with stream(assembly.experiment.seed, "floor", name):
            floors[name] = floor().fit(everything)
    return floors


def described_threat(assembly: Assembly, seat: Seat) -> dict[str, Any]:
    """For the record: who attacks, from which place, with what."""
    e = assembly.experiment
    found = threat_model(e.threat).to_dict()
    found |= {"auxiliary_from": assembly.auxiliary.source, "repeats": e.repeats}
    if len(seat.behind) > 1:
        whole = CAPABILITIES["far_segment"]
        own = f"holds the segments of {seat.in_words()}"
        found["words"] = [own if w == whole else w for w in found["words"]]
        found["holds"] = seat.in_words()
        if honest := seat.honest_in_words():
            found["honest"] = honest
    return found


def described_defence(assembly: Assembly, network: Network, rms: float) -> dict[str, Any]:
    """For the record: noise in its own units, and relative to the message and its bound."""
    chain = network.defended.defence
    deviation = chain.noise_deviation()
    norms = [m.norm for m in chain.members if isinstance(m, ClipNorm) and m.acts()]
    return {
        "parts": list(defences_in_words(assembly.experiment)),
        "noise_deviation": deviation,
        "input_noise_deviation": chain.noise_deviation("input"),
        "message_rms": rms,
        "noise_to_message": deviation / rms if rms else None,
        "noise_to_clip_norm": deviation / min(norms) if norms else None,
    }


def duplicated(assembly: Assembly) -> int:
    """Victims that stand, bit for bit, in another share as well or among the attacker's samples.

    Samples of another data set are compared in [0, 1], as the attacker has them.
    """
    dataset, whose, own = assembly.dataset, assembly.attacked, assembly.auxiliary
    others = torch.cat([i for name, i in assembly.shares if name != "victims"])
    twice = _found_in(dataset, others, whose)
    if own.dataset is not dataset:
        twice |= _found_in(own.dataset, torch.cat([own.learn, own.stop]), whose)
    return len(twice)


def _found_in(dataset: Dataset, index: Tensor, whose: Victims) -> set[bytes]:
    """The victims that stand among those samples; of one data set they are compared as stored."""
    stored = [x.numpy().tobytes() for x in whose.dataset.x[whose.index]]
    if dataset is whose.dataset:
        return set(stored) & {dataset.x[i].numpy().tobytes() for i in index}
    scaled = [x.numpy().tobytes() for x in whose.dataset.take(whose.index)[0]]
    raw = dict(zip(scaled, stored, strict=True))
    every = (x.numpy().tobytes() for part in index.split(1000) for x in dataset.take(part)[0])
    return {raw[x] for x in every if x in raw}


def with_reference(assembly: Assembly) -> list[Assembly]:
    """The experiment, and before it the same one undefended: no defended number stands alone."""
    if not assembly.experiment.defence:
        return [assembly]
    return [assembly.variant(defence=()), assembly]


def samples_of(store: Store, records: Sequence[Record]) -> dict[str, dict[str, Tensor]]:
    """The stored victims and reconstructions of attack runs, for the report."""
    return {r.id: store.tensors(r.id, "samples") for r in records if r.kind == "attack"}
