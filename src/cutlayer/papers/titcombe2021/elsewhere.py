"""Do the paper's claims survive on other data? It leaves "more complex datasets" to the future."""

from collections.abc import Callable
from itertools import pairwise

from ..claims import Claim, NotRun, Verdict, held
from ..findings import Findings
from .leaks import Configuration, configuration
from .tasks import OTHER_DATA, WEIGHTS

NAMES = {"fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "ecg": "ECG beats"}
Judge = Callable[[Findings, str], tuple[Verdict, str]]


def claims_elsewhere(findings: Findings) -> list[Claim]:
    """Each claim on each data set, by the strongest attacker; those not run wait."""
    return [_judged(findings, text, name, judge) for text, judge in RULES for name in OTHER_DATA]


def _judged(findings: Findings, text: str, name: str, judge: Judge) -> Claim:
    text = f"{NAMES.get(name, name)}: {text}"
    try:
        return Claim(text, *judge(findings, name))
    except NotRun as e:
        return Claim(text, "not run", f"Waits for {e}.")


def _of(
    findings: Findings, name: str, noise: float, weight: float, served: str = "as-trained"
) -> Configuration:
    found = configuration(findings, name, noise, weight, served)
    if not found.leaks:
        raise NotRun(f"{found.words} on {name}")
    return found


def _accuracy(found: Configuration) -> float:
    assert found.accuracy is not None
    return found.accuracy


def _most(found: Configuration, metric: str, what: str = "value") -> float:
    """By the strongest attacker, in per cent; or an end of its interval, "low" or "high"."""
    worst = found.worst(metric)
    if worst is None:
        raise NotRun(f"{metric} of {found.words}")
    return 100 * float(worst.scores[metric][what])


def _cheap(findings: Findings, name: str) -> tuple[Verdict, str]:
    base = _accuracy(_of(findings, name, 0, 0))
    tried = [_of(findings, name, noise, w) for noise, w in ((0.5, 0), (0, 0.5), (0.5, 0.5))]
    lost = [base - _accuracy(c) for c in tried]
    words = ", ".join(f"{c.words} {loss:.1f}" for c, loss in zip(tried, lost, strict=True))
    return held(max(lost) <= 1, min(lost) <= 1), (
        f"Points lost of {base:.1f} %: {words}. (Rule: at most one.)"
    )


def _hides(findings: Findings, name: str) -> tuple[Verdict, str]:
    found = [_most(_of(findings, name, 0, w), "top1_in_class") for w in WEIGHTS]
    falls = all(a >= b for a, b in pairwise(found))
    said = " → ".join(f"{v:.0f}" for v in found)
    return held(falls and found[-1] <= found[0] / 2, found[-1] < 0.9 * found[0]), (
        f"The individual is found within its class for {said} % at weights "
        f"{', '.join(f'{w:g}' for w in WEIGHTS)}. (Rule: by half.)"
    )


def _destroys(findings: Findings, name: str) -> tuple[Verdict, str]:
    base, noisy = _of(findings, name, 0, 0), _of(findings, name, 0, 0, "laplace-1")
    read, person = (_most(noisy, m) for m in ("read", "top1_in_class"))
    before = [_most(base, m) for m in ("read", "top1_in_class")]
    gone = (read < before[0] / 2, person < 5)
    return held(all(gone), any(gone)), (
        f"Noise of 1.0 after training leaves {_accuracy(noisy):.1f} % of {_accuracy(base):.1f} % "
        f"accuracy; read right {read:.0f} % ({before[0]:.0f} % undefended), the individual found "
        f"within its class {person:.0f} % ({before[1]:.0f} %), every input heard once. (Rule: "
        "half as many read, and less than 5 % found.)"
    )


def _in_training(findings: Findings, name: str) -> tuple[Verdict, str]:
    pairs = [
        (_of(findings, name, 0, w, "laplace-0.5"), _of(findings, name, 0.5, w)) for w in WEIGHTS
    ]
    better = [_accuracy(b) > _accuracy(a) for a, b in pairs]
    words = "; ".join(
        f"{_accuracy(a):.1f} → {_accuracy(b):.1f} % at weight {w:g}"
        for (a, b), w in zip(pairs, WEIGHTS, strict=True)
    )
    return held(all(better), any(better)), (
        f"Accuracy with noise 0.5 after training, and in training as well: {words}. (Rule: higher "
        "at each weight.)"
    )


def _different(findings: Findings, name: str) -> tuple[Verdict, str]:
    base = _of(findings, name, 0, 0)
    noisy, nopeek = _of(findings, name, 0, 0, "laplace-0.5"), _of(findings, name, 0, 0.5)
    read = [_most(c, "read") for c in (base, noisy, nopeek)]
    person = [_most(c, "top1_in_class") for c in (base, noisy, nopeek)]
    falls = [v < 0.9 * read[0] for v in read[1:]]
    apart = _most(nopeek, "read", "high") < _most(noisy, "read", "low")
    return held(falls[1] and apart and not falls[0]), (
        f"Class read {read[0]:.0f} %, with noise 0.5 {read[1]:.0f} %, with NoPeek 0.5 "
        f"{read[2]:.0f} %; individual {person[0]:.0f}, {person[1]:.0f} and {person[2]:.0f} %. "
        "(Rule: the class falls by a tenth under NoPeek, not under noise, their intervals apart.)"
    )


RULES: tuple[tuple[str, Judge], ...] = (
    ("neither defence costs much accuracy", _cheap),
    ("a higher NoPeek weight hides more of the individual", _hides),
    ("noise of 1.0 destroys reconstructions", _destroys),
    ("noise in training gives a higher utility than after it", _in_training),
    ("noise hides the individual, NoPeek the class", _different),
)
