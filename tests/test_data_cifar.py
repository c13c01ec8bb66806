import numpy as np
import pytest
import torch

from cutlayer.data import DATASETS
from cutlayer.data.cifar import read_records

NAMES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


def publish(folder, counts=(3, 2, 1, 1, 1, 2)):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    labels, images = [], []
    for name, n in zip(NAMES, counts, strict=True):
        y, x = rng.integers(0, 10, n), rng.integers(0, 256, (n, 3, 32, 32))
        rows = [bytes([a]) + b.astype(np.uint8).tobytes() for a, b in zip(y, x, strict=True)]
        (folder / name).write_bytes(b"".join(rows))
        labels.append(y)
        images.append(x)
    return np.concatenate(images), np.concatenate(labels)


@pytest.mark.parametrize("place", ["", "cifar-10-batches-bin"])
def test_records_are_read_in_order_with_any_number_in_a_file(tmp_path, place):
    x, y = publish(tmp_path / place)
    d = DATASETS["cifar10"](root=tmp_path, download=False)
    assert np.array_equal(d.x.numpy(), x)
    assert np.array_equal(d.y.numpy(), y)
    assert d.x.dtype == torch.uint8
    assert d.parts == {"train": (0, 8), "test": (8, 10)}
    assert d.shuffled
    assert d.classes[3] == "cat"
    assert len(d.source["files"]) == 6


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "whole records of 3073 bytes wanted: got 0 bytes"),
        (bytes(3072), "got 3072 bytes, 0 records and 3072 bytes over"),
        (bytes(3074), "got 3074 bytes, 1 records and 1 bytes over"),
        (bytes(3073) + b"\x0a" + bytes(3072), "got 10 in record 1; not the binary version"),
    ],
)
def test_a_corrupt_file_is_named(tmp_path, data, message):
    (tmp_path / "test_batch.bin").write_bytes(data)
    with pytest.raises(ValueError, match=rf"test_batch.bin: .*{message}"):
        read_records(tmp_path / "test_batch.bin")


def test_a_missing_file_without_download_is_named(tmp_path):
    publish(tmp_path)
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"data_batch_4.bin wanted: .*https://www.cs.toronto"
    ):
        DATASETS["cifar10"](root=tmp_path, download=False)
