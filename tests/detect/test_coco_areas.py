"""``area`` of COCO's annotations from the file to the metric, and out again."""

import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest
from coco_folder import CATS, box, image, load, picture, records, repairs, simple, write
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spnas_detect.data import StreamedSplit, build_cache
from spnas_detect.data.conversion import LAYOUTS, convert
from spnas_detect.data.survey import statistics
from spnas_detect.metrics import CocoMetric
from spnas_detect.metrics.coco import COCO_NAMES
from spnas_detect.training.loop import ground_truth

MISSING = "areas that are missing or no area, taken from the box"
IMAGES, SIDE = 12, 256


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A folder as the official one, whose areas are a part of their boxes', crowds among them; and detections."""
    root, rng = tmp_path_factory.mktemp("coco"), np.random.default_rng(0)
    for split, count in (("train2017", 2), ("val2017", IMAGES)):
        images, annotations = [], []
        for k in range(count):
            picture(root / split / f"{k}.jpg", (SIDE, SIDE))
            images.append(image(100 + k, f"{k}.jpg", width=SIDE, height=SIDE))
            for _ in range(int(rng.integers(2, 7))):
                x, y = rng.integers(0, 120, 2).tolist()
                w, h = np.exp(rng.uniform(np.log(12), np.log(130), 2)).astype(int).tolist()
                area = w * h * float(rng.uniform(0.1, 1))
                number, category = len(annotations) + 1, int(rng.integers(1, 3))
                crowd = int(rng.random() < 0.15)
                annotations.append(
                    box(number, 100 + k, category, bbox=[x, y, w, h], area=area, iscrowd=crowd, segmentation=[])
                )
        write(root / "annotations" / f"instances_{split}.json", images, annotations)
    detections = [
        {
            "image_id": one["image_id"],
            "category_id": one["category_id"] if rng.random() < 0.9 else 3 - one["category_id"],
            "bbox": np.round(np.asarray(one["bbox"]) * rng.uniform(0.85, 1.15, 4)).tolist(),
            "score": float(rng.integers(1, 20)) / 20,
        }
        for one in annotations
        for _ in range(2)
    ]
    return root, detections


def as_metrics_have_it(split, detections):
    predictions = []
    for name in split.names:
        own = [one for one in detections if one["image_id"] == 100 + int(name.removesuffix(".jpg"))]
        sides = np.asarray([one["bbox"] for one in own]).reshape(-1, 4)
        predictions.append(
            {
                "boxes": np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], 1),
                "scores": [one["score"] for one in own],
                "labels": [one["category_id"] for one in own],
            }
        )
    return predictions, [ground_truth(split, index) for index in range(len(split))]


def pycocotools_numbers(file, detections):
    with redirect_stdout(io.StringIO()):
        truth = COCO(file)
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(COCO_NAMES, evaluation.stats.tolist(), strict=True))


def test_scores_of_a_folder_are_pycocotools_scores_of_its_file(official, tmp_path):
    root, detections = official
    file = root / "annotations" / "instances_val2017.json"
    expected = pycocotools_numbers(file, detections)
    data = load(root)
    cached = build_cache(data, tmp_path, image_size=(64, 64)).split("validation")
    for split in (cached, StreamedSplit(data.splits["validation"], (64, 64))):
        metric = CocoMetric(data.classes)
        metric.process(*as_metrics_have_it(split, detections))
        scores = metric.evaluate()
        assert {name: scores[name] for name in COCO_NAMES} == pytest.approx(expected, abs=1e-12)
    assert all(0 < value < 1 for value in expected.values())
    content = json.loads(file.read_text())
    for one in content["annotations"]:
        one["area"] = one["bbox"][2] * one["bbox"][3]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    by_boxes = pycocotools_numbers(tmp_path / "boxes.json", detections)
    assert by_boxes["AP"] == expected["AP"]
    assert all(by_boxes[name] != expected[name] for name in ("APs", "APm", "APl", "ARs", "ARm", "ARl"))


def test_areas_are_counted_as_the_metric_takes_them(official):
    root, _ = official
    annotations = json.loads((root / "annotations" / "instances_val2017.json").read_text())["annotations"]
    areas = np.asarray([one["area"] for one in annotations if not one["iscrowd"]])
    data = load(root)
    counts = statistics(data.splits["validation"], data.classes)
    found = [counts[size] for size in ("small", "medium", "large")]
    assert found == [(areas < 1024).sum(), ((areas >= 1024) & (areas < 9216)).sum(), (areas >= 9216).sum()]
    assert min(found) > 0


def test_areas_are_written_to_coco_and_said_to_be_lost_elsewhere(official, tmp_path):
    root, _ = official
    data = load(root, test="carved")
    convert(data, LAYOUTS["coco"], tmp_path / "coco")
    again = load(tmp_path / "coco")
    for split in ("validation", "test"):
        for one, same in zip(data.splits[split], again.splits[split], strict=True):
            assert one.areas is not None
            assert same.areas.tolist() == one.areas.tolist()
    count = sum(len(record.boxes) for split in data.splits.values() for record in split)
    notes = convert(data, LAYOUTS["yolo"], tmp_path / "yolo").notes
    assert f"{count} area(s) other than their box's are left out: YOLO does not hold them" in notes


@pytest.mark.parametrize("area", [None, 0, -3, "", "x", float("nan"), [5]])
def test_without_an_area_the_boxs_is_meant_and_counted(tmp_path, area):
    annotations = [box(k, k, area=area if k == 2 else 700.5) for k in range(6)]
    data = load(simple(tmp_path, annotations=annotations))
    found = records(data)
    assert found["1.jpg"].areas.tolist() == [700.5]
    assert found["2.jpg"].areas is None
    assert repairs(data)[MISSING] == (1, ("annotations/train.json: annotation 2",))
    cache = build_cache(data, tmp_path / "cache", image_size=(64, 64))
    areas = {
        name: split.areas(index).tolist()
        for split in map(cache.split, data.splits)
        for index, name in enumerate(split.names)
    }
    assert (areas["1.jpg"], areas["2.jpg"]) == ([700.5], [30 * 40])


def test_areas_that_are_texts_are_numbers_and_files_without_any_have_none(tmp_path):
    data = load(simple(tmp_path / "texts", annotations=[box(k, k, area="12.5") for k in range(6)]))
    assert all(record.areas.tolist() == [12.5] for record in records(data).values())
    assert repairs(data)["areas written as texts, read as numbers"][0] == 6
    annotations = [{key: value for key, value in box(k, k).items() if key != "area"} for k in range(6)]
    data = load(simple(tmp_path / "none", annotations=annotations, categories=CATS[:1]))
    assert all(record.areas is None for record in records(data).values())
    assert repairs(data) == {MISSING: (6, tuple(f"annotations/train.json: annotation {k}" for k in range(3)))}
