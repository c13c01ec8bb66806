"""Reconstructions of the same victims, one attack below the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..findings import Findings
from ..gallery import Gallery, Pictured, as_uri, halves
from ..tables import DASH, NOT_RUN, Column, Shown
from .claims import NAMES
from .comparison import Found, attack
from .published import CUTS, Data

if TYPE_CHECKING:
    from PIL.Image import Image

_COLUMNS = (Column("SSIM", ("ssim",)), Column("Class read", ("read",)))
_WHO: Mapping[str, str] = {  # by label the key, without the data set
    "white-box": "white-box/{cut}",
    "black-box, with other samples": "black-box/{cut}-same-distribution-auto",
    "query-free, with other samples": "query-free/{cut}-other-set-same-net",
}


def overview(findings: Findings) -> list[Gallery]:
    """At each cut of the tables, what each attacker makes of the ten images."""
    return [_attackers(findings, data, cut) for data, cut in CUTS]


def _attackers(findings: Findings, data: Data, cut: str) -> Gallery:
    found = {who: attack(findings, f"{data}/{key.format(cut=cut)}") for who, key in _WHO.items()}
    strips = {who: _strip(findings.folder, f) for who, f in found.items()}
    originals = next((pair[0] for pair in strips.values() if pair), None)
    blank = tuple(Shown("", (None,)) for _ in _COLUMNS)
    first = Pictured("originals", image=originals, numbers=blank, missing=NOT_RUN)
    rows = [_row(who, f, strips[who]) for who, f in found.items()]
    title = f"{NAMES[data]}, cut after {cut}"
    return Gallery(f"pictures-{data}-{cut}", title, (first, *rows), _COLUMNS)


def _row(label: str, f: Found | None, strip: "tuple[Image, Image] | None") -> Pictured:
    if f is None:
        return Pictured(label, missing=NOT_RUN)
    read = Shown(DASH, (None,)) if f.read is None else Shown(f"{f.read:.0%}", (f.read,))
    numbers = (Shown(f"{f.ssim[0]:.2f}", (f.ssim[0],)), read)
    image = strip[1] if strip else None
    return Pictured(label, image=image, numbers=numbers, missing="no picture was kept")


def _strip(folder: Path, f: Found | None) -> "tuple[Image, Image] | None":
    path = folder / f"{f.key}.png" if f else None
    return halves(path) if path and path.exists() else None


def uris(folder: Path, found: Sequence[Found]) -> dict[str, tuple[str, str]]:
    """Originals and reconstructions of every attack that left some, as data URLs by key."""
    every = {f.key: _strip(folder, f) for f in found}
    return {k: (as_uri(pair[0]), as_uri(pair[1])) for k, pair in every.items() if pair}
