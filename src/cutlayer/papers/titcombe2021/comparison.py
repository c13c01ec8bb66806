"""Findings beside the published numbers: rows for tables and curves, read and never computed anew.

What has not been run yet is ``None``.
"""

from dataclasses import dataclass

from ..findings import Findings
from .published import (
    ATTACKS,
    FIGURE_4,
    FIGURE_4_SCALES,
    FILES,
    MISLABELLED,
    TABLE_1,
    Attacked,
    Classifier,
)
from .settings import Name
from .tasks import classifier_key, epochs_key, published_key


@dataclass(frozen=True)
class Cell:
    """A published number and ours. In the table's unit; difference is ours less theirs."""

    published: float | None
    ours: float | None
    published_error: float | None = None
    error: float | None = None

    @property
    def difference(self) -> float | None:
        if self.published is None or self.ours is None:
            return None
        return self.ours - self.published


@dataclass(frozen=True)
class Row:
    """One row of table 1, or of the result files behind it.

    accuracy in per cent, dependence as published. retrained: accuracy and dependence of the runs
    with other seeds. floor: ``dependence`` of rows that do not belong together. honest: exponent
    1, bias-corrected and squared, with its floor; n samples for every row. note: what is odd.
    """

    noise: float
    weight: float
    accuracy: Cell
    dependence: Cell
    floor: float | None = None
    honest: float | None = None
    honest_floor: float | None = None
    n: int = 0
    accuracy_on_victims: float | None = None
    retrained: tuple[tuple[float, float], ...] = ()
    note: str = ""


def table_1(findings: Findings, setting: Name) -> list[Row]:
    """The undefended row, the twelve of table 1 and a true weight of 0.2, with 1.0 beside them."""
    rows = [_row(findings, setting, FILES[0])]
    for printed in TABLE_1:
        wrong = next((m for m in MISLABELLED if m.printed == printed), None)
        if wrong is None:
            rows.append(_row(findings, setting, printed))
            continue
        note = f"printed as weight {printed.weight:g}: {wrong.evidence}"
        moved = Classifier(0.0, wrong.weight, printed.accuracy, printed.dependence, printed.error)
        rows.append(_row(findings, setting, moved, note=note))
        if printed.weight == 0.2:
            rows.append(_row(findings, setting, None, weight=0.2, note="no such row was published"))
    return rows


def _which_epoch(findings: Findings, setting: Name, noise: float, weight: float) -> str:
    """How the statistic moves from epoch to epoch, where that has been measured."""
    found = findings.get(epochs_key(setting, noise, weight))
    if found is None:
        return ""
    rows = found["epochs"]
    best = max(rows, key=lambda r: r["accuracy"])
    last = rows[-1]
    values = ", ".join(f"{r['dependence']['mean']:.3f}" for r in rows)
    return (
        f"kept for its {100 * best['accuracy']:.2f} % is epoch {best['epoch']}; the last has "
        f"{100 * last['accuracy']:.2f} % and {last['dependence']['mean']:.3f}; "
        f"distance correlation by epoch: {values}"
    )


def further_rows(findings: Findings, setting: Name = "authors-code") -> list[Row]:
    """The rows of the result files that table 1 leaves out."""
    known = {(r.noise, r.weight) for r in TABLE_1} | {(0.0, 0.0), (0.0, 1.0)}
    return [_row(findings, setting, r) for r in FILES if (r.noise, r.weight) not in known]


def _row(
    findings: Findings,
    setting: Name,
    published: Classifier | None,
    *,
    weight: float = 0.0,
    note: str = "",
) -> Row:
    noise, weight = (published.noise, published.weight) if published else (0.0, weight)
    right = published.accuracy if published else None
    shows, error = (published.dependence, published.error) if published else (None, None)
    ours = findings.get(classifier_key(setting, noise, weight))
    if ours is None:
        return Row(noise, weight, Cell(right, None), Cell(shows, None, error), note=note)
    dependence = ours["dependence"]
    note = "; ".join(n for n in (note, _which_epoch(findings, setting, noise, weight)) if n)
    again = [findings.get(classifier_key(setting, noise, weight, seed)) for seed in (1, 2)]
    return Row(
        noise,
        weight,
        Cell(right, 100 * ours["accuracy"]["value"]),
        Cell(
            shows,
            dependence["published"]["mean"],
            error,
            dependence["published"]["error"],
        ),
        floor=dependence["floor"]["mean"],
        honest=dependence["bias_corrected"],
        honest_floor=dependence["bias_corrected_floor"],
        n=dependence["n"],
        accuracy_on_victims=100 * ours["accuracy_on_victims"],
        retrained=tuple(
            (100 * f["accuracy"]["value"], f["dependence"]["published"]["mean"])
            for f in again
            if f is not None
        ),
        note=note,
    )


@dataclass(frozen=True)
class AttackRow:
    """The published attack on one classifier's undisturbed messages, in their statistics.

    read: per cent, by another classifier of the victim's kind. read_by_judge: by ours.
    """

    noise: float
    weight: float
    dependence: Cell
    read: Cell
    read_by_judge: float | None = None
    floor: float | None = None
    honest: float | None = None


def attack_table(findings: Findings, setting: Name = "authors-code") -> list[AttackRow]:
    """One row for each classifier of the result files; theirs where they attacked it."""
    theirs = {(a.noise, a.weight): a for a in ATTACKS}
    return [_attack_row(findings, setting, r, theirs.get((r.noise, r.weight))) for r in FILES]


def _attack_row(
    findings: Findings, setting: Name, row: Classifier, theirs: Attacked | None
) -> AttackRow:
    ours = findings.get(published_key(setting, row.noise, row.weight))
    read, dependence, error = (
        (theirs.read, theirs.dependence, theirs.error) if theirs else (None, None, None)
    )
    if ours is None:
        return AttackRow(row.noise, row.weight, Cell(dependence, None, error), Cell(read, None))
    table = ours["table"]
    found = table["dependence"]
    judged = table.get("read_by_judge")
    return AttackRow(
        row.noise,
        row.weight,
        Cell(dependence, found["published"]["mean"], error, found["published"]["error"]),
        Cell(read, 100 * table["read_by_validator"]),
        None if judged is None else 100 * judged,
        found["floor"]["mean"],
        found["bias_corrected"],
    )


@dataclass(frozen=True)
class Curve:
    """Accuracy in per cent by the scale of noise added after training, for one NoPeek weight."""

    weight: float
    published: tuple[tuple[float, float], ...]
    ours: tuple[tuple[float, float], ...]
    seeds: tuple[tuple[tuple[float, float], ...], ...] = ()


def figure_4(findings: Findings, setting: Name = "authors-code") -> list[Curve]:
    """One curve for each weight."""

    def curve(weight: float, seed: int) -> tuple[tuple[float, float], ...]:
        found = findings.get(classifier_key(setting, 0.0, weight, seed))
        points = found["accuracy_by_noise"] if found else []
        return tuple((p["scale"], 100 * p["accuracy"]) for p in points)

    return [
        Curve(
            weight,
            tuple(zip(FIGURE_4_SCALES, accuracies, strict=True)),
            curve(weight, 0),
            tuple(c for c in (curve(weight, 1), curve(weight, 2)) if c),
        )
        for weight, accuracies in FIGURE_4.items()
    ]
