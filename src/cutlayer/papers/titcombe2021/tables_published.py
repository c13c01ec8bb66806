"""Tables that have a published column: table 1, the result files behind it, the attack table."""

from ..findings import Findings
from ..tables import Column, Line, Shown, Table, difference, value, with_error, words
from .comparison import AttackRow, Row, attack_table, further_rows, table_1
from .published import RETRAINED
from .settings import Name

ACCURACY_LIMIT, DEPENDENCE_LIMIT = 0.6, 0.05  # differences beyond these are marked
_WHO = (
    Column("Noise b", ("noise",)),
    Column("NoPeek α", ("weight",)),
)
_CLASSIFIER = (
    *_WHO,
    Column("paper", ("accuracy_published",), "Accuracy (%)"),
    Column("ours", ("accuracy", "accuracy_on_victims"), "Accuracy (%)"),
    Column("difference", ("accuracy_difference",), "Accuracy (%)"),
    Column("other seeds", ("accuracy_other_seeds", "accuracy_spread"), "Accuracy (%)"),
    Column("paper", ("dependence_published", "error_published"), "Distance correlation, theirs"),
    Column("ours", ("dependence", "error"), "Distance correlation, theirs"),
    Column("difference", ("dependence_difference",), "Distance correlation, theirs"),
    Column("floor", ("dependence_floor",), "Distance correlation, theirs"),
    Column(
        "other seeds",
        ("dependence_other_seeds", "dependence_spread"),
        "Distance correlation, theirs",
    ),
    Column("ours", ("honest",), "Honest: bias-corrected²"),
    Column("floor", ("honest_floor", "n"), "Honest: bias-corrected²"),
)


def table(findings: Findings, setting: Name) -> Table:
    """Table 1 beside ours."""
    return Table(
        f"table-1-{setting}",
        "Table 1: accuracy on the 5,000 validation images, and what their statistic finds of the "
        "input in the message",
        _CLASSIFIER,
        tuple(map(_line, table_1(findings, setting))),
    )


def further(findings: Findings, setting: Name = "authors-code") -> Table:
    """The classifiers of the result files that table 1 leaves out."""
    return Table(
        f"further-rows-{setting}",
        "Classifiers that are in the authors' result files but not in table 1",
        _CLASSIFIER,
        tuple(map(_line, further_rows(findings, setting))),
    )


def _line(row: Row) -> Line:
    ran = row.accuracy.ours is not None
    on_victims = row.accuracy_on_victims
    small = () if on_victims is None else (f"victims {on_victims:.2f}",)
    right = value(row.accuracy.ours, 2, ran=ran, small=small)
    published, ours = row.accuracy.published, row.dependence
    floor = value(row.honest_floor, 3)
    theirs = RETRAINED.get((row.noise, row.weight), ())
    again = ", ".join(f"{a:.2f} (dependence {d:.3f})" for a, d in theirs)
    notes = [row.note, f"three later runs of the authors: {again}" if again else ""]
    return Line(
        (
            Shown(f"{row.noise:g}", (row.noise,)),
            Shown(f"{row.weight:g}", (row.weight,)),
            value(published, 2),
            Shown(right.text, (row.accuracy.ours, on_victims), right.small, right.mark),
            difference(row.accuracy.difference, 2, limit=ACCURACY_LIMIT),
            _seeds([a for a, _ in row.retrained], row.accuracy.ours, 2),
            with_error(ours.published, ours.published_error),
            with_error(ours.ours, ours.error, ran=ran),
            difference(ours.difference, 3, limit=DEPENDENCE_LIMIT),
            value(row.floor, 3),
            _seeds([d for _, d in row.retrained], ours.ours, 3),
            value(row.honest, 3),
            Shown(
                floor.text,
                (row.honest_floor, row.n or None),
                (f"n = {row.n:,}",) if row.n else (),
                floor.mark,
            ),
        ),
        note="; ".join(n for n in notes if n),
        reference=not row.noise and not row.weight,
    )


def _seeds(others: list[float], ours: float | None, digits: int) -> Shown:
    """The runs with other seeds, and how far all runs lie apart."""
    if not others or ours is None:
        return Shown("–", (None, None), mark="null")
    apart = max(*others, ours) - min(*others, ours)
    text = ", ".join(f"{v:.{digits}f}" for v in others)
    return Shown(text, (text, apart), (f"spread {apart:.{digits}f}",))


_ATTACKED = (
    *_WHO,
    Column("paper", ("dependence_published", "error_published"), "Distance correlation (x, x̂)"),
    Column("ours", ("dependence", "error"), "Distance correlation (x, x̂)"),
    Column("difference", ("dependence_difference",), "Distance correlation (x, x̂)"),
    Column("floor", ("dependence_floor",), "Distance correlation (x, x̂)"),
    Column("honest", ("honest",), "Distance correlation (x, x̂)"),
    Column("paper", ("read_published",), "Read right (%)", "by their validator"),
    Column("ours", ("read",), "Read right (%)", "by one like it"),
    Column("difference", ("read_difference",), "Read right (%)"),
    Column("our judge", ("read_by_judge",), "Read right (%)", "of another kind"),
)
READ_LIMIT = 2.0


def attacks(findings: Findings, setting: Name = "authors-code") -> Table:
    """The paper's attack on undisturbed messages of each classifier."""
    return Table(
        "attack-table",
        "The paper's attack on messages without noise, 5,000 attack-validation images",
        _ATTACKED,
        tuple(map(_attacked, attack_table(findings, setting))),
    )


def _attacked(row: AttackRow) -> Line:
    ran = row.dependence.ours is not None
    return Line(
        (
            Shown(f"{row.noise:g}", (row.noise,)),
            Shown(f"{row.weight:g}", (row.weight,)),
            with_error(row.dependence.published, row.dependence.published_error),
            with_error(row.dependence.ours, row.dependence.error, ran=ran),
            difference(row.dependence.difference, 3, limit=DEPENDENCE_LIMIT),
            value(row.floor, 3),
            value(row.honest, 3),
            value(row.read.published, 2),
            value(row.read.ours, 2, ran=ran),
            difference(row.read.difference, 2, limit=READ_LIMIT),
            value(row.read_by_judge, 2),
        ),
        reference=not row.noise and not row.weight,
    )


def verdicts(found: list[tuple[str, str, str]]) -> Table:
    """The checklist of claims: claim, verdict, sentence."""
    return Table(
        "claims",
        "What the paper claims",
        (
            Column("Claim", ("claim",), text=True),
            Column("Verdict", ("verdict",), text=True),
            Column("What we found", ("found",), text=True),
        ),
        tuple(Line(tuple(map(words, c))) for c in found),
    )
