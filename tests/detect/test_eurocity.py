import math

import numpy as np
import pytest
from eurocity_folder import frame, thing, write

from spnas_core import Architecture
from spnas_core.errors import ConfigError, DataError
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Fidelity, MetricSpec
from spnas_detect.data import StreamedSplit, build_cache, open_data
from spnas_detect.data.conversion import LAYOUTS, convert
from spnas_detect.metrics import METRICS
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_detect.training.loop import ground_truth

GROUPS = ("bicycle-group", "buggy-group", "motorbike-group", "scooter-group", "tricycle-group", "wheelchair-group")


@pytest.fixture
def root(tmp_path):
    """Ten training and three validation images by day, five and two by night; one pedestrian in each."""
    root = tmp_path / "data" / "ECP"
    for time, counts in (("day", (10, 3)), ("night", (5, 2))):
        for split, count in zip(("train", "val"), counts, strict=True):
            for number in range(count):
                city = ("amsterdam", "lyon")[number % 2]
                write(
                    root,
                    time,
                    split,
                    city,
                    number + 50 * (split == "val"),
                    frame(thing("pedestrian", (10, 20, 30, 60 + number))),
                )
    return root


def load(root, seed=0, **options):
    return open_data(f"ecp:{root}", seed=seed, **options)


def only(tmp_path, *children, **size):
    """Read one label file through the reader: the record that has it, and the data."""
    for number in range(4):
        write(tmp_path, "day", "train", "ulm", number, frame(thing("pedestrian")))
    write(tmp_path, "day", "val", "ulm", 9, frame(*children, **size))
    data = load(tmp_path)
    return data.splits["test"][0], data


def test_official_validation_becomes_test_and_validation_is_carved(root):
    data = load(root)
    assert data.classes == ("pedestrian", "rider")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 12, "validation": 3, "test": 5}
    assert data.notes == ("validation split carved from training images by seed 0: 3 images",)
    assert [record.name for record in data.splits["test"]] == [
        "day/amsterdam/amsterdam_00050",
        "day/amsterdam/amsterdam_00052",
        "day/lyon/lyon_00051",
        "night/amsterdam/amsterdam_00050",
        "night/lyon/lyon_00051",
    ]
    assert len({record.name for split in data.splits.values() for record in split}) == 20
    drawn = [[record.name for record in load(root, seed=seed).splits["validation"]] for seed in range(6)]
    assert drawn[0] == [record.name for record in data.splits["validation"]]
    assert len({tuple(names) for names in drawn}) > 1


@pytest.mark.parametrize(("time", "counts"), [("day", (8, 2, 3)), ("night", (4, 1, 2)), ("both", (12, 3, 5))])
def test_time_of_day_chooses_the_images(root, time, counts):
    data = load(root, time=time)
    assert tuple(len(data.splits[name]) for name in ("train", "validation", "test")) == counts
    assert {record.name.split("/")[0] for split in data.splits.values() for record in split} == (
        {"day", "night"} if time == "both" else {time}
    )


def test_folder_may_be_named_with_or_without_ecp(root):
    names = [record.name for record in load(root).splits["train"]]
    assert [record.name for record in load(root.parent).splits["train"]] == names
    moved = root.rename(root.parent / "elsewhere")
    assert [record.name for record in load(moved).splits["train"]] == names


def test_missing_time_and_missing_validation_are_noted(tmp_path):
    for number in range(10):
        write(tmp_path, "night", "train", "ulm", number, frame(thing("rider")))
    data = load(tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "validation": 2, "test": 2}
    assert data.notes == (
        f"{tmp_path} has no folder day: only night is read",
        "test split carved from training images by seed 0: 2 images",
        "validation split carved from training images by seed 0: 2 images",
    )


def test_pedestrian_keeps_box_and_tags(tmp_path):
    record, _ = only(tmp_path, thing("pedestrian", (1.5, 2, 30, 90), ["occluded>40", "behind-glass"]))
    assert record.boxes.tolist() == [[1.5, 2, 30, 90]]
    assert (record.labels.tolist(), record.ignore.tolist()) == ([1], [False])
    assert record.tags == (("occluded>40", "behind-glass"),)
    assert (record.width, record.height) == (192, 128)
    assert record.read().shape == (128, 192, 3)


def test_rider_is_united_with_vehicle_and_co_rider(tmp_path):
    vehicle, second = thing("bicycle", (5, 60, 60, 110)), thing("co-rider", (20, 15, 45, 70))
    record, _ = only(tmp_path, thing("rider", (10, 20, 40, 80), ["occluded>10"], [vehicle, second]))
    assert record.boxes.tolist() == [[5, 15, 60, 110]]
    assert record.own_boxes.tolist() == [[10, 20, 40, 80]]
    assert (record.labels.tolist(), record.ignore.tolist()) == ([2], [False])
    assert record.tags == (("occluded>10",),)


def test_pedestrian_is_not_united_with_its_children(tmp_path):
    record, _ = only(tmp_path, thing("pedestrian", (10, 20, 40, 80), children=[thing("buggy", (0, 0, 99, 99))]))
    assert record.boxes.tolist() == [[10, 20, 40, 80]]


def test_other_identities_are_ignored_and_say_what_they_are(tmp_path):
    identities = ["person-group-far-away", "rider+vehicle-group-far-away", *GROUPS, "bicycle"]
    record, data = only(tmp_path, *(thing(identity, tags=["occluded>10"]) for identity in identities))
    assert record.ignore.all()
    assert record.labels.tolist() == [1] + [2] * 8
    assert record.tags == tuple((identity, "occluded>10") for identity in identities)
    assert not any("boxes of identities" in note for note in data.notes)


def test_unknown_identities_are_ignored_and_noted(tmp_path):
    record, data = only(tmp_path, thing("skateboarder"), thing("skateboarder"), thing("person-on-stilts"))
    assert record.ignore.all()
    assert record.labels.tolist() == [2, 2, 1]
    assert data.notes[0] == (
        "boxes of identities that EuroCity Persons does not have are ignored: person-on-stilts (1), skateboarder (2)"
    )


def test_boxes_that_leave_their_image_are_counted(tmp_path):
    record, data = only(
        tmp_path,
        thing("pedestrian", (-30, 20, 40, 80)),
        thing("rider", (10, 20, 40, 80), children=[thing("bicycle", (10, 20, 40, 800))]),
        thing("pedestrian", (-0.01, 20, 192.01, 80)),
    )
    assert len(record.boxes) == 3
    (repair,) = data.repairs
    assert str(repair) == "boxes that leave their image, clipped: 2, first day/ulm/ulm_00009"


@pytest.mark.parametrize("size", [(0, 0), (None, 128), (192, 0)])
def test_sizes_that_are_missing_come_from_the_image(tmp_path, size):
    record, data = only(tmp_path, thing("pedestrian"), size=size)
    assert (record.width, record.height) == (192, 128)
    (repair,) = data.repairs
    assert str(repair).endswith("taken from the image file: 1, first day/ulm/ulm_00009")


def test_an_image_of_no_known_size_is_a_fault_or_left_out(root):
    write(root, "day", "val", "lyon", 77, frame(thing("pedestrian"), size=(0, 0)))
    (root / "day/img/val/lyon/lyon_00077.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"lyon_00077\.png does not decode"):
        load(root)
    assert "1 image(s) that do not decode left out: lyon_00077.png" in load(root, on_fault="drop").notes


def test_far_away_depictions_are_dropped(tmp_path):
    record, data = only(
        tmp_path,
        thing("person-group-far-away", tags=["depiction"]),
        thing("rider+vehicle-group-far-away", tags=["x", "depiction"]),
        thing("bicycle-group", tags=["depiction"]),
        thing("pedestrian", tags=["depiction"]),
    )
    assert record.tags == (("bicycle-group", "depiction"), ("depiction",))
    (repair,) = data.repairs
    assert str(repair) == "depictions of groups far away, left out: 2, first day/ulm/ulm_00009"
    assert not any("degenerate" in note for note in data.notes)


def test_boxes_are_clipped_and_degenerate_ones_dropped(tmp_path):
    boxes = [(-5, -5, 500, 500), (10, 10, 10, 30), (20, 30, 10, 40), (192, 5, 250, 50), (5, 5, 5 + 1e-9, 9)]
    record, data = only(tmp_path, *(thing("pedestrian", box) for box in boxes))
    assert record.boxes.tolist() == [[0, 0, 192, 128]]
    assert data.notes[0] == "4 degenerate boxes dropped: day/ulm/ulm_00009"


def test_missing_tags_and_children_are_none(tmp_path):
    bare = {key: value for key, value in thing("rider").items() if key not in ("tags", "children")}
    record, _ = only(tmp_path, bare)
    assert record.tags == ((),)
    assert record.boxes.tolist() == [[10, 20, 40, 80]]


def test_image_without_objects_stays(tmp_path):
    record, data = only(tmp_path)
    assert record.boxes.shape == (0, 4)
    assert len(data.splits["test"]) == 1


def test_image_without_labels_is_noted(root):
    (root / "day" / "img" / "val" / "lyon" / "lyon_00077.png").write_bytes(b"")
    (note,) = [note for note in load(root).notes if "without a label file" in note]
    assert note.startswith("1 image(s) without a label file left out, first ")
    assert note.endswith("lyon_00077.png")


def test_cache_keeps_the_tags(tmp_path):
    record, data = only(tmp_path, thing("pedestrian", tags=["occluded>80"]), thing("buggy-group"))
    split = build_cache(data, tmp_path / "cache", image_size=(96, 64)).split("test")
    assert split.tags(0) == record.tags == (("occluded>80",), ("buggy-group",))
    assert split.ignore(0).tolist() == [False, True]


def test_cache_and_streaming_keep_the_riders_own_boxes(tmp_path):
    vehicle = thing("bicycle", (5, 60, 60, 110))
    outside = thing("rider", (-40, 20, -5, 80), children=[thing("bicycle", (-40, 60, 30, 110))])
    record, data = only(tmp_path, thing("pedestrian"), thing("rider", (10, 20, 40, 80), children=[vehicle]), outside)
    own = [[10, 20, 40, 80], [10, 20, 40, 80], [0, 20, 0, 80]]
    assert record.boxes.tolist() == [[10, 20, 40, 80], [5, 20, 60, 110], [0, 20, 30, 110]]
    assert record.own_boxes.tolist() == own
    cached = build_cache(data, tmp_path / "cache", image_size=(96, 64)).split("test")
    for split in (cached, StreamedSplit(data.splits["test"], (96, 64))):
        assert split.own_boxes(0).tolist() == own
        assert ground_truth(split, 0)["own_boxes"].tolist() == own
    train = build_cache(data, tmp_path / "cache", image_size=(96, 64)).split("train")  # where nobody rides
    assert train.own_boxes(0).tolist() == train.boxes(0).tolist()


def test_the_riders_alone_are_part_of_the_content(tmp_path):
    contents = set()
    for place, x in enumerate((10, 12)):
        rider = thing("rider", (x, 20, 40, 80), children=[thing("bicycle", (5, 15, 60, 110))])
        record, data = only(tmp_path / str(place), rider)
        assert record.boxes.tolist() == [[5, 15, 60, 110]]
        contents.add(build_cache(data, tmp_path / "cache", image_size=(96, 64)).content)
    assert len(contents) == 2


def test_conversion_says_that_the_riders_alone_are_lost(tmp_path):
    _, data = only(tmp_path / "ecp", thing("rider", children=[thing("bicycle", (5, 60, 60, 110))]), thing("rider"))
    said = "1 object(s) have a box without what belongs to them, such as riders without their vehicles: left out"
    for name, layout in LAYOUTS.items():
        assert said in convert(data, layout, tmp_path / name).notes


def test_lamr_fits_this_data_and_no_other(root, tmp_path):
    METRICS["lamr"].check(load(root))
    with pytest.raises(ConfigError, match="shapes has no pedestrian and no rider, only"):
        METRICS["lamr"].check(open_data("shapes", seed=0))


def test_search_task_scores_miss_rates_on_this_data(root, tmp_path):
    values = {"data": f"ecp:{root}", "image_size": (96, 64), "metrics": ("lamr", "coco"), "device": "cpu"}
    task = DetectionTask(DetectionSettings.model_validate(values))
    assert task.metrics[0] == MetricSpec("LAMR/pedestrian/reasonable", higher_is_better=False)
    task.prepare(tmp_path / "cache", lambda *_: None)
    start = identity(Architecture.parse("b@8_1-2-2"))
    metrics = task.evaluate(EvaluationRequest(0, start, None, None, Fidelity(0), 1, 1, "test"), lambda _: None).metrics
    # untrained, it misses the pedestrians, all of which are at least 40 pixels high
    assert metrics["LAMR/pedestrian/reasonable"] > 0.5
    assert math.isnan(metrics["LAMR/rider/reasonable"])
    assert {spec.name for spec in task.metrics} <= metrics.keys()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n"children": [],\n oops}', r"malformed JSON in line 3, column 2"),
        ("[]", r"holds a list: an object with imagewidth, imageheight and children is expected"),
        ({"imagewidth": "wide", "children": []}, r"has imagewidth 'wide': a whole number of pixels is expected"),
        ({"imagewidth": 5, "imageheight": -1, "children": []}, r"has imageheight -1"),
        ({"imagewidth": 5, "imageheight": 2.5, "children": []}, r"has imageheight 2\.5"),
        ({"imagewidth": 5, "imageheight": 5}, r"has no list of objects under the key 'children'"),
        (frame("x"), r"has no list of objects under the key 'children'"),
        (frame({"x0": 3}), r"object 1 has identity None"),
        (frame(thing("rider"), {**thing("rider"), "x0": "3"}), r"object 2 has x0 '3': a number is expected"),
        (frame({**thing("rider"), "y1": float("nan")}), r"object 1 has y1 nan"),
        (frame({**thing("rider"), "y1": 10**400}), r"object 1 has y1 1000"),
        (frame({**thing("rider"), "y1": True}), r"object 1 has y1 True"),
        (frame({**thing("rider"), "tags": "occluded>10"}), r"object 1 has tags 'occluded>10'"),
        (frame({**thing("rider"), "tags": [3]}), r"object 1 has tags \[3\]"),
        (frame({**thing("rider"), "children": {}}), r"object 1 has no list of objects under the key 'children'"),
        (frame(thing("rider", children=[{"x0": 1}])), r"object 1: child 1 has y0 None"),
    ],
)
def test_unusable_content_names_the_file_and_the_place(root, content, message):
    file = write(root, "day", "train", "lyon", 1, content)
    with pytest.raises(DataError, match=rf"{file}.*{message}"):
        load(root)


def test_missing_folders_files_and_options_are_named(root, tmp_path):
    with pytest.raises(DataError, match=r"nowhere is not a folder: expected day/labels/train/CITY"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds neither day nor night: expected"):
        load(tmp_path / "empty")
    with pytest.raises(DataError, match=r"ecp time is 'nights'; did you mean 'night'\?"):
        load(root, time="nights")
    with pytest.raises(DataError, match=r"ecp time is 3; known: both, day, night"):
        load(root, time=3)
    with pytest.raises(DataError, match="no option 'tim'; did you mean 'time'"):
        load(root, tim="day")
    with pytest.raises(DataError, match="write ecp:PATH"):
        open_data("ecp", seed=0)
    image = root / "day" / "img" / "train" / "lyon" / "lyon_00001.png"
    image.unlink()
    with pytest.raises(DataError, match=rf"lyon_00001\.json belongs to the image {image}, which does not exist"):
        load(root)
    (root / "night").rename(root / "evening")
    with pytest.raises(DataError, match=r"night is not a folder"):
        load(root, time="night")


def test_labels_without_training_images_are_refused(tmp_path):
    write(tmp_path, "day", "val", "ulm", 1, frame(thing("pedestrian")))
    with pytest.raises(DataError, match=r"has no label file under day/labels/train: expected"):
        load(tmp_path)


def test_only_ignored_boxes_are_refused(tmp_path):
    for number in range(5):
        write(tmp_path, "day", "train", "ulm", number, frame(thing("bicycle-group")))
    with pytest.raises(DataError, match="has no pedestrian and no rider in any of its label files"):
        load(tmp_path)


def test_fingerprint_follows_the_files_and_the_options(root):
    first = load(root).fingerprint
    assert load(root).fingerprint == first
    assert len({first, load(root, seed=1).fingerprint, load(root, time="day").fingerprint}) == 3
    write(root, "day", "train", "lyon", 1, frame(thing("rider", tags=["occluded>10"])))
    assert load(root).fingerprint != first


def test_records_are_arrays_of_the_contract(root):
    for split in load(root).splits.values():
        for record in split:
            assert (record.boxes.dtype, record.labels.dtype) == (np.float32, np.int64)
            assert len(record.boxes) == len(record.labels) == len(record.ignore) == len(record.tags)
