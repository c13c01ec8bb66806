import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset, TensorDataset

from cutlayer.data import from_torch


class Items(torch.utils.data.Dataset):
    def __init__(self, items, classes=None):
        self.items = items
        if classes is not None:
            self.classes = classes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def read(xs, ys=(0, 1, 0), **kwargs):
    return from_torch(Items(list(zip(xs, ys, strict=True)), **kwargs), name="own")


def test_a_tensor_data_set_is_read_as_it_is():
    x, y = torch.rand(5, 3, 4, 4), torch.tensor([0, 1, 2, 1, 0])
    d = from_torch(TensorDataset(x, y), name="own")
    assert torch.equal(d.x, x)
    assert torch.equal(d.y, y)
    assert (d.name, d.shape, d.classes, d.parts) == ("own", (3, 4, 4), ("0", "1", "2"), {})
    assert d.source == {"class": "torch.utils.data.dataset.TensorDataset"}
    assert not d.shuffled


@pytest.mark.parametrize(
    ("x", "bounds"),
    [
        (np.zeros((1, 4, 4), np.uint8), (0, 255)),
        (torch.zeros(7, dtype=torch.uint8), (0, 255)),
        (torch.zeros(7, dtype=torch.bool), (0, 1)),
        (np.linspace(0, 1, 7), (0, 1)),
        (torch.tensor([0.0, 1.1]), None),
        (torch.tensor([-0.1, 1.0]), None),
        (np.array([0, 1], np.int16), None),
    ],
)
def test_bounds_are_those_of_the_type(x, bounds):
    d = read([x] * 3)
    assert d.bounds is None if bounds is None else [float(b) for b in d.bounds] == [*bounds]


def test_pictures_of_every_mode_become_channels_first():
    rgb = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
    d = read([Image.fromarray(rgb)] * 3)
    assert np.array_equal(d.x[0].numpy(), rgb.transpose(2, 0, 1))
    assert read([Image.fromarray(rgb[..., 0])] * 3).shape == (1, 6, 4)
    assert read([Image.fromarray(rgb).quantize(8)] * 3).shape == (3, 6, 4)
    assert read([Image.fromarray(rgb).convert("1")] * 3).x.unique().tolist() == [0, 255]


@pytest.mark.parametrize(
    "labels", [(0, 1, 0), (np.int8(0), np.uint8(1), 0), (torch.tensor(0), np.array(1), False)]
)
def test_labels_of_every_kind_of_integer(labels):
    assert read([torch.zeros(2)] * 3, labels).y.tolist() == [0, 1, 0]


def test_class_names_are_those_of_the_data_set_and_one_may_be_absent():
    assert read([torch.zeros(2)] * 3, classes=["a", "b", "c"]).classes == ("a", "b", "c")


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2), 0


ZERO = torch.zeros(2)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "own: a map-style data set wanted, .* got Stream; collect"),
        (Items([]), "at least one sample wanted"),
        (Items([ZERO]), r"items \(x, y\) wanted: got Tensor in item 0"),
        (Items([(ZERO, 0, 1)]), r"items \(x, y\) wanted: got tuple in item 0"),
        (Items([("text", 0)]), "wanted as x: got str in item 0"),
        (Items([(torch.tensor(1.0), 0)]), r"1 to 3 axes wanted as x: got Tensor \(\) in item 0"),
        (
            Items([(ZERO, 0), (torch.zeros(3), 0)]),
            r"got \(2,\) .* in item 0 and \(3,\) .* in item 1",
        ),
        (Items([(ZERO, 0), (ZERO.double(), 0)]), r"and \(2,\) torch.float64 in item 1; resize"),
        (Items([(torch.zeros(6, 5, 3), 0)]), r"looks like \(H, W, C\); transpose"),
        (Items([(ZERO, 0.5)]), "an integer label wanted as y: got float 0.5 in item 0"),
        (Items([(ZERO, torch.tensor([0, 1]))]), r"got Tensor \(2,\) in item 0"),
        (Items([(ZERO, "cat")]), "got str 'cat' in item 0"),
        (Items([(ZERO, 1), (ZERO, 3)]), r"labels 0..1 wanted, .* got 1, 3; renumber"),
        (Items([(ZERO, 3)], classes=["a"]), r"own: labels in 0..0 wanted"),
        (Items([(torch.tensor([np.nan]), 0)]), "sample 0 holds NaN"),
    ],
    ids=range(15),
)
def test_what_is_no_data_set_is_refused(dataset, message):
    with pytest.raises(ValueError, match=message):
        from_torch(dataset, name="own")
