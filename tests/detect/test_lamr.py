import math
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from spnas_core.errors import ConfigError
from spnas_detect.data import DetectionData, ImageRecord
from spnas_detect.metrics import METRICS, LamrMetric, check_metrics
from spnas_detect.metrics.lamr import log_average_miss_rate
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask

PLAIN = runpy.run_path(str(Path(__file__).with_name("plain_lamr.py")))
DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
CLASSES = ("pedestrian", "rider")


def lamr(predictions, targets, classes=CLASSES):
    metric = LamrMetric(classes)
    metric.process(predictions, targets)
    return metric.evaluate()


def truth(*annotations):
    """Take (box, tags) of pedestrians, (box, tags, label) or (box, tags, label, ignore)."""
    rows = [
        (*annotation, 1, False)[:4] if len(annotation) == 2 else (*annotation, False)[:4] for annotation in annotations
    ]
    return {
        "boxes": torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([row[2] for row in rows], dtype=torch.int64),
        "ignore": torch.tensor([row[3] for row in rows], dtype=torch.bool),
        "tags": tuple(tuple(row[1]) for row in rows),
        "size": (1920, 1024),
    }


def found(*detections, label=1):
    """Take boxes with scores."""
    return {
        "boxes": torch.tensor([d[0] for d in detections], dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor([d[1] for d in detections], dtype=torch.float32),
        "labels": torch.full((len(detections),), label),
    }


def tall(height, x=100):
    return [x, 100, x + 50, 100 + height]


def is_real(annotation, difficulty, kind="pedestrian", name="LAMR/{}/{}"):
    """Say whether missing this one annotation costs anything."""
    value = lamr([found()], [truth(annotation)])[name.format(kind, difficulty)]
    assert math.isnan(value) or value == 1
    return value == 1


def test_scores_equal_a_plain_reading_of_the_protocol_on_random_scenes():
    compared = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        classes = (CLASSES, ("rider", "tram", "pedestrian"))[seed % 2]
        predictions, targets = PLAIN["random_scenes"](rng, 10, 15, 10, grid=(1, 4, 16)[seed % 3], classes=classes)
        scores = lamr(predictions, targets, classes)
        for name, expected in PLAIN["plain_scores"](predictions, targets, classes).items():
            assert scores[name] == pytest.approx(expected, abs=1e-9, nan_ok=True), (seed, name)
            if 1e-9 < expected < 1:
                compared.add((name, seed))
        assert len(scores) == 16
    assert len(compared) > 1000  # most scenes are neither hopeless nor empty


def test_the_worked_example_of_the_docs_holds():
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(code, str(DOCS), "exec"), names)
    assert names["scores"]["LAMR/pedestrian/reasonable"] == pytest.approx(0.529, abs=5e-4)


@pytest.mark.parametrize(
    ("difficulty", "heights"),
    [
        ("reasonable", {39.5: False, 40: True, 500: True}),
        ("small", {29.5: False, 30: True, 60: True, 60.5: False}),
        ("all", {19.5: False, 20: True, 500: True}),
    ],
)
def test_limits_of_height_are_themselves_inside(difficulty, heights):
    assert {height: is_real((tall(height), ()), difficulty) for height in heights} == heights


def test_height_of_the_occluded_begins_at_40():
    tags = ("occluded>40",)
    assert [is_real((tall(height), tags), "occluded") for height in (39.5, 40)] == [False, True]


@pytest.mark.parametrize(
    ("difficulty", "tags", "expected"),
    [
        ("reasonable", ["occluded>10"], True),
        ("reasonable", ["occluded>40"], False),
        ("reasonable", ["truncated>40"], False),
        ("small", ["truncated>10", "occluded>40"], False),
        ("small", ["truncated>10", "occluded>10"], True),
        ("all", ["occluded>40", "truncated>40"], True),
        ("all", ["occluded>80"], False),
        ("all", ["truncated>80"], False),
        ("occluded", ["occluded>10"], False),
        ("occluded", ["occluded>40"], True),
        ("occluded", ["occluded>40", "truncated>40"], True),
        ("occluded", ["truncated>40"], False),
        ("occluded", ["occluded>40", "truncated>80"], False),
        ("occluded", ["occluded>80"], False),
        ("all", ["sitting-lying"], False),
        ("all", ["behind-glass", "occluded>10"], False),
        ("all", ["depiction", "something else"], True),
    ],
)
def test_tags_decide_what_must_be_found(difficulty, tags, expected):
    assert is_real((tall(50), tags), difficulty) is expected


def test_riders_that_sit_or_are_behind_glass_must_be_found():
    assert is_real((tall(50), ["sitting-lying", "behind-glass"], 2), "all", "rider")


def test_boxes_are_clipped_before_their_height_is_taken():
    assert not is_real(([10, 1000, 60, 1100], ()), "reasonable")  # 24 pixels remain
    assert is_real(([10, 1000, 60, 1100], ()), "all")
    assert not is_real(([10, -30, 60, 9], ()), "all")


def test_ignored_truth_takes_many_detections():
    ignored = (tall(60), ("occluded>40",))
    value = lamr(
        [found((tall(60), 0.9), (tall(60), 0.8), (tall(58), 0.7)), found((tall(50), 0.1))],
        [truth(ignored), truth((tall(50), ()))],
    )
    assert value["LAMR/pedestrian/reasonable"] == pytest.approx(1e-10)


def test_real_truth_takes_one_detection():
    value = lamr(
        [found((tall(60), 0.9), (tall(60), 0.8), (tall(60, 900), 0.7))], [truth((tall(60), ()), (tall(60, 900), ()))]
    )
    # recall 1/2 without a false positive, then one in one image: 1 at the last reference only
    assert value["LAMR/pedestrian/reasonable"] == pytest.approx((0.5**8 * 1e-10) ** (1 / 9))


def test_real_truth_comes_before_an_ignored_one_of_higher_overlap():
    real, ignored = (tall(60), ()), (tall(50), ("occluded>40",))
    value = lamr([found((tall(50), 0.9))], [truth(ignored, real)])
    assert value["LAMR/pedestrian/reasonable"] == pytest.approx(1e-10)


def test_detection_takes_the_real_truth_of_highest_overlap():
    value = lamr(
        [found((tall(60), 0.9), (tall(90), 0.8))],
        [truth((tall(90), ()), (tall(60), ()))],
    )
    assert value["LAMR/pedestrian/reasonable"] == pytest.approx(1e-10)


def test_of_equal_overlaps_the_last_truth_is_taken():
    left, right = [100, 100, 140, 200], [120, 100, 160, 200]
    between, on_left, on_right = [110, 100, 150, 200], [96, 100, 136, 200], [124, 100, 164, 200]
    for truths in ((left, right), (right, left)):
        for second in (on_left, on_right):
            value = lamr([found((between, 0.9), (second, 0.8))], [truth(*((box, ()) for box in truths))])
            first_one_is_free = (second is on_left) == (truths[0] is left)
            expected = 1e-10 if first_one_is_free else 0.5
            assert value["LAMR/pedestrian/reasonable"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("label", "tag", "takes"),
    [
        (1, "person-group-far-away", True),
        (1, "rider+vehicle-group-far-away", False),
        (1, "bicycle-group", False),
        (2, "rider+vehicle-group-far-away", True),
        (2, "person-group-far-away", False),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_regions_of_the_own_class_take_what_lies_half_inside(label, tag, takes, inside):
    kind = CLASSES[label - 1]
    # half of the first detection lies in the region, less than half of the second
    box = [380, 200, 420, 260] if inside else [381, 200, 421, 260]
    region = ([0, 0, 400, 1000], (tag,), label, True)
    value = lamr(
        [found((box, 0.9), (box, 0.8), label=label), found((tall(50), 0.1), label=label)],
        [truth(region), truth((tall(50), (), label))],
    )[f"LAMR/{kind}/reasonable"]
    # two false positives before the only hit: at FPPI 1 it counts, below it does not
    assert value == pytest.approx(1e-10 if takes and inside else (1e-10) ** (1 / 9))


@pytest.mark.parametrize("tags", [("person-group-far-away", "depiction"), ()])
def test_depicted_groups_and_ignored_boxes_of_no_kind_play_no_part(tags):
    region = ([0, 0, 400, 1000], tags, 1, True)
    value = lamr([found(([100, 100, 150, 160], 0.9)), found((tall(50), 0.1))], [truth(region), truth((tall(50), ()))])[
        "LAMR/pedestrian/reasonable"
    ]
    # one false positive in two images, FPPI 0.5, before the hit: 0 at seven references, 1 at two
    assert value == pytest.approx(1e-10 ** (2 / 9))


@pytest.mark.parametrize("label", [1, 2])
def test_tolerance_ignores_the_other_class(label):
    other = (tall(50), (), 3 - label)
    value = lamr(
        [found((tall(50), 0.9), label=label), found((tall(50), 0.1), label=label)],
        [truth(other), truth((tall(50), (), label))],
    )
    name = f"LAMR/{CLASSES[label - 1]}/reasonable"
    assert value[f"{name}/tolerant"] == pytest.approx(1e-10)
    assert value[name] == pytest.approx(1e-10 ** (2 / 9))


RIDER = {**truth(([0, 100, 100, 240], (), 2)), "own_boxes": torch.tensor([[30, 100, 80, 190]])}


@pytest.mark.parametrize(("box", "is_tolerated"), [([30, 100, 80, 190], True), ([0, 100, 100, 240], False)])
def test_a_tolerated_rider_is_the_person_without_the_vehicle(box, is_tolerated):
    # the person is 50x90, with the vehicle 100x140: IoU 0.32
    value = lamr([found((box, 0.9)), found((tall(50), 0.1))], [RIDER, truth((tall(50), ()))])
    name = "LAMR/pedestrian/reasonable"
    assert value[f"{name}/tolerant"] == pytest.approx(1e-10 if is_tolerated else 1e-10 ** (2 / 9))
    assert value[name] == pytest.approx(1e-10 ** (2 / 9))


@pytest.mark.parametrize(("box", "is_hit"), [([30, 100, 80, 190], False), ([0, 100, 100, 240], True)])
def test_a_rider_that_must_be_found_is_united_with_the_vehicle(box, is_hit):
    value = lamr([found((box, 0.9), label=2)], [RIDER])["LAMR/rider/reasonable"]
    assert value == pytest.approx(1e-10 if is_hit else 1)


@pytest.mark.parametrize(
    ("difficulty", "heights"),
    [
        ("reasonable", {32: True, 33: False}),
        ("small", {24: True, 25: False, 74: False, 75: True}),
        ("occluded", {32: True, 33: False}),
        ("all", {16: True, 17: False}),
    ],
)
def test_detections_far_outside_the_height_are_left_out(difficulty, heights):
    tags = ("occluded>40",) if difficulty == "occluded" else ()
    for height, is_left_out in heights.items():
        value = lamr([found((tall(height, 700), 0.9)), found((tall(50), 0.1))], [truth(), truth((tall(50), tags))])[
            f"LAMR/pedestrian/{difficulty}"
        ]
        assert value == pytest.approx(1e-10 if is_left_out else 1e-10 ** (2 / 9)), height


def test_detections_of_the_other_class_do_not_count():
    predictions = [{**found((tall(50), 0.9), (tall(90, 500), 0.8)), "labels": torch.tensor([1, 2])}]
    assert lamr(predictions, [truth((tall(50), ()))])["LAMR/pedestrian/reasonable"] == pytest.approx(1e-10)


def test_images_without_anything_lower_the_rate_of_false_positives():
    def value(images):
        predictions = [found((tall(50, 900), 0.9), (tall(50), 0.5))] + [found()] * (images - 1)
        return lamr(predictions, [truth((tall(50), ()))] + [truth()] * (images - 1))["LAMR/pedestrian/reasonable"]

    assert value(1) == pytest.approx(1e-10 ** (1 / 9))
    assert value(10) == pytest.approx(1e-10 ** (5 / 9))  # 1/10 is itself a reference
    assert value(100) == pytest.approx(1e-10)


def test_no_detection_misses_everything():
    assert lamr([found()], [truth((tall(50), ()))])["LAMR/pedestrian/reasonable"] == 1


def test_curve_worked_example():
    assert log_average_miss_rate(np.array([1, 0, 1], np.int8), 2, 2) == pytest.approx(
        math.exp((7 * math.log(0.5) + 2 * math.log(1e-10)) / 9)
    )
    assert log_average_miss_rate(np.zeros(0, np.int8), 3, 2) == 1
    assert math.isnan(log_average_miss_rate(np.array([0, 1], np.int8), 0, 2))


def test_batches_do_not_matter_and_reset_forgets():
    predictions, targets = PLAIN["random_scenes"](np.random.default_rng(5), 12, 15, 10)
    whole, metric = lamr(predictions, targets), LamrMetric(CLASSES)
    metric.process(predictions[:2], targets[:2])
    metric.reset()
    assert all(math.isnan(value) for value in metric.evaluate().values())
    for first in range(0, 12, 5):
        metric.process(predictions[first : first + 5], targets[first : first + 5])
    assert metric.evaluate() == pytest.approx(whole, nan_ok=True)
    assert metric.evaluate() == pytest.approx(whole, nan_ok=True)
    assert all(type(value) is float for value in whole.values())


def test_all_numbers_are_registered_as_lower_is_better():
    factory = METRICS["lamr"]
    assert factory.specs[0].name == "LAMR/pedestrian/reasonable"
    assert not any(spec.higher_is_better for spec in factory.specs)
    assert [spec.name for spec in factory.specs] == list(factory.build(CLASSES).evaluate())


def test_box_without_tags_is_refused_and_not_counted():
    metric = LamrMetric(CLASSES)
    for tags in ((), ((), ())):
        with pytest.raises(ConfigError, match=r"lamr needs the tags of every box.*an image has 1 boxes and tags for"):
            metric.process([found()], [{**truth((tall(50), ())), "tags": tags}])
    without = truth((tall(50), ()))
    del without["tags"]
    with pytest.raises(ConfigError, match="read EuroCity Persons as ecp:PATH"):
        metric.process([found()], [without])
    assert all(math.isnan(value) for value in metric.evaluate().values())


@pytest.mark.parametrize(
    ("classes", "message"),
    [(("car", "rider"), "the data has no pedestrian, only car, rider"), (("a",), "no pedestrian and no rider, only a")],
)
def test_other_classes_are_refused(classes, message):
    with pytest.raises(ConfigError, match=message):
        LamrMetric(classes)


def data_of(classes, tags):
    record = ImageRecord(
        "a",
        lambda: np.zeros((9, 9, 3), np.uint8),
        9,
        9,
        np.ones((1, 4), np.float32),
        np.ones(1, int),
        np.zeros(1, bool),
        tags,
    )
    return DetectionData("mine:x", classes, {"train": (record,), "validation": (), "test": ()}, "f")


def test_data_that_does_not_fit_is_refused_before_training():
    check_metrics(["coco", "lamr"], data_of(CLASSES, (("occluded>10",),)))
    check_metrics(["lamr"], data_of(CLASSES, ((),)))  # a box may have no tag, where boxes can have some
    with pytest.raises(ConfigError, match=r"lamr needs the tags of every box, such as occluded>40: mine:x has none"):
        check_metrics(["coco", "lamr"], data_of(CLASSES, ()))
    check_metrics(["coco", "voc"], data_of(("a",), ()))


def test_task_refuses_the_metric_before_it_reads_an_image(tmp_path):
    task = DetectionTask(DetectionSettings(data="shapes", metrics=("coco", "lamr")))
    with pytest.raises(ConfigError, match="lamr scores the classes pedestrian and rider: shapes has no"):
        task.prepare(tmp_path, lambda what, done, total: None)
    assert list(tmp_path.iterdir()) == []
