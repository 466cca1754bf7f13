"""What becomes of image files, through the readers: pixels, turns, names, limits and faults."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from image_files import append_png_exif, write_deep_png, write_deep_tiff
from PIL import Image, ImageFile, ImageOps
from voc_folder import write_voc

from spnas_core.errors import DataError
from spnas_detect.data import StreamedSplit, build_cache, open_data, open_image_folder, read_data, read_image
from spnas_detect.data.cache.files import PixelFile
from spnas_detect.data.decoding import drop_unreadable
from spnas_detect.data.images import image_size, read_header
from spnas_detect.data.images.headers import ordinary_size
from spnas_detect.data.images.orientation import turn
from spnas_detect.data.survey import find_faults
from spnas_detect.inference.prediction import _read

ORIENTATION = 0x0112
SPLITS = {"train": "train.json", "validation": "val.json", "test": "test.json"}


def picture(width=30, height=20, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def deep(channels, seed=0):
    values = np.random.default_rng(seed).integers(0, 65536, (20, 30, channels), np.uint16)
    values.reshape(-1)[:8] = [0, 128, 129, 255, 256, 257, 65406, 65535]
    return values


def noted(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def on_white(rgb, alpha):
    """Blend in floats; Pillow's whole numbers are within one of it."""
    share = np.asarray(alpha, np.float64)[..., None] / 255
    return rgb * share + 255 * (1 - share)


def save_coco(folder, **splits):
    """Write a COCO folder of image files that lie in ``folder/images``: per split {name: annotated (width, height)}."""
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    for split, file in SPLITS.items():
        if split not in splits:
            Image.fromarray(picture()).save(folder / "images" / f"{split}-plain.png")
        sizes = splits.get(split, {f"{split}-plain.png": (30, 20)})
        images = [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, (width, height)) in enumerate(sizes.items(), 1)
        ]
        boxes = [
            {"id": image["id"], "image_id": image["id"], "category_id": 1, "bbox": [2, 3, 12, 25], "iscrowd": 0}
            for image in images
        ]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
        (folder / "annotations" / file).write_text(json.dumps(content))
    return folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    return tmp_path / "data"


def load(folder, **options):
    return open_data(f"coco:{folder}", seed=0, **options)


def read_one(folder, name, size=(30, 20), **options):
    """Read one image through the COCO reader: pixels and notes."""
    data = load(save_coco(folder, train={name: size}), **options)
    return data.splits["train"][0].read(), data.notes


# ---- what is stored


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


# ---- limits


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


# ---- turning


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "jpg"])
def test_images_are_turned_as_pillow_turns_them(tmp_path, orientation, suffix):
    path, options = tmp_path / f"a.{suffix}", {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(picture()).save(path, exif=noted(orientation), **options)
    plain = tmp_path / f"b.{suffix}"
    Image.fromarray(picture()).save(plain, **options)
    with Image.open(plain) as image:
        expected = ImageOps.exif_transpose(Image.fromarray(np.asarray(image)))
        stored = np.asarray(image)
    methods = [None, 0, 3, 1, 5, 4, 6, 2]  # of Image.transpose, by orientation
    if orientation != 1:
        expected = expected.transpose(methods[orientation - 1])
    np.testing.assert_array_equal(read_image(path), np.asarray(expected))
    np.testing.assert_array_equal(read_image(path, turned=False), stored)
    np.testing.assert_array_equal(turn(stored, orientation), np.asarray(expected))
    assert (read_header(path).size, read_header(path).orientation) == ((30, 20), orientation)
    assert image_size(path) == expected.size
    assert image_size(path, turned=False) == (30, 20)


def test_an_orientation_behind_the_pixels_of_a_png_is_found_without_decoding(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    append_png_exif(path, noted(6).tobytes().removeprefix(b"Exif\0\0"))
    assert read_image(path).shape == (30, 20, 3)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    assert read_header(path).orientation == 6


def test_an_orientation_in_xmp_is_found(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    Image.fromarray(picture()).save(tmp_path / "a.jpg", xmp=xmp)
    assert read_header(tmp_path / "a.jpg").orientation == 8
    assert read_image(tmp_path / "a.jpg").shape == (30, 20, 3)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, value):
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=noted(value))
    assert read_header(tmp_path / "a.png").orientation == 1
    assert read_image(tmp_path / "a.png").shape == (20, 30, 3)


def save_noted(folder, **orientations):
    """Save images of 30x20 pixels, squares of 24 where the name says so."""
    for seed, (name, orientation) in enumerate(orientations.items()):
        size = (24, 24) if name.startswith("square") else (30, 20)
        Image.fromarray(picture(*size, seed=seed)).save(folder / "images" / f"{name}.png", exif=noted(orientation))


def shapes(data):
    return {record.name.removesuffix(".png"): record.read().shape[1::-1] for record in data.splits["train"]}


def turned_names(data):
    """Return the images that are read otherwise than they are stored, and see that sizes are those of the pixels."""
    found = set()
    for record in data.splits["train"]:
        pixels = record.read()
        assert pixels.shape[1::-1] == (record.width, record.height), record.name
        assert (record.boxes[:, 2:] <= [record.width, record.height]).all(), record.name
        path = record.read.args[0]
        if not np.array_equal(pixels, read_image(path, turned=False)):
            found.add(record.name.removesuffix(".png"))
    return found


def test_annotated_sizes_decide_which_images_are_turned(folder):
    save_noted(folder, a=6, b=8, c=5, plain=1)
    data = load(
        save_coco(folder, train={"a.png": (20, 30), "b.png": (30, 20), "c.png": (20, 30), "plain.png": (30, 20)})
    )
    assert turned_names(data) == {"a", "c"}
    assert data.notes == (
        "EXIF notes an orientation in 3 image(s), first a.png: 2 turned and 1 left as stored by their annotated sizes",
    )
    boxes = {record.name: record.boxes.tolist() for record in data.splits["train"]}
    # 25 high as written: cut where the image is 20 high
    assert boxes["a.png"] == [[2, 3, 14, 28]]
    assert boxes["b.png"] == [[2, 3, 14, 20]]


@pytest.mark.parametrize(("sizes", "follows"), [([(20, 30)], True), ([(30, 20)], False), ([(20, 30), (30, 20)], True)])
def test_where_sizes_cannot_tell_most_of_the_others_do_and_turning_wins_ties(folder, sizes, follows):
    decided = {f"d{number}": 6 for number in range(len(sizes))}
    save_noted(folder, **decided, square=8, half=3, mirrored=2)
    annotated = {f"d{number}.png": size for number, size in enumerate(sizes)}
    doubtful = {"square.png": (24, 24), "half.png": (30, 20), "mirrored.png": (30, 20)}
    data = load(save_coco(folder, train={**annotated, **doubtful}))
    doubted = turned_names(data) - set(decided)
    assert doubted == ({"square", "half", "mirrored"} if follows else set())
    verb = "turned" if follows else "left as stored"
    assert data.notes[0].endswith(f"by their annotated sizes, 3 {verb} as most of the others")


def test_without_any_evidence_images_are_turned(folder):
    save_noted(folder, square=6, half=3)
    data = load(save_coco(folder, train={"square.png": (24, 24), "half.png": (30, 20)}))
    assert turned_names(data) == {"square", "half"}
    assert data.notes == ("EXIF notes an orientation in 2 image(s), first square.png: 2 turned for want of evidence",)


def test_evidence_is_that_of_all_splits(folder):
    save_noted(folder, square=6, other=6)
    data = load(save_coco(folder, train={"square.png": (24, 24)}, test={"other.png": (30, 20)}))
    assert turned_names(data) == set()


def test_an_annotated_size_of_neither_is_no_evidence_and_stays(folder):
    save_noted(folder, a=6)
    data = load(save_coco(folder, train={"a.png": (300, 200)}))
    (record,) = data.splits["train"]
    assert (record.width, record.height) == (300, 200)
    assert record.read().shape == (30, 20, 3)


def test_apply_and_ignore_are_obeyed_and_what_sizes_say_against_it_is_noted(folder):
    save_noted(folder, a=6, b=6)
    save_coco(folder, train={"a.png": (20, 30), "b.png": (30, 20)})
    for exif, turned, against, other in (("apply", {"a", "b"}, "b", "stored"), ("ignore", set(), "a", "turned")):
        data = load(folder, exif=exif)
        assert turned_names(data) == turned
        (note,) = data.notes
        assert f"as exif = '{exif}' asks; 1 have the annotated size of the {other} image, first {against}.png" in note


def test_tiffs_follow_the_rule_though_pillow_turns_them_itself(folder):
    Image.fromarray(picture()).save(folder / "images" / "a.tif", exif=noted(6))
    Image.fromarray(picture()).save(folder / "images" / "b.tif", exif=noted(6))
    data = load(save_coco(folder, train={"a.tif": (20, 30), "b.tif": (30, 20)}))
    one, other = (record.read() for record in data.splits["train"])
    np.testing.assert_array_equal(one, turn(picture(), 6))
    np.testing.assert_array_equal(other, picture())


def voc_with(folder, size, **orientations):
    """Write a VOC folder of which training images note orientations; ``size`` replaces the annotated one."""
    root = write_voc(folder / "voc", images=6, size=64)
    for name, orientation in orientations.items():
        Image.fromarray(picture(64, 40)).save(root / "JPEGImages" / f"{name}.jpg", exif=noted(orientation))
        file = root / "Annotations" / f"{name}.xml"
        text = file.read_text()
        start, end = text.index("<size>"), text.index("</size>") + len("</size>")
        box = "<xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>60</ymax>"
        objects = f"<object><name>square</name><bndbox>{box}</bndbox></object></annotation>"
        file.write_text(text[:start] + size + objects)
        assert text[end:]
    return root


@pytest.mark.parametrize(
    ("size", "exif", "shape", "box"),
    [
        ("<size><width>40</width><height>64</height></size>", "auto", (64, 40, 3), [10, 20, 30, 60]),
        ("<size><width>64</width><height>40</height></size>", "auto", (40, 64, 3), [10, 20, 30, 40]),
        ("", "auto", (64, 40, 3), [10, 20, 30, 60]),
        ("", "ignore", (40, 64, 3), [10, 20, 30, 40]),
        ("<size><width>0</width><height>0</height></size>", "apply", (64, 40, 3), [10, 20, 30, 60]),
        ("<size><width>64</width><height>40</height></size>", "apply", (64, 40, 3), [10, 20, 30, 60]),
    ],
)
def test_voc_has_boxes_of_the_image_as_it_ends_up(tmp_path, size, exif, shape, box):
    data = open_data(f"voc:{voc_with(tmp_path, size, train000=6)}", seed=0, exif=exif)
    record = next(one for one in data.splits["train"] if one.name == "train000")
    assert record.read().shape == shape == (record.height, record.width, 3)
    assert record.boxes.tolist() == [box]
    assert data.notes[0].startswith("EXIF notes an orientation in 1 image(s), first train000.jpg: ")


def test_turned_images_are_the_same_in_cache_streaming_and_prediction(tmp_path):
    size = "<size><width>40</width><height>64</height></size>"
    root = voc_with(tmp_path, size, train000=6, train001=8, train002=5, train003=7)
    data = open_data(f"voc:{root}", seed=0)
    canvas = (48, 56)
    cached = build_cache(data, tmp_path / "cache", image_size=canvas)
    assert data.notes[0] in cached.notes
    assert not any("differ from their annotated size" in note for note in cached.notes)
    split, streamed = cached.split("train"), StreamedSplit(data.splits["train"], canvas)
    assert torch.equal(split.images(range(len(split))), streamed.images(range(len(split))))
    alone = []
    for index, record in enumerate(data.splits["train"]):
        for field in ("boxes", "labels", "canvas_boxes"):
            assert torch.equal(getattr(split, field)(index), getattr(streamed, field)(index))
        assert split.size(index) == streamed.size(index) == (record.width, record.height)
        # what spnas predict sees of the file
        seen = _read(root / "JPEGImages" / f"{record.name}.jpg", 2**28)
        np.testing.assert_array_equal(seen, record.read())
        alone.append(replace(record, read=lambda seen=seen: seen))
    again = StreamedSplit(alone, canvas)
    assert torch.equal(again.images(range(len(alone))), split.images(range(len(alone))))
    # the same data, turned once and for all, has the same content
    for name in ("train000", "train001", "train002", "train003"):
        file = root / "JPEGImages" / f"{name}.jpg"
        (tmp_path / "copy.png").unlink(missing_ok=True)
        Image.fromarray(read_image(file)).save(tmp_path / "copy.png")
        file.unlink()
        (tmp_path / "copy.png").rename(file.with_suffix(".png"))
    upright = build_cache(open_data(f"voc:{root}", seed=0), tmp_path / "cache", image_size=canvas)
    assert upright.content == cached.content


def test_opening_decodes_no_pixel(tmp_path, monkeypatch):
    root = voc_with(tmp_path, "", train000=6, train001=3)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    data = open_data(f"voc:{root}", seed=0)
    assert (data.splits["train"][0].width, data.splits["train"][0].height) == (40, 64)


def test_ordinary_images_are_opened_without_pillow(folder, monkeypatch):
    save_coco(folder)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("Pillow is slow"))
    assert load(folder).notes == ()


def test_classes_of_images_are_turned_and_tiffs_count(tmp_path):
    for name in ("ant", "bee"):
        for number in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(picture()).save(tmp_path / name / f"{number}.tif", exif=noted(6))
            Image.fromarray(picture()).save(tmp_path / name / f"{number}.jpg", exif=noted(6))
    images = open_image_folder(tmp_path, seed=0).splits["train"]
    assert {image.read().shape for image in images} == {(30, 20, 3)}
    assert {image.name.rpartition(".")[2] for image in images} == {"jpg", "tif"}


# ---- names


@pytest.mark.parametrize("stored", ["a.JPG", "a.jpeg", "a.png", "a.webp", "a.TIFF", "A.jpg", "A.bmp"])
def test_coco_finds_an_image_by_its_stem_and_counts_it(folder, stored):
    Image.fromarray(picture()).save(folder / "images" / stored)
    data = load(save_coco(folder, train={"a.jpg": (30, 20)}))
    assert data.splits["train"][0].name == "a.jpg"
    assert data.splits["train"][0].read().shape == (20, 30, 3)
    assert data.notes == (f"1 image(s) found under another extension or case than annotated, first a.jpg as {stored}",)


def test_several_images_of_a_stem_are_named_and_none_is_guessed(folder):
    for stored in ("a.png", "A.webp", "a.v2.png"):
        Image.fromarray(picture()).save(folder / "images" / stored)
    (folder / "images" / "a.txt").write_text("no image")
    save_coco(folder, train={"a.jpg": (30, 20)})
    with pytest.raises(DataError, match=r"image .*a\.jpg does not exist, and A\.webp, a\.png might all be meant"):
        load(folder)
    save_coco(folder, train={"a.v2.jpg": (30, 20), "a.png": (30, 20)})
    assert "first a.v2.jpg as a.v2.png" in load(folder).notes[0]


def test_one_file_does_not_stand_for_two_annotated_images(folder):
    Image.fromarray(picture()).save(folder / "images" / "a.png")
    save_coco(folder, train={"a.jpg": (30, 20), "a.png": (30, 20)})
    with pytest.raises(DataError, match=r"a\.png is the only one for a\.jpg and a\.png, which are annotated apart"):
        load(folder)


def test_an_image_that_is_nowhere_is_still_missing(folder):
    with pytest.raises(DataError, match=r"lists the image a\.jpg, which none of these folders holds"):
        load(save_coco(folder, train={"a.jpg": (30, 20)}))


@pytest.mark.parametrize("written", ["<filename>train000.jpg</filename>", "<filename>other</filename>", ""])
def test_voc_finds_an_image_by_its_stem_and_counts_what_the_annotation_said_otherwise(tmp_path, written):
    root = write_voc(tmp_path / "voc", images=6)
    image = root / "JPEGImages" / "train000.jpg"
    pixels = read_image(image)
    image.unlink()
    Image.fromarray(pixels).save(image.with_suffix(".WEBP"), lossless=True)
    file = root / "Annotations" / "train000.xml"
    file.write_text(file.read_text().replace("<filename>train000.jpg</filename>", written))
    data = open_data(f"voc:{root}", seed=0)
    np.testing.assert_array_equal(data.splits["train"][0].read(), pixels)
    found = "1 image(s) found under another extension or case than annotated, first train000.jpg as train000.WEBP"
    assert data.notes == ((found,) if "train000" in written else ())
    Image.fromarray(pixels).save(image.with_suffix(".png"))
    with pytest.raises(DataError, match=r"train000\.WEBP, train000\.png might all be meant"):
        open_data(f"voc:{root}", seed=0)


def test_voc_takes_the_file_that_the_annotation_names(tmp_path):
    root = write_voc(tmp_path / "voc", images=6)
    Image.fromarray(picture()).save(root / "JPEGImages" / "train000.png")
    file = root / "Annotations" / "train000.xml"
    assert open_data(f"voc:{root}", seed=0).splits["train"][0].read().shape == (64, 64, 3)
    file.write_text(file.read_text().replace("train000.jpg", "train000.png"))
    data = open_data(f"voc:{root}", seed=0)
    np.testing.assert_array_equal(data.splits["train"][0].read(), picture())
    assert data.notes == ()


def test_eurocity_finds_an_image_by_its_stem(tmp_path):
    for split in ("train", "val"):
        for number in range(3):
            labels = tmp_path / "day" / "labels" / split / "ulm"
            images = tmp_path / "day" / "img" / split / "ulm"
            for place in (labels, images):
                place.mkdir(parents=True, exist_ok=True)
            child = {"identity": "pedestrian", "x0": 2, "y0": 3, "x1": 12, "y1": 19, "tags": [], "children": []}
            content = {"imagewidth": 30, "imageheight": 20, "children": [child]}
            (labels / f"{number}.json").write_text(json.dumps(content))
            Image.fromarray(picture()).save(images / f"{number}.{'JPG' if number == 1 else 'png'}", quality=95)
    data = open_data(f"ecp:{tmp_path}", seed=0)
    assert "2 image(s) found under another extension or case than annotated, first 1.png as 1.JPG" in data.notes
    assert sum(map(len, data.splits.values())) == 6


# ---- faults


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


@pytest.fixture
def torn(tmp_path):
    """A VOC folder of which some images are cut off, and one is no image at all."""
    root = write_voc(tmp_path / "voc", images=8)
    for name in ("train001", "train004", "train006", "test002"):
        cut(root / "JPEGImages" / f"{name}.jpg")
    (root / "JPEGImages" / "train007.jpg").write_bytes(b"nothing")
    return root


DROPPED = (
    "4 training image(s) that do not decode left out: train001, train004, train006, …",
    "1 test image(s) that do not decode left out: test002",
)


def test_images_that_do_not_decode_are_refused_by_default_and_all_named(torn, tmp_path):
    with pytest.raises(DataError, match=r"train001\.jpg does not decode: .*; and 4 more faults"):
        build_cache(open_data(f"voc:{torn}", seed=0), tmp_path / "cache", image_size=(32, 32))


def test_dropped_images_are_counted_and_the_others_cached_as_without_them(torn, tmp_path):
    data = open_data(f"voc:{torn}", seed=0, on_fault="drop")
    cached = build_cache(data, tmp_path / "cache", image_size=(32, 40))
    assert cached.notes == DROPPED
    for split, file in (("train", "train.txt"), ("test", "test.txt")):
        lists = torn / "ImageSets" / "Main" / file
        gone = {"train001", "train004", "train006", "train007", "test002"}
        lists.write_text("".join(f"{name}\n" for name in lists.read_text().split() if name not in gone))
        assert len(cached.split(split)) == len(lists.read_text().split())
    whole = build_cache(open_data(f"voc:{torn}", seed=0), tmp_path / "cache", image_size=(32, 40))
    assert whole.content == cached.content
    for split in ("train", "validation", "test"):
        one, other = cached.split(split), whole.split(split)
        assert one.names == other.names
        assert torch.equal(one.images(range(len(one))), other.images(range(len(other))))
        for folder in (cached.folder, whole.folder):
            assert np.load(folder / split / "images.npy").shape == (len(one), 3, 40, 32)
        assert (cached.folder / split / "images.npy").read_bytes() == (whole.folder / split / "images.npy").read_bytes()


def test_streaming_drops_what_the_cache_drops(torn, tmp_path):
    data = open_data(f"voc:{torn}", seed=0, on_fault="drop")
    cached = build_cache(data, tmp_path / "cache", image_size=(32, 32))
    left = drop_unreadable(data)
    assert left.notes == DROPPED
    for split in ("train", "validation", "test"):
        one, other = cached.split(split), StreamedSplit(left.splits[split], (32, 32))
        assert one.names == other.names
        assert torch.equal(one.images(range(len(one))), other.images(range(len(one))))
    kept = open_data(f"voc:{torn}", seed=0)
    assert drop_unreadable(kept) is kept


def test_check_takes_dropped_images_for_no_hindrance(torn):
    data = read_data(f"voc:{torn}", seed=0, options={"on_fault": "drop"})
    found = find_faults(data, opens_images=True)
    assert [fault.where for fault in found] == ["train001", "train004", "train006", "train007", "test002"]
    assert not any(fault.is_fatal for fault in found)
    from spnas_detect.commands.data import check

    assert CliRunner().invoke(check, [f"voc:{torn}"]).exit_code == 1
    assert CliRunner().invoke(check, [f"voc:{torn}", "--data-option", "on_fault=drop"]).exit_code == 0


def test_a_split_that_is_emptied_is_refused_everywhere(torn, tmp_path):
    for file in (torn / "JPEGImages").glob("validation*.jpg"):
        cut(file)
    data = open_data(f"voc:{torn}", seed=0, on_fault="drop")
    message = r"the validation split of .* has no box in its 0 image\(s\) that decode"
    with pytest.raises(DataError, match=message):
        build_cache(data, tmp_path / "cache", image_size=(32, 32))
    with pytest.raises(DataError, match=message):
        drop_unreadable(data)
    assert any(fault.is_fatal for fault in find_faults(data, opens_images=True))


def test_an_image_without_any_size_is_dropped_or_refused_when_it_is_opened(torn):
    file = torn / "Annotations" / "train007.xml"
    text = file.read_text()
    file.write_text(text.replace("<width>64<", "<width>0<"))
    with pytest.raises(DataError, match=r"train007\.jpg does not decode"):
        open_data(f"voc:{torn}", seed=0)
    data = open_data(f"voc:{torn}", seed=0, on_fault="drop")
    assert "1 image(s) that do not decode left out: train007.jpg" in data.notes
    assert "train007" not in {record.name for record in data.splits["train"]}


@pytest.mark.parametrize("kept", [[], [0], [4], [1, 3], [0, 1, 2, 3, 4]])
def test_a_pixel_file_keeps_what_it_is_told_to(tmp_path, kept):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 7, 9), np.uint8)
    with PixelFile(tmp_path / "a.npy", 5, (9, 7)) as file:
        for index in (3, 0, 4, 2, 1):
            file.write(index, torch.from_numpy(images[index]))
        file.keep(kept)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), images[kept])
    with PixelFile(tmp_path / "b.npy", len(kept), (9, 7)) as file:
        for place, index in enumerate(kept):
            file.write(place, torch.from_numpy(images[index]))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
