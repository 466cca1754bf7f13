"""JPEGs that are much larger than their canvas needs are decoded at a part of their size, everywhere alike."""

import json

import numpy as np
import pytest
import torch
from image_data import save_coco
from mixed_images import photograph
from PIL import Image
from tiny_training import tiny_settings

from spnas_detect.data import StreamedSplit, build_cache, open_data
from spnas_detect.data.cache.modes import MODES
from spnas_detect.data.fitting import fitted_in
from spnas_detect.data.images import ImageFile
from spnas_detect.detectors import DetectorDescription
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.inference.detection import detect
from spnas_detect.inference.evaluation import evaluate
from spnas_detect.inference.prediction import predict
from spnas_detect.jobs import train

CANVAS = (96, 64)
SIZES = {"large.jpg": (640, 427), "odd.jpg": (401, 203), "standing.jpg": (203, 401), "small.jpg": (150, 100)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "images").mkdir()
    for number, (name, size) in enumerate(SIZES.items()):
        photograph(*size, seed=number).save(folder / "images" / name, quality=92)
    turned = Image.Exif()
    turned[0x0112] = 6
    photograph(500, 300, seed=8).save(folder / "images" / "turned.jpg", exif=turned, quality=92)
    photograph(500, 300, seed=9).save(folder / "images" / "plain.png")
    sizes = {**SIZES, "turned.jpg": (300, 500), "plain.png": (500, 300)}
    save_coco(folder, train=sizes, test=sizes)
    for file in (folder / "annotations").iterdir():  # objects that a detector finds after a few steps
        content = json.loads(file.read_text())
        for box, image in zip(content["annotations"], content["images"], strict=True):
            box["bbox"] = [0.1 * image["width"], 0.1 * image["height"], 0.8 * image["width"], 0.8 * image["height"]]
        file.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("size", "needed", "factor"),
    [((640, 427), (96, 64), 4), ((640, 427), (320, 214), 1), ((641, 428), (320, 214), 2), ((640, 480), (80, 60), 8)],
)
def test_a_jpeg_is_decoded_as_pillow_does_at_the_least_size_that_is_enough(tmp_path, size, needed, factor):
    file = tmp_path / "a.jpg"
    photograph(*size).save(file, quality=92)
    pixels, whole = ImageFile(file).reduced(lambda _: needed)
    assert whole == size
    with Image.open(file) as image:
        if factor > 1:
            assert pixels.shape[1::-1] == needed
            image.thumbnail(needed, Image.Resampling.BILINEAR, reducing_gap=1.0)
        assert image.size == (needed if factor > 1 else size)
        assert np.array_equal(pixels, np.asarray(image))
    again, _ = ImageFile(file).reduced(lambda _: needed, file.read_bytes())
    assert np.array_equal(pixels, again)


def file_as_stored(file):
    return ImageFile(file.path, turned=False).reduced(lambda _: (96, 58))[0]


def test_turned_images_are_reduced_by_what_they_need_once_turned(photos):
    file = ImageFile(photos / "images" / "turned.jpg")
    pixels, whole = file.reduced(lambda size: fitted_in(size, CANVAS, "either"))
    assert whole == (300, 500)
    assert pixels.shape[1::-1] == (58, 96)
    assert np.array_equal(pixels, np.rot90(file_as_stored(file), -1))
    _, whole = ImageFile(file.path, turned=False).reduced(lambda size: fitted_in(size, CANVAS, "either"))
    assert whole == (500, 300)


def test_other_files_are_decoded_whole(photos):
    file = ImageFile(photos / "images" / "plain.png")
    pixels, whole = file.reduced(lambda _: (5, 3))
    assert whole == (500, 300)
    assert np.array_equal(pixels, file())


@pytest.mark.parametrize("orientation", ["fixed", "either"])
def test_every_form_and_the_stream_read_the_same_bits(photos, tmp_path, orientation):
    data = open_data(f"coco:{photos}", seed=0)
    options = {"image_size": CANVAS, "orientation": orientation}
    caches = [build_cache(data, tmp_path, mode=mode, is_reduced=True, **options) for mode in MODES]
    whole = build_cache(data, tmp_path, mode="images", **options)
    assert len({cache.content for cache in caches}) == 1
    assert caches[0].content != whole.content
    splits = [cache.split("train") for cache in caches]
    splits.append(StreamedSplit(data.splits["train"], CANVAS, orientation, is_reduced=True))
    for index, name in enumerate(whole.split("train").names):
        full = whole.split("train").images([index])
        found = [split.images([index]) for split in splits]
        assert all(torch.equal(one, found[0]) for one in found)
        assert torch.equal(found[0], full) == (name in {"small.jpg", "plain.png"})
        assert (found[0].float() - full.float()).abs().mean() < 4  # the pictures are mostly noise on this canvas
        for split in splits:
            for field in ("size", "resized", "scale"):
                assert getattr(split, field)(index) == getattr(whole.split("train"), field)(index)
            assert torch.equal(split.boxes(index), whole.split("train").boxes(index))


def test_prediction_and_evaluation_see_what_training_saw(photos, tmp_path, monkeypatch):
    settings = tiny_settings(
        data=f"coco:{photos}",
        data_options={},
        epochs=16,
        image_size=CANVAS,
        reduced_decoding=True,
        orientation="either",
    )
    result = train(settings, tmp_path / "out")
    assert max(result.scores.values()) > 0
    assert evaluate(result.weights, f"coco:{photos}").metrics == pytest.approx(dict(result.scores), nan_ok=True)
    seen = []

    def noted(detector, images, *arguments, **options):
        seen.extend(image.shape[1::-1] for image in images)
        return detect(detector, images, *arguments, **options)

    monkeypatch.setattr("spnas_detect.inference.prediction.detect", noted)
    found = predict(result.weights, [photos / "images"], out=tmp_path / "seen", score_threshold=0)
    assert not found.failed
    shapes = dict(zip([image.image.name for image in found.images], seen, strict=True))
    assert shapes["large.jpg"] == (96, 64)
    for image in found.images:
        with Image.open(image.picture) as picture, Image.open(image.image) as whole:
            assert (image.width, image.height) in {whole.size, whole.size[::-1]}
            assert picture.width >= image.width
        assert len(image.boxes)
        assert (image.boxes[:, 2:] <= [image.width, image.height]).all()
        assert image.boxes.max() > 0.3 * max(image.width, image.height)


def test_a_weights_file_says_it_and_older_ones_do_not():
    description = DetectorDescription("b@4_1-2-2", ("cat",), DetectorSettings(), CANVAS, reduced_decoding=True)
    said = description.metadata()
    assert DetectorDescription.from_metadata(said, "x") == description
    del said["reduced_decoding"]
    assert not DetectorDescription.from_metadata(said, "x").reduced_decoding
