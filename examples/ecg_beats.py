"""Heartbeats as signals: prepare beats cut from the MIT-BIH Arrhythmia Database, attack a 1-D CNN.

The beats are not here. What is read are ``.npz`` files with

- ``x`` int16 ``(n, samples)``: raw samples around each annotated peak,
- ``y`` ``(n,)``: 0 to 4 for N, L, R, A, V (normal, left and right bundle branch block, atrial and
  ventricular premature beat), as Abuadbba et al. (2020, arXiv:2003.12365) choose them,
- ``lo``, ``hi`` ``(n,)``: the smallest and largest sample of the recording a beat came from.

Each beat is scaled by the range of its recording and resampled to 128 values, their input::

    python examples/ecg_beats.py beats_train.npz ecg-train.npz
    python examples/ecg_beats.py beats_test.npz ecg-test.npz
    cutlayer attack --model ecg \
        --data arrays:path=ecg-train.npz,test=ecg-test.npz,signal=true,low=0,high=1

Resampling overshoots a little; values outside the declared bounds are clipped when they are read.
If beats of one patient are in both files, the split by file says nothing about new patients.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample  # type: ignore[import-untyped]

CLASSES = np.array(list("NLRAV"))


def prepare(
    x: NDArray[np.int16], low: NDArray[np.int16], high: NDArray[np.int16], length: int = 128
) -> NDArray[np.float32]:
    """Raw beats ``(n, samples)`` to ``(n, length)``, each scaled by its recording's range."""
    bottom = low[:, None].astype(np.float64)
    scaled = (x - bottom) / (high[:, None] - bottom)
    return np.asarray(resample(scaled, length, axis=1), dtype=np.float32)


def convert(source: Path, target: Path) -> Path:
    """One file of raw beats to one that ``--data arrays`` reads."""
    with np.load(source, allow_pickle=False) as raw:
        np.savez(target, x=prepare(raw["x"], raw["lo"], raw["hi"]), y=CLASSES[raw["y"]])
    return target


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("wanted: ecg_beats.py RAW.npz PREPARED.npz")
    print(convert(Path(sys.argv[1]), Path(sys.argv[2])))
