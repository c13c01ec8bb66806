"""Each published cell beside what we found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..findings import Findings
from .curves import CURVES
from .published import FIGURE_12, TABLE_3, TABLE_4, TABLE_6, TABLE_8, Cell, Data
from .tasks import ALONG, CHAINS, DEFENDED, chain_name, defended_name


@dataclass(frozen=True)
class Found:
    """One of our attacks: on the ten images that the authors show, and on many.

    ten_psnr, ten_ssim, ten_published_ssim: means over the first victim of each class; the last in
    the authors' variant of SSIM. psnr, ssim: mean and 95 % interval over all victims.
    """

    key: str
    ten_psnr: float
    ten_ssim: float
    ten_published_ssim: float
    psnr: tuple[float, float, float]
    ssim: tuple[float, float, float]
    victims: int
    accuracy: float
    floor_ssim: float
    flags: tuple[str, ...]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A published number, and ours by each attack that answers it; those not run are missing."""

    data: Data
    cut: str
    case: str
    published: tuple[float, float] | None
    ours: tuple[tuple[str, Found], ...]


@dataclass(frozen=True)
class Table:
    """A table of the paper, with a sentence about what is compared."""

    name: str
    title: str
    about: str
    rows: tuple[Row, ...]


def tables(findings: Findings) -> list[Table]:
    """All tables, whatever has been run."""
    return [
        Table(
            "table-3",
            "Table 3: white-box",
            "Ours is the maximum likelihood with everything chosen on the attacker's own samples; "
            "as published, the settings of the authors' scripts in our code.",
            tuple(_row(findings, c, _white_box(c)) for c in TABLE_3),
        ),
        Table(
            "table-4",
            "Table 4: black-box, by what the attacker has",
            "An inverse network, with the authors' decoder and with ours, and the best affine "
            "map from 4,000 queries; five passes over 10,000 "
            "samples, where the authors have fifty over all.",
            tuple([*(_row(findings, c, _black_box(c)) for c in TABLE_4), *_elsewhere(findings)]),
        ),
        Table(
            "table-6",
            "Table 6: query-free",
            "A shadow of the owner's segment, of the same layers or of the authors' other ones; "
            "five passes over 10,000 samples, on MNIST with three seeds.",
            tuple(_row(findings, c, _query_free(c)) for c in TABLE_6),
        ),
        Table(
            "table-8",
            "Table 8: queries, to an inverse network or to a shadow",
            "The shadow is trained on the owner's answers, then searched through.",
            tuple(_row(findings, c, _by_queries(c)) for c in TABLE_8),
        ),
        Table(
            "figure-12",
            "Figure 12: query-free at every layer of LeNet",
            "The authors do not say which case of table 6 they drew; ours has other samples and "
            "the same layers.",
            tuple(
                _row(
                    findings,
                    Cell("mnist", p.layer, "any layer", p.psnr, p.ssim),
                    [("ours", f"mnist/layers/{p.layer}")],
                )
                for p in FIGURE_12[:-1]
            ),
        ),
        Table(
            "chains",
            "Chains of three and four parties, by who is malicious",
            "Not in the papers. With queries or weights only the first adversary counts; one that "
            "only listens needs what lies behind it as well: what its parties do not hold, it "
            "trains along, from what it saw go in and come out, or from labels alone.",
            tuple(_chains(findings)),
        ),
        Table(
            "defences",
            "Figures 9 to 13 of the extension: noise and dropout on MNIST",
            "The white-box attacker of the paper, who knows of no defence, by the settings of its "
            "scripts; and the maximum likelihood of one who does. 100 victims. The published "
            "SSIM is in the variant of the scripts, in brackets with ours.",
            tuple(_defended(findings)),
        ),
    ]


def _chains(findings: Findings) -> Iterator[Row]:
    for cuts, adversaries in CHAINS.items():
        for parties in adversaries:
            keys = [(t, f"mnist/chain/{chain_name(cuts, parties, t)}") for t in ALONG]
            many = "parties" if len(parties) > 1 else "party"
            case = f"{many} {' and '.join(map(str, parties))} of {len(cuts) + 1}"
            yield Row("mnist", ", ".join(cuts), case, None, _known(findings, keys))


def _defended(findings: Findings) -> Iterator[Row]:
    figures = [c for c in CURVES if c.figure is not None]  # of two runs of one curve, the first
    drawn = [p for c in reversed(figures) for p in c.points if p.data == "mnist"]
    logged = {(p.cut, p.law, p.strength): p for p in drawn}
    for site, law, strengths in DEFENDED:
        for strength in strengths:
            point = logged[site, law, strength]  # type: ignore[index]
            keys = [
                (label, f"mnist/defence/{defended_name(site, law, strength, aware=aware)}")
                for label, aware in (("unaware, as published", False), ("knows the defence", True))
            ]
            case = f"{law} {strength:g}, accuracy {100 * point.accuracy:.1f} %"
            ours = _known(findings, keys)
            yield Row("mnist", site, case, (point.psnr, point.ssim), ours)


Keys = Sequence[tuple[str, str]]  # label and key


def _white_box(c: Cell) -> Keys:
    key = f"{c.data}/white-box/{c.cut}"
    return [("ours", key), ("as published", f"{key}-published")]


def _black_box(c: Cell) -> Keys:
    key = f"{c.data}/black-box/{c.cut}-{c.case.replace(' ', '-')}"
    return [("their decoder", key), ("ours", f"{key}-auto"), ("affine", f"{key}-affine")]


def _elsewhere(findings: Findings) -> Iterator[Row]:
    for cut in ("conv1", "ReLU2"):
        key = f"mnist/black-box/{cut}-other-domain"
        labels = {"": "their decoder", "-auto": "ours", "-affine": "affine"}
        ours = _known(findings, [(label, key + more) for more, label in labels.items()])
        yield Row("mnist", cut, "other domain", None, ours)


def _query_free(c: Cell) -> Keys:
    case = c.case.replace(", ", "-").replace(" ", "-")
    key = f"{c.data}/query-free/{c.cut}-{case}"
    return [(f"seed {s}", key + (f"-seed-{s}" if s else "")) for s in range(3)]


def _by_queries(c: Cell) -> Keys:
    if c.case == "shadow":
        return [("ours", f"{c.data}/by-queries/{c.cut}")]
    return [("their decoder", f"{c.data}/black-box/{c.cut}-same-set")]


def _row(findings: Findings, cell: Cell, keys: Keys) -> Row:
    ours = _known(findings, keys)
    return Row(cell.data, cell.cut, cell.case, (cell.psnr, cell.ssim), ours)


def _known(findings: Findings, keys: Keys) -> tuple[tuple[str, Found], ...]:
    read = [(label, findings.get(key)) for label, key in keys]
    return tuple((label, _found(kept)) for label, kept in read if kept is not None)


def _found(kept: dict[str, Any]) -> Found:
    record, ten = kept["record"], kept["ten"]
    leakage = record["leakage"]

    def spread(name: str) -> tuple[float, float, float]:
        e = leakage[name]
        return e["value"], e["low"], e["high"]

    floors = [f["ssim"]["value"] for f in record["floors"].values() if "ssim" in f]
    return Found(
        key=kept["key"],
        ten_psnr=ten["psnr"],
        ten_ssim=ten["ssim"],
        ten_published_ssim=ten["ssim_as_published"],
        psnr=spread("psnr"),
        ssim=spread("ssim"),
        victims=leakage["ssim"]["n"],
        accuracy=record["utility"]["accuracy"]["value"],
        floor_ssim=max(floors),
        flags=tuple(record["flags"]),
        facts=record["attack"],
    )
