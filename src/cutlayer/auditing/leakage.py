"""From an attack's scores to what it says about what must stay hidden; higher is always worse."""

from collections.abc import Mapping

from ..record import Estimate, Scores

GUESSES = ("mean", "class-mean")  # floors that look at no message, but know the class
MEASURES: dict[str, str] = {
    "individual": "share of the victims whose reconstruction is nearer to their own input than to "
    "that of any other victim",
    "class": "share of the inputs whose class is read right",
    "attribute": "share of the inputs whose private attribute is read right",
    "ssim": "structural similarity of reconstruction and input, 1 for equal ones",
    "share": "share of the input's variation that the reconstruction recovers, 1 for all of it",
}


def leakage_of(scores: Scores, floors: Mapping[str, Scores]) -> tuple[Scores, dict[str, float]]:
    """Leakage by what is to be hidden, and what guessing gives.

    Args:
        scores: Of the attack, by metric. floors: By floor the same.

    Returns:
        "individual" (re-identified among the victims), "class" (read by an independent judge),
        "pixels" (SSIM where it applies, else the share of variation that is recovered).
    """
    found: Scores = {}
    guesses: dict[str, float] = {}
    for name, metric, counted in (
        ("individual", "top1", GUESSES),
        ("class", "read", ("mean",)),
        ("pixels", "ssim", GUESSES),
    ):
        if metric in scores:
            found[name] = scores[metric]
            known = [floors[f][metric].value for f in counted if metric in floors.get(f, {})]
            guesses[name] = max((v for v in known if v is not None), default=0.0)
    if "ssim" not in scores and scores.get("mse") and "mean" in floors:
        found["pixels"], guesses["pixels"] = _recovered(scores, floors)
    return found, guesses


def _recovered(scores: Scores, floors: Mapping[str, Scores]) -> tuple[Estimate, float]:
    """1 - MSE / MSE of the mean sample."""
    whole = floors["mean"]["mse"].value or 1.0
    error = scores["mse"]

    def share(value: float | None) -> float | None:
        return None if value is None else 1 - value / whole

    guesses = [floors[f]["mse"].value for f in GUESSES if f in floors]
    best = min(v for v in guesses if v is not None)
    mine = Estimate(value=share(error.value), low=share(error.high), high=share(error.low))
    return Estimate(**{**vars(mine), "n": error.n}), 1 - best / whole


def measure_of(protect: str, *, pictures: bool) -> str:
    """What the number of ``protect`` is, in words.

    Args:
        pictures: SSIM applies.
    """
    if protect == "pixels":
        return MEASURES["ssim" if pictures else "share"]
    return MEASURES[protect]
