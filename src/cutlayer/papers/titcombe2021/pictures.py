"""Picture figures of the page, cut out of the strips that the attacks left."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..findings import Findings
from ..gallery import Gallery, Pictured, halves
from ..tables import DASH, NOT_RUN, Shown, value
from . import leaks
from .leaks import OURS, THEIRS, Leak, configuration
from .tables import estimate, estimate_columns
from .tables_leaks import by
from .tasks import SCALES, WEIGHTS, attack_key

if TYPE_CHECKING:
    from PIL.Image import Image

METRICS = ("ssim", "read", "top1_in_class")
PLACE = "authors-code"


def _halves(findings: Findings, x: Leak) -> "tuple[Image, Image] | None":
    """Originals and reconstructions of a strip; ``None`` where none was kept."""
    return halves(findings.folder / x.picture) if x.picture else None


def _row(
    findings: Findings, label: str, x: Leak | None, *, short: str = "", missing: str = NOT_RUN
) -> Pictured:
    if x is None:
        return Pictured(label, short, missing=missing)
    numbers = tuple(estimate(x, m) for m in METRICS)
    found = _halves(findings, x)
    read = x.value("read")
    under = "" if read is None else f"{read:.0%}"
    if found is None:
        return Pictured(label, short, None, numbers, "no picture was kept", under)
    return Pictured(label, short, found[1], numbers, under=under)


def _originals(findings: Findings, every: Sequence[Leak | None]) -> Pictured:
    """The originals, from the first strip that is there."""
    for x in every:
        if x is not None and (found := _halves(findings, x)) is not None:
            blank = tuple(Shown("", (None,)) for _ in METRICS)
            return Pictured("originals", "true", found[0], blank)
    return Pictured("originals", "true", missing=NOT_RUN)


def headline(findings: Findings) -> Gallery:
    """Noise of 1.0, at which reconstructions are said to be destroyed, by growing attackers."""
    config = configuration(findings, PLACE, 0.0, 0.0, "laplace-1")
    who = {
        "the paper's attacker, which never saw noise": THEIRS,
        "an attacker trained through the noise": OURS,
        "the same, averaging 16 messages of each picture": "the same, averaging 16 messages",
        "the same, averaging 256 messages": "the same, averaging 256 messages",
    }
    tried = {label: by(config, name) for label, name in who.items()}
    rows = [_row(findings, label, x) for label, x in tried.items()]
    rows += _floors(findings)
    return Gallery(
        "headline",
        "Noise b = 1.0, added after training: ten digits as each attacker rebuilds them",
        (_originals(findings, list(tried.values())), *rows),
        estimate_columns(METRICS),
    )


_GUESSES = {
    "mean": "floor: the mean picture, whatever was sent",
    "class-mean": "floor: the mean picture of the true class",
    "nearest-auxiliary": "floor: the attacker's own picture with the nearest message",
}


def _floors(findings: Findings) -> list[Pictured]:
    found = findings.get(attack_key(PLACE, 0.0, 0.0, served="laplace-1"))
    if found is None:
        return []
    floors = found["record"]["floors"]
    rows = []
    for name, label in _GUESSES.items():
        scores = [floors.get(name, {}).get(m) for m in METRICS]
        numbers = tuple(
            Shown(DASH, (None,), mark="null") if s is None else _plain(m, s["value"])
            for m, s in zip(METRICS, scores, strict=True)
        )
        rows.append(Pictured(label, numbers=numbers, missing="a guess"))
    return rows


def _plain(metric: str, found: float | None) -> Shown:
    from ...report.reading import number

    return value(None, 3) if found is None else Shown(number(metric, found), (found,))


def figure_1(findings: Findings) -> Gallery:
    """Attack sets from other sources."""
    found = leaks.domains(findings)
    rows = []
    for name, every in found:
        if not every:
            missing = "open: EMNIST is not here" if name == "emnist-letters" else NOT_RUN
            rows.append(_row(findings, _SOURCES[name], None, missing=missing))
            continue
        for attacker, words in ((THEIRS, "the paper's attacker"), (OURS, "our attacker")):
            x = next((x for x in every if x.attacker == attacker), None)
            rows.append(_row(findings, f"{_SOURCES[name]}: {words}", x))
    return Gallery(
        "figure-1",
        "Figure 1: MNIST digits rebuilt by attackers whose 5,000 images come from elsewhere",
        (_originals(findings, [x for _, every in found for x in every]), *rows),
        estimate_columns(METRICS),
    )


_SOURCES = {
    "mnist": "MNIST, as figure 1(a)",
    "femnist-digits": "FEMNIST, digits by other writers",
    "fashion-mnist": "Fashion-MNIST, clothes",
    "emnist-letters": "EMNIST letters, as figure 1(b)",
}


def figure_2a(findings: Findings, *, trained: bool = False) -> list[Gallery]:
    """Noise 0, .1, .5, 1.0, a gallery for each attacker.

    Args:
        trained: Noise in training and after, as the authors' files have it, not after alone.
    """
    galleries = []
    for attacker, name in _ATTACKERS.items():
        shown: list[tuple[str, Leak | None]] = []
        for b in (0.0, *SCALES):
            served = "as-trained" if trained or not b else f"laplace-{b:g}"
            config = configuration(findings, PLACE, b if trained else 0.0, 0.0, served)
            shown.append((f"{b:.1f}", by(config, attacker)))
        stem = "figure-2a-in-training" if trained else "figure-2a"
        galleries.append(_columns(findings, f"{stem}-{name}", attacker, "noise", shown))
    return galleries


def figure_2b(findings: Findings) -> list[Gallery]:
    """NoPeek weights 0, .1, .5, a gallery for each attacker."""
    galleries = []
    for attacker, name in _ATTACKERS.items():
        shown = [
            (f"{w:.1f}", by(configuration(findings, PLACE, 0.0, w), attacker)) for w in WEIGHTS
        ]
        galleries.append(_columns(findings, f"figure-2b-{name}", attacker, "NoPeek", shown))
    return galleries


_ATTACKERS = {THEIRS: "theirs", OURS: "ours"}


def _columns(
    findings: Findings,
    name: str,
    attacker: str,
    what: str,
    shown: Sequence[tuple[str, Leak | None]],
) -> Gallery:
    rows = [_row(findings, f"{what} {short}", x, short=short) for short, x in shown]
    title = "the paper's attacker" if attacker == THEIRS else f"an attacker {OURS}"
    return Gallery(name, title, (_originals(findings, [x for _, x in shown]), *rows))


def figure_3(findings: Findings) -> list[Gallery]:
    """Attack sets of 100 to 5,000 images, a gallery for each attacker."""
    found = leaks.sizes(findings)
    galleries = []
    for attacker, name, title in (
        (THEIRS, "theirs", "the paper's attacker"),
        (OURS, "ours", "our attacker"),
    ):
        shown = [(n, next((x for x in e if x.attacker == attacker), None)) for n, e in found]
        rows = [_row(findings, f"{n:,} images", x) for n, x in shown]
        first = _originals(findings, [x for _, x in shown])
        galleries.append(Gallery(f"figure-3-{name}", title, (first, *rows)))
    return galleries


def further_data(findings: Findings) -> dict[str, Gallery]:
    """The worst case of each configuration on other data, where samples are pictures."""
    galleries = {}
    for name, configurations in leaks.other_data(findings).items():
        worst = [(c, c.worst("ssim") or c.leaks[0]) for c in configurations]
        if not any(x.picture for _, x in worst):
            continue
        rows = [_row(findings, f"{c.words}; accuracy {x.accuracy:.1f} %", x) for c, x in worst]
        first = _originals(findings, [x for _, x in worst])
        title = f"{name}: what the strongest attacker makes of it"
        galleries[name] = Gallery(
            f"pictures-{name}", title, (first, *rows), estimate_columns(METRICS)
        )
    return galleries
