import inspect
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.transform import resize

from cutlayer.data import DATASETS, share_out


def test_digits_are_the_bundled_ones_enlarged():
    from sklearn.datasets import load_digits

    d = DATASETS["digits"]()
    assert (len(d), d.shape, d.shuffled, len(d.classes)) == (1797, (1, 28, 28), False, 10)
    images, y = load_digits(return_X_y=True)
    assert np.array_equal(d.y.numpy(), y)
    for i in (0, 1000):
        wanted = resize(
            images[i].reshape(8, 8) / 16, (28, 28), order=1, mode="edge", anti_aliasing=False
        )
        assert np.allclose(d.x[i, 0].numpy(), wanted, atol=1e-6)
    x, _ = d.take(torch.arange(1797))
    assert torch.equal(x, d.x)
    assert [float(v) for v in x.aminmax()] == [0, 1]


def test_digits_leave_five_hundred_victims():
    _, s = share_out(DATASETS["digits"]())
    assert len(s.victims) == 500


PLAIN = {int, float, str, bool, Path, type(None), list[str]}


def kinds(hint):
    if typing.get_origin(hint) is typing.Literal:
        return {type(a) for a in typing.get_args(hint)}
    parts = typing.get_args(hint)
    return {hint} if hint in PLAIN or not parts else set().union(*map(kinds, parts))


@pytest.mark.parametrize("name", DATASETS)
def test_every_loader_has_a_signature_that_a_command_line_can_show(name):
    load = DATASETS[name]
    hints = typing.get_type_hints(load)
    for argument in inspect.signature(load).parameters.values():
        assert argument.kind is inspect.Parameter.KEYWORD_ONLY
        assert kinds(hints[argument.name]) <= PLAIN
        assert f"{argument.name}:" in inspect.getdoc(load)


def test_importing_the_package_stays_cheap():
    heavy = {"sklearn", "PIL", "pooch", "requests", "rich"}
    code = f"import sys, cutlayer.data; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
