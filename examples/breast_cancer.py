"""A table of your own: write one as an .npz file, split a network on it, attack the split.

Breast Cancer Wisconsin (Diagnostic) comes inside scikit-learn: 569 rows of 30 measurements of cell
nuclei, benign or malignant. This writes them as ``breast-cancer.npz``, with samples ``x`` and
labels ``y``, which is all that ``--data arrays`` wants::

    python examples/breast_cancer.py
    cutlayer attack --data arrays:path=breast-cancer.npz --model mlp

Every feature is scaled to [0, 1] by its range in the owners' training share. A table has no SSIM:
read the MSE and its floors.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer


def write(path: Path) -> Path:
    """Samples ``(569, 30)`` and their labels, as text, in one file."""
    table = load_breast_cancer()
    np.savez(path, x=table.data, y=table.target_names[table.target])
    return path


if __name__ == "__main__":
    file = write(Path("breast-cancer.npz"))
    print(f"cutlayer attack --data arrays:path={file} --model mlp")
