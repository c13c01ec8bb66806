"""What a paper claims, and what came of it: each verdict follows a rule and has its numbers.

A rule is written down beside its claim, so that nobody has to take the verdict on trust.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from .findings import Findings

Verdict = Literal["reproduced", "refuted", "in part", "not run"]
SIGNS = {"reproduced": "✓", "refuted": "✗", "in part": "◐", "not run": "…"}


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, its verdict, and the sentence with the numbers."""

    text: str
    verdict: Verdict
    sentence: str


class NotRun(Exception):  # noqa: N818 - no fault
    """A number that a claim needs is not there yet."""


Judge = Callable[[Findings], tuple[Verdict, str]]


def judged(findings: Findings, rules: Iterable[tuple[str, Judge]]) -> list[Claim]:
    """Every claim by its rule; one whose numbers are not there is said to wait for them."""
    return [_judged(findings, text, judge) for text, judge in rules]


def _judged(findings: Findings, text: str, judge: Judge) -> Claim:
    try:
        return Claim(text, *judge(findings))
    except NotRun as e:
        return Claim(text, "not run", f"Waits for {e}.")


def held(holds: bool, partly: bool = False) -> Verdict:
    """The verdict on a claim that was put to the test."""
    return "reproduced" if holds else "in part" if partly else "refuted"


def verdict(claims: Sequence[Claim]) -> str:
    """How the claims came out, counted."""
    count = Counter[str](c.verdict for c in claims)
    waits = count["not run"]
    if waits == len(claims):
        return f"Nothing is decided yet: all {waits} claims of the paper wait for their runs."
    words = [
        f"{count[v]} {one if count[v] == 1 else many}"
        for v, one, many in (
            ("reproduced", "could be reproduced", "could be reproduced"),
            ("in part", "holds in part", "hold in part"),
            ("refuted", "does not hold", "do not hold"),
        )
        if count[v]
    ]
    still = "waits for its runs" if waits == 1 else "wait for their runs"
    words += [f"{waits} still {still}"] if waits else []
    return f"Of {len(claims)} claims of the paper, {' and '.join(_listed(words))}."


def _listed(words: Sequence[str]) -> list[str]:
    """All but the last joined by commas."""
    return [", ".join(words[:-1]), words[-1]] if len(words) > 2 else list(words)
