"""Images are turned by one rule, in training, evaluation and prediction."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from image_data import load, picture, save_coco
from image_files import append_png_exif
from PIL import Image, ImageFile, ImageOps
from voc_folder import write_voc

from spnas_detect.data import StreamedSplit, build_cache, open_data, open_image_folder, read_image
from spnas_detect.data.images import image_size, read_header
from spnas_detect.data.images.orientation import turn
from spnas_detect.inference.prediction import _read

ORIENTATION = 0x0112


def noted(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


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
        path = record.read.path
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
