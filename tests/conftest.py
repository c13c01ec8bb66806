"""One thread everywhere: the same sums on every machine, and no thrashing on a shared one."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# On a fresh machine two workers compile what dcor has compiled by numba at the same moment, and one
# may load the other's half-written file and abort: each keeps its own.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).parents[1] / ".cache" / f"numba-{worker}")

torch.set_num_threads(1)
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
