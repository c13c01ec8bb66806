"""What the paper claims in its abstract and captions, and what came of it, each by a rule.

The paper's own numbers could not be had, so a verdict is about the words.
"""

from statistics import mean

from ..claims import Claim, Judge, NotRun, Verdict, held, judged
from ..findings import Findings
from .comparison import Attacked, Measured, attacked, factor, flipped, measured, places
from .defences import MID_WEIGHTS, NONE, named
from .settings import NAMES, Data
from .tasks import DEFENSIVE, LOSSES, NETWORKS

GAIN = 1.15  # of the strongest attacker's error: what counts as "significantly"


def claims(findings: Findings) -> list[Claim]:
    """Every claim of the list."""
    return judged(findings, RULES)


def _of(findings: Findings, name: str, data: Data = "mnist") -> Measured:
    found = measured(findings, data, named(name, data))
    if found is None:
        raise NotRun(f"the attacks on “{name}” of {NAMES[data]}")
    return found


def _base(findings: Findings, data: Data = "mnist") -> Measured:
    return _of(findings, NONE.name, data)


def _grows(findings: Findings, name: str, data: Data = "mnist") -> float:
    return factor(_of(findings, name, data), _base(findings, data))


def _run(findings: Findings, name: str) -> list[Data]:
    """Where that defence has been measured; MNIST at least."""
    _of(findings, name)
    return [d for d in places(findings) if measured(findings, d, named(name, d)) is not None]


def _accuracy_kept(findings: Findings) -> tuple[Verdict, str]:
    words, same = [], []
    for data in _run(findings, "lpa-0.02"):
        before, after = _base(findings, data), _of(findings, "lpa-0.02", data)
        same.append(after.agreement == 1 and after.accuracy[0] == before.accuracy[0])
        words.append(
            f"{NAMES[data]} {100 * before.accuracy[0]:.2f} → {100 * after.accuracy[0]:.2f} %, "
            f"calibration error {before.ece:.3f} → {after.ece:.3f}"
        )
    return held(all(same), any(same)), (
        f"LPA of budget 0.02: {'; '.join(words)}. (Rule: every label and the accuracy are the same "
        "to the last sample.)"
    )


def _harder(findings: Findings) -> tuple[Verdict, str]:
    words, enough = [], []
    for data in _run(findings, "lpa-0.02"):
        found = [_grows(findings, name, data) for name in ("lpa-0.02", "lpa-0.1")]
        enough.append(found[0] >= GAIN)
        limit = _grows(findings, "label-only", data)
        words.append(
            f"{NAMES[data]} {found[0]:.2f}× at 0.02 and {found[1]:.2f}× at 0.1, where the label "
            f"alone gives {limit:.2f}×"
        )
    return held(all(enough), any(enough)), (
        f"Error of the strongest attacker: {'; '.join(words)}. (Rule: at least {GAIN}× at a budget "
        "of 0.02.)"
    )


def _state_of_the_art(findings: Findings) -> tuple[Verdict, str]:
    ours = _grows(findings, "lpa-0.02")
    rivals = {"adversarial noise of the same budget": _grows(findings, "adversarial-0.02")}
    rivals["purification"] = _grows(findings, "purification")
    base = _base(findings).accuracy[0]
    for weight in MID_WEIGHTS["mnist"]:
        mid = _of(findings, f"mid-{weight:g}")
        lost = 100 * (base - mid.accuracy[0])
        label = f"MID {weight:g}, {lost:+.2f} points of accuracy lost"
        rivals[label] = factor(mid, _base(findings))
    beaten = [ours > r for r in rivals.values()]
    words = "; ".join(f"{label} {grown:.2f}×" for label, grown in rivals.items())
    return held(all(beaten), any(beaten)), (
        f"LPA 0.02 {ours:.2f}×; {words}. (Rule: LPA's strongest attacker errs more than that of "
        "each.)"
    )


def _more_than_noise(findings: Findings) -> tuple[Verdict, str]:
    words, better = [], []
    for data in _run(findings, "lpa-0.02"):
        for budget in ("0.02", "0.1"):
            ours, noise, swap = (
                _of(findings, f"{kind}-{budget}", data) for kind in ("lpa", "gaussian", "swap")
            )
            grown = [factor(m, _base(findings, data)) for m in (ours, noise, swap)]
            better.append(grown[0] > max(grown[1:]))
            words.append(
                f"{NAMES[data]}, {budget}: LPA {grown[0]:.2f}×, Gaussian noise {grown[1]:.2f}×, "
                f"another vector of the class {grown[2]:.2f}×"
            )
    rounding = _of(findings, "rounding-3")
    words.append(
        f"three decimals, which change {rounding.l1:.4f} instead of "
        f"{_of(findings, 'lpa-0.02').l1:.4f}, "
        f"{factor(rounding, _base(findings)):.2f}× on MNIST"
    )
    return held(all(better), any(better)), (
        f"{'; '.join(words)}. (Rule: LPA errs more than both controls of its budget, everywhere.)"
    )


def _better_than_lfp(findings: Findings) -> tuple[Verdict, str]:
    ours, base = _grows(findings, "lpa-0.02"), _base(findings)
    words, lower = [], []
    for d, m in flipped(findings):
        if m is None:
            raise NotRun(f"the attacks on “{d.label}”")
        if "-random" in d.name or "-flips" in d.name:
            continue
        grown = factor(m, base)
        lower.append(grown < ours)
        words.append(f"{d.label} {grown:.2f}× at {100 * m.accuracy[0]:.1f} % accuracy")
    return held(all(lower), any(lower)), (
        f"LPA 0.02 {ours:.2f}× at {100 * base.accuracy[0]:.1f} %; {'; '.join(words)}. (Rule: LPA's "
        "is the greatest.)"
    )


def _subset_suffices(findings: Findings) -> tuple[Verdict, str]:
    base, words, enough = _base(findings), [], []
    for name in ("lfp-0.01", "lfp-0.05"):
        m, control = _of(findings, name), _of(findings, f"{name}-random")
        grown, by_chance = factor(m, base), factor(control, base)
        lost = 100 * (base.accuracy[0] - m.accuracy[0])
        enough.append(grown >= GAIN and lost <= 1)
        words.append(
            f"{m.defence.label}: {grown:.2f}× for {lost:.2f} points of accuracy (as many chosen at "
            f"random {by_chance:.2f}×)"
        )
    return held(all(enough), any(enough)), (
        f"{'; '.join(words)}. (Rule: at least {GAIN}× for at most one point.)"
    )


def _pairs(findings: Findings, network: str, loss: str) -> tuple[Attacked, Attacked]:
    keys = [f"mnist/transfer/{name}-{network}-{loss}" for name in ("none", "lpa-0.02")]
    bare, poisoned = (attacked(findings, key) for key in keys)
    if bare is None or poisoned is None:
        raise NotRun(keys[0] if bare is None else keys[1])
    return bare, poisoned


def _transferred(findings: Findings, cells: list[tuple[str, str]]) -> tuple[Verdict, str]:
    words, grows = [], []
    for network, loss in cells:
        bare, poisoned = _pairs(findings, network, loss)
        grown = poisoned.error[0] / bare.error[0]
        grows.append(grown >= GAIN)
        words.append(f"{network}, {loss} {grown:.2f}×")
    return held(all(grows), any(grows)), (f"{'; '.join(words)}. (Rule: at least {GAIN}× for each.)")


def _architectures(findings: Findings) -> tuple[Verdict, str]:
    return _transferred(findings, [(network, "mse") for network in NETWORKS])


def _losses(findings: Findings) -> tuple[Verdict, str]:
    return _transferred(findings, [("perceptron", loss) for loss in LOSSES])


def _adaptive(findings: Findings) -> tuple[Verdict, str]:
    words, enough = [], []
    for data in _run(findings, "lpa-0.02"):
        base, ours = _base(findings, data).by, _of(findings, "lpa-0.02", data).by
        least = {by: min(a.error[0] for a in base.values()) for by in ("log", "adaptive")}
        grown = {by: ours[by].error[0] / least[by] for by in least}
        enough.append(grown["adaptive"] >= GAIN)
        words.append(
            f"{NAMES[data]} {grown['adaptive']:.2f}× for one who looks closely at offsets, "
            f"{grown['log']:.2f}× for the usual one"
        )
    return held(all(enough), any(enough)), (
        f"{'; '.join(words)}, of the least error undefended. (Rule: at least {GAIN}×.)"
    )


def _contaminates(findings: Findings) -> tuple[Verdict, str]:
    base, ours, noise = (_of(findings, n) for n in ("none", "lpa-0.02", "gaussian-0.02"))
    limit = _of(findings, "label-only").worst[1].error[0]
    clean, other = (min(a.clean for a in m.by.values()) for m in (ours, noise))
    least = base.worst[1].error[0]
    return held(clean >= GAIN * least), (
        f"Trained on poisoned vectors and shown the victims' clean ones, the strongest errs "
        f"{clean:.4f}, {clean / least:.2f}× undefended; trained on noise of the same budget "
        f"{other / least:.2f}×; the label alone leaves {limit / least:.2f}×. (Rule: at least "
        f"{GAIN}×.)"
    )


def _generator(findings: Findings) -> tuple[Verdict, str]:
    kept = findings.get("mnist/latency/all")
    if kept is None:
        raise NotRun("mnist/latency/all")
    took = kept["milliseconds"]
    ratios = [took["lpa"][n] / took["lpa-generator"][n] for n in ("1", "250")]
    cheap = took["lpa-generator"]["1"] < took["classifier"]["1"]
    ours, slow = _grows(findings, "generator-0.02"), _grows(findings, "lpa-0.02")
    return held(min(ratios) >= 300 and cheap and ours >= 0.95 * slow, min(ratios) > 10), (
        f"{ratios[0]:,.0f}× cheaper than iterative LPA for a single query and {ratios[1]:,.0f}× in "
        f"250 ({took['lpa-generator']['1']:.2f} ms, where the classifier takes "
        f"{took['classifier']['1']:.2f}); {ours:.2f}× the error, where iterative LPA has "
        f"{slow:.2f}×. (Rule: at least 300× cheaper, cheaper than the classifier, 95 % of the "
        "protection.)"
    )


def _alike(findings: Findings) -> tuple[Verdict, str]:
    kept = findings.get("mnist/vectors/lpa-0.02")
    if kept is None:
        raise NotRun("mnist/vectors/lpa-0.02")
    plain, logs = kept["told_apart"]["vectors"], kept["told_apart"]["logarithms"]
    return held(max(plain, logs) <= 0.6, min(plain, logs) <= 0.6), (
        f"A classifier tells poisoned vectors from clean ones with an area under the ROC curve of "
        f"{plain:.3f}, of their logarithms {logs:.3f}. (Rule: at most 0.6; 0.5 is chance.)"
    )


def _proposition(findings: Findings) -> tuple[Verdict, str]:
    words, holds, bound = [], [], []
    for loss in DEFENSIVE:
        kept = findings.get(f"mnist/proposition/{loss}")
        if kept is None:
            raise NotRun(f"mnist/proposition/{loss}")
        ours, clean = kept["lpa"], kept["clean"]
        fell = ours["fell_where_met"]
        bound.append(fell is None or fell > 0.95)
        holds.append(ours["condition"] > 0.5)
        words.append(
            f"“{loss}”: cosine {mean(ours['cosine']):.2f} (clean vectors "
            f"{mean(clean['cosine']):.2f}), {ours['condition']:.0%} of the steps meet the "
            f"condition ({clean['condition']:.0%})"
            + ("" if fell is None else f", and {fell:.1%} of these lower the loss")
        )
    return held(all(holds) and all(bound), all(bound)), (
        f"{'; '.join(words)}. (Rule: the loss falls wherever the condition is met, and most steps "
        "of an attacker's training meet it. In part: only the former.)"
    )


RULES: tuple[tuple[str, Judge], ...] = (
    ("LPA does not compromise the classifier's utility", _accuracy_kept),
    ("Minor perturbations make reconstruction significantly harder", _harder),
    (
        "LPA outperforms the state of the art, retraining ones such as MID included",
        _state_of_the_art,
    ),
    ("Implied: poisoning does more than plain noise of its size", _more_than_noise),
    ("LPA is the better of the two", _better_than_lfp),
    ("LFP needs only a small subset of the vectors", _subset_suffices),
    ("LPA contaminates the training of the inversion model", _contaminates),
    ("It is robust across inversion architectures (figure 5)", _architectures),
    ("It is robust across loss functions", _losses),
    ("It is robust even against adaptive adversaries", _adaptive),
    ("A generator makes it fast enough to deploy", _generator),
    ("Poisoned vectors look like normal ones (figure 3)", _alike),
    ("Proposition 1: each training step lowers the defensive loss", _proposition),
)
