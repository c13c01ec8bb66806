"""Values from a file that somebody else wrote, each checked by itself before it is used."""

from collections.abc import Callable
from math import isfinite, prod
from typing import Any

from .errors import ConfigError, did_you_mean

MOST_NUMBERS = 2**24  # in one sample
Check = Callable[[Any], Any]


def shown(value: Any) -> str:
    """What came, not too much of it; a number of 5,000 digits cannot even be printed."""
    try:
        found = repr(value)
    except ValueError:
        return "more digits than can be read"
    return found if len(found) < 200 else f"{found[:200]}…"


def text(value: Any) -> str:
    """Text.

    Raises:
        ConfigError: anything else; so do all others here.
    """
    if not isinstance(value, str):
        raise ConfigError(f"text wanted: got {shown(value)}")
    return value


def many(value: Any) -> list[Any]:
    """Several values, whatever they are."""
    if not isinstance(value, list | tuple):
        raise ConfigError(f"several in brackets wanted: got {shown(value)}")
    return list(value)


def whole(least: int, most: int = 2**40) -> Check:
    """A check for whole numbers in a range, both ends included."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ConfigError(f"a whole number from {least} to {most:,} wanted: got {shown(value)}")
        return value

    return check


def shape(value: Any) -> tuple[int, ...]:
    """Of one sample."""
    sides = tuple(map(whole(1, 2**20), many(value)))
    if not 1 <= len(sides) <= 4 or prod(sides) > MOST_NUMBERS:
        raise ConfigError(f"1 to 4 sides, at most {MOST_NUMBERS:,} numbers, wanted: got {sides}")
    return sides


def seconds(value: Any) -> float:
    """A time, above 0."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e9:
        raise ConfigError(f"seconds above 0 wanted: got {shown(value)}")
    return float(value)


def bounds(value: Any) -> tuple[float, float]:
    """A range, low < high."""
    pair = many(value)
    numbers = [v for v in pair if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(pair) != 2 or len(numbers) != 2:
        raise ConfigError(f"two numbers, low and high, wanted: got {shown(value)}")
    try:
        low, high = map(float, numbers)
    except OverflowError as e:
        raise ConfigError(f"two finite numbers wanted: {e}") from e
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ConfigError(f"low < high, both finite, wanted: got {[low, high]}")
    return low, high


def choice(*allowed: str) -> Check:
    """A check for one of several words."""

    def check(value: Any) -> str:
        if value not in allowed:
            raise ConfigError(f"{shown(value)}: unknown{did_you_mean(value, allowed)}")
        return str(value)

    return check
