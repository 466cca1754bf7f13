"""What becomes of the pixels of image files, through the readers."""

import warnings

import numpy as np
import pytest
from image_data import load, picture, save_coco
from image_files import write_deep_png, write_deep_tiff
from PIL import Image

from spnas_core.errors import DataError
from spnas_detect.data import build_cache
from spnas_detect.data.images import image_size, read_header
from spnas_detect.data.images.headers import ordinary_size


def deep(channels, seed=0):
    values = np.random.default_rng(seed).integers(0, 65536, (20, 30, channels), np.uint16)
    values.reshape(-1)[:8] = [0, 128, 129, 255, 256, 257, 65406, 65535]
    return values


def on_white(rgb, alpha):
    """Blend in floats; Pillow's whole numbers are within one of it."""
    share = np.asarray(alpha, np.float64)[..., None] / 255
    return rgb * share + 255 * (1 - share)


def read_one(folder, name, size=(30, 20), **options):
    """Read one image through the COCO reader: pixels and notes."""
    data = load(save_coco(folder, train={name: size}), **options)
    return data.splits["train"][0].read(), data.notes


def grey_of(values):
    return np.repeat(values[..., None], 3, 2)


PLAIN = {
    "rgb.png": lambda path: Image.fromarray(picture()).save(path),
    "rgb.jpg": lambda path: Image.fromarray(picture()).save(path),
    "progressive.jpg": lambda path: Image.fromarray(picture()).save(path, progressive=True),
    "grey.jpg": lambda path: Image.fromarray(picture(channels=1)).save(path),
    "grey.png": lambda path: Image.fromarray(picture(channels=1)).save(path),
    "bilevel.png": lambda path: Image.fromarray(picture(channels=1)).convert("1").save(path),
    "bilevel.tif": lambda path: Image.fromarray(picture(channels=1)).convert("1").save(path),
    "palette.png": lambda path: Image.fromarray(picture()).quantize(20).save(path),
    "palette.gif": lambda path: Image.fromarray(picture()).quantize(20).save(path),
    "rgb.webp": lambda path: Image.fromarray(picture()).save(path, lossless=True),
    "rgb.bmp": lambda path: Image.fromarray(picture()).save(path),
    "rgb.tiff": lambda path: Image.fromarray(picture()).save(path, compression="tiff_lzw"),
    "profile.png": lambda path: Image.fromarray(picture()).save(path, icc_profile=b"x" * 9000),
    "text.jpg": lambda path: Image.fromarray(picture()).save(path, comment=b"\xff\xd9 hello", dpi=(72, 72)),
    "large-profile.jpg": lambda path: Image.fromarray(picture()).save(path, icc_profile=b"x" * 150000),
}


@pytest.mark.parametrize("name", PLAIN)
def test_an_image_without_anything_special_reads_as_pillow_converts_it_and_is_not_noted(folder, name):
    path = folder / "images" / name
    PLAIN[name](path)
    pixels, notes = read_one(folder, name)
    with Image.open(path) as image:
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))
    assert notes == ()
    assert read_header(path).size == image_size(path) == (30, 20)
    assert ordinary_size(path) in {(30, 20), None}
    assert (ordinary_size(path) is not None) == (path.suffix in {".jpg", ".png"})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", ["png", "<", ">", "<deflated"])
def test_16_bit_is_scaled_by_257_and_rounded(folder, channels, order):
    values = deep(channels)
    path = folder / "images" / ("deep.png" if order == "png" else "deep.tif")
    if order == "png":
        write_deep_png(path, values)
    elif channels == 3:
        write_deep_tiff(path, values, order=order[0], is_compressed=order.endswith("deflated"))
    else:
        mode = "I;16B" if order[0] == ">" else "I;16"
        image = Image.frombytes(mode, (30, 20), values.astype(f"{order[0]}u2").tobytes())
        image.save(path, compression="tiff_adobe_deflate" if order.endswith("deflated") else None)
    pixels, notes = read_one(folder, path.name)
    expected = np.rint(values / 257)
    np.testing.assert_array_equal(pixels, np.broadcast_to(expected, (20, 30, 3)))
    assert notes == (f"1 image(s) of 16 bit scaled to 8 bit: value / 257, first {path.name}",)


def test_12_bit_in_16_stays_dark_since_nothing_tells_it_from_a_dark_image(folder):
    write_deep_png(folder / "images" / "dark.png", deep(1) // 16)
    pixels, _ = read_one(folder, "dark.png")
    assert pixels.max() == round(4095 / 257) == 16


def test_16_bit_with_alpha_lies_on_white(folder):
    for channels, name in ((2, "grey.png"), (4, "colour.png")):
        values = deep(channels)
        write_deep_png(folder / "images" / name, values)
        pixels, notes = read_one(folder, name)
        scaled = np.rint(values / 257)
        colours = np.broadcast_to(scaled[..., :-1], (20, 30, 3))
        assert np.abs(pixels - on_white(colours, scaled[..., -1])).max() <= 1
        assert [note.split(",")[0] for note in notes] == [
            "1 image(s) of 16 bit scaled to 8 bit: value / 257",
            "1 image(s) with transparency laid on white",
        ]


def test_a_transparent_colour_of_16_bit_is_white_and_its_neighbours_stay(folder):
    for channels in (1, 3):
        values = deep(channels)
        values[0, 0], values[0, 1] = 300, 301  # one colour in eight bit
        write_deep_png(folder / "images" / "key.png", values, key=(300,) * channels)
        pixels, _ = read_one(folder, "key.png")
        assert pixels[0, :2].tolist() == [[255] * 3, [1] * 3]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0, 0.25], [0.5, 1.0]], [[0, 64], [128, 255]]),
        ([[0.1, 0.2], [0.2, 0.3]], [[26, 51], [51, 77]]),
        ([[-10.0, 0.0], [10.0, 30.0]], [[0, 64], [128, 255]]),
        ([[0.0, 255.0], [51.0, 102.0]], [[0, 255], [51, 102]]),
        ([[7.0, 7.0], [7.0, 7.0]], [[0, 0], [0, 0]]),
        ([[np.nan, 2.0], [np.inf, 4.0]], [[0, 0], [255, 255]]),
        ([[np.nan, np.nan], [np.inf, -np.inf]], [[0, 0], [0, 0]]),
    ],
)
def test_floats_are_taken_as_such_in_0_to_1_and_stretched_otherwise(folder, values, expected):
    Image.fromarray(np.asarray(values, np.float32)).save(folder / "images" / "float.tif")
    pixels, notes = read_one(folder, "float.tif", (2, 2))
    np.testing.assert_array_equal(pixels, grey_of(np.asarray(expected)))
    assert notes[-1].startswith("1 image(s) of floats or 32-bit numbers scaled to 8 bit")


def test_32_bit_numbers_are_stretched(folder):
    Image.fromarray(np.asarray([[0, 1], [2, 100000]], np.int32)).save(folder / "images" / "whole.tif")
    pixels, _ = read_one(folder, "whole.tif", (2, 2))
    assert pixels[..., 0].tolist() == [[0, 0], [0, 255]]
    Image.fromarray(np.asarray([[0, 1], [1, 1]], np.int32)).save(folder / "images" / "whole.tif")
    assert read_one(folder, "whole.tif", (2, 2))[0][..., 0].tolist() == [[0, 255], [255, 255]]


def test_pgm_of_16_bit_is_no_float(folder):
    values = deep(1)[..., 0]
    header = b"P5\n30 20\n65535\n"
    (folder / "images" / "deep.pgm").write_bytes(header + values.astype(">u2").tobytes())
    pixels, notes = read_one(folder, "deep.pgm")
    np.testing.assert_array_equal(pixels, grey_of(np.rint(values / 257)))
    assert notes[0].startswith("1 image(s) of 16 bit")


def test_cmyk_is_converted_and_said(folder):
    Image.fromarray(picture(channels=4), "CMYK").save(folder / "images" / "print.jpg", quality=100)
    Image.fromarray(picture(channels=4), "CMYK").save(folder / "images" / "print.tif")
    for name in ("print.jpg", "print.tif"):
        pixels, notes = read_one(folder, name)
        with Image.open(folder / "images" / name) as image:
            inks = np.asarray(image).astype(float)
        expected = 255 * (1 - inks[..., :3] / 255) * (1 - inks[..., 3:] / 255)
        assert np.abs(pixels - expected).max() <= 1
        assert notes == (f"1 image(s) in CMYK converted to RGB without colour profiles, first {name}",)


TRANSPARENT = {
    "rgba.png": (lambda: Image.fromarray(picture(channels=4)), {}),
    "rgba.webp": (lambda: Image.fromarray(picture(channels=4)), {"lossless": True, "exact": True}),
    "rgba.tif": (lambda: Image.fromarray(picture(channels=4)), {}),
    "grey.png": (lambda: Image.fromarray(picture(channels=4)).convert("LA"), {}),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_alpha_is_laid_on_white_and_said(folder, name):
    make, options = TRANSPARENT[name]
    image = make()
    image.save(folder / "images" / name, **options)
    pixels, notes = read_one(folder, name)
    stored = np.asarray(image.convert("RGBA")).astype(float)
    assert np.abs(pixels - on_white(stored[..., :3], stored[..., 3])).max() <= 1
    assert notes == (f"1 image(s) with transparency laid on white, first {name}",)


def test_an_opaque_alpha_changes_no_pixel(folder):
    colours = picture()
    opaque = np.concatenate([colours, np.full((20, 30, 1), 255, np.uint8)], 2)
    Image.fromarray(opaque).save(folder / "images" / "opaque.png")
    np.testing.assert_array_equal(read_one(folder, "opaque.png")[0], colours)


def test_palettes_and_colours_that_are_transparent_are_white_there(folder):
    indices = np.arange(600, dtype=np.uint8).reshape(20, 30) % 4
    palette = Image.fromarray(indices, "P")
    palette.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 10, 20, 30])
    palette.save(folder / "images" / "one.png", transparency=1)
    palette.save(folder / "images" / "one.gif", transparency=1)
    palette.save(folder / "images" / "some.png", transparency=bytes([255, 0, 128, 255]))
    colours = np.asarray(palette.convert("RGB")).copy()
    colours[indices == 1] = 255
    for name in ("one.png", "one.gif"):
        pixels, notes = read_one(folder, name)
        np.testing.assert_array_equal(pixels, colours)
        assert notes == (f"1 image(s) with transparency laid on white, first {name}",)
    pixels, _ = read_one(folder, "some.png")
    assert pixels[0, :4].tolist() == [[200, 0, 0], [255, 255, 255], [127, 127, 227], [10, 20, 30]]
    rgb, grey = picture(), picture(channels=1)
    Image.fromarray(rgb).save(folder / "images" / "rgb.png", transparency=tuple(map(int, rgb[3, 4])))
    Image.fromarray(grey).save(folder / "images" / "grey.png", transparency=int(grey[3, 4]))
    for name, stored in (("rgb.png", rgb), ("grey.png", grey_of(grey))):
        key = (stored == stored[3, 4]).all(2)
        np.testing.assert_array_equal(read_one(folder, name)[0], np.where(key[..., None], 255, stored))


@pytest.mark.parametrize("name", ["moving.gif", "moving.png", "moving.webp", "pages.tif"])
def test_the_first_of_several_frames_is_read_and_said(folder, name):
    frames = [Image.new("RGB", (30, 20), colour) for colour in ((200, 10, 30), (0, 0, 255), (9, 9, 9))]
    options = {"lossless": True} if name.endswith("webp") else {}
    frames[0].save(folder / "images" / name, save_all=True, append_images=frames[1:], **options)
    pixels, notes = read_one(folder, name)
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[200, 10, 30]]
    assert notes == (f"1 image(s) of several frames or pages: the first is read, first {name}",)


def test_the_limit_on_pixels_is_an_option_and_pillows_own_does_not_matter(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("large.png", "large.tif", "large.webp", "large.gif"):
        Image.fromarray(picture()).save(folder / "images" / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("large.png", "large.webp", "large.gif"):
            assert read_one(folder, name)[0].shape == (20, 30, 3)
        monkeypatch.setattr("spnas_detect.data.images.reading._PILLOWS_LIMIT", 100)
        assert read_one(folder, "large.tif")[0].shape == (20, 30, 3)
    assert Image.MAX_IMAGE_PIXELS == 100
    assert read_one(folder, "large.png", max_pixels=600)[0].shape == (20, 30, 3)
    data = load(folder, max_pixels=599)
    message = r"large\.png has 30x20 = 600 pixels, more than max_pixels = 599: raise the option max_pixels"
    with pytest.raises(DataError, match=message):
        data.splits["train"][0].read()
    with pytest.raises(DataError, match=message):
        build_cache(data, folder / "cache", image_size=(16, 16))


def test_the_default_takes_200_megapixels(tmp_path):
    # 200 million black pixels of one bit take 25 kB on disk; they are not decoded to RGB here
    Image.new("1", (20000, 10000)).save(tmp_path / "huge.png")
    assert image_size(tmp_path / "huge.png") == (20000, 10000)
    from spnas_detect.data.images.opening import MAX_PIXELS, opened

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with opened(tmp_path / "huge.png", MAX_PIXELS) as image:
            assert image.size == (20000, 10000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exif": "aply"}, "coco exif is 'aply'.*apply.*it must be one of 'auto', 'apply', 'ignore'"),
        ({"on_fault": "skip"}, "coco on_fault is 'skip'.*one of 'refuse', 'drop'"),
        ({"max_pixels": 0}, "coco max_pixels is 0: it must be a whole number of pixels, at least 1"),
        ({"max_pixels": "many"}, "coco max_pixels is 'many'"),
    ],
)
def test_unusable_options_are_named(folder, options, message):
    with pytest.raises(DataError, match=message):
        load(save_coco(folder), **options)


def test_options_change_the_fingerprint_and_so_the_cache(folder):
    save_coco(folder)
    options = [{}, {"exif": "apply"}, {"exif": "ignore"}, {"on_fault": "drop"}, {"max_pixels": 600}]
    assert len({load(folder, **one).fingerprint for one in options}) == len(options)
    assert load(folder).fingerprint == load(folder, exif="auto", on_fault="refuse", max_pixels=2**28).fingerprint
