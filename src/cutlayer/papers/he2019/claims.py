"""What the papers claim, and what came of it.

Limits are the papers' own where they have some: below an SSIM of 0.3 in their variant pictures are
unrecognisable, above it or above 10 dB of good quality. Numbers are means over all victims.
"""

from collections.abc import Sequence
from itertools import pairwise

from ..claims import Claim, Judge, NotRun, Verdict, held, judged
from ..findings import Findings
from .arbitrary import arbitrary_inputs
from .comparison import Found, attack, defended_key
from .published import CUTS, FIGURE_12, GOOD_PSNR, UNRECOGNISABLE, Data
from .tasks import CHAINS, DEFENDED, DROPOUT, SEEDS, chain_name

Cut = tuple[Data, str]
NAMES: dict[Data, str] = {"mnist": "MNIST", "cifar10": "CIFAR-10"}


def claims(findings: Findings) -> list[Claim]:
    """Every claim of the list, in the papers' order."""
    return judged(findings, RULES)


def _of(findings: Findings, key: str) -> Found:
    found = attack(findings, key)
    if found is None:
        raise NotRun(key)
    return found


def _cuts(data: Data) -> list[str]:
    return [cut for d, cut in CUTS if d == data]


def _there(findings: Findings, kind: str, name: str, wanted: Sequence[Cut] = CUTS) -> list[Cut]:
    """Where that attack has been run, all of MNIST at least; ``{cut}`` in its name is the cut."""
    found = []
    for data, cut in wanted:
        key = f"{data}/{kind}/{name.format(cut=cut)}"
        if attack(findings, key) is not None:
            found.append((data, cut))
        elif data == "mnist":
            raise NotRun(key)
    return found


def _open(tried: Sequence[Cut], wanted: Sequence[Cut] = CUTS) -> str:
    """What has not been tried, as a last sentence."""
    left = [f"{cut} of {NAMES[d]}" for d, cut in wanted if (d, cut) not in tried]
    return f" Not run yet: {', '.join(left)}." if left else ""


def _exact(findings: Findings) -> tuple[Verdict, str]:
    wanted: list[Cut] = [("mnist", "conv1"), ("cifar10", "conv11")]
    tried = _there(findings, "white-box", "{cut}-published", wanted)
    words, holds = [], []
    for data, cut in tried:
        theirs = _of(findings, f"{data}/white-box/{cut}-published")
        ours = _of(findings, f"{data}/white-box/{cut}")
        holds.append(theirs.ssim[0] >= 0.99)
        words.append(
            f"{cut}: {theirs.psnr[0]:.1f} dB, SSIM {theirs.ssim[0]:.3f} by their search, "
            f"{ours.psnr[0]:.1f} dB by ours"
        )
    return held(all(holds), any(holds)), (
        f"{'; '.join(words)}. (Rule: their search reaches an SSIM of 0.99.){_open(tried, wanted)}"
    )


def _deeper(findings: Findings) -> tuple[Verdict, str]:
    kinds = (
        ("their search", "white-box", "{cut}-published"),
        ("ours", "white-box", "{cut}"),
        ("black-box", "black-box", "{cut}-same-set"),
        ("query-free", "query-free", "{cut}-same-set-same-net"),
    )
    words, falls, left = [], [], []
    for label, kind, name in kinds:
        for data in NAMES:
            keys = [f"{data}/{kind}/{name.format(cut=c)}" for c in _cuts(data)]
            known = [f.ssim[0] for k in keys if (f := attack(findings, k)) is not None]
            if len(known) == len(keys):
                falls.append(all(a > b for a, b in pairwise(known)))
                words.append(f"{NAMES[data]}, {label}: {' → '.join(f'{v:.2f}' for v in known)}")
            else:
                left.append(f"{NAMES[data]}, {label}")
    if not words:
        raise NotRun("any attack at every cut of its network")
    return held(all(falls), any(falls)), (
        f"SSIM from cut to cut. {'; '.join(words)}. (Rule: it falls at each step.)"
        + (f" Not run yet: {'; '.join(left)}." if left else "")
    )


def _too_deep(findings: Findings) -> tuple[Verdict, str]:
    theirs = _of(findings, "cifar10/white-box/ReLU32-published")
    ours = _of(findings, "cifar10/white-box/ReLU32")
    low = [f.published_ssim < UNRECOGNISABLE for f in (theirs, ours)]
    return held(all(low), any(low)), (
        f"SSIM in their variant: {theirs.published_ssim:.2f} by their search, "
        f"{ours.published_ssim:.2f} by ours ({ours.psnr[0]:.1f} dB). (Rule: both below "
        f"{UNRECOGNISABLE}.)"
    )


def _other_samples(findings: Findings) -> tuple[Verdict, str]:
    tried = _there(findings, "black-box", "{cut}-same-distribution")
    words, near = [], []
    for data, cut in tried:
        same, other = (
            _of(findings, f"{data}/black-box/{cut}-{case}").ssim[0]
            for case in ("same-set", "same-distribution")
        )
        near.append(other >= same - 0.05)
        words.append(f"{cut} {same:.3f} and {other:.3f}")
    return held(all(near), any(near)), (
        f"SSIM with the training samples and with others: {'; '.join(words)}. (Rule: at most 0.05 "
        f"lower.){_open(tried)}"
    )


def _random(findings: Findings) -> tuple[Verdict, str]:
    wanted: list[Cut] = [("mnist", "conv1"), ("mnist", "ReLU2"), ("cifar10", "conv11")]
    tried = _there(findings, "black-box", "{cut}-random", wanted)
    words, holds = [], []
    for data, cut in tried:
        key = f"{data}/black-box/{cut}-random"
        found = _of(findings, key)
        holds.append(found.published_ssim > UNRECOGNISABLE)
        words.append(f"{cut} {found.published_ssim:.2f} ({found.psnr[0]:.1f} dB)")
        if affine := attack(findings, f"{key}-affine"):
            words[-1] += f", by an affine map {affine.published_ssim:.2f} ({affine.psnr[0]:.1f} dB)"
    return held(all(holds), any(holds)), (
        f"SSIM in their variant, their decoder: {'; '.join(words)}. (Rule: above {UNRECOGNISABLE} "
        f"where theirs is.){_open(tried, wanted)}"
    )


def _structure(findings: Findings) -> tuple[Verdict, str]:
    words, near = [], []
    tried = _there(findings, "query-free", "{cut}-other-set-other-net")
    for data, cut in tried:
        for its in ("same-set", "other-set"):
            key = f"{data}/query-free/{cut}-{its}"
            known, unknown = (_over_seeds(findings, f"{key}-{n}-net") for n in ("same", "other"))
            near.append(unknown >= known - 0.1)
            words.append(f"{cut}, {its.replace('-', ' ')} {known:.2f} → {unknown:.2f}")
    return held(all(near), any(near)), (
        f"SSIM with the layers known → with others, means over seeds: {'; '.join(words)}. (Rule: "
        f"at most 0.1 lower.){_open(tried)}"
    )


def _over_seeds(findings: Findings, key: str) -> float:
    """Mean SSIM of the seeds that have been run, the first at least."""
    others = [attack(findings, f"{key}-seed-{seed}") for seed in SEEDS[1:]]
    known = [_of(findings, key), *(f for f in others if f is not None)]
    return sum(f.ssim[0] for f in known) / len(known)


def _layers(findings: Findings) -> tuple[Verdict, str]:
    found = {p.layer: _of(findings, f"mnist/layers/{p.layer}") for p in FIGURE_12[:-1]}
    front = {k: f for k, f in found.items() if not k.startswith("fc")}
    behind = {k: f for k, f in found.items() if k.startswith("fc")}
    works = [f.published_ssim > UNRECOGNISABLE for f in front.values()]
    fails = [f.published_ssim < UNRECOGNISABLE for f in behind.values()]
    said = "; ".join(f"{k} {f.published_ssim:.2f}" for k, f in found.items())
    read = max(f.read or 0.0 for f in behind.values())
    return held(all(works) and all(fails), all(works) or all(fails)), (
        f"SSIM in their variant: {said}. Behind fully connected layers an independent classifier "
        f"still reads the class of up to {read:.0%}. (Rule: above {UNRECOGNISABLE} up to pool2, "
        "below it from fc1 on.)"
    )


def _queries(findings: Findings) -> tuple[Verdict, str]:
    tried = _there(findings, "by-queries", "{cut}")
    words, wins = [], []
    for data, cut in tried:
        shadow = _of(findings, f"{data}/by-queries/{cut}").psnr[0]
        network = _of(findings, f"{data}/black-box/{cut}-same-set").psnr[0]
        wins.append((network > shadow) != (cut == "conv1"))
        words.append(f"{cut} {network:.1f} and {shadow:.1f} dB")
    return held(all(wins), any(wins)), (
        f"Inverse network (their decoder) and shadow: {'; '.join(words)}. (Rule: the inverse "
        f"network has the higher PSNR everywhere but at conv1.){_open(tried)}"
    )


def _chains(findings: Findings) -> tuple[Verdict, str]:
    words, near = [], []
    for cuts, adversaries in CHAINS.items():
        for first in sorted({p[0] for p in adversaries}):
            keys = [chain_name(cuts, p, "query-free") for p in adversaries if p[0] == first]
            found = [_of(findings, f"mnist/chain/{k}").ssim[0] for k in keys]
            if len(found) > 1:
                near.append(max(found) - min(found) <= 0.1)
                words.append(
                    f"of {len(cuts) + 1}, first adversary {first}: {min(found):.2f} to "
                    f"{max(found):.2f}"
                )
    return held(all(near), any(near)), (
        f"Query-free SSIM by who else joins the first adversary: {'; '.join(words)}. (Rule: it "
        "differs by at most 0.1. With queries or weights it cannot differ.)"
    )


def _noise(findings: Findings) -> tuple[Verdict, str]:
    noisy = [(s, law, b) for s, law, strengths in DEFENDED if law != "dropout" for b in strengths]
    blind, aware = (
        [_of(findings, defended_key(*point, aware=aware)) for point in noisy]
        for aware in (False, True)
    )
    useful = [f for f in blind if f.accuracy > 0.95]
    if not useful:
        return "refuted", "No strength that was tried leaves an accuracy above 95 %."
    least = min(f.published_ssim for f in useful)
    known = min(f.published_ssim for f in aware if f.accuracy > 0.95)
    return held(least > 0.4), (
        f"{len(useful)} of {len(noisy)} strengths leave an accuracy above 95 %; the lowest SSIM "
        f"there, in their variant, is {least:.2f} by their attacker and {known:.2f} by one who "
        "knows of the noise. (Rule: above 0.4 by theirs.)"
    )


def _good(f: Found) -> bool:
    """What the second paper calls of good quality."""
    return f.psnr[0] > GOOD_PSNR or f.published_ssim > UNRECOGNISABLE


def _dropout(findings: Findings) -> tuple[Verdict, str]:
    blind, aware = (
        _of(findings, defended_key("ReLU2", "dropout", 0.6, aware=a)) for a in (False, True)
    )
    return held(not _good(aware) and not _good(blind), not _good(blind)), (
        f"At ReLU2 of MNIST their attacker has {_both(blind)}, one who looks only where the "
        f"message is not zero {_both(aware)}, with {_read(aware)} read right. What the zeros stop "
        f"is the attack. (Rule: both below {GOOD_PSNR:g} dB and {UNRECOGNISABLE}.)"
        if _good(aware)
        else f"Their attacker has {_both(blind)}, one who knows {_both(aware)}. (Rule: both below "
        f"{GOOD_PSNR:g} dB and {UNRECOGNISABLE}.)"
    )


def _both(f: Found) -> str:
    return f"{f.psnr[0]:.1f} dB and SSIM {f.published_ssim:.2f}"


def _read(f: Found) -> str:
    return "–" if f.read is None else f"{f.read:.0%}"


def _free_dropout(findings: Findings) -> tuple[Verdict, str]:
    def at(rate: float, *, aware: bool) -> Found:
        return _of(findings, defended_key("ReLU2", "dropout", rate, aware=aware))

    every = [(rate, at(rate, aware=False), at(rate, aware=True)) for rate in DROPOUT]
    cheap = [(rate, blind, aware) for rate, blind, aware in every if blind.accuracy > 0.95]
    if not cheap:
        return "refuted", "No rate that was tried leaves an accuracy above 95 %."
    rate, blind, aware = min(cheap, key=lambda c: c[1].published_ssim)
    holds = [f.published_ssim < 0.25 for f in (blind, aware)]
    return held(all(holds), any(holds)), (
        f"Of the rates at that accuracy, {rate:g} leaks least: it has {100 * blind.accuracy:.1f} % "
        f"and an SSIM of {blind.published_ssim:.2f} by their attacker, {aware.published_ssim:.2f} "
        "by one who knows. (Rule: both below 0.25.)"
    )


# To have more judged, add the claim and its rule.
RULES: tuple[tuple[str, Judge], ...] = (
    ("An arbitrary input is recovered (abstract).", arbitrary_inputs),
    ("White-box: behind the first convolution inputs come back nearly exactly (table 3).", _exact),
    ("The deeper the cut, the worse the picture (tables 3, 4, 6).", _deeper),
    ("Behind ReLU32 a white-box picture is unrecognisable (table 3).", _too_deep),
    ("Black-box: samples of the same distribution do as well as the training set (table 4).",
     _other_samples),
    ("Black-box: random queries suffice at shallow cuts (table 4).", _random),
    ("Query-free: not to know the structure costs little (table 6).", _structure),
    ("Query-free works up to the last convolution, not behind fully connected layers (figure 12).",
     _layers),
    ("An inverse network beats a shadow trained by queries, except at conv1 (table 8).", _queries),
    ("More than two parties are attacked in the same way, from the first adversary on.", _chains),
    ("Noise: an accuracy above 95 % only where the SSIM is above 0.4 (figure 9).", _noise),
    ("Dropout of 0.6 leaves no useful information (figures 9 and 13).", _dropout),
    ("Dropout at ReLU2 gives an SSIM below 0.25 at an accuracy above 95 % (section IV).",
     _free_dropout),
)  # fmt: skip
