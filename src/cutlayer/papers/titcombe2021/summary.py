"""The reproduction as Markdown, for the documentation."""

from pathlib import Path

from ..claims import verdict
from ..findings import Findings
from ..markdown import END, begin, claim_lines, put_between
from ..tables import NOT_RUN
from .claims import claims
from .comparison import Cell, Row, table_1
from .elsewhere import claims_elsewhere
from .leaks import OURS, THEIRS, Leak, configuration
from .published import MISLABELLED
from .tables_leaks import by

BEGIN = begin("titcombe2021")


def summary(results: Path) -> str:
    """Table 1, the attacks at noise 1.0 and the claims, between ``BEGIN`` and ``END``."""
    findings = Findings(Path(results))
    found = claims(findings)
    parts = [BEGIN, *_table(findings), "", _mislabelled(), "", *_attacks(findings), ""]
    parts += [verdict(found), ""]
    parts += claim_lines(found)
    parts += ["", "On other data, in the setting of the text:", ""]
    parts += claim_lines(claims_elsewhere(findings))
    return "\n".join([*parts, END]) + "\n"


def _table(findings: Findings) -> list[str]:
    head = (
        "| Noise b | NoPeek α | Accuracy, paper (%) | ours | Distance correlation, paper | ours | "
        "floor | honest |"
    )
    return [
        head,
        "|---|---|---|---|---|---|---|---|",
        *map(_row, table_1(findings, "authors-code")),
    ]


def _mislabelled() -> str:
    said = [
        f"the row of weight {m.weight:g} is printed as {m.printed.weight:g} ({m.evidence})"
        for m in MISLABELLED
    ]
    return f"In the paper {'; '.join(said)}."


def write_summary(results: Path, page: Path) -> None:
    """Put the summary between the markers of a Markdown file.

    Raises:
        ValueError: it has no such markers.
        OSError: it cannot be read or written.
    """
    put_between(page, BEGIN, summary(results))


def _row(row: Row) -> str:
    cells = [
        f"{row.noise:g}",
        f"{row.weight:g}",
        _number(row.accuracy.published, 2),
        _number(row.accuracy.ours, 2, NOT_RUN),
        _with_error(row.dependence, theirs=True),
        _with_error(row.dependence, theirs=False),
        _number(row.floor, 3),
        _number(row.honest, 3),
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, digits: int, missing: str = "–") -> str:
    return missing if value is None else f"{value:.{digits}f}"


def _with_error(cell: Cell, *, theirs: bool) -> str:
    value = cell.published if theirs else cell.ours
    error = cell.published_error if theirs else cell.error
    if value is None:
        return "–" if theirs else NOT_RUN
    return f"{value:.3f}" + (f" ± {error:.3f}" if error is not None else "")


def _attacks(findings: Findings) -> list[str]:
    config = configuration(findings, "authors-code", 0.0, 0.0, "laplace-1")
    who = (THEIRS, OURS, "the same, averaging 16 messages", "the same, averaging 256 messages")
    lines = [
        "| Attacker at noise 1.0, added after training | SSIM | floor | Class read | "
        "Found within its class |",
        "|---|---|---|---|---|",
    ]
    return [*lines, *(_attack(name, by(config, name)) for name in who)]


def _attack(name: str, x: Leak | None) -> str:
    if x is None:
        return f"| {name} | {NOT_RUN} | | | |"
    shares = [x.value(m) for m in ("read", "top1_in_class")]
    cells = [_number(x.value("ssim"), 3), _number(x.floors.get("ssim"), 3)]
    cells += ["–" if v is None else f"{v:.1%}" for v in shares]
    return f"| {name} | {' | '.join(cells)} |"
