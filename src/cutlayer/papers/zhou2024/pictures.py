"""Their figure 4: reconstructions of the same victims, one defence below the other."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..findings import Findings
from ..gallery import Gallery, Pictured, halves
from ..tables import DASH, NOT_RUN, Column, Shown
from .comparison import Measured, factor, measured, undefended
from .defences import named
from .settings import NAMES, Data

if TYPE_CHECKING:
    from PIL.Image import Image

_COLUMNS = (Column("Error", ("factor",)), Column("Class read", ("read",)))
_SHOWN = (
    *("none", "lpa-0.02", "generator-0.02", "adversarial-0.02", "gaussian-0.02"),
    *("swap-0.02", "rounding-3", "codebook-0.02", "label-only"),
)


def overview(findings: Findings) -> list[Gallery]:
    """On each data set, by the strongest attacker on each defence."""
    return [_defences(findings, data) for data in NAMES]


def _defences(findings: Findings, data: Data) -> Gallery:
    defences = [named(name, data) for name in _SHOWN]
    found = [(d.label, measured(findings, data, d)) for d in defences]
    base = undefended(findings, data)
    strips = [_strip(findings.folder, m) for _, m in found]
    originals = next((pair[0] for pair in strips if pair), None)
    blank = tuple(Shown("", (None,)) for _ in _COLUMNS)
    rows = [Pictured("originals", image=originals, numbers=blank, missing=NOT_RUN)]
    for (label, m), strip in zip(found, strips, strict=True):
        if m is None or base is None:
            rows.append(Pictured(label, missing=NOT_RUN))
        else:
            rows.append(_row(label, m, factor(m, base), strip))
    return Gallery(f"pictures-{data}", NAMES[data], tuple(rows), _COLUMNS)


def _row(label: str, m: Measured, grown: float, strip: "tuple[Image, Image] | None") -> Pictured:
    read = m.worst[1].read
    said = Shown(DASH, (None,)) if read is None else Shown(f"{read:.0%}", (read,))
    numbers = (Shown(f"{grown:.2f}×", (grown,)), said)
    image = strip[1] if strip else None
    return Pictured(label, image=image, numbers=numbers, missing="no picture was kept")


def _strip(folder: Path, m: Measured | None) -> "tuple[Image, Image] | None":
    path = folder / f"{m.worst[1].key}.png" if m else None
    return halves(path) if path and path.exists() else None
