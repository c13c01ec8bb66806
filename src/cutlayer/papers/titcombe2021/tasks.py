"""Everything that is run to regenerate the paper, in order: a list of tasks with readable keys."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..paper import Options
from ..task import Task
from .published import FILES, TABLE_1
from .settings import Name, classifier, defences, law

REVISION = 1  # of what a task computes; raise it, and finished tasks are done anew
SCALES = (0.1, 0.5, 1.0)  # of noise, in the figures
WEIGHTS = (0.0, 0.1, 0.5)  # of NoPeek, in the figures
SIZES = (100, 250, 500, 1250, 2500, 3750)  # attack sets; 5,000 is what every other attack has
SEEDED = ((0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 0.0), (0.0, 0.1))  # rows run three times
LATE = ((0.5, 0.1),)  # rows whose distance correlation hangs on which epoch is kept
HEARD = (16, 256)
LAWS = ("gaussian", "uniform", "student-t")
DOMAINS: Mapping[str, str] = {  # data set: the folder that shows that it is there
    "femnist-digits": "femnist_digits",
    "fashion-mnist": "FashionMNIST",
    "emnist-letters": "EMNIST",
}
OTHER_DATA: Mapping[str, str] = {  # name: folder
    "fashion-mnist": "FashionMNIST",
    "cifar10": "cifar-10-batches-bin",
    "ecg": "mitbih",
}

_task = partial(Task, revision=REVISION)


def named(noise: float, weight: float, seed: int = 0) -> str:
    """A classifier in a key.

    >>> named(0.5, 0.1)
    'noise-0.5-weight-0.1'
    """
    text = f"noise-{noise:g}-weight-{weight:g}"
    return f"{text}-seed-{seed}" if seed else text


def classifier_key(place: str, noise: float, weight: float, seed: int = 0) -> str:
    """place: the setting, or the data set of the further data."""
    return f"{place}/classifier/{named(noise, weight, seed)}"


def attack_key(
    place: str,
    noise: float,
    weight: float,
    *,
    served: str = "as-trained",
    heard: int = 1,
    more: str = "",
) -> str:
    """The key of one attack that trains through the defence.

    Args:
        served: "as-trained", "clean" or a law and a scale like "laplace-0.5": noise that acts only
            after training, instead of any from training.
        heard: Messages of each input that the attacker averages.
        more: What else is special.
    """
    extra = (f"-heard-{heard}" if heard > 1 else "") + (f"-{more}" if more else "")
    return f"{place}/adaptive/{named(noise, weight)}-served-{served}{extra}"


def published_key(place: str, noise: float, weight: float, *, more: str = "") -> str:
    """The key of the published attack on one classifier, on clean messages and on noisy ones."""
    return f"{place}/published/{named(noise, weight)}" + (f"-{more}" if more else "")


def tasks(settings: tuple[Name, ...], options: Options) -> list[Task]:
    """All tasks, in the order in which they are wanted."""
    if options.quick:
        return [t for setting in settings for t in _quick(setting, options)]
    found: list[Task] = []
    for setting in settings:
        found += _table(setting, options)
        if setting == "authors-code":
            found += _authors_code(setting, options)
    found += _other_data(options)
    return found


def _table(setting: Name, options: Options) -> Iterator[Task]:
    """Table 1, the retrained rows, and the further rows of the result files."""
    rows = [(0.0, 0.0), *((r.noise, r.weight) for r in TABLE_1), (0.0, 1.0)]
    yield from (_classifier(setting, options, b, w) for b, w in rows)
    seeds = SEEDED if setting == "authors-code" else ()
    yield from (_classifier(setting, options, b, w, seed) for seed in (1, 2) for b, w in seeds)
    if setting == "authors-code":
        known = {(b, w) for b, w in rows}
        for r in FILES:
            if (r.noise, r.weight) not in known:
                yield _classifier(setting, options, r.noise, r.weight)


def epochs_key(place: str, noise: float, weight: float) -> str:
    """The key of a classifier's distance correlation after each epoch."""
    return f"{place}/epochs/{named(noise, weight)}"


def _authors_code(setting: Name, options: Options) -> Iterator[Task]:
    for noise, weight in LATE:
        yield _epochs(setting, options, noise, weight)
    # The attack table, and figure 2 by the published attack.
    for row in FILES:
        yield _published(setting, options, row.noise, row.weight)
    # The same classifiers by an attacker that trains through the noise: the grid, the front.
    for weight in WEIGHTS:
        yield _attack(setting, options, 0.0, weight)
        for scale in SCALES:
            yield _attack(setting, options, 0.0, weight, served=f"laplace-{scale:g}")
            yield _attack(setting, options, scale, weight)
    for scale in (1.0, 0.5):
        for weight in WEIGHTS:
            for heard in HEARD:
                yield _attack(
                    setting, options, 0.0, weight, served=f"laplace-{scale:g}", heard=heard
                )
    for weight in (0.0, 0.5):
        for heard in HEARD:
            yield _attack(setting, options, 1.0, weight, heard=heard)
    # Figures 1 and 3.
    for domain, folder in DOMAINS.items():
        if _is_there(folder, options):
            other: dict[str, Any] = {"auxiliary": domain, "threat": "server-alone"}
            yield _published(setting, options, 0.0, 0.0, more=domain, **other)
            yield _attack(setting, options, 0.0, 0.0, more=domain, **other)
    for size in SIZES:
        fewer: dict[str, Any] = {"auxiliary_samples": size}
        yield _published(setting, options, 0.0, 0.0, more=f"{size}-samples", **fewer)
        yield _attack(setting, options, 0.0, 0.0, more=f"{size}-samples", **fewer)
    # What the text proposes.
    for scale in (0.5, 1.0):
        yield _attack(setting, options, scale, 0.0, served="clean")
    for weight in WEIGHTS:
        for scale in (0.5, 1.0):
            yield _tuned(setting, options, weight, scale)
    for name in LAWS:
        for scale in (0.5, 1.0):
            yield _attack(setting, options, 0.0, 0.0, served=f"{name}-{scale:g}")
    for threat in ("owner-alone", "server-and-owner"):
        raw = classifier(setting, options, owners=2, threat=threat, attack=ADAPTIVE)
        yield _task(f"{setting}/adaptive/two-owners-{threat}", "attack", raw)
    yield from _rounds(setting, options, ADAPTIVE)


ADAPTIVE = {"kind": "inverse-network", "args": {}}


def _classifier(place: Name, options: Options, noise: float, weight: float, seed: int = 0) -> Task:
    raw = classifier(place, options, noise=noise, weight=weight, seed=seed)
    return _task(classifier_key(place, noise, weight, seed), "classifier", raw)


def _epochs(setting: Name, options: Options, noise: float, weight: float) -> Task:
    return _task(
        epochs_key(setting, noise, weight),
        "epochs",
        classifier(setting, options, noise=noise, weight=weight),
        (classifier_key(setting, noise, weight),),
    )


def _is_there(folder: str, options: Options) -> bool:
    """Whether the data of that folder are among the data files."""
    return bool(options.data_root and (Path(options.data_root) / folder).is_dir())


def _published(
    setting: Name, options: Options, noise: float, weight: float, *, more: str = "", **fields: Any
) -> Task:
    """The published attack on one classifier, and on what it sends at several scales."""
    raw = classifier(setting, options, noise=noise, weight=weight, **fields)
    scales: tuple[float, ...] = (noise,) if noise else ()
    if weight in WEIGHTS and not noise and not more:
        scales = SCALES
    return _task(
        published_key(setting, noise, weight, more=more),
        "published_attack",
        raw,
        (classifier_key(setting, noise, weight), classifier_key(setting, 0.0, 0.0, 1)),
        {"scales": list(scales)},
    )


def _attack(
    setting: Name,
    options: Options,
    noise: float,
    weight: float,
    *,
    served: str = "as-trained",
    heard: int = 1,
    more: str = "",
    **fields: Any,
) -> Task:
    raw = classifier(setting, options, noise=noise, weight=weight)
    raw |= _served(setting, noise, weight, served) | _listening(heard) | fields
    return _task(
        attack_key(setting, noise, weight, served=served, heard=heard, more=more),
        "attack",
        raw,
        (classifier_key(setting, noise, weight),),
    )


def _served(setting: Name, noise: float, weight: float, served: str) -> dict[str, Any]:
    if served == "as-trained":
        return {}
    active = defences(setting, noise=noise, weight=weight, active="train")
    if served != "clean":
        name, _, scale = served.rpartition("-")
        active.append(law(name, float(scale), active="serve"))
    return {"defence": active}


def _listening(heard: int) -> dict[str, Any]:
    """An attacker who averages very many messages asks once and no more."""
    args: dict[str, Any] = {"renew": False} if heard > 16 else {}
    return {"attack": ADAPTIVE | {"args": args}, "repeats": heard}


def _tuned(setting: Name, options: Options, weight: float, scale: float) -> Task:
    return _task(
        f"{setting}/server-tuned/{named(0.0, weight)}-laplace-{scale:g}",
        "server_tuned",
        classifier(setting, options, weight=weight),
        (classifier_key(setting, 0.0, weight),),
        {"scale": scale, "epochs": 1 if options.quick else 3},
    )


def _rounds(setting: Name, options: Options, attack: Mapping[str, Any]) -> Iterator[Task]:
    raw = classifier(setting, options, attack=attack)
    needed = (classifier_key(setting, 0.0, 0.0),)
    for epoch in range(raw["epochs"], 0, -1):
        yield _task(round_key(setting, epoch), "round", raw, needed, {"epoch": epoch})


def round_key(setting: str, epoch: int) -> str:
    """The key of an attack on what was sent in one epoch; 1 is the first."""
    return f"{setting}/rounds/epoch-{epoch}"


def _other_data(options: Options) -> Iterator[Task]:
    """Weight × scale × (after, in training) on more complex data, in the setting of the text."""
    for name, folder in OTHER_DATA.items():
        if not _is_there(folder, options):
            continue
        data = other_data(name)
        scale = 0.5
        for weight in WEIGHTS:
            for noise in (0.0, scale):
                raw = classifier("paper", options, noise=noise, weight=weight) | data
                key = classifier_key(name, noise, weight)
                yield _task(key, "classifier", raw)
                attack = raw | {"attack": ADAPTIVE}
                yield _task(attack_key(name, noise, weight), "attack", attack, (key,))
                if noise:
                    continue
                for after in (0.5, 1.0):
                    served = f"laplace-{after:g}"
                    more = _served("paper", noise, weight, served)
                    yield _task(
                        attack_key(name, noise, weight, served=served),
                        "attack",
                        attack | more,
                        (key,),
                    )


def other_data(name: str) -> dict[str, Any]:
    """Data, network and cut of the further data sets."""
    if name != "ecg":
        return {"shares": "default", "epochs": 5, "data": name}
    files = {"path": "mitbih/mitbih_beats_train.npz", "test": "mitbih/mitbih_beats_test.npz"}
    return {
        "shares": "default",
        "epochs": 10,
        "data": {"kind": "arrays", "args": {**files, "signal": True}},
        "model": "ecg",
        "cut": [],
    }


def _quick(setting: Name, options: Options) -> Iterator[Task]:
    """One of each kind, small."""
    for noise, weight, seed in ((0.0, 0.0, 0), (0.0, 0.0, 1), (0.0, 0.5, 0), (0.5, 0.0, 0)):
        yield _classifier(setting, options, noise, weight, seed)
    small = {"kind": "inverse-network", "args": {"epochs": 6}}
    yield _published(setting, options, 0.0, 0.0)
    for weight in (0.0, 0.5):
        yield _attack(setting, options, 0.0, weight, attack=small)
        yield _attack(setting, options, 0.0, weight, served="laplace-1", attack=small)
    yield _attack(setting, options, 0.5, 0.0, attack=small)
    yield _attack(setting, options, 0.0, 0.0, served="laplace-1", heard=16, attack=small)
    yield _attack(
        setting, options, 0.0, 0.0, more="100-samples", auxiliary_samples=100, attack=small
    )
    yield _tuned(setting, options, 0.0, 1.0)
    if setting == "authors-code":
        yield from _rounds(setting, options, small)
        yield _epochs(setting, options, 0.0, 0.5)
