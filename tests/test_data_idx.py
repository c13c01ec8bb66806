import gzip
import hashlib
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cutlayer.data import DATASETS, idx
from cutlayer.data.idx import read_idx

MNIST = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
EMNIST = [
    f"emnist-letters-{p}-{k}" for p in ("train", "test") for k in ("images-idx3", "labels-idx1")
]


def encode(a):
    a = np.asarray(a, np.uint8)
    return struct.pack(f">BBBB{a.ndim}I", 0, 0, 8, a.ndim, *a.shape) + a.tobytes()


def publish(folder, stems=MNIST, *, zipped=False, first_label=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    arrays = []
    for stem in stems:
        n = 7 if "train" in stem else 3
        images = rng.integers(0, 256, (n, 4, 5))
        a = images if "images" in stem else np.arange(n) + first_label
        data = encode(a)
        path = folder / f"{stem}-ubyte{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(data) if zipped else data)
        arrays.append(a)
    return arrays


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("mnist", ("", "MNIST", "MNIST/raw")),
        ("fashion-mnist", ("", "FashionMNIST/raw")),
        ("kmnist", ("", "KMNIST/raw")),
    ],
)
def test_files_are_found_where_others_put_them(tmp_path, name, places, zipped):
    for i, place in enumerate(places):
        root = tmp_path / str(i)
        train, y, test, _ = publish(root / place, zipped=zipped)
        d = DATASETS[name](root=root, download=False)
        assert d.name == name
        assert np.array_equal(d.x[:7, 0].numpy(), train)
        assert np.array_equal(d.x[7:, 0].numpy(), test)
        assert np.array_equal(d.y[:7].numpy(), y)
        assert d.parts == {"train": (0, 7), "test": (7, 10)}
        assert d.shuffled
        assert d.x.dtype == torch.uint8
        x, _ = d.take(torch.arange(10))
        assert torch.equal(x, d.x.float() / 255)


def test_emnist_letters_are_turned_upright_and_counted_from_zero(tmp_path):
    train, y, _, _ = publish(tmp_path / "EMNIST" / "raw", EMNIST, first_label=1)
    d = DATASETS["emnist-letters"](root=tmp_path, download=False)
    assert np.array_equal(d.x[:7, 0].numpy(), train.transpose(0, 2, 1))
    assert np.array_equal(d.y[:7].numpy(), y - 1)
    assert len(d.classes) == 26
    assert not d.shuffled  # the published test file is in the order of its labels


def test_what_was_read_is_in_the_source(tmp_path):
    publish(tmp_path, zipped=True)
    files = DATASETS["mnist"](root=tmp_path).source["files"]
    path = tmp_path / "train-images-idx3-ubyte.gz"
    assert files[0] == {
        "path": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert len(files) == 4


@given(st.lists(st.integers(0, 5), min_size=3, max_size=3), st.booleans(), st.data())
def test_any_array_is_read_back_and_any_other_length_is_refused(
    tmp_path_factory, shape, zipped, data
):
    a = np.random.default_rng(1).integers(0, 256, shape)
    path = tmp_path_factory.mktemp("idx") / "file"
    pack = gzip.compress if zipped else bytes
    path.write_bytes(pack(encode(a)))
    assert np.array_equal(read_idx(path, rank=3), a)
    cut = data.draw(st.integers(0, len(encode(a)) - 1))
    path.write_bytes(pack(encode(a)[:cut]))
    with pytest.raises(ValueError, match="file: "):
        read_idx(path, rank=3)


# Trap: three sets use the same file names


def test_another_set_of_the_same_file_names_is_refused(tmp_path, monkeypatch):
    publish(tmp_path)
    digest = hashlib.md5((tmp_path / "t10k-labels-idx1-ubyte").read_bytes()).hexdigest()
    monkeypatch.setitem(idx._TELLTALE, digest, "mnist")
    assert DATASETS["mnist"](root=tmp_path).name == "mnist"
    with pytest.raises(
        ValueError, match=r"kmnist wanted: .*ubyte is of mnist, which uses the same"
    ):
        DATASETS["kmnist"](root=tmp_path)


def test_a_forged_header_allocates_nothing(tmp_path):
    path = tmp_path / "forged"
    for pack in (bytes, gzip.compress):
        path.write_bytes(pack(struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3)))
        with pytest.raises(
            ValueError, match=r"bytes wanted for the shape .*: got only 0: truncated"
        ):
            read_idx(path, rank=3)


# Messages


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "magic number 00000803: got an empty file"),
        (b"\x89PNG....", "magic number 00000803: got 89504e47"),
        (encode([1, 2]), "rank 3 wanted, magic number 00000803: got 00000801"),
        (bytes([0, 0, 13, 3]) + bytes(12), "unsigned bytes and rank 3 wanted.*got 00000d03"),
        (encode(np.ones((2, 2, 2)))[:9], "truncated after 9 bytes, in the header"),
        (encode(np.ones((2, 2, 2)))[:-1], r"8 bytes wanted for the shape \(2, 2, 2\).*only 7"),
        (encode(np.ones((2, 2, 2))) + b"1", "8 bytes wanted .* got more"),
        (gzip.compress(encode(np.ones((9, 9, 9))), mtime=0)[:-9], "a whole gzip file wanted"),
        (gzip.compress(b"", mtime=0)[:10] + b"\xff" * 20, "a whole gzip file wanted"),
        (b"\x1f\x8b" + bytes(20), "a whole gzip file wanted"),
    ],
    ids=range(10),
)
def test_a_corrupt_file_is_named_with_what_was_wanted_and_got(tmp_path, data, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"train-images-idx3-ubyte: .*{message}"):
        read_idx(path, rank=3)


def test_a_broken_checksum_inside_gzip_is_refused(tmp_path):
    data = bytearray(gzip.compress(encode(np.ones((2, 2, 2)))))
    data[-6] ^= 1
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(ValueError, match="a whole gzip file wanted: CRC check failed"):
        read_idx(tmp_path / "f", rank=3)


def test_unequal_counts_and_sizes_are_refused(tmp_path):
    publish(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(encode(np.arange(6)))
    with pytest.raises(
        ValueError, match=r"7 images in .*train-images.* and 6 labels in .*train-lab"
    ):
        DATASETS["mnist"](root=tmp_path)
    publish(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(encode(np.zeros((3, 4, 4))))
    with pytest.raises(ValueError, match=r"one size wanted: got \(4, 5\) in .* and \(4, 4\) in"):
        DATASETS["mnist"](root=tmp_path)


def test_a_label_out_of_range_is_refused(tmp_path):
    publish(tmp_path, first_label=5)
    with pytest.raises(ValueError, match=r"mnist: labels in 0..9 wanted.*got 5..11"):
        DATASETS["mnist"](root=tmp_path)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("kmnist", "train-images-idx3-ubyte"), ("emnist-letters", "emnist-letters-train-images")],
)
def test_missing_files_without_download_say_where_to_put_them(tmp_path, name, wanted):
    with pytest.raises(FileNotFoundError, match=rf"{wanted}.* wanted.*yourself from https?://"):
        DATASETS[name](root=tmp_path, download=False)


def test_pairs_share_no_digit(tmp_path):
    train, y, test, _ = publish(tmp_path, MNIST)
    d = DATASETS["digit-pairs"](root=tmp_path, download=False)
    assert d.x.shape == (4, 1, 4, 10)
    assert d.parts == {"train": (0, 3), "test": (3, 4)}  # the last of seven, and of three, is left
    assert np.array_equal(d.x[2, 0].numpy(), np.concatenate([train[4], train[5]], axis=1))
    assert np.array_equal(d.x[3, 0].numpy(), np.concatenate([test[0], test[1]], axis=1))
    assert d.y.tolist() == [1, 23, 45, 1]
    assert d.classes[int(d.y[2])] == f"{y[4]}{y[5]}"
