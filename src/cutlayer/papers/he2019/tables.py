"""Everything that the page and the summary show, in order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from ..chart import Chart
from ..findings import Findings
from . import charts
from .arbitrary import arbitrary_table
from .comparison import Table, chain_tables, defence_tables, published_tables
from .leaking import leaking_tables


def arbitrary_sections(findings: Findings) -> list[Table]:
    """The table as a section of the page."""
    about = (
        "The abstract speaks of an arbitrary input. Each attacker learned from samples of the "
        "network's own kind, and was then given messages of others: 100 victims of each. "
        "Recovered: SSIM in the authors' variant above 0.3, and ours above the best floor with "
        "its whole interval; the floors know samples of the victims' kind."
    )
    sheet = arbitrary_table(findings)
    return [Table("arbitrary", "Inputs of kinds that the network never saw", about, (), (sheet,))]


# To show more, add a function; what it makes has rows, sheets of other columns, or both.
OFFERS: tuple[Callable[[Findings], Iterable[Table]], ...] = (
    published_tables,
    chain_tables,
    defence_tables,
    arbitrary_sections,
    leaking_tables,
)
_CHARTS: Mapping[str, Callable[[Findings], Sequence[Chart]]] = {
    "figure-12": charts.figure_12,
    "defences": charts.defences,
}


def tables(findings: Findings) -> list[Table]:
    """All sections with their tables and charts, whatever has been run."""
    every = [table for offer in OFFERS for table in offer(findings)]
    return [_drawn(findings, t) for t in every]


def _drawn(findings: Findings, table: Table) -> Table:
    if table.name not in _CHARTS:
        return table
    return replace(table, charts=tuple(_CHARTS[table.name](findings)))
