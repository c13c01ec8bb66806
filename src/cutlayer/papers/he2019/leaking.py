"""What makes a network leak: every cut, and one factor at a time, as tables and charts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from ...report.figures import PALETTE
from ..chart import MUTED, Chart, Series, View
from ..findings import Findings
from ..tables import DASH, NOT_RUN, Column, Line, Mark, Shown, words
from ..tables import Table as Sheet
from .applicability import table_7
from .comparison import Found, Table, attack
from .cuts import EVERY_CUT, cut_key
from .factors import FACTORS, Variant, variants
from .maker import ALONG
from .published import Data

NETWORKS: Mapping[Data, str] = {"mnist": "LeNet on MNIST", "cifar10": "CIFAR10CNN on CIFAR-10"}
_SYMBOLS = ("circle", "square", "triangle-up")


@dataclass(frozen=True)
class Point:
    """One network cut in one place, and what each attacker makes of its messages.

    keys: Of the findings, by threat model. leaks: Of those that have been run. message: Shape of
    what is sent. accuracy: Of the network on the whole test part.
    """

    label: str
    keys: Mapping[str, str]
    leaks: Mapping[str, Found]
    message: tuple[int, ...]
    accuracy: float | None

    @property
    def complete(self) -> bool:
        """Whether all attackers have been run."""
        return self.leaks.keys() == self.keys.keys()

    @cached_property
    def worst(self) -> str:
        """The threat model whose attacker gets most; only where one has been run."""
        return max(self.leaks, key=lambda threat: self.leaks[threat].ssim[0])

    @property
    def most(self) -> Found:
        """What that attacker gets."""
        return self.leaks[self.worst]


def _point(findings: Findings, label: str, keys: Mapping[str, str], network: str) -> Point:
    found = {threat: attack(findings, key) for threat, key in keys.items()}
    leaks = {threat: f for threat, f in found.items() if f is not None}
    message: tuple[int, ...] = ()
    for f in leaks.values():
        kept = findings.get(f.key)
        assert kept is not None
        message = tuple(kept["record"]["data"]["message_shape"])
    trained = findings.get(network)
    accuracy = trained["accuracy_on_test"]["value"] if trained else None
    return Point(label, keys, leaks, message, accuracy)


def at_every_cut(findings: Findings, data: Data) -> list[Point]:
    """The cuts of one of the paper's networks, from the input on."""
    return [
        _point(
            findings, cut, {t: cut_key(data, cut, t) for t in ALONG}, f"{data}/classifier/seed-0"
        )
        for cut in EVERY_CUT[data]
    ]


def of_factor(findings: Findings, factor: str) -> list[Point]:
    """The variants of one factor."""
    return [_of_variant(findings, v) for v in variants() if v.factor == factor]


def _of_variant(findings: Findings, v: Variant) -> Point:
    return _point(findings, v.value, {t: v.key(t) for t in ALONG}, v.network_key)


def leaking_tables(findings: Findings) -> list[Table]:
    """Table 7, every cut, every factor."""
    return [_applicability(), _every_cut(findings), _factors(findings)]


def _applicability() -> Table:
    about = (
        "Asked of our threat models: an attack that wants what its threat model withholds is "
        "refused. Black-box, the shadow learns from queries, as in table 8."
    )
    return Table("table-7", "Table 7: which attack for whom", about, sheets=(table_7(),))


def _every_cut(findings: Findings) -> Table:
    about = (
        "White-box the maximum likelihood, black-box an inverse network, query-free a shadow; all "
        "with other samples than the network was trained on. On CIFAR-10 50 victims, "
        "1,500 to 4,000 samples and shorter searches, to be affordable. Behind each SSIM half the "
        "width of its 95 % interval."
    )
    points = {data: at_every_cut(findings, data) for data in EVERY_CUT}
    charts = [
        _chart(f"cuts-{d}-chart", NETWORKS[d], "the network is cut after", points[d])
        for d in points
    ]
    sheets = [
        sheet(f"cuts-{d}", f"{NETWORKS[d]}: every cut", "cut after", points[d]) for d in points
    ]
    title = "Where to cut: every layer, three attackers"
    return Table("every-cut", title, about, sheets=tuple(sheets), charts=tuple(charts))


def _factors(findings: Findings) -> Table:
    about = (
        "Small networks on MNIST that differ from one another in one thing: two convolutions of "
        "eight channels, the first of stride 2, each with a ReLU, pooling by 2; behind the cut a "
        "fully connected layer of 32. Two epochs, 200 victims, 4,000 samples for the attacker. "
        "One network of each, three of the base, which tell how much is chance. Behind each SSIM "
        "half the width of its 95 % interval."
    )
    points = {factor: of_factor(findings, factor) for factor in FACTORS}
    charts = [_chart(f"factor-{f}-chart", FACTORS[f], FACTORS[f], points[f]) for f in points]
    sheets = [sheet(f"factor-{f}", _capital(FACTORS[f]), "value", points[f]) for f in points]
    drawn = (*charts, _sizes(points.values()))
    title = "What makes a network leak, one factor at a time"
    return Table("factors", title, about, sheets=tuple(sheets), charts=drawn)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def sheet(name: str, caption: str, first: str, points: Sequence[Point]) -> Sheet:
    """One line for each point."""
    columns = [
        Column(first, ("value",), text=True),
        Column("message", ("message", "elements")),
        Column("accuracy", ("accuracy",)),
    ]
    for threat in ALONG:
        keys = tuple(f"{threat} {k}" for k in ("ssim", "ssim low", "ssim high"))
        columns.append(Column("SSIM", keys, group=threat))
        columns.append(Column("PSNR", (f"{threat} psnr",), group=threat, hint="dB"))
    columns += [
        Column("floor", ("floor ssim",), hint="SSIM of the best guess"),
        Column("flags", ("flags",), text=True),
    ]
    lines = tuple(Line(_cells(p)) for p in points)
    return Sheet(name, caption, tuple(columns), lines)


def _cells(p: Point) -> tuple[Shown, ...]:
    shape = "×".join(map(str, p.message))
    size = prod(p.message) if p.message else None
    text = f"{shape} = {size:,}" if len(p.message) > 1 else shape or DASH
    right = DASH if p.accuracy is None else f"{100 * p.accuracy:.1f} %"
    flags = sorted({flag for f in p.leaks.values() for flag in f.flags})
    floor = max((f.floor_ssim for f in p.leaks.values()), default=None)
    return (
        words(p.label),
        Shown(text, (shape, size)),
        Shown(right, (p.accuracy,)),
        *(cell for threat in p.keys for cell in _leak(p, threat)),
        Shown(DASH if floor is None else f"{floor:.3f}", (floor,)),
        words(", ".join(flags)),
    )


def _leak(p: Point, threat: str) -> Iterator[Shown]:
    f = p.leaks.get(threat)
    if f is None:
        yield Shown(NOT_RUN, (None,) * 3, mark="missing")
        yield Shown("", (None,), mark="missing")
        return
    value, low, high = f.ssim
    mark: Mark = "worst" if p.complete and threat == p.worst else ""
    yield Shown(f"{value:.3f} ± {(high - low) / 2:.3f}", f.ssim, mark=mark)
    yield Shown(f"{f.psnr[0]:.1f}", (f.psnr[0],))


def _chart(name: str, title: str, x_title: str, points: Sequence[Point]) -> Chart:
    """SSIM by attacker from point to point, and the best guess of one who hears nothing."""
    names = tuple(p.label for p in points)
    series = [_of_attacker(threat, i, points) for i, threat in enumerate(ALONG)]
    floors = [
        (float(i), max(f.floor_ssim for f in p.leaks.values()))
        for i, p in enumerate(points)
        if p.leaks
    ]
    x, y = ([pair[k] for pair in floors] for k in (0, 1))
    text = [f"floor: {v:.3f}" for v in y]
    label = "best floor"
    series.append(Series(label, MUTED, x, y, text=text, line="dot", symbol="", width=1))
    view = View("SSIM", x_title, "SSIM", tuple(series), x_names=names, y_range=(0, 1))
    waits = ", ".join(p.label for p in points if not p.complete)
    return Chart(name, _capital(title), "", (view,), waits)


def _of_attacker(threat: str, i: int, points: Sequence[Point]) -> Series:
    known = [(float(k), p.leaks[threat]) for k, p in enumerate(points) if threat in p.leaks]
    return Series(
        threat,
        PALETTE[i],
        x=[k for k, _ in known],
        y=[f.ssim[0] for _, f in known],
        low=[f.ssim[1] for _, f in known],
        high=[f.ssim[2] for _, f in known],
        text=[f"{threat}: {f.ssim[0]:.3f}, {f.psnr[0]:.1f} dB" for _, f in known],
        symbol=_SYMBOLS[i],
    )


def _sizes(many: Iterable[Sequence[Point]]) -> Chart:
    """All variants at once: the size of the message and what the worst attacker makes of it."""
    found = distinct(many)
    sizes = sorted({prod(p.message) for p in found})
    series = Series(
        "one variant each",
        PALETTE[0],
        x=[float(sizes.index(prod(p.message))) for p in found],
        y=[p.most.ssim[0] for p in found],
        low=[p.most.ssim[1] for p in found],
        high=[p.most.ssim[2] for p in found],
        text=[f"{p.most.key}: {p.most.ssim[0]:.3f}" for p in found],
        line=None,
    )
    names, y_title = tuple(f"{n:,}" for n in sizes), "SSIM of the worst attacker"
    x_title = "numbers in a message"
    view = View("SSIM", x_title, y_title, (series,), y_range=(0, 1), x_names=names)
    return Chart("factor-size-chart", "The size of the message, in all variants", "", (view,))


def distinct(many: Iterable[Sequence[Point]]) -> list[Point]:
    """Every variant once, however many factors it stands for; those that all attackers tried."""
    every = {tuple(p.keys.values()): p for points in many for p in points if p.complete}
    return list(every.values())
