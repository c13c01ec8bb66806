"""A part of the page and of the summary."""

from dataclasses import dataclass

from ..chart import Chart
from ..tables import Shown, Table

WAITS = Shown("not run yet", (None,), mark="missing")


@dataclass(frozen=True)
class Section:
    """name: its address on the page."""

    name: str
    title: str
    about: str
    sheets: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
