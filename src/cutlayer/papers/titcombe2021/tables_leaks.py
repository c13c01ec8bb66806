"""Tables of what leaked: the grid, what the text proposes, the further data."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..findings import Findings
from ..tables import DASH, Column, Line, Shown, Table, value, words
from . import leaks
from .leaks import OURS, SHOWN, Configuration, Leak
from .tables import estimate, estimate_columns

_CONFIGURATION = Column("Configuration", ("configuration",), text=True)
_TOLD = ("ssim", "read", "top1_in_class")
_ACCURACY = Column("Accuracy (%)", ("accuracy",), hint="defences on")


def by(config: Configuration, attacker: str = OURS) -> Leak | None:
    """What that attacker got out of a configuration; ``None`` if it was not tried."""
    return next((x for x in config.leaks if x.attacker == attacker), None)


def grid(findings: Findings) -> Table:
    """Every configuration, every attacker; the strongest marked for each metric."""
    return _every("grid", "Every configuration against every attacker", leaks.grid(findings))


def worst(findings: Findings) -> Table:
    """The strongest attacker on each configuration, by metric; unknown where only one was tried."""
    lines = []
    for c in leaks.grid(findings):
        tried = by(c) is not None
        cells = [words(c.words), value(c.accuracy, 2)]
        for m in _TOLD:
            x = (c.worst(m) or by(c)) if tried else None
            cell = estimate(x, m)
            small = cell.small if x is None else (*cell.small, x.attacker)
            raw = (*cell.raw, None if x is None else x.attacker)
            cells.append(replace(cell, small=small, raw=raw))
        lines.append(Line(tuple(cells), reference=c.words == "undefended"))
    columns = [replace(c, keys=(*c.keys, f"{c.keys[0]}_by")) for c in estimate_columns(_TOLD)]
    return Table(
        "worst-case",
        "The worst case of each configuration, and who it is",
        (_CONFIGURATION, _ACCURACY, *columns),
        tuple(lines),
    )


def other_data(findings: Findings) -> dict[str, Table]:
    """The same on other data, by data set."""
    return {
        name: _every(f"grid-{name}", f"Every configuration on {name}", configurations)
        for name, configurations in leaks.other_data(findings).items()
    }


def _every(name: str, caption: str, configurations: Sequence[Configuration]) -> Table:
    metrics = measured(configurations)
    columns = (
        Column("", ("configuration",), hidden=True),
        Column("Attacker", ("attacker",), text=True),
        _ACCURACY,
        *estimate_columns(metrics),
        Column("Flags", ("flags",), text=True),
    )
    lines = []
    for c in configurations:
        tried = by(c) is not None  # else the strongest attacker is not known
        strongest = {m: c.worst(m) if tried else None for m in metrics}
        if not tried:
            waits = [estimate(None, m) for m in metrics]
            head = (words(c.words), words(OURS), value(None, 2))
            lines.append(Line((*head, *waits, Shown("", (None,))), heading=c.words))
        for i, x in enumerate(c.leaks):
            cells = [estimate(x, m, worst=strongest[m] is x, tail=True) for m in metrics]
            flags = Shown("", (" ".join(x.flags),), flags=tuple(x.flags))
            head = (words(c.words), words(x.attacker), value(x.accuracy, 2))
            lines.append(Line((*head, *cells, flags), heading="" if i or not tried else c.words))
    return Table(name, caption, columns, tuple(lines))


def measured(configurations: Iterable[Configuration]) -> list[str]:
    """The metrics of ``SHOWN`` that have a value somewhere; a signal has no SSIM."""
    every = [x for c in configurations for x in c.leaks]
    return [m for m in SHOWN if any(x.value(m) is not None for x in every)]


def _one_attacker(
    name: str, caption: str, configurations: Sequence[Configuration], *, slant: bool = False
) -> Table:
    """One row for each configuration: the attacker that trained through the defence."""
    columns = (_CONFIGURATION, _ACCURACY, *estimate_columns(_TOLD))
    if slant:
        columns = (*columns, Column("Slant kept", ("slant_kept",), hint="within a class"))
    lines = []
    for c in configurations:
        x = by(c)
        cells = [words(c.words), value(x.accuracy if x else None, 2, ran=x is not None)]
        cells += [estimate(x, m) for m in _TOLD]
        if slant:
            cells.append(_share(x.slant if x else None))
        lines.append(Line(tuple(cells), reference=c.words == "undefended"))
    return Table(name, caption, columns, tuple(lines))


def _share(part: float | None) -> Shown:
    return Shown(DASH, (None,), mark="null") if part is None else Shown(f"{part:.0%}", (part,))


def individuals(findings: Findings) -> Table:
    """The grid by falling accuracy, so that what costs the same stands together."""
    known = [c for c in leaks.grid(findings) if by(c) is not None]
    return _one_attacker(
        "class-and-individual",
        "Class against individual, by falling accuracy; attacker trained through the noise",
        sorted(known, key=lambda c: -(c.accuracy or 0.0)),
        slant=True,
    )


def pairs(findings: Findings) -> list[tuple[Configuration, Configuration]]:
    """Each configuration with NoPeek alone beside that with noise alone nearest in accuracy."""
    known = [c for c in leaks.grid(findings) if by(c) is not None]
    noise = [c for c in known if not c.weight and c.words != "undefended"]
    found = []
    for c in known:
        if c.weight and not c.noise and c.served == "as-trained" and noise:
            right = c.accuracy or 0.0
            found.append((c, min(noise, key=lambda o: abs((o.accuracy or 0.0) - right))))
    return found


def when(findings: Findings) -> Table:
    return _one_attacker(
        "when-noise-acts", "When the noise acts, without NoPeek", leaks.when(findings)
    )


def laws(findings: Findings) -> Table:
    """Noise of equal variance; the scale is that of the Laplace law."""
    return _one_attacker(
        "noise-laws", "Noise laws of equal variance, added after training", leaks.laws(findings)
    )


def parties(findings: Findings) -> Table:
    """The three adversaries of appendix A, no defence."""
    return Table(
        "parties",
        "Who attacks (appendix A); undefended, attacker trained on what it hears",
        (Column("Adversary", ("adversary",), text=True), *estimate_columns(_TOLD)),
        tuple(
            Line((words(who), *(estimate(x, m) for m in _TOLD)))
            for who, x in leaks.parties(findings)
        ),
    )


def tuned(findings: Findings) -> Table:
    """Section 5: the server's half trained further under noise, the owner's half fixed."""
    cases = [(a, b) for b in ("under_noise", "without_noise") for a in ("before", "after")]
    groups = {"under_noise": "Accuracy under noise (%)", "without_noise": "Accuracy without (%)"}
    return Table(
        "server-tuned",
        "The server's half trained further under noise, the owner's half fixed",
        (
            Column("NoPeek α", ("weight",)),
            Column("Noise b", ("noise",)),
            *(Column(a, (f"{a}_{b}",), groups[b]) for a, b in cases),
            Column("Epochs", ("epochs",)),
        ),
        tuple(
            Line(
                (
                    Shown(f"{f['weight']:g}", (f["weight"],)),
                    Shown(f"{f['scale']:g}", (f["scale"],)),
                    *(value(100 * f[a][b], 2) for a, b in cases),
                    Shown(str(f["epochs"]), (f["epochs"],)),
                )
            )
            for f in leaks.tuned(findings)
        ),
    )


def by_source(name: str, caption: str, found: list[tuple[str, list[Leak]]]) -> Table:
    """What attackers with other or fewer samples got out of the undefended classifier."""
    lines = [
        Line((words(what), words(x.attacker), *(estimate(x, m) for m in _TOLD)))
        for what, every in found
        for x in every
    ]
    columns = (
        Column("Attack set", ("attack_set",), text=True),
        Column("Attacker", ("attacker",), text=True),
        *estimate_columns(_TOLD),
    )
    return Table(name, caption, columns, tuple(lines))
