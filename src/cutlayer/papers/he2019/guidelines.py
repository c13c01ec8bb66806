"""Guidelines for cutting a network, each with its verdict by a rule and the records behind it.

He et al. end in one: keep at least one fully connected layer on the edge. The others answer their
question what makes a network leak. What counts is the attacker who gets most, by mean SSIM over
the victims. Of two networks one leaks less if the 95 % intervals lie apart and the difference is
larger than between networks that differ by chance alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Literal

from ..findings import Findings
from ..markdown import END, inside, put_between
from .comparison import Found
from .factors import FACTORS
from .leaking import NETWORKS, Point, at_every_cut, distinct, of_factor
from .maker import ALONG
from .published import UNRECOGNISABLE, Data

BEGIN = "<!-- guidelines: written by cutlayer reproduce he2019 --summary -->"
Verdict = Literal["confirmed", "refuted", "undecided", "not run yet"]
SIGNS: Mapping[Verdict, str] = {
    "confirmed": "✓",
    "refuted": "✗",
    "undecided": "◐",
    "not run yet": "…",
}


@dataclass(frozen=True)
class Guideline:
    """What one is told to do, whether it helped, the numbers in a sentence, and whose they are.

    records: Keys of the findings.
    """

    text: str
    verdict: Verdict
    sentence: str
    records: tuple[str, ...]


class _NotRunYet(Exception):  # noqa: N818 - no fault
    """A finding that a guideline needs is not there; its message is the key."""


Judged = tuple[Verdict, str, Sequence[Point]]
Judge = Callable[[Findings], Judged]


def guidelines(findings: Findings) -> list[Guideline]:
    """Every one of the list, whatever has been run."""
    return [_judged(findings, text, judge) for text, judge in RULES]


def _judged(findings: Findings, text: str, judge: Judge) -> Guideline:
    try:
        verdict, sentence, points = judge(findings)
    except _NotRunYet as e:
        return Guideline(text, "not run yet", f"Waits for `{e}`.", ())
    keys = dict.fromkeys(key for p in points for key in p.keys.values())
    return Guideline(text, verdict, sentence, tuple(keys))


def _whole(points: Sequence[Point]) -> list[Point]:
    for p in points:
        for threat, key in p.keys.items():
            if threat not in p.leaks:
                raise _NotRunYet(key)
    return list(points)


def chance(findings: Findings) -> float:
    """How far apart networks lie that differ in nothing but the seed: greatest less least SSIM."""
    found = [p.most.ssim[0] for p in _whole(of_factor(findings, "seed"))]
    return max(found) - min(found)


def leaks_less(a: Found, b: Found, by: float) -> bool | None:
    """Whether ``a`` leaks less than ``b``; ``None`` where that cannot be told.

    Args:
        by: What the difference must be above.
    """
    apart = a.ssim[2] < b.ssim[1] or b.ssim[2] < a.ssim[1]
    if not apart or abs(a.ssim[0] - b.ssim[0]) <= by:
        return None
    return a.ssim[0] < b.ssim[0]


_SAID: Mapping[bool | None, Verdict] = {True: "confirmed", False: "refuted", None: "undecided"}


def _less(factor: str, less: str, more: str) -> Judge:
    """That one value of a factor leaks less than another."""

    def judge(findings: Findings) -> Judged:
        points = {p.label: p for p in of_factor(findings, factor)}
        a, b = _whole([points[less], points[more]])
        by = chance(findings)
        verdict = _SAID[leaks_less(a.most, b.most, by)]
        words = f"Of {FACTORS[factor]}, {_named(a)} against {_named(b)}."
        return verdict, f"{words} {_each(a, b)} (Chance: {by:.2f}.)", [a, b]

    return judge


def _named(p: Point) -> str:
    return f"{p.label}: SSIM {_spread(p.most)} ({p.worst})"


def _spread(f: Found) -> str:
    value, low, high = f.ssim
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _each(a: Point, b: Point) -> str:
    said = (f"{t} {a.leaks[t].ssim[0]:.2f} and {b.leaks[t].ssim[0]:.2f}" for t in ALONG)
    return f"By attacker: {', '.join(said)}."


def _first_full(data: Data) -> Judge:
    """Their own guideline, by their own limit."""

    def judge(findings: Findings) -> Judged:
        points = {p.label: p for p in at_every_cut(findings, data)}
        front, behind = _whole([points["pool2" if data == "mnist" else "pool3"], points["fc1"]])
        stops = max(f.published_ssim for f in behind.leaks.values()) < UNRECOGNISABLE
        read = max(f.read or 0.0 for f in behind.leaks.values())
        said = ", ".join(f"{t} {f.published_ssim:.2f}" for t, f in behind.leaks.items())
        before = ", ".join(f"{t} {f.published_ssim:.2f}" for t, f in front.leaks.items())
        sentence = (
            f"SSIM in their variant behind fc1 of {NETWORKS[data]}: {said}; in front of it, behind "
            f"{front.label}: {before}. An independent classifier reads the class of up to "
            f"{read:.0%}. (Rule: behind it every attacker stays below {UNRECOGNISABLE}, which they "
            "call unrecognisable.)"
        )
        return ("confirmed" if stops else "refuted"), sentence, [front, behind]

    return judge


def _deeper(data: Data) -> Judge:
    """That leakage falls from one pooling, or fully connected layer, to the next."""

    def judge(findings: Findings) -> Judged:
        every = at_every_cut(findings, data)
        stages = [p for p in every if p.label.startswith(("pool", "fc"))]
        points = _whole([every[0], *(p for p in stages if not p.label.endswith("act"))])
        steps = [leaks_less(b.most, a.most, 0.0) for a, b in pairwise(points)]
        verdict: Verdict = "confirmed" if all(steps) else "undecided"
        if False in steps:
            verdict = "refuted"
        said = " → ".join(f"{p.label} {p.most.ssim[0]:.2f}" for p in points)
        sentence = f"{NETWORKS[data]}, worst attacker: {said}. (Rule: it falls at every step.)"
        return verdict, sentence, points

    return judge


def _hides(data: Data, kind: str, name: str) -> Judge:
    """That a layer of a kind makes the message behind it leak less than the one in front."""

    def judge(findings: Findings) -> Judged:
        every = at_every_cut(findings, data)
        pairs = [(a, b) for a, b in pairwise(every) if b.label.startswith(kind)]
        _whole([p for pair in pairs for p in pair])
        steps = [leaks_less(b.most, a.most, 0.0) for a, b in pairs]
        verdict: Verdict = "confirmed" if all(steps) else "undecided"
        if not any(steps):
            verdict = "refuted"
        said = ", ".join(f"{b.label} {a.most.ssim[0]:.2f} → {b.most.ssim[0]:.2f}" for a, b in pairs)
        sentence = (
            f"{NETWORKS[data]}, worst attacker in front of each {name} and behind it: {said}. "
            "(Rule: confirmed if each lowers it, refuted if none does.)"
        )
        return verdict, sentence, [p for pair in pairs for p in pair]

    return judge


def _unqueried(findings: Findings) -> Judged:
    """That one who only listens gets less, at every cut that has been run."""
    points = _whole(at_every_cut(findings, "mnist"))
    points += [p for p in at_every_cut(findings, "cifar10") if p.complete]
    others = [max((p.leaks[t] for t in ALONG if t != "query-free"), key=_ssim) for p in points]
    steps = [
        leaks_less(p.leaks["query-free"], other, 0.0)
        for p, other in zip(points, others, strict=True)
    ]
    gaps = [o.ssim[0] - p.leaks["query-free"].ssim[0] for p, o in zip(points, others, strict=True)]
    verdict: Verdict = "confirmed" if all(steps) else "refuted" if False in steps else "undecided"
    sentence = (
        f"Query-free leaks less at {sum(s is True for s in steps)} of {len(steps)} cuts of LeNet "
        f"and, as far as run, CIFAR10CNN; by {min(gaps):.2f} to {max(gaps):.2f} in SSIM. (Rule: at "
        "all of them.)"
    )
    return verdict, sentence, points


def _ssim(f: Found) -> float:
    return f.ssim[0]


def _size(findings: Findings) -> Judged:
    """That among all variants the smaller message leaks less."""
    points = distinct(_whole(of_factor(findings, f)) for f in FACTORS)
    sizes = [float(prod(p.message)) for p in points]
    r = rank_correlation(sizes, [p.most.ssim[0] for p in points])
    verdict: Verdict = "confirmed" if r > 0.5 else "refuted" if r < 0.2 else "undecided"
    words = []
    for below, where in ((True, "below half as many numbers as the picture has"), (False, "above")):
        found = [p.most.ssim[0] for p, n in zip(points, sizes, strict=True) if (n < 392) == below]
        if found:
            words.append(f"SSIM {min(found):.2f} to {max(found):.2f} {where}")
    sentence = (
        f"Over all {len(points)} variants the rank correlation of the message's size and the worst "
        f"attacker's SSIM is {r:.2f}; {', '.join(words)}. (Rule: above 0.5; refuted below 0.2.)"
    )
    return verdict, sentence, points


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's: the correlation of the ranks, equal values sharing theirs; 0 without variation.

    >>> rank_correlation([1, 2, 2, 9], [1, 3, 3, 4])
    1.0
    """
    x, y = _ranks(a), _ranks(b)
    mean = (len(a) + 1) / 2
    both = sum((i - mean) * (j - mean) for i, j in zip(x, y, strict=True))
    spread = sum((i - mean) ** 2 for i in x) * sum((j - mean) ** 2 for j in y)
    return round(both / spread**0.5, 12) if spread else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(values)
    return [order.index(v) + (order.count(v) + 1) / 2 for v in values]


# To have more judged, add the guideline and its rule.
RULES: tuple[tuple[str, Judge], ...] = (
    ("Keep at least one fully connected layer on the edge (theirs; LeNet).", _first_full("mnist")),
    ("Keep at least one fully connected layer on the edge (theirs; CIFAR10CNN).",
     _first_full("cifar10")),
    ("Prefer a fully connected layer to none, the message being as large.",
     _less("fully-connected", "392", "none")),
    ("Prefer a fully connected layer to one more convolution, the message being as large.",
     _less("kind", "fully connected", "convolution")),
    ("Make the fully connected layer narrow.", _less("fully-connected", "8", "392")),
    ("Cut deeper (LeNet).", _deeper("mnist")),
    ("Cut deeper (CIFAR10CNN).", _deeper("cifar10")),
    ("Put more convolutions in front of the cut, the message being as large.",
     _less("depth", "4", "1")),
    ("Cut behind an activation, not in front of it (LeNet).", _hides("mnist", "ReLU", "ReLU")),
    ("Cut behind a pooling, not in front of it (LeNet).", _hides("mnist", "pool", "pooling")),
    ("Prefer pooling by the maximum to pooling by the mean.", _less("pooling", "max", "average")),
    ("Prefer pooling to strides, the message being as large.",
     _less("placing", "by pooling", "by stride")),
    ("Send few channels.", _less("channels", "2", "32")),
    ("Prefer few large channels to many small ones, the message being as large.",
     _less("shape", "2×14×14", "8×7×7")),
    ("Take larger strides.", _less("stride", "4", "1")),
    ("Take larger kernels.", _less("kernel", "5", "1")),
    ("Prefer ReLU to no activation.", _less("activation", "ReLU", "none")),
    ("Prefer ReLU to leaky ReLU.", _less("activation", "ReLU", "leaky ReLU")),
    ("Prefer tanh to ReLU.", _less("activation", "tanh", "ReLU")),
    ("Prefer sigmoid to ReLU.", _less("activation", "sigmoid", "ReLU")),
    ("Train for longer: a better classifier leaks less.", _less("accuracy", "8", "1")),
    ("Train at all: first weights leak more.", _less("accuracy", "2", "0")),
    ("Send a small message.", _size),
    ("Keep the owner's layers secret, and answer no strangers.", _unqueried),
)  # fmt: skip


def summary(results: Path) -> str:
    """The guidelines and their records as Markdown, between ``BEGIN`` and ``END``."""
    found = guidelines(Findings(Path(results)))
    waiting = sum(g.verdict == "not run yet" for g in found)
    left = f"{waiting} of {len(found)} have not been run yet." if waiting else "All have been run."
    parts = [BEGIN, left, "", *_table(found), "", *_records(found)]
    return "\n".join([*parts, END]) + "\n"


def _table(found: Sequence[Guideline]) -> Iterator[str]:
    yield "| | Guideline | Verdict | What we found |"
    yield "|---|---|---|---|"
    for i, g in enumerate(found, start=1):
        yield f"| {i} | {inside(g.text)} | **{g.verdict}** | {inside(g.sentence)} |"


def _records(found: Sequence[Guideline]) -> Iterator[str]:
    if any(g.records for g in found):
        yield "## The records"
        yield ""
        yield "Each is a JSON file under `results/he2019/`, named after its key."
        yield ""
    for i, g in enumerate(found, start=1):
        if g.records:
            yield f"- Guideline {i}: {', '.join(f'`{key}`' for key in g.records)}"
    yield ""


def write_summary(results: Path, page: Path) -> None:
    """Put the guidelines between the markers of a Markdown file.

    Raises:
        ValueError: it has no such markers.
        OSError: it cannot be read or written.
    """
    put_between(page, BEGIN, summary(results))
