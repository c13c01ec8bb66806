"""Published results as data, and the runs that regenerate them side by side.

A folder holds what is one paper's own: its numbers (``published``), what is run (``tasks``), what
carries that out (``perform``), its page. What serves them all, in the order of the flow::

    paper      what the command wants of a paper; each folder has one in its own ``paper``
    reproduce  the command: which tasks, run as a study, then the page
    task       one experiment, what is done with it, where the finding goes
    perform    carry out a task, in any process; with networks and measure
    findings   what tasks found, a JSON file each
    claims     what a paper says, with a verdict by a rule
    tables, chart, gallery     what a page shows, with stills and markdown for other places
    page       templates and style of every page

To add a paper, write its folder and name its ``PAPER`` in ``PAPERS``. Importing this module imports
no torch, so that help is quick.
"""

from collections.abc import Mapping

from .he2019.paper import PAPER as HE2019
from .paper import Paper
from .titcombe2021.paper import PAPER as TITCOMBE2021
from .zhou2024.paper import PAPER as ZHOU2024

PAPERS: Mapping[str, Paper] = {p.name: p for p in (TITCOMBE2021, HE2019, ZHOU2024)}
