"""Reasons not to believe a leakage number. A flag goes into the record; it never stops the run."""

from collections.abc import Iterable, Sequence

from .record import Estimate, Record, Scores

FLAGS: dict[str, str] = {
    "attack-below-floor": "The attack is no better than guessing without having seen anything: "
    "a weak attack makes any defence look good.",
    "attack-not-converged": "The attack was still getting better when its training ended: "
    "a longer one would leak more.",
    "no-utility": "The network hardly predicts better than always naming the commonest class: "
    "there is nothing left worth defending.",
    "black-box-beats-white-box": "An attacker who knows less did better than one who knows more: "
    "the stronger attack is badly tuned.",
    "randomised-defence-single-query": "The defence is random and the attacker heard each input "
    "once: whoever hears it again can average.",
    "one-seed": "One seed only: repeat with others before you rely on small differences.",
    "small-n": "Fewer than 500 victims: the interval is wide.",
    "non-finite-reconstruction": "Some reconstructions are not numbers; their scores are left out.",
    "overlapping-data": "Shares that must be disjoint have samples in common.",
    "attack-knows-victims": "Given other people's messages the attack still answered with the "
    "victims, or it copied one bit for bit through loud noise: it has seen them otherwise.",
    "defence-off-when-serving": "A defence that should act while the network serves changed "
    "nothing of what left the owner.",
    "defence-weaker-than-claimed": "What left the owner carried less noise, a larger norm or "
    "another kind of chance than the defence says of itself.",
    "no-undefended-reference": "The same attack on the undefended network is not beside this row, "
    "so nothing shows that the attack works at all.",
}

APART = frozenset(  # not looked for in every run: a page must not say that they were not found
    {"attack-knows-victims", "defence-off-when-serving", "defence-weaker-than-claimed"}
)
ENOUGH_VICTIMS = 500


def of_run(
    *,
    leakage: Scores,
    floors: dict[str, Scores],
    utility: Scores,
    chance: float,
    victims: int,
    finite: bool,
    converged: bool | None,
    stochastic: bool,
    repeats: int,
    duplicates: int,
    tells_label: bool = False,
    knows_victims: bool = False,
) -> list[str]:
    """The flags that one run alone can show.

    Args:
        leakage: Needs "mse".
        floors: Each needs "mse"; "mean" and "nearest-auxiliary" count, which go by no label.
        utility: Needs "accuracy"; empty where the victims are of no class that the network knows.
        chance: Accuracy of always naming the commonest class.
        tells_label: What the attacker sees tells the label and, undefended, more: then "class-mean"
            counts as well.
        duplicates: Victims that equal a sample of another share, bit for bit.
        knows_victims: It was seen to (``placebo``).
    """
    found = []
    if not finite:
        found.append("non-finite-reconstruction")
    error = leakage["mse"].value
    counted = ("mean", "nearest-auxiliary", *(("class-mean",) if tells_label else ()))
    guesses = [floors[k]["mse"].value for k in counted if k in floors]
    if error is None or any(g is not None and error >= g for g in guesses):
        found.append("attack-below-floor")
    if converged is False:
        found.append("attack-not-converged")
    if utility:
        accuracy = utility["accuracy"].value
        if accuracy is None or accuracy < min(1.5 * chance, (1 + chance) / 2):
            found.append("no-utility")
    found += _of_setting(victims, stochastic, repeats, duplicates)
    if knows_victims:
        found.append("attack-knows-victims")
    return found


def _of_setting(victims: int, stochastic: bool, repeats: int, duplicates: int) -> list[str]:
    found = []
    if stochastic and repeats == 1:
        found.append("randomised-defence-single-query")
    if victims < ENOUGH_VICTIMS:
        found.append("small-n")
    if duplicates:
        found.append("overlapping-data")
    return found


def of_inference(
    *,
    guessed: Sequence[tuple[Estimate, float]],
    victims: int,
    finite: bool,
    converged: bool | None,
    stochastic: bool,
    repeats: int,
    duplicates: int,
) -> list[str]:
    """The flags of labels read from messages.

    Args:
        guessed: Shares of labels named rightly, and what guessing gives of each; one has to be
            above that with its whole interval.
        finite: All scores are numbers.
    """
    found = [] if finite else ["non-finite-reconstruction"]
    if not any(e.low is not None and e.low > chance for e, chance in guessed):
        found.append("attack-below-floor")
    if converged is False:
        found.append("attack-not-converged")
    return found + _of_setting(victims, stochastic, repeats, duplicates)


def across(records: Sequence[Record]) -> dict[str, list[str]]:
    """The flags that show only when runs are seen side by side, by record id."""
    found: dict[str, list[str]] = {r.id: [] for r in records if r.kind == "attack"}
    attacks = [r for r in records if r.kind == "attack"]
    for r in attacks:
        alike = [o for o in attacks if _same(r, o, *_SEEDS)]
        if len({tuple(o.config["experiment"].get(k) for k in _SEEDS) for o in alike}) == 1:
            found[r.id].append("one-seed")
        undefended = [o for o in attacks if not o.defence.get("parts") and _same(r, o, "defence")]
        if r.defence.get("parts") and not undefended:
            found[r.id].append("no-undefended-reference")
        for other in attacks:
            if _same(r, other, "threat", "attack") and _beaten(r, by=other):
                found[r.id].append("black-box-beats-white-box")
                break
    return found


_SEEDS = ("seed", "attack_seed")
_INCIDENTAL = {"threads", "device", "data_root", "weights"}  # the network's address tells these


def _same(a: Record, b: Record, *but: str) -> bool:
    """Whether two runs are the same experiment but for some fields."""
    left, right = a.config["experiment"], b.config["experiment"]
    fields = (left.keys() | right.keys()) - _INCIDENTAL - set(but)
    same_data = a.data.get("checksum") == b.data.get("checksum")
    return same_data and all(left.get(k) == right.get(k) for k in fields)


def _beaten(white: Record, *, by: Record) -> bool:
    """Whether an attacker with the owner's weights did clearly worse than one without."""
    if white.threat["name"] != "white-box" or by.threat["name"] not in ("black-box", "query-free"):
        return False
    mine, other = white.leakage["mse"], by.leakage["mse"]
    return None not in (mine.low, other.high) and mine.low > other.high  # type: ignore[operator]


def all_flags(records: Iterable[Record]) -> dict[str, list[str]]:
    """Every flag of every run: its own and those seen side by side."""
    records = list(records)
    beside = across(records)
    return {r.id: [*r.flags, *beside[r.id]] for r in records if r.kind == "attack"}
