import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cutlayer.data import DATASETS

RNG = np.random.default_rng(2)
GREY = RNG.integers(0, 256, (6, 4), np.uint8)
RGB = RNG.integers(0, 256, (6, 4, 3), np.uint8)


def put(folder, name="a.png", image=GREY, **options):
    folder.mkdir(parents=True, exist_ok=True)
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(folder / name, **options)
    return folder / name


def load(path, **kwargs):
    return DATASETS["images"](path=path, **kwargs)


def test_classes_and_files_are_in_the_order_of_their_names(tmp_path):
    for cls, name, value in [("b", "2.png", 20), ("a", "9.PNG", 10), ("b", "10.bmp", 30)]:
        put(tmp_path / "set" / cls, name, np.full((6, 4), value, np.uint8))
    put(tmp_path / "set" / "a" / "deeper", "1.png", np.full((6, 4), 5, np.uint8))
    (tmp_path / "set" / "a" / "notes.txt").write_text("no picture")
    (tmp_path / "set" / "a" / "._9.png").write_text("what a Mac leaves behind")
    (tmp_path / "set" / ".cache").mkdir()
    d = load("set", root=tmp_path)
    assert d.x[:, 0, 0, 0].tolist() == [10, 5, 30, 20]
    assert d.y.tolist() == [0, 0, 1, 1]
    assert (d.name, d.classes, d.shape) == ("set", ("a", "b"), (1, 6, 4))
    assert (d.shuffled, d.parts, d.source["files"]) == (False, {}, 4)
    assert load(tmp_path / "set").checksum == d.checksum


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp"])
def test_pixels_are_those_of_the_file(tmp_path, suffix):
    put(tmp_path / "only", f"a.{suffix}", RGB, **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(load(tmp_path).x[0].numpy(), RGB.transpose(2, 0, 1))


def test_without_a_path_the_root_is_the_folder(tmp_path):
    put(tmp_path / "cat")
    put(tmp_path / "dog")
    found = DATASETS["images"](root=tmp_path)
    assert found.classes == ("cat", "dog")
    assert found.checksum == load(tmp_path).checksum


def modes():
    rgba = np.dstack([RGB, np.full((6, 4), 255, np.uint8)])
    rgba[0, 0, 3] = 0
    composed = RGB.copy()
    composed[0, 0] = 255
    sixteen = GREY.astype(np.uint16) * 257
    palette = Image.fromarray(RGB).quantize(24, dither=Image.Dither.NONE)
    bits = (GREY > 127).astype(np.uint8) * 255
    la = Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (4, 6), 0)])
    clear = Image.new("P", (4, 6), 3)
    clear.putpalette([9] * 12)
    return [
        ("grey", Image.fromarray(GREY), GREY[..., None], {}),
        ("rgb", Image.fromarray(RGB), RGB, {}),
        ("rgba", Image.fromarray(rgba), composed, {}),
        ("palette", palette, np.asarray(palette.convert("RGB")), {}),
        ("16-bit", Image.fromarray(sixteen), GREY[..., None], {}),
        ("1-bit", Image.fromarray(bits).convert("1"), bits[..., None], {}),
        ("grey-alpha", la, np.full((6, 4, 1), 255), {}),
        ("key", Image.new("L", (4, 6), 7), np.full((6, 4, 1), 255), {"transparency": 7}),
        ("palette-alpha", clear, np.full((6, 4, 3), 255), {"transparency": 3}),
    ]


@pytest.mark.parametrize(("image", "wanted", "options"), [m[1:] for m in modes()], ids=range(9))
def test_every_mode_is_read(tmp_path, image, wanted, options):
    put(tmp_path / "only", "a.png", image, **options)
    assert np.array_equal(load(tmp_path).x[0].movedim(0, -1).numpy(), wanted)
    assert load(tmp_path, mode="rgb").shape == (3, 6, 4)
    assert load(tmp_path, mode="grey").shape == (1, 6, 4)


def test_grey_and_colour_together_are_colour(tmp_path):
    put(tmp_path / "only", "a.png", GREY)
    put(tmp_path / "only", "b.png", RGB)
    d = load(tmp_path)
    assert np.array_equal(d.x[0].numpy(), np.stack([GREY] * 3))


def test_train_and_test_folders_are_parts(tmp_path):
    for part, cls, name in [("train", "a", "1"), ("train", "b", "1"), ("test", "b", "1")]:
        put(tmp_path / part / cls, f"{name}.png")
    d = load(tmp_path)
    assert d.parts == {"train": (0, 2), "test": (2, 3)}
    assert d.y.tolist() == [0, 1, 1]


def test_classes_may_be_called_train_and_test(tmp_path):
    put(tmp_path / "train")
    put(tmp_path / "test")
    d = load(tmp_path)
    assert (d.classes, d.parts) == (("test", "train"), {})


# Property


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 32))
def test_size_gives_a_square_of_any_picture(tmp_path_factory, width, height, size):
    folder = tmp_path_factory.mktemp("any")
    put(folder / "only", "a.png", np.full((height, width), 77, np.uint8))
    x = load(folder, size=size).x
    assert x.shape == (1, 1, size, size)
    assert (x == 77).all()


def test_resizing_keeps_the_middle(tmp_path):
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 200
    put(tmp_path / "only", "a.png", wide)
    assert (load(tmp_path, size=8).x == 200).all()


# Trap: the camera's orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_before_sizes_are_compared(tmp_path, orientation):
    undo = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]  # Image.Transpose that stores it so
    stored = Image.fromarray(GREY)
    stored = stored if undo is None else stored.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    put(tmp_path / "only", "a.png", stored, exif=exif)
    put(tmp_path / "only", "b.png", GREY)
    x = load(tmp_path).x
    assert torch.equal(x[0], x[1])


# Messages


def test_pictures_of_two_sizes_are_named(tmp_path):
    put(tmp_path / "a", "1.png")
    put(tmp_path / "b", "2.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(ValueError, match=r"got 4×6 in .*1\.png and 9×9 in .*2\.png; .*size=4"):
        load(tmp_path)
    assert load(tmp_path, size=4).shape == (1, 4, 4)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp", "tiff"])
@pytest.mark.parametrize("kept", [0, 0.3, 0.7])
def test_a_truncated_picture_is_named(tmp_path, suffix, kept):
    big = RNG.integers(0, 256, (64, 64), np.uint8)
    path = put(tmp_path / "only", f"a.{suffix}", big)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match=rf"a\.{suffix}: a whole picture wanted: "):
        load(tmp_path)


def test_text_in_a_picture_file_is_named(tmp_path):
    put(tmp_path / "only").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"a\.png: a whole picture wanted: .*; replace the file"):
        load(tmp_path)


def test_pixels_of_unknown_range_are_refused(tmp_path):
    put(tmp_path / "only", "a.tiff", np.ones((3, 3), np.float32))
    with pytest.raises(ValueError, match=r"a\.tiff: .*8 or 16 bits a pixel wanted: got mode F"):
        load(tmp_path)


def test_folders_that_are_no_classes_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="a folder for each class wanted"):
        load(tmp_path)
    put(tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match=r"b: at least one picture wanted \(.*\.png.*: got none"):
        load(tmp_path)


def test_odd_train_and_test_folders_are_refused(tmp_path):
    put(tmp_path / "train" / "a")
    put(tmp_path / "test" / "b")
    with pytest.raises(ValueError, match=r"must be in train/: got b in test/ only"):
        load(tmp_path)
    put(tmp_path / "val" / "a")
    with pytest.raises(ValueError, match=r"only train/ and test/ wanted: got val beside them"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be >= 1 pixel: got 0"),
        ({"mode": "gray"}, "must be 'grey' or 'rgb'"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **options)
