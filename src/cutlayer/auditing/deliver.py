"""What an audit leaves behind: its page, its record, and what a deployment needs."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from torch import nn

from ..experiment import prediction_api
from ..parts import Part, each_constructed, registry
from ..policy import Policy, Weights
from ..record import Store
from ..release import Release
from ..tensor_file import save_tensors
from ..trained import load_network, run_training
from ..wire.identity import Credentials
from .families import is_random
from .page import RELEASED, write
from .result import Audit, Configuration, to_json
from .subject import Subject, served_at, trained_with

RECORD, POLICY, DEFENCE = "audit.json", "policy.json", "defence.safetensors"


def deliver(
    audit: Audit,
    what: Subject,
    folder: Path,
    *,
    store: Store,
    queries: int = 0,
    auditor: Credentials | None = None,
) -> list[str]:
    """Write everything into a folder; what was written, one line each.

    The policy and the weights of both parties are those of the recommended configuration; where
    none is recommended, those of an earlier audit are taken away. Of what is released it is the
    defence, ready to serve.

    Args:
        queries: Samples that each party may ask about; 0: no limit.
        auditor: Signs the policy.

    Raises:
        OSError: the folder cannot be written.
        ConfigError: nobody who may sign.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = write(audit, folder)
    (folder / RECORD).write_text(to_json(audit) + "\n")
    said = [f"page: {page}", f"record: {folder / RECORD}"]
    if audit.released is not None:
        said += _for_answers(audit.released, what, folder / RELEASED, store)
    chosen = audit.recommendation.key
    for name in (POLICY, "owner.safetensors", "server.safetensors"):
        (folder / name).unlink(missing_ok=True)
    if audit.of_answers:
        return [*said, *_for_answers(audit, what, folder, store)]
    if chosen is None:
        return [*said, "no policy: nothing is recommended"]
    c, request = audit.configuration(chosen), what.request
    parts = deployed(c, what, store)
    for name, part in zip(("owner", "server"), parts, strict=True):
        save_tensors(part.state_dict(), folder / f"{name}.safetensors")
        said.append(f"weights: {folder / name}.safetensors")
    if request.experiment.model.kind not in registry("model"):
        return [*said, "no policy: it can name built-in networks only"]
    if not _are_built_in(c.defence):
        return [*said, "no policy: it can name built-in defences only"]
    policy_of(audit, c, what, parts, queries).write(folder / POLICY, auditor)
    signed = "signed" if auditor else "unsigned: 'cutlayer identity sign' makes it count"
    return [*said, f"policy: {folder / POLICY} ({signed})"]


def _are_built_in(defence: Sequence[str]) -> bool:
    return all(Part.parse(spec).kind in registry("defence") for spec in defence)


def _for_answers(audit: Audit, what: Subject, folder: Path, store: Store) -> list[str]:
    """The recommended defence of answers, with keys of its own, for whoever runs the API."""
    path, chosen = folder / DEFENCE, audit.recommendation.key
    defence = () if chosen is None else audit.configuration(chosen).defence
    why = ""
    if chosen is None:
        why = "no defence of answers: nothing is recommended"
    elif not defence:
        why = "no defence of answers: they are best released as they are"
    elif not _are_built_in(defence):
        why = "no file of the defence of answers: it can name built-in defences only"
    elif any(map(is_random, defence)):
        why = "no file of the defence of answers: it draws afresh for each, make it repeatable"
    if why:
        path.unlink(missing_ok=True)
        return [why]
    parts = each_constructed(defence)
    assembly = served_at(what.assembly, what.anywhere, what.weights, defence=parts)
    network = load_network(assembly, store, run_training(assembly, store).id)
    made = prediction_api(assembly, network, secret=True).release
    _take_over_keys(path, made)
    made.save(path)
    return [f"defence of answers, secret: {path}"]


def _take_over_keys(path: Path, made: Release) -> None:
    """Of an earlier file of the same defence: new ones would be a second draw to average."""
    try:
        before = Release.load(path)
    except (OSError, ValueError):
        return
    if before.told() == made.told():
        for name, key in before.keys().items():
            made.keys()[name].copy_(key)


def deployed(c: Configuration, what: Subject, store: Store) -> list[nn.Module]:
    """The owner's and the server's segment as they were audited."""
    parts = served_at(what.assembly, c.cut, what.weights).segments()
    if c.retrained:
        epochs = what.request.epochs_again
        run = run_training(trained_with(what.assembly, c.cut, c.defence, epochs), store).id
        for part, name in zip(parts, ("owner", "far0"), strict=True):
            part.load_state_dict(store.tensors(run, name))
    return parts


def policy_of(
    audit: Audit,
    c: Configuration,
    what: Subject,
    parts: list[nn.Module],
    queries: int,
) -> Policy:
    """What the recommendation allows."""
    dataset, request = what.assembly.dataset, what.request
    worst = c.worst(audit.protect, audit.threats)
    found = {
        "protect": audit.protect,
        "threats": list(audit.threats),
        "configuration": c.words,
        "leakage": asdict(c.leakage(audit.protect, audit.threats)),
        "attacker": worst.name if worst else None,
        "accuracy": asdict(c.accuracy),
        "repeats": request.repeats,
        "finished": audit.finished,
    }
    return Policy(
        model=str(request.experiment.model),
        input_shape=tuple(dataset.shape),
        outputs=len(dataset.classes),
        bounds=_bounds(dataset.bounds),
        cut=(c.cut,),
        defence=c.defence,
        phases=("serve",),
        queries=queries,
        weights=Weights.of(parts),
        audit=found,
    )


def _bounds(bounds: object) -> tuple[float, float] | None:
    """One range for all features, where there is one."""
    if not isinstance(bounds, tuple):
        return None
    low, high = bounds
    if low.numel() == high.numel() == 1:
        return float(low), float(high)
    return None
