import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from cutlayer.data import DATASETS

Y = np.array([0, 1, 2, 1])
TYPES = (
    *("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"),
    *("f2", "f4", "f8", ">i2", ">u4", ">f4", ">f8"),
)


def write(path, x=None, y=Y, **more):
    np.savez(path, x=np.zeros((len(y), 3)) if x is None else x, y=y, **more)
    return path


def load(path, **kwargs):
    return DATASETS["arrays"](path=path, **kwargs)


@pytest.mark.parametrize(
    ("shape", "options", "wanted"),
    [
        ((4, 5), {}, (5,)),
        ((4, 5), {"signal": True}, (1, 5)),
        ((4, 2, 5), {}, (2, 5)),
        ((4, 5, 2), {"channels_last": True}, (2, 5)),
        ((4, 6, 5), {"grey": True}, (1, 6, 5)),
        ((4, 3, 6, 5), {}, (3, 6, 5)),
        ((4, 6, 5, 3), {"channels_last": True}, (3, 6, 5)),
        ((4, 3, 3, 3), {}, (3, 3, 3)),
    ],
)
def test_shapes(tmp_path, shape, options, wanted):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    d = load(write(tmp_path / "own.npz", x), **options)
    assert d.shape == wanted
    moved = np.moveaxis(x, -1, 1) if "channels_last" in options else x
    assert np.array_equal(d.x.numpy().ravel(), moved.ravel())
    assert (d.name, d.bounds, d.parts, d.shuffled) == ("own", None, {}, False)
    assert len(d.source["files"][0]["sha256"]) == 64


@given(
    st.sampled_from(TYPES).flatmap(
        lambda t: any_array(
            t, (4, 3), elements={"allow_nan": False, "allow_infinity": False} if "f" in t else None
        )
    )
)
def test_values_of_every_type_are_kept(tmp_path_factory, x):
    d = load(write(tmp_path_factory.mktemp("t") / "x.npz", x))
    assert np.array_equal(d.x.numpy().astype(np.float64), x.astype(np.float64))
    assert (d.bounds is not None) == (x.dtype in (np.uint8, np.bool_))


def test_bounds_that_cut_off_most_values_are_refused(tmp_path):
    """All samples would look alike, and every defence perfect."""
    x = np.arange(300, 320, dtype=np.int16).reshape(4, 5)
    with pytest.raises(
        ValueError, match=r"100% of them lie beyond 0..1, they reach from 300 to 319"
    ):
        load(write(tmp_path / "a.npz", x), low=0, high=1)
    half = load(write(tmp_path / "b.npz", x), low=310, high=400)
    assert half.take([0, 3])[0].max() > 0


def test_bytes_and_truth_values_declare_their_bounds(tmp_path):
    for dtype, high in (("u1", 255), ("?", 1)):
        d = load(write(tmp_path / "x.npz", np.ones((4, 3), dtype)))
        assert [float(b) for b in d.bounds] == [0, high]
    d = load(tmp_path / "x.npz", low=-1, high=3)
    assert [float(b) for b in d.bounds] == [-1, 3]
    assert d.take([0])[0].tolist() == [[0.5, 0.5, 0.5]]


def test_a_pair_of_npy_files_and_a_test_pair(tmp_path):
    for name, a in [("x", np.ones((4, 3))), ("y", Y), ("tx", np.zeros((2, 3))), ("ty", [2, 0])]:
        np.save(tmp_path / f"{name}.npy", a)
    d = load("x.npy", root=tmp_path, labels="y.npy", test="tx.npy", test_labels="ty.npy")
    assert d.parts == {"train": (0, 4), "test": (4, 6)}
    assert d.y.tolist() == [0, 1, 2, 1, 2, 0]
    assert d.x[:, 0].tolist() == [1, 1, 1, 1, 0, 0]
    assert [f["path"].rsplit("/", 1)[-1] for f in d.source["files"]] == [
        *("x.npy", "y.npy", "tx.npy", "ty.npy")
    ]


def test_names_in_the_file_can_be_chosen(tmp_path):
    np.savez(tmp_path / "n.npz", images=np.ones((4, 3)), targets=Y[:, None])
    assert load(tmp_path / "n.npz", x="images", y="targets").y.tolist() == Y.tolist()


@pytest.mark.parametrize(
    ("y", "codes", "classes"),
    [
        (np.array([0, 1, 2, 1], np.uint8), [0, 1, 2, 1], ("0", "1", "2")),
        (np.array([0, 1, 1, 0], bool), [0, 1, 1, 0], ("0", "1")),
        (np.array([2.0, 1.0, 0.0, 2.0]), [2, 1, 0, 2], ("0", "1", "2")),
        (np.array(["dog", "cat", "dog", "eel"]), [1, 0, 1, 2], ("cat", "dog", "eel")),
        (np.array([b"no", b"yes", b"no", b"no"]), [0, 1, 0, 0], ("no", "yes")),
    ],
)
def test_labels_of_every_kind(tmp_path, y, codes, classes):
    d = load(write(tmp_path / "x.npz", y=y))
    assert (d.y.tolist(), d.classes, d.y.dtype) == (codes, classes, torch.int64)


def test_classes_can_be_named_and_then_one_may_be_absent(tmp_path):
    d = load(write(tmp_path / "x.npz", y=np.array([0, 2, 2, 0])), classes=["N", "L", "R"])
    assert d.classes == ("N", "L", "R")
    d = load(write(tmp_path / "x.npz", y=np.array(["R", "N"])), classes=["N", "L", "R"])
    assert d.y.tolist() == [2, 0]


# Trap: nothing in a file is executed


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("executed",))


def test_objects_are_refused_unread(tmp_path):
    write(tmp_path / "x.npz", np.array([[Bomb()]] * 4, dtype=object))
    with pytest.raises(ValueError, match=r"x\.npz: .*Python objects in it, which could run code"):
        load(tmp_path / "x.npz")
    np.save(tmp_path / "x.npy", np.array([Bomb()] * 4, dtype=object))
    with pytest.raises(ValueError, match=r"x\.npy: .*Python objects in it"):
        load(tmp_path / "x.npy", labels=tmp_path / "x.npy")


# Messages


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (np.ones(4), Y, {}, r"samples \(N, D\), .* wanted: got \(4,\)"),
        (np.ones((4, 1, 2, 3, 4)), Y, {}, r"wanted: got \(4, 1, 2, 3, 4\)"),
        (np.ones((4, 0)), Y, {}, r"wanted: got \(4, 0\)"),
        (
            np.ones((4, 6, 5, 3)),
            Y,
            {},
            r"got \(4, 6, 5, 3\), which looks like .*channels_last=true",
        ),
        (np.ones((4, 3)), Y, {"channels_last": True}, "wants an axis of channels"),
        (np.ones((4, 3)), Y, {"grey": True}, r"grey=true is for 3 axes: got \(4, 3\)"),
        (np.ones((4, 3, 2)), Y, {"signal": True}, r"signal=true is for 2 axes: got \(4, 3, 2\)"),
        (np.ones((4, 3), complex), Y, {}, "real numbers wanted: got complex128"),
        (np.array([["a"]] * 4), Y, {}, "real numbers wanted: got <U1"),
        (np.full((4, 3), np.nan), Y, {}, "sample 0 holds NaN or infinity"),
        (np.ones((5, 3)), Y, {}, r"one label for each sample wanted: .*\(5, 3\) and labels \(4,\)"),
        (np.ones((4, 3)), np.eye(4), {}, r"got \(4, 4\); of one-hot rows take the index"),
        (np.ones((4, 3)), [0, 1.5, 1, 0], {}, "whole numbers or text wanted .* got float64, 1.5"),
        (np.ones((4, 3)), [0, np.nan, 1, 0], {}, "got float64, nan"),
        (np.ones((4, 3)), [0, np.inf, 1, 0], {}, "got float64, inf"),
        (np.ones((4, 3)), [1, 2, 3, 1], {}, r"labels 0..2 wanted, .* got 1, 2, 3; renumber"),
        (np.ones((4, 3)), [-1, 1, 1, 1], {}, r"labels 0..1 wanted, .* got -1, 1; renumber"),
        (np.ones((4, 3)), Y, {"classes": ["a", "b"]}, r"labels in 0..1 wanted.*got 0..2"),
        (np.ones((4, 3)), ["a"] * 4, {"classes": ["b"]}, "label 'a' is none of the classes given"),
        (np.ones((4, 3)), Y, {"low": 0}, r"both or none: got 0\.\.None"),
        (np.ones((4, 3)), Y, {"low": 1, "high": 1}, "low < high wanted"),
        (np.ones((4, 3)), Y, {"low": 0, "high": np.inf}, "finite bounds"),
        (np.ones((4, 3)), Y, {"x": "xx"}, "no array 'xx' in it, did you mean 'x'|; known: x, y"),
        (np.ones((4, 3)), Y, {"labels": "y.npy"}, "an .npz holds its labels, under 'y'"),
    ],
    ids=range(24),
)
def test_bad_arrays_are_refused(tmp_path, x, y, options, message):
    write(tmp_path / "x.npz", x, np.array(y))
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "x.npz", **options)


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.npz: no such file"):
        load(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"an .npz or .npy file wanted: got \.csv"):
        load(tmp_path / "x.csv")
    np.save(tmp_path / "x.npy", np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"give labels=FILE.npy"):
        load(tmp_path / "x.npy")
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="its content is not what its suffix says"):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize("kept", [0, 1, 60, 200, 400, -30])
def test_a_truncated_file_is_named(tmp_path, kept):
    np.savez_compressed(tmp_path / "x.npz", x=np.random.default_rng(0).random((4, 30)), y=Y)
    data = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(data[:kept])
    with pytest.raises(ValueError, match=r"x\.npz: a NumPy file of plain arrays wanted: "):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize("kept", [0, 5, 40, 130, -1])
def test_a_truncated_npy_is_named(tmp_path, kept):
    np.save(tmp_path / "y.npy", Y)
    np.save(tmp_path / "x.npy", np.ones((4, 3)))
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"x\.npy: a NumPy file of plain arrays wanted: "):
        load(tmp_path / "x.npy", labels=tmp_path / "y.npy")


def test_a_test_file_of_another_shape_is_refused(tmp_path):
    write(tmp_path / "a.npz")
    write(tmp_path / "b.npz", np.ones((4, 2)))
    with pytest.raises(
        ValueError, match=r"got \(3,\) float64 in .*a.npz and \(2,\) float64 in .*b.n"
    ):
        load(tmp_path / "a.npz", test=tmp_path / "b.npz")
