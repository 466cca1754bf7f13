"""Detections as COCO's results: pycocotools computes evaluate's numbers of them and the data set's own file."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from coco_folder import write
from PIL import Image, ImageDraw
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import spnas_detect
from spnas_core import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.metrics.coco import COCO_NAMES
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_search.cli.main import commands

OPTIONS = {"image_size": 64, "train": 16, "validation": 4, "test": 6, "max_size": 40, "min_size": 16}
CATEGORIES = [{"id": 90, "name": "disc"}, {"id": 7, "name": "square"}, {"id": 13, "name": "unused"}]
"""In another order than the weights have them, and two of their four."""

FIRST = {"train": 500, "val": 2000, "test": 40}
"""Ids of images, by split."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    settings = {"data_options": OPTIONS, "image_size": (64, 64), "detector": {"neck_channels": 8}, "device": "cpu"}
    task = DetectionTask(DetectionSettings.model_validate(settings))
    task.prepare(folder / "cache", lambda *_: None)
    request = EvaluationRequest(
        0, identity(Architecture.parse("b@4_1-2")), None, folder / "w.safetensors", Fidelity(2), 1, split="test"
    )
    task.evaluate(request, lambda _: None)
    return request.weights


@pytest.fixture
def coco(tmp_path):
    """Squares and discs in whole pixels, some of them crowds, with areas of their own."""
    root, generator = tmp_path / "coco", np.random.default_rng(0)
    for split, first in FIRST.items():
        images, annotations = [], []
        for number in range(first, first + 5):
            picture, name = Image.new("RGB", (96, 80), (90, 90, 90)), f"{number:06}.png"
            for _ in range(3):
                x, y, side = (int(value) for value in generator.integers((0, 0, 12), (50, 40, 40)))
                category, colour = (90, (220, 40, 40)) if generator.random() < 0.5 else (7, (40, 40, 220))
                draw = ImageDraw.Draw(picture)
                (draw.ellipse if category == 90 else draw.rectangle)((x, y, x + side, y + side), fill=colour)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": category,
                        "bbox": [x, y, side, side],
                        "area": side * side * 0.75,
                        "iscrowd": int(generator.random() < 0.2),
                    }
                )
            (root / split).mkdir(parents=True, exist_ok=True)
            picture.save(root / split / name)
            images.append({"id": number, "file_name": name, "width": 96, "height": 80})
        write(root / "annotations" / f"{split}.json", images, annotations, CATEGORIES)
    return root


def computed(annotations, results):
    """The twelve numbers that pycocotools computes of two files."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: math.nan if value < 0 else value for name, value in zip(COCO_NAMES, evaluation.stats, strict=True)}


def numbers(report):
    return {name: report.metrics[name] for name in COCO_NAMES}


def test_pycocotools_computes_the_same_of_the_data_sets_own_file(weights, coco, tmp_path):
    results = tmp_path / "new" / "found.json"
    report = spnas_detect.evaluate(weights, f"coco:{coco}", detections=results, device="cpu")
    assert report.detections == (results,)
    rows = json.loads(results.read_text())
    assert {row["image_id"] for row in rows} == {40, 41, 42, 43, 44}
    assert {row["category_id"] for row in rows} == {90, 7}
    assert {frozenset(row) for row in rows} == {frozenset({"image_id", "category_id", "bbox", "score"})}
    found = computed(coco / "annotations" / "test.json", results)
    assert found == pytest.approx(numbers(report), abs=1e-9, nan_ok=True)
    assert 0 < found["AR100"] < 1
    assert not any("not scored as written" in note for note in report.notes)


def test_ids_that_are_read_as_numbers_and_written_as_texts_are_not_the_files_own(weights, coco, tmp_path):
    file = coco / "annotations" / "test.json"
    content = json.loads(file.read_text())
    for image in content["images"]:
        image["id"] = f"{image['id']:06}"
    for one in content["annotations"]:
        one["image_id"] = f"{one['image_id']:06}"
    file.write_text(json.dumps(content))
    results = tmp_path / "found.json"
    report = spnas_detect.evaluate(weights, f"coco:{coco}", detections=results, device="cpu")
    assert report.detections == (results, tmp_path / "found-truth.json")
    assert computed(report.detections[1], results) == pytest.approx(numbers(report), abs=1e-9, nan_ok=True)


def test_ids_of_other_data_are_numbers_that_a_file_beside_explains(weights, coco, tmp_path):
    """So are those of images of several files, which may use an id twice."""
    for data, split, images in ((None, "test", 6), (f"coco:{coco}", "all", 15)):
        results = tmp_path / f"{split}.json"
        report = spnas_detect.evaluate(weights, data, split=split, detections=results, device="cpu")
        assert report.detections == (results, tmp_path / f"{split}-truth.json")
        truth = json.loads(report.detections[1].read_text())
        assert [image["id"] for image in truth["images"]] == list(range(1, images + 1))
        assert [one["name"] for one in truth["categories"]] == [result.name for result in report.classes]
        assert computed(report.detections[1], results) == pytest.approx(numbers(report), abs=1e-9, nan_ok=True)


def test_images_that_a_split_was_carved_from_keep_their_ids(weights, coco, tmp_path):
    for split in ("val", "test"):
        (coco / "annotations" / f"{split}.json").unlink()
    report = spnas_detect.evaluate(weights, f"coco:{coco}", detections=tmp_path / "found.json", device="cpu")
    assert report.images == 1
    rows = json.loads(report.detections[0].read_text())
    assert len({row["image_id"] for row in rows} & set(range(500, 505))) == 1


def test_objects_that_are_not_scored_as_written_are_counted(weights, coco, tmp_path):
    """Three of five changed ones: an area that is missing, and decimals, pycocotools could not take as written."""
    file = coco / "annotations" / "test.json"
    content = json.loads(file.read_text())
    outside, no_area, rounded = [60, 50, 60, 60], [5, 5, 0, 9], [0, 0, 96.01, 80]
    changes = [{"bbox": outside}, {"bbox": no_area}, {"area": 0}, {"area": None}, {"bbox": rounded}]
    for annotation, change in zip(content["annotations"], changes, strict=False):
        annotation.update(change)
    file.write_text(json.dumps(content))
    other = coco / "annotations" / "train.json"
    other.write_text(other.read_text().replace('"bbox": [', '"bbox": [-', 3))  # another split
    report = spnas_detect.evaluate(weights, f"coco:{coco}", device="cpu")
    (note,) = [note for note in report.notes if "not scored as written" in note]
    assert note.startswith("3 object(s) of the test split are not scored as written, as pycocotools would: boxes end")


def test_files_of_others_are_not_overwritten_and_own_ones_are(weights, coco, tmp_path):
    own, foreign, truth = tmp_path / "own.json", tmp_path / "foreign.json", tmp_path / "own-truth.json"
    for _ in range(2):
        result = CliRunner().invoke(commands, ["evaluate", str(weights), "--device", "cpu", "--detections", str(own)])
        assert result.exit_code == 0, result.output
        said = " ".join(result.output.split())
        assert f"All detections are in {own}. The images and classes of their ids are in {truth}." in said
    foreign.write_text('[{"image_id": 1}]')
    with pytest.raises(ConfigError, match=r"foreign\.json exists and was not written by spnas: choose another --detec"):
        spnas_detect.evaluate(weights, detections=foreign, device="cpu")
    truth.write_text("{}")
    with pytest.raises(ConfigError, match=r"own-truth\.json exists and was not written by spnas: choose another --det"):
        spnas_detect.evaluate(weights, detections=own, device="cpu")
    assert (foreign.read_text(), truth.read_text()) == ('[{"image_id": 1}]', "{}")


@pytest.mark.parametrize("joined", ["images", "categories"])
def test_ids_of_entries_that_are_joined_are_not_the_files_own(weights, coco, tmp_path, joined):
    """An evaluator that reads the file itself would count what the second entry has as missed."""
    file = coco / "annotations" / "test.json"
    content = json.loads(file.read_text())
    if joined == "images":
        content["images"].append({**content["images"][0], "id": 99})
        moved = [one for one in content["annotations"] if one["image_id"] == content["images"][0]["id"]]
        moved[0]["image_id"] = 99
    else:
        (disc,) = [one for one in content["categories"] if one["id"] == 7]
        content["categories"].append({**disc, "id": 8})
        next(one for one in content["annotations"] if one["category_id"] == 7)["category_id"] = 8
    file.write_text(json.dumps(content))
    results = tmp_path / "found.json"
    report = spnas_detect.evaluate(weights, f"coco:{coco}", detections=results, device="cpu")
    assert report.detections == (results, tmp_path / "found-truth.json")
    assert computed(report.detections[1], results) == pytest.approx(numbers(report), abs=1e-9, nan_ok=True)
