"""Each published cell beside what we found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..chart import Chart
from ..findings import Findings
from ..tables import Table as Sheet
from .curves import CURVES, Defended
from .maker import LEARNING, classifier_key
from .published import (
    ATTACK_TRAINING,
    FIGURE_12,
    TABLE_3,
    TABLE_4,
    TABLE_6,
    TABLE_8,
    TARGET_TRAINING,
    Cell,
    Data,
)
from .tasks import ALONG, CHAINS, DEFENDED, chain_name, defended_name


@dataclass(frozen=True)
class Found:
    """One of our attacks: on the ten images that the authors show, and on many.

    ten_psnr, ten_ssim, ten_published_ssim: means over the first victim of each class; the last in
    the authors' variant of SSIM. psnr, ssim: mean and 95 % interval over all victims;
    published_ssim: their mean in the authors' variant. read: share of reconstructions whose class
    an independent classifier reads right.
    """

    key: str
    ten_psnr: float
    ten_ssim: float
    ten_published_ssim: float
    psnr: tuple[float, float, float]
    ssim: tuple[float, float, float]
    published_ssim: float
    read: float | None
    victims: int
    accuracy: float
    accuracy_within: tuple[float, float]
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
    """A section of the page and of the summary, with a sentence or two about what is compared.

    name: its address on the page. rows: published numbers beside ours, with pictures. sheets:
    tables of any other columns. charts: drawn in front of them, on the page alone.
    """

    name: str
    title: str
    about: str
    rows: tuple[Row, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    charts: tuple[Chart, ...] = ()


def is_full(findings: Findings) -> bool:
    """Whether these are findings of ``--full``."""
    for data, theirs in TARGET_TRAINING.items():
        kept = findings.get(classifier_key(data))
        if kept is not None and len(kept["record"]["training"]["epochs"]) == theirs.epochs:
            return True
    return False


def published_tables(findings: Findings) -> list[Table]:
    """The tables of the first paper, whatever has been run."""
    passes = ATTACK_TRAINING.epochs if is_full(findings) else LEARNING["epochs"]
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
            f"map from 4,000 queries; {passes} passes over 10,000 samples (8,333 on CIFAR-10), "
            "where the authors have 50 over all.",
            tuple([*(_row(findings, c, _black_box(c)) for c in TABLE_4), *_elsewhere(findings)]),
        ),
        Table(
            "table-6",
            "Table 6: query-free",
            "A shadow of the owner's segment, of the same layers or of the authors' other ones; "
            f"{passes} passes over 10,000 samples (8,333 on CIFAR-10), on MNIST with three seeds.",
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
    ]


def chain_tables(findings: Findings) -> list[Table]:
    """What no paper has: more than two parties."""
    about = (
        "Not in the papers. With queries or weights only the first adversary counts; one that "
        "only listens needs what lies behind it as well: what its parties do not hold, it trains "
        "along, from what it saw go in and come out, or from labels alone."
    )
    title = "Chains of three and four parties, by who is malicious"
    return [Table("chains", title, about, tuple(_chains(findings)))]


def defence_tables(findings: Findings) -> list[Table]:
    """The figures of the extension."""
    about = (
        "The white-box attacker of the paper, who knows of no defence, by the settings of its "
        "scripts; and the maximum likelihood of one who does. 100 victims. The published SSIM is "
        "in the variant of the scripts, in brackets with ours."
    )
    title = "Figures 9 to 13 of the extension: noise and dropout on MNIST"
    return [Table("defences", title, about, tuple(_defended(findings)))]


def _chains(findings: Findings) -> Iterator[Row]:
    for cuts, adversaries in CHAINS.items():
        for parties in adversaries:
            keys = [(t, f"mnist/chain/{chain_name(cuts, parties, t)}") for t in ALONG]
            many = "parties" if len(parties) > 1 else "party"
            who = " and ".join(", ".join(map(str, parties)).rsplit(", ", 1))
            case = f"{many} {who} of {len(cuts) + 1}"
            yield Row("mnist", ", ".join(cuts), case, None, _known(findings, keys))


def logged(site: str, law: str) -> tuple[Defended, ...]:
    """The published curve on MNIST; of two runs of one, the first."""
    return next(
        c.points
        for c in CURVES
        if c.figure is not None
        and (c.points[0].data, c.points[0].cut) == ("mnist", site)
        and c.points[0].law == law
    )


def defended_key(site: str, law: str, strength: float, *, aware: bool) -> str:
    """The key of an attack on a defended cut."""
    return f"mnist/defence/{defended_name(site, law, strength, aware=aware)}"


def _defended(findings: Findings) -> Iterator[Row]:
    for site, law, strengths in DEFENDED:
        published = {p.strength: p for p in logged(site, law)}
        for strength in strengths:
            point = published[strength]
            keys = [
                (label, defended_key(site, law, strength, aware=aware))
                for label, aware in (("unaware, as published", False), ("knows the defence", True))
            ]
            case = f"{law} {strength:g} (their accuracy {100 * point.accuracy:.1f} %)"
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
    read = [(label, attack(findings, key)) for label, key in keys]
    return tuple((label, found) for label, found in read if found is not None)


def attack(findings: Findings, key: str) -> Found | None:
    """What the attack of that key found; ``None`` if it has not been run."""
    kept = findings.get(key)
    return None if kept is None else _found(kept)


def _found(kept: dict[str, Any]) -> Found:
    record, ten = kept["record"], kept["ten"]
    leakage = record["leakage"]

    def spread(name: str) -> tuple[float, float, float]:
        e = leakage[name]
        return e["value"], e["low"], e["high"]

    accuracy = record["utility"]["accuracy"]
    floors = [f["ssim"]["value"] for f in record["floors"].values() if "ssim" in f]
    return Found(
        key=kept["key"],
        ten_psnr=ten["psnr"],
        ten_ssim=ten["ssim"],
        ten_published_ssim=ten["ssim_as_published"],
        psnr=spread("psnr"),
        ssim=spread("ssim"),
        published_ssim=kept["ssim_as_published"],
        read=leakage["read"]["value"] if "read" in leakage else None,
        victims=leakage["ssim"]["n"],
        accuracy=accuracy["value"],
        accuracy_within=(accuracy["low"], accuracy["high"]),
        floor_ssim=max(floors),
        flags=tuple(record["flags"]),
        facts=record["attack"],
    )
