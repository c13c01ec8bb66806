"""What the page draws: figure 12, and the curves of the defences."""

from collections.abc import Sequence
from typing import Any

from ...report.figures import PALETTE
from ..chart import MUTED, Chart, Series, View
from ..findings import Findings
from .comparison import Found, attack, defended_key, logged
from .published import FIGURE_12, UNRECOGNISABLE
from .tasks import DEFENDED

_THEIRS: dict[str, Any] = {"colour": MUTED, "line": "dash", "symbol": "", "width": 1.5}
_BLIND: dict[str, Any] = {"colour": PALETTE[0], "symbol": "circle"}
_AWARE: dict[str, Any] = {"colour": PALETTE[1], "symbol": "square"}
_LAWS = {
    "gaussian": ("Gaussian noise", "standard deviation"),
    "laplace": ("Laplace noise", "scale b"),
    "dropout": ("Dropout", "share of zeros"),
}


def figure_12(findings: Findings) -> list[Chart]:
    """PSNR and SSIM at every layer of LeNet, published and ours, of the ten images."""
    layers = [p.layer for p in FIGURE_12]
    ours = {p: attack(findings, f"mnist/layers/{p}") for p in layers}
    found = [(float(i), f) for i, p in enumerate(layers) if (f := ours[p]) is not None]
    theirs = [float(i) for i in range(len(layers))]
    psnr = (
        _series("published", theirs, [p.psnr for p in FIGURE_12], **_THEIRS),
        _series("ours", [i for i, _ in found], [f.ten_psnr for _, f in found], **_BLIND),
    )
    ssim = (
        _series("published", theirs, [p.ssim for p in FIGURE_12], **_THEIRS),
        _series("ours", [i for i, _ in found], [f.ten_published_ssim for _, f in found], **_BLIND),
        _unrecognisable(0, len(layers) - 1),
    )
    names, title = tuple(layers), "the network is cut after"
    views = (
        View("PSNR", title, "PSNR (dB)", psnr, x_names=names),
        View("SSIM", title, "SSIM, their variant", ssim, x_names=names, y_range=(0, 1)),
    )
    waits = ", ".join(p for p in layers[:-1] if ours[p] is None)
    return [Chart("figure-12", "Query-free at every layer of LeNet", "", views, waits)]


def defences(findings: Findings) -> list[Chart]:
    """For each place and law, what leaks and what is left of the accuracy, by strength."""
    return [_defence(findings, site, law, strengths) for site, law, strengths in DEFENDED]


def _defence(findings: Findings, site: str, law: str, strengths: Sequence[float]) -> Chart:
    blind, aware = (
        [(s, f) for s in strengths if (f := _at(findings, site, law, s, aware=aware)) is not None]
        for aware in (False, True)
    )
    points = logged(site, law)
    x = [p.strength for p in points]
    leaks = (
        _series("published", x, [p.ssim for p in points], **_THEIRS),
        _leaked("published attacker, ours", blind, **_BLIND),
        _leaked("attacker who knows the defence", aware, **_AWARE),
        _unrecognisable(0, x[-1]),
    )
    right = (
        _series("published", x, [100 * p.accuracy for p in points], **_THEIRS),
        _accuracy("published attacker, ours", blind or aware, **_BLIND),
    )
    name, unit = _LAWS[law]
    where = "on the input" if site == "input" else f"behind {site}"
    views = (
        View("SSIM", unit, "SSIM, their variant", leaks, y_range=(0, 1)),
        View("Accuracy", unit, "accuracy (%)", right, y_range=(0, 100)),
    )
    waits = sorted(set(strengths) - {s for s, _ in blind} | set(strengths) - {s for s, _ in aware})
    missing = ", ".join(f"{s:g}" for s in waits)
    return Chart(f"defence-{site}-{law}", f"{name} {where}", "", views, missing)


def _at(findings: Findings, site: str, law: str, strength: float, *, aware: bool) -> Found | None:
    return attack(findings, defended_key(site, law, strength, aware=aware))


def _series(label: str, x: Sequence[float], y: Sequence[float], **style: Any) -> Series:
    text = [f"{label}: {b:.4g}" for b in y]
    return Series(label=label, x=list(x), y=list(y), text=text, **style)


def _leaked(label: str, found: Sequence[tuple[float, Found]], **style: Any) -> Series:
    return _series(label, [s for s, _ in found], [f.ten_published_ssim for _, f in found], **style)


def _accuracy(label: str, found: Sequence[tuple[float, Found]], **style: Any) -> Series:
    """With its interval: the victims are a hundred."""
    y = [100 * f.accuracy for _, f in found]
    low, high = ([100 * f.accuracy_within[i] for _, f in found] for i in (0, 1))
    return _series(label, [s for s, _ in found], y, low=low, high=high, **style)


def _unrecognisable(low: float, high: float) -> Series:
    label = f"below it unrecognisable to the papers ({UNRECOGNISABLE})"
    y = [UNRECOGNISABLE] * 2
    return _series(label, [low, high], y, colour=MUTED, line="dot", symbol="", width=1)
