"""An audit in a cell of a notebook: the verdict, who was tried on it, the front. No scripts."""

import base64
from html import escape

from . import words
from .figure import front
from .result import Audit, Configuration


def notebook(audit: Audit) -> str:
    """An HTML fragment; everything from the audit is escaped."""
    verdict = words.verdict(audit)
    parts = [f"<p><b>{escape(verdict.sentence)}</b></p>"]
    if audit.recommendation.words:
        parts.append(f"<p>{escape(audit.recommendation.words)}</p>")
    if audit.not_examined:
        left = "; ".join(audit.not_examined)
        parts.append(f"<p><b>Partial.</b> Not examined: {escape(left)}.</p>")
    for title, lines in (
        ("Reservations", verdict.reservations),
        ("Ways out, each for itself", audit.recommendation.give_up),
    ):
        if lines:
            items = "".join(f"<li>{escape(line)}</li>" for line in lines)
            parts.append(f"<p>{title}:</p><ul>{items}</ul>")
    if verdict.chosen is not None:
        parts.append(_attackers(audit, verdict.chosen))
    still = front(audit, width=6, height=3.6)
    if still is not None:
        data = base64.b64encode(still).decode()
        given = "Distortion" if audit.of_answers else "Accuracy given up"
        said = f"{given} against what the worst attacker learns"
        parts.append(
            f'<img alt="{said}" style="max-width:100%" src="data:image/png;base64,{data}">'
        )
    if audit.released is not None:
        parts.append(f"<p>What is released:</p>{notebook(audit.released)}")
    return f"<div>{''.join(parts)}</div>"


def _attackers(audit: Audit, c: Configuration) -> str:
    """Everybody who was tried on one configuration, the worst first."""
    measured = [a for a in c.attacks if audit.protect in a.leakage]
    measured.sort(key=lambda a: a.leakage[audit.protect].value or 0.0, reverse=True)
    rows = [("Attacker", "Threat model", "Leakage", "95 % interval", "Guessing", "Flags")]
    for a in measured:
        leaked = a.leakage[audit.protect]
        rows.append(
            (
                a.name,
                a.threat,
                words.number(audit.protect, leaked.value),
                words.spread(audit.protect, leaked),
                words.number(audit.protect, a.floors.get(audit.protect)),
                ", ".join(a.flags) or "none",
            )
        )
    caption = f"<caption>{escape(words.title(c))}</caption>"
    return f"<table>{caption}{''.join(map(_row, rows, ['th', *['td'] * len(measured)]))}</table>"


def _row(cells: tuple[str, ...], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
