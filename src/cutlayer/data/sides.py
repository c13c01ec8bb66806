"""The shape of a sample as text."""


def sides(shape: str, *, kind: str) -> tuple[int, ...]:
    """The sides in a text such as ``"1x28x28"``.

    Args:
        kind: Of data, for the error.

    Raises:
        ValueError: it is no such text, or a side is not positive.

    >>> sides("3x32x32", kind="noise")
    (3, 32, 32)
    """
    found = shape.split("x")
    if not all(side.isdecimal() and int(side) > 0 for side in found):
        raise ValueError(
            f"{kind} shape: sides with an x between, as 1x28x28, wanted: got {shape!r}"
        )
    return tuple(map(int, found))


def picture_sides(shape: str, *, kind: str, least: int) -> tuple[int, int, int]:
    """Channels, height and width in a text such as ``"3x32x32"``.

    Raises:
        ValueError: these are not three, or height or width is less than ``least``.
    """
    found = sides(shape, kind=kind)
    if len(found) != 3 or min(found[1:]) < least:
        raise ValueError(
            f"{kind} shape: channels, height and width wanted, of at least {least} pixels a side, "
            f"as 1x28x28: got {shape!r}"
        )
    return found[0], found[1], found[2]
