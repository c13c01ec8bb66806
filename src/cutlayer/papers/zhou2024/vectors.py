"""Whether poisoned vectors look like clean ones: the paper's figure 3, and a number for it."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...inversion_models import LogConfidences

SHOWN = 300  # of either kind, in the pictures

Pair = tuple[Tensor, Tensor]  # clean and released vectors of the same inputs, (N, K) each


def clouds(learn: Pair, test: Pair) -> dict[str, Any]:
    """Points of clean and of released vectors by PCA and t-SNE, and how well a classifier tells
    them apart.

    Args:
        learn: Vectors to train that classifier on.
        test: Others, to try it on and to show.

    Returns:
        ``points``: by method and by what is looked at, "vectors" or "logarithms", of either kind
        a list of places in the plane. ``told_apart``: the area under the ROC curve on ``test``,
        0.5 for chance and 1 for certainty, by what is looked at.
    """
    looks = {"vectors": torch.nn.Identity(), "logarithms": LogConfidences()}
    found: dict[str, Any] = {"told_apart": {}, "points": {"pca": {}, "t-sne": {}}}
    for name, look in looks.items():
        of_learn, of_test = ([look(v.cpu()).numpy() for v in pair] for pair in (learn, test))
        found["told_apart"][name] = _told_apart(of_learn, of_test)
        few = [v[:SHOWN] for v in of_test]
        for method, placed in _placed(np.concatenate(few)).items():
            halves = np.split(placed, [len(few[0])])
            kinds = zip(("clean", "released"), halves, strict=True)
            found["points"][method][name] = {k: np.round(h, 3).tolist() for k, h in kinds}
    return found


def _told_apart(learn: list[NDArray[Any]], test: list[NDArray[Any]]) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    which = [np.repeat([0, 1], len(pair[0])) for pair in (learn, test)]
    judge = HistGradientBoostingClassifier(random_state=0).fit(np.concatenate(learn), which[0])
    scores = judge.predict_proba(np.concatenate(test))[:, 1]
    return float(roc_auc_score(which[1], scores))


def _placed(v: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """``(N, K)`` to ``(N, 2)`` by either method."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    near = min(30, len(v) // 4)
    return {
        "pca": PCA(2, random_state=0).fit_transform(v),
        "t-sne": TSNE(2, perplexity=near, init="pca", random_state=0).fit_transform(v),
    }
