"""The one exception of our own, and the hint that goes with a misspelt name."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """Everything wrong with what the user asked for, one line each."""


def said(e: BaseException) -> str:
    """What an exception says: its text where it is one of the usual ones, else its type as well.

    >>> said(ValueError("too few")), said(KeyError("a"))
    ('too few', "KeyError: 'a'")
    """
    usual = isinstance(e, ValueError | OSError)
    return str(e) if usual and str(e) else f"{type(e).__name__}: {e}"


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A clause to append to an error about an unknown name.

    >>> did_you_mean("laplas", ["laplace", "gaussian"])
    ", did you mean 'laplace'?"
    >>> did_you_mean("x", ["laplace", "gaussian"])
    '; known: gaussian, laplace'
    """
    every = sorted(known)
    near = get_close_matches(str(word), every, 1)
    return f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(every) or 'none'}"
