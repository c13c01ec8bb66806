"""``cutlayer demo``: in a minute, digits stolen from a split network, and what helps against it."""

import argparse
import time

from rich.console import Console

from . import report as reports
from .assembly import Assembly
from .config import Experiment, parse
from .console import attack_all, write_report
from .record import store_at

# Three networks are trained: undefended, NoPeek, NoPeek with noise. Noise that acts only while
# serving is put in front of the undefended one.
DEFENCES: tuple[tuple[str, ...], ...] = (
    (),
    ("laplace:scale=0.5,active=serve",),
    ("laplace:scale=2.0,active=serve",),
    ("nopeek:weight=0.5",),
    ("nopeek:weight=0.5", "laplace:scale=0.5"),
)
SETTINGS: dict[str, object] = {
    "data": "digits",
    "epochs": 8,
    "attack": "inverse-network:epochs=14,batch_size=16",
}


def experiments(seed: int, threads: int) -> list[Experiment]:
    """The demo's configurations."""
    common = SETTINGS | {"seed": seed, "threads": threads}
    return [parse({**common, "defence": list(defence)}) for defence in DEFENCES]


def run_demo(arguments: argparse.Namespace) -> int:
    """Train, attack, report; says where the page is."""
    started, store = time.perf_counter(), store_at(arguments.store)
    first, *others = experiments(arguments.seed, arguments.threads)
    assembly = Assembly.of(first)
    several = [assembly, *(assembly.variant(defence=e.defence) for e in others)]
    records = attack_all(several, store)
    page = write_report(store, records, arguments.out, title="cutlayer demo: stolen digits")
    Console().print(reports.terminal_table(records))
    print(f"{time.perf_counter() - started:.0f} s; open the report: {page.resolve()}")
    return 0
