"""What the paper claims in its abstract and captions, and what came of it, each by a rule.

The paper's own numbers could not be had, so a verdict is about the words. A difference counts from
``MARGIN`` on: everything is of one seed.
"""

from collections.abc import Sequence
from statistics import mean

from ..claims import Claim, Judge, NotRun, Verdict, held, judged
from ..findings import Findings
from .comparison import (
    Attacked,
    Measured,
    alike,
    attacked,
    class_mean_error,
    factor,
    flipped,
    measured,
    places,
)
from .defences import MID_WEIGHTS, NONE, named
from .settings import NAMES, Data
from .tasks import DEFENSIVE, LOSSES, NETWORKS, TOP, transfer_key

GAIN = 1.15  # of the strongest attacker's error: what counts as "significantly"
MARGIN = 0.02  # by which one growth has to be above another


def claims(findings: Findings) -> list[Claim]:
    """Every claim of the list."""
    return judged(findings, RULES)


def controls(findings: Findings) -> list[Claim]:
    """What the paper does not claim and a defence has to show all the same."""
    return judged(findings, CONTROLS)


def _of(findings: Findings, name: str, data: Data = "mnist") -> Measured:
    found = measured(findings, data, named(name, data))
    if found is None:
        raise NotRun(f"the attacks on “{name}” of {NAMES[data]}")
    return found


def _base(findings: Findings, data: Data = "mnist") -> Measured:
    return _of(findings, NONE.name, data)


def _grows(findings: Findings, name: str, data: Data = "mnist") -> float:
    """By all attackers who tried it and the undefended API."""
    return factor(_of(findings, name, data), _base(findings, data))


def _alike(findings: Findings, name: str, data: Data = "mnist") -> float:
    """By the two attackers who tried everything, to compare defences by."""
    return factor(alike(_of(findings, name, data)), alike(_base(findings, data)))


def _run(findings: Findings, name: str) -> list[Data]:
    """Where that defence has been measured; MNIST at least."""
    _of(findings, name)
    return [d for d in places(findings) if measured(findings, d, named(name, d)) is not None]


def _telling(findings: Findings, name: str) -> tuple[list[Data], str]:
    """Of these the ones where a defence can show anything, and a sentence about the others.

    There the undefended attack has to beat the class's mean, and the label alone the undefended
    attack, by enough.
    """
    found, left = list[Data](), list[Data]()
    for data in _run(findings, name):
        floor, base = class_mean_error(findings, data), _base(findings, data)
        assert floor is not None
        room = _grows(findings, "label-only", data) >= GAIN
        works = base.worst[1].error[2] < floor[1]
        (found if room and works else left).append(data)
    said = ", ".join(NAMES[d] for d in left)
    return found, f" Nothing can be seen on {said}: too little leaks undefended." if left else ""


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
    there, left = _telling(findings, "lpa-0.02")
    words, enough = [], []
    for data in there:
        found = [_grows(findings, name, data) for name in ("lpa-0.02", "lpa-0.1")]
        enough.append(found[0] >= GAIN)
        limit = _grows(findings, "label-only", data)
        words.append(
            f"{NAMES[data]} {found[0]:.2f}× at 0.02 and {found[1]:.2f}× at 0.1, where the label "
            f"alone gives {limit:.2f}×"
        )
    return held(bool(enough) and all(enough), any(enough)), (
        f"Error of the strongest attacker: {'; '.join(words) or 'nowhere to be seen'}. (Rule: at "
        f"least {GAIN}× at a budget of 0.02.){left}"
    )


def _state_of_the_art(findings: Findings) -> tuple[Verdict, str]:
    pairs = [
        ("lpa-0.02", "adversarial-0.02"),
        ("lpa-0.1", "adversarial-0.1"),
        ("lpa-0.1", "purification-0.1"),
        *(("lpa-0.1", f"mid-{weight:g}") for weight in MID_WEIGHTS["mnist"]),
    ]
    words, beaten, base = [], [], _base(findings).accuracy[0]
    for ours, other in pairs:
        mine, theirs, m = _alike(findings, ours), _alike(findings, other), _of(findings, other)
        change = 100 * (m.accuracy[0] - base)
        cost = f", accuracy {change:+.2f} points" if m.defence.network else ""
        if change >= -1:
            beaten.append(mine > theirs + MARGIN)
        label = _of(findings, ours).defence.label
        words.append(f"{label} {mine:.2f}×, {m.defence.label} {theirs:.2f}× (L1 {m.l1:.3f}{cost})")
    return held(all(beaten), any(beaten)), (
        f"{'; '.join(words)}. (Rule: LPA's grows by {MARGIN} more than each that loses at most one "
        "point of accuracy.)"
    )


def _better_than_lfp(findings: Findings) -> tuple[Verdict, str]:
    ours, words, lower = _alike(findings, "lpa-0.02"), [], []
    for m in _fractions(findings):
        grown = _alike(findings, m.defence.name)
        lower.append(grown + MARGIN < ours)
        words.append(f"{m.defence.label} {grown:.2f}× at {100 * m.accuracy[0]:.1f} % accuracy")
    kept = 100 * _of(findings, "lpa-0.02").accuracy[0]
    return held(all(lower), any(lower)), (
        f"LPA 0.02 {ours:.2f}× at {kept:.1f} %; {'; '.join(words)}. (Rule: LPA's is greater by "
        f"{MARGIN} than each.)"
    )


def _fractions(findings: Findings) -> Sequence[Measured]:
    """LFP by the share of answers, without its controls."""
    found = []
    for d, m in flipped(findings):
        if d.name.count("-") > 1:
            continue
        if m is None:
            raise NotRun(f"the attacks on “{d.label}”")
        found.append(m)
    return found


def _subset_suffices(findings: Findings) -> tuple[Verdict, str]:
    base, words, enough = _base(findings), [], []
    for name in ("lfp-0.01", "lfp-0.05"):
        m, control = _of(findings, name), _of(findings, f"{name}-random")
        grown, by_chance = (_alike(findings, x.defence.name) for x in (m, control))
        lost = 100 * (base.accuracy[0] - m.accuracy[0])
        enough.append(grown >= GAIN and lost <= 1)
        shares = [100 * (1 - x.agreement) for x in (m, control)]
        words.append(
            f"{m.defence.label}: {shares[0]:.1f} % flipped, {grown:.2f}× for {lost:.2f} points of "
            f"accuracy ({shares[1]:.1f} % flipped at random: {by_chance:.2f}×)"
        )
    return held(all(enough), any(enough)), (
        f"{'; '.join(words)}. (Rule: at least {GAIN}× for at most one point.)"
    )


def _contaminates(findings: Findings) -> tuple[Verdict, str]:
    base, ours, noise = (alike(_of(findings, n)) for n in ("none", "lpa-0.02", "gaussian-0.02"))
    limit = alike(_of(findings, "label-only")).worst[1].error[0]
    least = base.worst[1].error[0]
    mine, other = (min(a.clean for a in m.by.values()) / least for m in (ours, noise))
    return held(mine >= GAIN and mine > other + MARGIN, mine >= GAIN), (
        f"Trained on poisoned vectors and shown the victims' clean ones, the better of two "
        f"attackers errs {mine:.2f}× as much as undefended; trained on noise of the same budget "
        f"{other:.2f}×; the label alone leaves {limit / least:.2f}×. (Rule: at least {GAIN}×, and "
        f"{MARGIN} more than noise. In part: only the former.)"
    )


def _pair(findings: Findings, network: str, loss: str) -> tuple[Attacked, Attacked]:
    keys = [transfer_key(name, network, loss) for name in ("none", "lpa-0.02")]
    bare, poisoned = (attacked(findings, key) for key in keys)
    if bare is None or poisoned is None:
        raise NotRun(keys[0] if bare is None else keys[1])
    return bare, poisoned


def _transferred(findings: Findings, cells: list[tuple[str, str]]) -> tuple[Verdict, str]:
    words, grows, floor = [], [], class_mean_error(findings, "mnist")
    for network, loss in cells:
        bare, poisoned = _pair(findings, network, loss)
        grown = poisoned.error[0] / bare.error[0]
        works = floor is not None and bare.error[2] < floor[1]
        if works:
            grows.append(grown >= GAIN)
        note = "" if works else " (no better than the class's mean undefended: not counted)"
        words.append(f"{network}, {loss} {grown:.2f}×{note}")
    return held(bool(grows) and all(grows), any(grows)), (
        f"{'; '.join(words)}. (Rule: at least {GAIN}× for each.)"
    )


def _architectures(findings: Findings) -> tuple[Verdict, str]:
    return _transferred(findings, [(network, "mse") for network in NETWORKS])


def _losses(findings: Findings) -> tuple[Verdict, str]:
    return _transferred(findings, [("perceptron", loss) for loss in LOSSES])


def _adaptive(findings: Findings) -> tuple[Verdict, str]:
    there, left = _telling(findings, "lpa-0.02")
    words, enough = [], []
    for data in there:
        base, ours = alike(_base(findings, data)), alike(_of(findings, "lpa-0.02", data))
        usual, close = (ours.by[by].error[0] / base.by[by].error[0] for by in ("log", "adaptive"))
        enough.append(factor(ours, base) >= GAIN)
        words.append(
            f"{NAMES[data]} {close:.2f}× for one who looks closely at offsets, {usual:.2f}× for "
            f"the usual one, {factor(ours, base):.2f}× for the better of the two"
        )
    top = ""
    if there:
        bare, poisoned = _pair(findings, "perceptron", f"top-{TOP}")
        top = (
            f"; {poisoned.error[0] / bare.error[0]:.2f}× on MNIST for one who looks at the {TOP} "
            "largest entries alone"
        )
    return held(bool(enough) and all(enough), any(enough)), (
        f"{'; '.join(words) or 'Nowhere to be seen'}{top}. Repeated questions get the same answer. "
        f"(Rule: at least {GAIN}× for the better of the two.){left}"
    )


def _generator(findings: Findings) -> tuple[Verdict, str]:
    kept = findings.get("mnist/latency/all")
    if kept is None:
        raise NotRun("mnist/latency/all")
    took = kept["milliseconds"]
    lpa, made, bare = (took[n] for n in ("lpa", "lpa-generator", "classifier"))
    ratios = [lpa[n] / made[n] for n in ("1", "250")]
    cheap = all(made[n] < bare[n] for n in ("1", "250"))
    ours, slow = _alike(findings, "generator-0.02"), _alike(findings, "lpa-0.02")
    protects = slow > 1 and ours - 1 >= 0.95 * (slow - 1)
    return held(min(ratios) >= 300 and cheap and protects, min(ratios) > 10), (
        f"{ratios[0]:,.0f}× cheaper than iterative LPA for a single query and {ratios[1]:,.0f}× in "
        f"250 ({made['1']:.3f} and {made['250']:.4f} ms, where the classifier takes "
        f"{bare['1']:.3f} and {bare['250']:.4f}); {ours:.2f}× the error, where iterative LPA has "
        f"{slow:.2f}×. (Rule: at least 300× cheaper, cheaper than the classifier, 95 % of what LPA "
        "adds to the error.)"
    )


def _looks_alike(findings: Findings) -> tuple[Verdict, str]:
    kept = findings.get("mnist/vectors/lpa-0.02")
    if kept is None:
        raise NotRun("mnist/vectors/lpa-0.02")
    plain, logs = kept["told_apart"]["vectors"], kept["told_apart"]["logarithms"]
    return held(max(plain, logs) <= 0.6, min(plain, logs) <= 0.6), (
        f"A classifier tells poisoned vectors from clean ones with an area under the ROC curve of "
        f"{plain:.3f}, of their logarithms {logs:.3f}. (Rule: at most 0.6; 0.5 is chance.)"
    )


ENOUGH = 30  # steps that meet the condition, to judge by what became of them


def _proposition(findings: Findings) -> tuple[Verdict, str]:
    words, most, bound = [], [], []
    for loss in DEFENSIVE:
        kept = findings.get(f"mnist/proposition/{loss}")
        if kept is None:
            raise NotRun(f"mnist/proposition/{loss}")
        ours, clean, fell = kept["lpa"], kept["clean"], kept["lpa"]["fell_where_met"]
        judged_by = ours["condition"] * ours["steps"] >= ENOUGH and fell is not None
        bound.append(judged_by and fell > 0.95)
        most.append(ours["condition"] > 0.5)
        words.append(
            f"“{loss}”: cosine {mean(ours['cosine']):.2f} (clean vectors "
            f"{mean(clean['cosine']):.2f}), {ours['condition']:.0%} of the steps meet the "
            f"condition ({clean['condition']:.0%})"
            + ("" if fell is None else f", and {fell:.1%} of these lower the loss")
        )
    return held(all(most) and all(bound), all(bound)), (
        f"{'; '.join(words)}. (Rule: most steps of an attacker's training meet the condition, and "
        f"the loss falls wherever it is met. In part: only the latter, on {ENOUGH} steps or more.)"
    )


def _more_than_noise(findings: Findings) -> tuple[Verdict, str]:
    words, better = [], []
    for data in _run(findings, "lpa-0.02"):
        for budget in ("0.02", "0.1"):
            every = [f"{kind}-{budget}" for kind in ("lpa", "gaussian", "swap", "codebook")]
            grown = [_alike(findings, name, data) for name in every]
            better.append(grown[0] > max(grown[1:]) + MARGIN)
            said = [
                f"{label} {g:.2f}× (L1 {_of(findings, name, data).l1:.4f})"
                for label, g, name in zip(_LABELS, grown, every, strict=True)
            ]
            words.append(f"{NAMES[data]}, {budget}: {', '.join(said)}")
    return held(all(better), any(better)), (
        f"{'; '.join(words)}. (Rule: LPA's grows by {MARGIN} more than each, everywhere.)"
    )


def _tells_no_more(findings: Findings) -> tuple[Verdict, str]:
    """What moves a vector by its query may tell of the query."""
    words, less = [], []
    for data in _run(findings, "lpa-0.02"):
        said = []
        for name in ("lpa-0.02", "lpa-0.1", "adversarial-0.02", "adversarial-0.1"):
            grown = _alike(findings, name, data)
            less.append(grown >= 1 - MARGIN)
            said.append(f"{_of(findings, name, data).defence.label} {grown:.2f}×")
        unseen = _alike(findings, "generator-0.02", data)
        said.append(f"the generator, which does not look, {unseen:.2f}×")
        words.append(f"{NAMES[data]}: {', '.join(said)}")
    return held(all(less), any(less)), (
        f"{'; '.join(words)}. (Rule: the attacker's error does not fall by more than {MARGIN}.)"
    )


_LABELS = ("LPA", "Gaussian noise", "another vector of the class", "codebook")


def _attack_works(findings: Findings) -> tuple[Verdict, str]:
    words, clear = [], []
    for data in places(findings):
        floor, base = class_mean_error(findings, data), _base(findings, data)
        assert floor is not None
        share = base.worst[1].error[0] / floor[0]
        clear.append(share <= 0.8)
        words.append(f"{NAMES[data]} {base.worst[1].error[0]:.4f}, {share:.2f}× the class's mean")
    if not words:
        raise NotRun("the attacks on an undefended API")
    return held(all(clear), any(clear)), f"{'; '.join(words)}. (Rule: at most 0.8×.)"


RULES: tuple[tuple[str, Judge], ...] = (
    ("LPA does not compromise the classifier's utility", _accuracy_kept),
    ("Minor perturbations make reconstruction significantly harder", _harder),
    ("LPA outperforms the state of the art, retraining ones such as MID too", _state_of_the_art),
    ("LPA is the better of the two", _better_than_lfp),
    ("LFP needs only a small subset of the vectors", _subset_suffices),
    ("LPA contaminates the training of the inversion model", _contaminates),
    ("It is robust across inversion architectures (figure 5)", _architectures),
    ("It is robust across loss functions", _losses),
    ("It is robust even against adaptive adversaries", _adaptive),
    ("A generator makes it fast enough to deploy", _generator),
    ("Poisoned vectors look like normal ones (figure 3)", _looks_alike),
    ("Proposition 1: each training step lowers the defensive loss", _proposition),
)
CONTROLS: tuple[tuple[str, Judge], ...] = (
    ("Undefended, the attack sees more than the class", _attack_works),
    ("Poisoning does more than anything else that moves vectors as far", _more_than_noise),
    ("A defence that looks at the query tells no more of it", _tells_no_more),
)
