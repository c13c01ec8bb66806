"""What it costs, as medians of interleaved runs: ``python -m benchmarks [name ...]``.

Each module of this folder is one benchmark: ``run(repeats: int) -> list[Row]``. A row is a
dictionary of columns; the column ``table`` is the title of the table that it belongs to.
"""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Row = dict[str, str | float | None]


@dataclass
class Turns:
    """Seconds of each turn of one candidate."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def fastest(self) -> float:
        """On a machine with other work: near to what an idle one would give."""
        return min(self.seconds)


def interleaved(
    candidates: Mapping[str, Callable[[], object]], *, repeats: int, budget: float = 15
) -> dict[str, Turns]:
    """Time the candidates in turns, so that whatever else the machine does meets all of them.

    The order changes from round to round: who comes after a large one finds cold caches.

    After three rounds the slow candidates (over half a second) sit out, and there are further
    rounds for ``budget`` seconds at most.
    """
    found = {name: Turns() for name in candidates}
    for candidate in candidates.values():
        candidate()  # first calls allocate and choose kernels
    for round_ in range(repeats):
        if round_ <= 3:
            begin = time.perf_counter()
        elif time.perf_counter() - begin > budget:
            break
        order = random.Random(round_).sample(list(candidates), len(candidates))
        for name in order:
            if round_ >= 3 and found[name].fastest > 0.5:
                continue
            start = time.perf_counter()
            candidates[name]()
            found[name].seconds.append(time.perf_counter() - start)
    return found
