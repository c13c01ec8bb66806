"""The sections of the page: what is compared, in tables and charts."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..findings import Findings
from ..tables import Column, Line, Shown, Table, value, words
from .charts import front_charts
from .comparison import (
    ATTACKER_NAMES,
    Measured,
    class_mean_error,
    factor,
    flipped,
    measured,
    undefended,
)
from .defences import LABEL_ONLY, NONE, Defended, compared
from .front import BUDGETS, CALIBRATION, Candidate, candidates, front, recommended
from .section import WAITS, Section
from .settings import NAMES, Data
from .tables_attackers import adaptive_section, transfer_section
from .tables_poisoning import latency_section, proposition_section, vector_section
from .tasks import ATTACKERS


def sections(findings: Findings) -> list[Section]:
    """All of them, whatever has been run."""
    return [
        *(_comparison(findings, data) for data in NAMES),
        _front(findings),
        _flipping(findings),
        transfer_section(findings),
        adaptive_section(findings),
        vector_section(findings),
        proposition_section(findings),
        latency_section(findings),
    ]


_COLUMNS = (
    Column("Defence", ("defence",), text=True),
    Column("Accuracy", ("accuracy",), "What is released", "%"),
    Column("Same label", ("label_agreement",), "What is released", "%"),
    Column("ECE", ("ece",), "What is released"),
    Column("L1", ("l1_mean", "l1_max"), "What is released", "mean, largest"),
    *(Column(n, (f"error_{by}",), "Error of an attacker") for by, n in ATTACKER_NAMES.items()),
    Column("Grown", ("factor", "worst_attacker"), "The attacker of the least error", "×"),
    Column("SSIM", ("ssim",), "The attacker of the least error"),
    Column("Class read", ("read",), "The attacker of the least error", "%"),
    Column("Clean vectors", ("error_clean",), "", "least error"),
    Column("Flags", ("flags",), text=True),
)


def _comparison(findings: Findings, data: Data) -> Section:
    about = (
        "Attackers are trained on what the API releases, defence and all, with 10,000 images of "
        "their own. Error is the mean squared error of their reconstructions: higher is safer. "
        "The first two are perceptrons that look at the logarithms of a vector, the adaptive one "
        "as well, closely, at how far each entry is from what is usual for its class. One seed."
    )
    if data != "mnist":
        about = {
            "fashion-mnist": "The same on pictures of clothing.",
            "cifar10": "The same on photographs, 8,333 of the attacker's own, 500 victims.",
            "digit-pairs": "Two digits side by side, a hundred classes: vectors carry more. The "
            "attacker has 5,000 images.",
        }[data]
    lines: tuple[Line, ...] = ()  # the template says in one line that nothing has been run
    if undefended(findings, data) is not None:
        lines = (*_lines(findings, data, compared(data)), *_floor(findings, data))
    sheet = Table(f"compared-{data}", NAMES[data], _COLUMNS, lines)
    return Section(f"compared-{data}", f"Defences on {NAMES[data]}", about, (sheet,))


def _lines(findings: Findings, data: Data, defences: Iterable[Defended]) -> Iterator[Line]:
    base, group = undefended(findings, data), ""
    for d in defences:
        m = measured(findings, data, d)
        cells = _waiting(d) if m is None or base is None else _cells(m, base)
        heading, group = ("" if d.group == group else d.group), d.group
        yield Line(cells, heading=heading, reference=d in (NONE, LABEL_ONLY))


def _floor(findings: Findings, data: Data) -> Iterator[Line]:
    """What a guess by the class alone gets, as a last row."""
    floor, base = class_mean_error(findings, data), undefended(findings, data)
    if floor is None or base is None:
        return
    blank = [Shown("", (None,) * len(c.keys)) for c in _COLUMNS]
    cells = [words("floor: the mean of the class"), *blank[1:]]
    at = [c.keys[0] for c in _COLUMNS].index("error_log")
    cells[at] = value(floor[0], 4)
    grown = floor[0] / base.worst[1].error[0]
    cells[at + len(ATTACKERS)] = Shown(f"{grown:.2f}×", (grown, None))
    yield Line(tuple(cells), reference=True)


def _waiting(d: Defended) -> tuple[Shown, ...]:
    """Says so once, to keep the table narrow."""
    first, *others = (Shown("", (None,) * len(c.keys), mark="missing") for c in _COLUMNS[1:])
    return (words(d.label), replace(first, text=WAITS.text), *others)


def _cells(m: Measured, base: Measured) -> tuple[Shown, ...]:
    who, worst = m.worst
    flags = tuple(dict.fromkeys(f for a in m.by.values() for f in a.flags))
    errors = [_error(m, by, by == who) for by in ATTACKERS]
    grown = factor(m, base)
    return (
        words(m.defence.label),
        value(100 * m.accuracy[0], 2),
        value(100 * m.agreement, 2),
        value(m.ece, 3),
        Shown(f"{m.l1:.4f}", (m.l1, m.farthest), (f"{m.farthest:.3f}",)),
        *errors,
        Shown(f"{grown:.2f}×", (grown, who), (ATTACKER_NAMES.get(who, who),)),
        value(worst.ssim, 3),
        value(None if worst.read is None else 100 * worst.read, 0),
        value(min(a.clean for a in m.by.values()), 4),
        Shown("", (" ".join(flags),), flags=flags),
    )


def _error(m: Measured, by: str, worst: bool) -> Shown:
    if by not in m.by:
        return Shown("–", (None,), mark="null")
    mean, low, high = m.by[by].error
    return Shown(f"{mean:.4f}", (mean,), (f"{low:.4f}–{high:.4f}",), "worst" if worst else "")


def _front(findings: Findings) -> Section:
    about = (
        "Which defence leaves the attacker the least, for what it changes? Every one that keeps "
        "all labels and retrains nothing, by the stronger of the two attackers who tried all. "
        "Recommended is the greatest error where no answer moves further than that, with a "
        f"calibration error at most {CALIBRATION:g} above the undefended one; of those that "
        "cannot be told apart, the one that changes least in the mean. The label alone is left "
        "out: it moves some answers by more than half of all there is."
    )
    columns = (
        Column("Data", ("data",), text=True),
        *(Column(f"L1 up to {b:g}", (f"defence_{b:g}", f"factor_{b:g}")) for b in BUDGETS),
    )
    lines = []
    for data in NAMES:
        found, base = candidates(findings, data), undefended(findings, data)
        cells = [_recommended(recommended(found, base, b)) for b in BUDGETS]
        lines.append(Line((words(NAMES[data]), *cells)))
    chosen = Table("recommended", "What to take", columns, tuple(lines))
    charts = tuple(front_charts(findings))
    return Section("front", "Leakage against distortion", about, (chosen, _steps(findings)), charts)


def _recommended(found: Candidate | None) -> Shown:
    if found is None:
        return Shown(WAITS.text, (None, None), mark="missing")
    label = found.measured.defence.label
    return Shown(label, (label, found.factor), (f"{found.factor:.2f}×",))


def _steps(findings: Findings) -> Table:
    columns = (
        Column("On the front", ("defence",), text=True),
        Column("L1", ("farthest", "l1"), hint="largest, mean"),
        Column("ECE", ("ece",)),
        Column("Grown", ("factor",), hint="×"),
    )
    lines = [
        Line(
            (
                words(c.measured.defence.label),
                _moved(c.measured),
                value(c.measured.ece, 3),
                Shown(f"{c.factor:.2f}×", (c.factor,)),
            )
        )
        for c in front(candidates(findings, "mnist"))
    ]
    return Table("front-mnist", "MNIST: no other one is better in both", columns, tuple(lines))


def _moved(m: Measured) -> Shown:
    return Shown(f"{m.farthest:.3f}", (m.farthest, m.l1), (f"{m.l1:.4f}",))


def _flipping(findings: Findings) -> Section:
    about = (
        "LFP gives a share of the answers another label. Its controls flip answers at random, "
        "with and without the poisoned steps; LPA and the undefended API stand above."
    )
    rows = [d for d in compared("mnist") if d.name in ("none", "lpa-0.02")]
    rows += [d for d, _ in flipped(findings)]
    sheet = Table("lfp", "MNIST", _COLUMNS, tuple(_lines(findings, "mnist", rows)))
    return Section("lfp", "LFP: what flipped labels cost and win", about, (sheet,))
