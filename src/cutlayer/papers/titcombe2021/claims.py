"""What the paper claims, and what came of it: each verdict follows a rule and has its numbers.

A rule is written down beside its claim, so that nobody has to take the verdict on trust. Numbers
come from the setting ``authors-code``, in which the published ones were made.
"""

from typing import Literal

from ..claims import Claim, Judge, NotRun, Verdict, held, judged
from ..findings import Findings
from .comparison import Row, figure_4, further_rows, table_1
from .leaks import OURS, THEIRS, Configuration, Leak, configuration, domains, grid, rounds, sizes
from .published import TABLE_1
from .tables_leaks import by
from .tasks import WEIGHTS, classifier_key

PLACE: Literal["authors-code"] = "authors-code"


def claims(findings: Findings) -> list[Claim]:
    """Every claim of the checklist, in the paper's order."""
    return judged(findings, _CLAIMS)


def _rows(findings: Findings) -> dict[tuple[float, float], Row]:
    every = [*table_1(findings, PLACE), *further_rows(findings, PLACE)]
    return {(r.noise, r.weight): r for r in every if r.accuracy.ours is not None}


def _row(rows: dict[tuple[float, float], Row], noise: float, weight: float) -> Row:
    if (noise, weight) not in rows:
        raise NotRun(classifier_key(PLACE, noise, weight))
    return rows[noise, weight]


def _right(row: Row) -> float:
    assert row.accuracy.ours is not None
    return row.accuracy.ours


def _shows(row: Row) -> float:
    assert row.dependence.ours is not None
    return row.dependence.ours


def _by(config: Configuration, attacker: str) -> Leak:
    found = by(config, attacker)
    if found is None:
        who = "the paper's attacker" if attacker == THEIRS else f"an attacker {OURS}"
        raise NotRun(f"{who}, on {config.words}")
    return found


def _score(x: Leak, metric: str) -> float:
    found = x.value(metric)
    if found is None:
        raise NotRun(f"{metric} in {x.key}")
    return found


def _costs_little(findings: Findings) -> tuple[Verdict, str]:
    rows = _rows(findings)
    base = _right(_row(rows, 0.0, 0.0))
    printed = {(r.noise, r.weight) for r in TABLE_1}
    table = [r for key, r in rows.items() if key in printed]
    if len(table) < 10:
        raise NotRun("the rows of table 1")
    worst = min(table, key=_right)
    return held(base - _right(worst) <= 1.0), (
        f"Among the rows of table 1 the dearest, noise {worst.noise:g} with weight "
        f"{worst.weight:g}, costs {base - _right(worst):.1f} points of {base:.1f} % "
        "(rule: at most one)."
    )


def _weight_lowers(findings: Findings) -> tuple[Verdict, str]:
    rows, lines, falls = _rows(findings), [], []
    for noise in (0.0, 0.1, 0.5):
        chain = [_row(rows, noise, w) for w in WEIGHTS]
        values = [_shows(r) for r in chain]
        falls.append(values == sorted(values, reverse=True))
        lines.append(f"{', '.join(f'{v:.3f}' for v in values)} at noise {noise:g}")
    honest = [_row(rows, 0.0, w).honest for w in WEIGHTS]
    words = ", ".join(f"{h:.2f}" for h in honest if h is not None)
    return held(all(falls), any(falls)), (
        f"For weights 0, 0.1, 0.5: {'; '.join(lines)}. The bias-corrected statistic falls further "
        f"still: {words}."
    )


def _noise_raises(findings: Findings) -> tuple[Verdict, str]:
    rows, lines, rises = _rows(findings), [], []
    for weight in (0.1, 0.5):
        values = [_shows(_row(rows, b, weight)) for b in (0.0, 0.1, 0.2, 0.5)]
        rises.append(values[-1] > values[0])
        lines.append(f"{', '.join(f'{v:.3f}' for v in values)} at weight {weight:g}")
    plain = [_shows(_row(rows, b, 0.0)) for b in (0.0, 0.1, 0.2, 0.5)]
    return held(all(rises), any(rises)), (
        f"For training noise 0, 0.1, 0.2, 0.5: {'; '.join(lines)}; without NoPeek "
        f"{', '.join(f'{v:.3f}' for v in plain)}."
    )


def _weight_makes_noise_dear(findings: Findings) -> tuple[Verdict, str]:
    at = {c.weight: dict(c.ours) for c in figure_4(findings, PLACE)}
    if not all(at.get(w) for w in WEIGHTS):
        raise NotRun("the classifiers of figure 4")
    drops = [at[w][0.0] - at[w][1.0] for w in WEIGHTS]
    spreads, dimensions = [], []
    for w in WEIGHTS:
        found = findings.get(classifier_key(PLACE, 0.0, w))
        assert found is not None
        spreads.append(found["spread"]["around_mean"])
        dimensions.append(found["spread"]["effective_dimensions"])
    dearer = drops == sorted(drops)
    tighter = spreads[-1] < 0.8 * spreads[0]
    fewer = dimensions[-1] < 0.5 * dimensions[0]
    why = "" if tighter or not fewer else " They lie in fewer directions: that is what costs."
    return held(dearer and tighter, dearer), (
        "Noise 1.0 after training costs "
        f"{', '.join(f'{d:.1f}' for d in drops)} points at weights 0, 0.1, 0.5. The messages' rms "
        f"distance from their mean is {', '.join(f'{s:.2f}' for s in spreads)}, their effective "
        f"dimensions {', '.join(f'{d:.1f}' for d in dimensions)} of 500.{why} "
        "(Rule for closer together: by a fifth.)"
    )


def _fair_trade(findings: Findings) -> tuple[Verdict, str]:
    config = configuration(findings, PLACE, 0.0, 0.5, "laplace-0.5")
    plain = configuration(findings, PLACE, 0.0, 0.5)
    blind, seeing = _by(config, THEIRS), _by(config, OURS)
    before = _by(plain, OURS)
    cost = before.accuracy - config.leaks[0].accuracy
    destroyed = _score(seeing, "read") < 0.5
    return held(destroyed and cost <= 5, cost <= 5 or destroyed), (
        f"Weight 0.5 with noise 0.5 after training costs {cost:.1f} points. The paper's attacker "
        f"then makes pictures of which {_score(blind, 'read'):.0%} are read right (SSIM "
        f"{_score(blind, 'ssim'):.2f}); one trained through the noise, {_score(seeing, 'read'):.0%}"
        f" ({_score(seeing, 'ssim'):.2f}) (rule: reading under a half, at most five points)."
    )


def _set_sizes(findings: Findings) -> tuple[Verdict, str]:
    found = {n: [x for x in leaks if x.attacker == THEIRS] for n, leaks in sizes(findings)}
    if not (found[250] and found[1250] and found[5000]):
        raise NotRun("the published attack at 250, 1,250 and 5,000 samples")
    few, more, all_ = found[250][0], found[1250][0], found[5000][0]
    read = few.by_class["read"]
    hard = sorted(range(len(read)), key=lambda k: read[k] if read[k] is not None else 1.0)[:2]
    named = sorted(hard) == [4, 8]
    gain = _score(more, "top1_in_class") > 2 * _score(few, "top1_in_class")
    return held(named and gain, named or gain), (
        f"The paper's attacker with 250 images: {_score(few, 'read'):.0%} read right, the hardest "
        f"classes are {hard[0]} ({read[hard[0]]:.0%}) and {hard[1]} ({read[hard[1]]:.0%}); the "
        f"individual within its class is found for {_score(few, 'top1_in_class'):.0%}, with 1,250 "
        f"images for {_score(more, 'top1_in_class'):.0%}, with 5,000 for "
        f"{_score(all_, 'top1_in_class'):.0%}. One network, one picture of each class is what the "
        "paper shows; these are all victims."
    )


def _slants(findings: Findings) -> tuple[Verdict, str]:
    kept = []
    for w in WEIGHTS:
        x = _by(configuration(findings, PLACE, 0.0, w), THEIRS)
        if x.slant is None:
            raise NotRun("slants")
        kept.append(x.slant)
    ours = [_by(configuration(findings, PLACE, 0.0, w), OURS).slant for w in WEIGHTS]
    words = ", ".join(f"{k:.0%}" for k in ours if k is not None)
    return held(kept[-1] < 0.5 * kept[0], kept[-1] < kept[0]), (
        f"Of the slant within a class the paper's attacker keeps "
        f"{', '.join(f'{k:.0%}' for k in kept)} at weights 0, 0.1, 0.5, an attacker trained on "
        f"those messages with a better decoder {words} (rule: by half)."
    )


def _destroyed(findings: Findings) -> tuple[Verdict, str]:
    config = configuration(findings, PLACE, 0.0, 0.0, "laplace-1")
    blind, seeing = _by(config, THEIRS), _by(config, OURS)
    averaging = [x for x in config.leaks if "averaging" in x.attacker]
    more = "".join(
        f", averaging {x.attacker.split()[-2]} messages {_score(x, 'ssim'):.2f} and "
        f"{_score(x, 'read'):.0%}"
        for x in averaging
    )
    survives = ""
    if _score(seeing, "read") > 0.5:
        survives = "What the noise destroyed is the attack, not the information "
    return held(_score(seeing, "read") < 0.2, _score(blind, "read") < 0.2), (
        f"At noise 1.0 the paper's attacker, which never saw noise, reaches SSIM "
        f"{_score(blind, 'ssim'):.2f} with {_score(blind, 'read'):.0%} read right; trained through "
        f"the noise it is {_score(seeing, 'ssim'):.2f} and {_score(seeing, 'read'):.0%}{more}. "
        f"{survives}(rule: the better one reads under a fifth)."
    )


def _domain(findings: Findings) -> tuple[Verdict, str]:
    parts, good = [], []
    for name, leaks in domains(findings):
        theirs = [x for x in leaks if x.attacker == THEIRS]
        if theirs:
            parts.append(
                f"{name} {_score(theirs[0], 'read'):.0%} read, SSIM {_score(theirs[0], 'ssim'):.2f}"
            )
            if name != "mnist":
                good.append(_score(theirs[0], "read") >= 0.5)
    if not good:
        raise NotRun("an attacker with images of another source")
    letters = any(name == "emnist-letters" and leaks for name, leaks in domains(findings))
    open_ = "" if letters else "EMNIST letters, which the paper used, have not been tried. "
    return held(all(good), any(good)), (
        f"The paper's attacker trained on 5,000 images of: {'; '.join(parts)}. {open_}"
        "(Rule: half of the digits are read right.)"
    )


def _in_training(findings: Findings) -> tuple[Verdict, str]:
    rows = _rows(findings)
    at = {c.weight: dict(c.ours) for c in figure_4(findings, PLACE)}
    if not all(at.get(w) for w in WEIGHTS):
        raise NotRun("the classifiers of figure 4")
    lines, better = [], []
    for w in WEIGHTS:
        for b in (0.5, 1.0):
            if b == 1.0 and (b, w) not in rows:  # no row of table 1
                continue
            after, both = at[w][b], _right(_row(rows, b, w))
            better.append(both > after)
            lines.append(f"{after:.1f} → {both:.1f} at noise {b:g}, weight {w:g}")
    return held(all(better), any(better)), (
        f"Accuracy with noise after training only → in training as well: {'; '.join(lines)}."
    )


def _early_rounds(findings: Findings) -> tuple[Verdict, str]:
    found = {r["epoch"]: r for r in rounds(findings, PLACE)}
    if not found or found[1]["final"] is None or found[1]["own"] is None:
        raise NotRun("the attacks by round")
    first, last = found[1], found[max(found)]
    final, own = first["final"]["read"]["value"], first["own"]["read"]["value"]
    lost = "An owner who left after one round is hardly exposed by what was stored."
    if max(final, own) >= 0.5:
        lost = "An owner who left after one round has lost its images"
        lost += "." if final >= 0.5 else " to a server that kept that round's segment as well."
    return held(final < 0.5 and own < 0.5, final < 0.5), (
        f"Messages of epoch 1: the final attacker's pictures are read right for {final:.0%} (SSIM "
        f"{first['final']['ssim']['value']:.2f}; epoch {max(found)}: "
        f"{last['final']['read']['value']:.0%}), those of an attacker fitted to that epoch for "
        f"{own:.0%} (SSIM {first['own']['ssim']['value']:.2f}). {lost} (Rule: either reads under "
        "a half.)"
    )


def _different_information(findings: Findings) -> tuple[Verdict, str]:
    every = grid(findings, PLACE)
    plain = next((c for c in every if c.words == "undefended"), None)
    if plain is None:
        raise NotRun("the attack on the undefended classifier")
    noise = _by(configuration(findings, PLACE, 0.0, 0.0, "laplace-1"), OURS)
    peek = _by(configuration(findings, PLACE, 0.0, 0.5), OURS)
    base = _by(plain, OURS)

    def words(x: Leak) -> str:
        return (
            f"class {_score(x, 'read'):.0%}, individual within the class "
            f"{_score(x, 'top1_in_class'):.0%}, accuracy {x.accuracy:.1f} %"
        )

    class_falls = _score(base, "read") - _score(peek, "read")
    noise_keeps = _score(base, "read") - _score(noise, "read")
    opposite = class_falls > 0.1 and noise_keeps < 0.05
    both = ""
    if max(class_falls, noise_keeps) < 0.05:
        both = "Both hide something of the individual, neither the class. "
    return held(opposite), (
        f"Undefended: {words(base)}. Noise 1.0: {words(noise)}. NoPeek 0.5: {words(peek)}. {both}"
        "(Rule: the class falls by a tenth under NoPeek and not under noise.)"
    )


_CLAIMS: tuple[tuple[str, Judge], ...] = (
    ("Neither defence costs much accuracy.", _costs_little),
    ("A higher NoPeek weight lowers the distance correlation.", _weight_lowers),
    ("Noise in training raises it again at a fixed weight.", _noise_raises),
    (
        "A higher weight makes noise dearer, because messages lie closer together.",
        _weight_makes_noise_dear,
    ),
    ("Even at a high weight, noise of about 0.5 is a fair trade.", _fair_trade),
    (
        "250 images give the class, except 4 and 8; 1,250 give the intricacies.",
        _set_sizes,
    ),
    ("NoPeek removes slants.", _slants),
    ("Noise of 1.0 destroys reconstructions completely.", _destroyed),
    ("Images of another domain suffice for the attack.", _domain),
    ("Noise in training gives a higher utility than after it.", _in_training),
    ("The attack may not work on messages of early rounds.", _early_rounds),
    (
        "Noise and NoPeek protect different information: the individual and the class.",
        _different_information,
    ),
)
