import gzip
import re
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cutlayer.data import DATASETS
from cutlayer.data.femnist import framed
from cutlayer.parts import Part, canonical

STEMS = ("images-idx3-ubyte", "labels-idx1-ubyte", "clients-idx1-ubyte")
load = DATASETS["femnist-digits"]


def encode(a):
    a = np.asarray(a, np.uint8)
    return struct.pack(f">BBBB{a.ndim}I", 0, 0, 8, a.ndim, *a.shape) + a.tobytes()


def ink(box, top=9, left=9):
    """Light on black, one image: the box at its place in a field of 28×28."""
    box = np.asarray(box, np.uint8)
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, top : top + box.shape[0], left : left + box.shape[1]] = box
    return image


def strokes(height, width, seed=0):
    """A full box of uneven ink, none of it faint."""
    return np.random.default_rng(seed).integers(128, 256, (height, width))


def publish(folder, *, zipped=False, **changed):
    """Three stored images, dark on white, the last without ink."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = np.concatenate([ink(strokes(9, 6)), ink(strokes(4, 11), 2, 15), ink([[0]])])
    arrays = {"images": 255 - drawn, "labels": [3, 9, 0], "clients": [4, 4, 7]} | changed
    for stem in STEMS:
        data = encode(arrays[stem.partition("-")[0]])
        path = folder / (stem + ".gz" * zipped)
        path.write_bytes(gzip.compress(data) if zipped else data)
    return 255 - drawn


def extent(image):
    """First and last row, first and last column with ink."""
    rows, columns = np.nonzero(image)
    return rows.min(), rows.max(), columns.min(), columns.max()


def sides(image):
    top, bottom, left, right = extent(image)
    return bottom - top + 1, right - left + 1


def middle(image):
    image = image.astype(float)
    return [float((np.indices(image.shape)[a] * image).sum() / image.sum()) for a in (0, 1)]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("place", ["", "femnist_digits"])
def test_files_are_found_in_the_root_or_in_their_folder(tmp_path, place, zipped):
    stored = publish(tmp_path / place, zipped=zipped)
    d = load(root=tmp_path, layout="as-stored")
    assert d.name == "femnist-digits"
    assert np.array_equal(d.x[:, 0].numpy(), stored)
    assert d.y.tolist() == [3, 9, 0]
    assert d.classes == tuple("0123456789")
    assert d.parts == {}  # no published division
    assert not d.shuffled  # in the order of the clients
    x, _ = d.take(torch.arange(3))
    assert torch.equal(x, d.x.float() / 255)


def test_what_was_read_is_in_the_source(tmp_path):
    publish(tmp_path)
    source = load(root=tmp_path).source
    assert [f["path"] for f in source["files"]] == [str(tmp_path / s) for s in STEMS]
    assert source["layout"] == "mnist"
    assert source["clients"] == {"4": 2, "7": 1}


def test_the_frame_is_the_default_and_turns_the_ink_light(tmp_path):
    stored = publish(tmp_path)
    d = load(root=tmp_path)
    assert torch.equal(d.x, framed(255 - stored))
    x, _ = d.take(torch.arange(3))
    assert x.shape == (3, 1, 28, 28)
    assert x.dtype == torch.float32
    for image in x[:2, 0]:
        assert image[14, 14] > 0.5
        assert not image[0].any()
        assert image.max() <= 1


# Another implementation of the scaling


@pytest.mark.parametrize(("height", "width"), [(9, 6), (5, 13), (25, 28), (20, 20)])
def test_the_scaling_is_that_of_pillow(height, width):
    box = strokes(height, width)
    size = [round(s * 20 / max(height, width)) for s in (width, height)]
    picture = Image.fromarray(box.astype(np.float32))  # in bytes it would round twice
    wanted = np.asarray(picture.resize(size, Image.Resampling.BICUBIC)).clip(0, 255)
    image = framed(ink(box, 0, 0))[0, 0].numpy()
    top, bottom, left, right = extent(image)
    got = image[top : bottom + 1, left : right + 1].astype(float)
    assert got.shape == wanted.shape
    assert abs(got - wanted).max() <= 0.501  # whole numbers


# Properties


@given(st.integers(1, 28), st.integers(1, 28), st.integers(0, 99))
def test_the_longer_side_is_20_and_the_centre_of_mass_at_mnists(height, width, seed):
    image = framed(ink(strokes(height, width, seed), 0, 0))[0, 0].numpy()
    assert max(sides(image)) == 20
    assert sides(image) == tuple(
        max(1, round(s * 20 / max(height, width))) for s in (height, width)
    )
    assert middle(image) == pytest.approx([14, 14], abs=0.5 + 1e-6)


@given(st.integers(0, 18), st.integers(0, 21))
def test_where_the_ink_was_stored_does_not_matter(top, left):
    box = strokes(10, 7)
    assert torch.equal(framed(ink(box, top, left)), framed(ink(box)))


@given(st.integers(0, 99))
def test_anything_stays_in_the_field_and_comes_out_the_same_twice(seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, *rng.integers(1, 60, 2)), dtype=np.uint8)
    images[rng.random(images.shape) < 0.95] = 0
    out = framed(images)
    assert out.shape == (3, 1, 28, 28)
    assert torch.equal(framed(images), out)


# Traps


def test_noise_on_the_paper_moves_nothing():
    box = strokes(10, 7)
    noisy = np.maximum(ink(box), np.random.default_rng(1).integers(0, 32, (1, 28, 28)))
    assert torch.equal(framed(noisy.astype(np.uint8)), framed(ink(box)))
    assert framed(ink([[32]])).max() == 32  # and the faintest ink is still ink


def test_a_lopsided_digit_loses_no_ink():
    box = np.zeros((20, 20))
    box[0], box[-1, 0] = 255, 40  # its mass lies in the first row
    image = framed(ink(box, 0, 0))[0, 0].numpy()
    assert np.array_equal(image, ink(box, 8, 5)[0])


@pytest.mark.parametrize("level", [0, 1, 31])
def test_an_image_without_ink_stays_blank(level):
    assert not framed(np.full((2, 28, 28), level, np.uint8)).any()


def test_ink_too_thin_to_be_left_after_scaling_is_no_fault():
    specks = np.zeros((1, 999, 999), np.uint8)
    specks[0, 0, 0] = specks[0, -1, -1] = 32
    assert not framed(specks).any()


def test_the_layout_is_in_the_checksum(tmp_path):
    publish(tmp_path)
    assert load(root=tmp_path).checksum == load(root=tmp_path, layout="mnist").checksum
    assert load(root=tmp_path).checksum != load(root=tmp_path, layout="as-stored").checksum


def test_the_layout_is_an_option_of_the_name():
    part = canonical("data", Part.parse("femnist-digits:layout=as-stored"))
    assert part.args == {"layout": "as-stored"}
    with pytest.raises(ValueError, match="layout: one of mnist, as-stored wanted, got 'emnist'"):
        canonical("data", Part.parse("femnist-digits:layout=emnist"))


# Messages


@pytest.mark.parametrize("stem", STEMS)
def test_a_missing_file_is_named_with_where_it_was_looked_for_and_the_way_out(tmp_path, stem):
    publish(tmp_path)
    (tmp_path / stem).unlink()
    with pytest.raises(
        FileNotFoundError,
        match=rf"^{stem}\[.gz\] wanted: found in neither {tmp_path}/femnist_digits nor {tmp_path}; "
        "no public address is known.* put .*, or point the data root at",
    ):
        load(root=tmp_path)


@pytest.mark.parametrize(
    ("layout", "hint"),
    [("mnsit", ", did you mean 'mnist'"), ("stored", ", did you mean 'as-stored'"), ("?", "; kn")],
)
def test_an_unknown_layout_is_refused_before_anything_is_read(tmp_path, layout, hint):
    wanted = f"femnist-digits layout must be 'mnist' or 'as-stored': got {layout!r}{hint}"
    with pytest.raises(ValueError, match=re.escape(wanted)):
        load(root=tmp_path, layout=layout)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": [3, 9]}, r"got 3 images, 2 labels and 3 clients in .*different sets"),
        ({"clients": [4]}, r"got 3 images, 3 labels and 1 clients in .*different sets"),
        ({"labels": [3, 10, 0]}, r"femnist-digits: labels in 0..9 wanted.*got 0..10"),
        ({"images": [1, 2, 3]}, r"images-idx3-ubyte: an IDX file of .* rank 3 wanted"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, changed, message):
    publish(tmp_path, **changed)
    with pytest.raises(ValueError, match=message):
        load(root=tmp_path)
