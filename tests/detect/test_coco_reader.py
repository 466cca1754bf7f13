import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from spnas_core.errors import DataError
from spnas_detect.data import build_cache, open_data

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


def annotation(identifier, image, bbox, category=3, iscrowd=0):
    return {"id": identifier, "image_id": image, "bbox": bbox, "category_id": category, "iscrowd": iscrowd}


def content(first, count=1, annotations=None):
    images = [{"id": i, "file_name": f"{i:03d}.jpg", "width": 100, "height": 80} for i in range(first, first + count)]
    if annotations is None:
        annotations = [annotation(i, i, [10, 20, 30, 40]) for i in range(first, first + count)]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def write(root, file, folder, value):
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "annotations" / file).write_text(json.dumps(value, indent=1))
    for image in value["images"]:
        Image.new("RGB", (100, 80), (10, 200, 30)).save(root / folder / image["file_name"])


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "coco"
    write(root, "instances_train2017.json", "train2017", content(1, 10))
    write(root, "instances_val2017.json", "val2017", content(101, 3))
    return root


def load(root, seed=0, **options):
    return open_data(f"coco:{root}", seed=seed, **options)


def spoil(root, **changes):
    file = root / "annotations" / "instances_train2017.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_standard_layout_trains_on_all_of_train_and_tests_on_validation(root):
    data = load(root)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 10, "validation": 3, "test": 3}
    assert data.tests_on_validation
    assert data.notes == (
        "test = validation: 3 images are both, so nothing that their scores decide is tested on others",
    )


def test_the_missing_test_split_can_be_carved(root):
    data = load(root, test="carved")
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 8,
        "validation": 3,
        "test": 2,
    }
    assert data.notes == ("test split carved from training images by seed 0: 2 images",)
    names = [record.name for split in data.splits.values() for record in split]
    assert len(set(names)) == 13
    tests = [[record.name for record in load(root, seed=seed, test="carved").splits["test"]] for seed in range(6)]
    assert tests[0] == [record.name for record in data.splits["test"]]
    assert len({tuple(test) for test in tests}) > 1


def test_short_layout_reads_all_three_files(tmp_path):
    for split, first in (("train", 1), ("val", 11), ("test", 21)):
        write(tmp_path, f"{split}.json", "images", content(first, 2))
    data = load(tmp_path)
    assert [record.name for record in data.splits["test"]] == ["021.jpg", "022.jpg"]
    assert data.notes == ()
    assert data.splits["validation"][0].read().shape == (80, 100, 3)


def test_files_and_image_folder_can_be_named(tmp_path):
    write(tmp_path, "mine.json", "pictures", content(1, 2))
    write(tmp_path, "yours.json", "pictures", content(11, 2))
    data = load(tmp_path, train="mine.json", validation="annotations/yours.json", test="yours.json", images="pictures")
    assert [record.name for record in data.splits["validation"]] == ["011.jpg", "012.jpg"]


def test_official_files_are_read_with_everything_that_they_hold(root):
    """The keys of instances_train2017.json, a crowd in run lengths, and the unlabelled test images of the download."""
    segmented = {**annotation(5, 1, [10, 20, 30, 40], 7), "segmentation": [[10, 20, 40, 20, 40, 60]], "area": 600.0}
    crowd = {**annotation(900100, 1, [1, 2, 98, 76], 3, 1), "segmentation": {"counts": [3, 5], "size": [80, 100]}}
    spoil(
        root,
        info={"year": 2017},
        licenses=[{"id": 1, "name": "free"}],
        annotations=[segmented, crowd, *(annotation(k, k, [0, 0, 9, 9]) for k in range(2, 11))],
        categories=[{**category, "supercategory": "animal"} for category in CATEGORIES],
    )
    unlabelled = {"images": content(500, 1)["images"], "categories": CATEGORIES}
    (root / "annotations" / "image_info_test2017.json").write_text(json.dumps(unlabelled))
    data = load(root, test="instances_val2017.json", validation="carved")
    assert [record.name for record in data.splits["test"]] == ["101.jpg", "102.jpg", "103.jpg"]
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 8, "validation": 2, "test": 3}
    assert data.notes == ("validation split carved from training images by seed 0: 2 images",)
    (record,) = [r for name in ("train", "validation") for r in data.splits[name] if r.name == "001.jpg"]
    assert record.boxes.tolist() == [[10, 20, 40, 60], [1, 2, 99, 78]]
    assert (record.labels.tolist(), record.ignore.tolist()) == ([2, 1], [False, True])


def test_labels_follow_category_ids_and_crowds_are_ignored(root):
    spoil(root, annotations=[annotation(1, 1, [0, 0, 5, 5], 7), annotation(2, 1, [1, 1, 5, 5], 3, iscrowd=1)])
    data = load(root)
    assert data.classes == ("cat", "dog")
    (record,) = [r for split in data.splits.values() for r in split if r.name == "001.jpg"]
    assert record.labels.tolist() == [2, 1]
    assert record.ignore.tolist() == [False, True]


def test_boxes_agree_with_pycocotools(root):
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 40, (30, 4)).round(2).tolist()
    spoil(root, annotations=[annotation(k + 1, k % 10 + 1, box) for k, box in enumerate(boxes)])
    with redirect_stdout(io.StringIO()):
        peer = COCO(root / "annotations" / "instances_train2017.json")
    data = load(root)
    records = data.splits["train"]
    assert len(records) == 10
    for record in records:
        (image,) = [image for image in peer.dataset["images"] if image["file_name"] == record.name]
        expected = [item["bbox"] for item in peer.imgToAnns[image["id"]]]
        found = record.boxes.copy()
        found[:, 2:] -= found[:, :2]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_degenerate_boxes_are_dropped_and_others_clipped(root):
    boxes = [[-5, -5, 200, 200], [10, 10, 0, 5], [10, 10, 5, -1], [100, 10, 5, 5], [10, 10, 1e-9, 5]]
    spoil(root, annotations=[annotation(k + 1, 1, box) for k, box in enumerate(boxes)])
    data = load(root)
    (record,) = [r for split in data.splits.values() for r in split if r.name == "001.jpg"]
    assert record.boxes.tolist() == [[0, 0, 100, 80]]
    assert data.notes[0] == "4 degenerate boxes dropped: 001.jpg"


def test_images_without_annotations_stay(root):
    spoil(root, annotations=[annotation(1, 1, [0, 0, 5, 5])])
    assert len(load(root).splits["train"]) == 10


def test_cache_takes_the_data(root, tmp_path):
    cache = build_cache(load(root), tmp_path / "cache", image_size=(50, 50))
    assert cache.split("validation").canvas_boxes(0).tolist() == [[5, 10, 20, 30]]


def test_malformed_json_names_file_and_line(root):
    (root / "annotations" / "instances_train2017.json").write_text('{\n"images": [],\n oops}')
    with pytest.raises(DataError, match=r"instances_train2017\.json is malformed JSON in line 3"):
        load(root)


@pytest.mark.parametrize("text", ["[]", "3", '"x"'])
def test_json_that_is_no_object_is_refused(root, text):
    (root / "annotations" / "instances_train2017.json").write_text(text)
    with pytest.raises(DataError, match="an object with images is expected"):
        load(root)


def test_deeply_nested_json_is_refused(root):
    (root / "annotations" / "instances_train2017.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"instances_train2017\.json"):
        load(root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, r"no list of objects under the key 'images'"),
        ({"annotations": {}}, r"no list of objects under the key 'annotations'"),
        ({"categories": [3]}, r"no list of objects under the key 'categories'"),
        ({"images": []}, r"lists no image"),
        ({"annotations": [annotation(5, 999, [1, 1, 2, 2])]}, r"annotation 5 belongs to image 999"),
        ({"annotations": [annotation(5, 1, [1, 1, 2, 2], 4)]}, r"annotation 5 has category 4"),
        ({"annotations": [annotation(5, 1, [1, 1, 2])]}, r"annotation 5 has bbox \[1, 1, 2\]"),
        ({"annotations": [annotation(5, 1, [1, 1, 2, "3x"])]}, r"annotation 5 has bbox"),
        ({"annotations": [annotation(5, 1, [1, 1, 2, None])]}, r"annotation 5 has bbox \[1, 1, 2, None\]"),
        ({"annotations": [annotation(5, 1, [1, 1, 2, True])]}, r"annotation 5 has bbox"),
        (
            {"annotations": [annotation(5, 1, [1, 1, 2, 3], iscrowd=2)]},
            r"annotation 5 has iscrowd 2: 0 or 1 is expected",
        ),
        ({"annotations": [annotation(5, 1, [1, 1, 2, 3], iscrowd="yes")]}, r"annotation 5 has iscrowd 'yes': 0 or 1"),
        ({"annotations": [annotation(5, 1, [1, 1, float("nan"), 3])]}, r"annotation 5 has bbox"),
        ({"annotations": [{"image_id": 1, "category_id": 3, "bbox": 4}]}, r"annotation number 1 has bbox 4"),
        (
            {"annotations": [{"id": 5, "bbox": [1, 1, 2, 2], "category_id": 3}]},
            r"annotation 5 has image_id None",
        ),
        ({"images": [{"id": 1, "file_name": "x.jpg", "width": "wide", "height": 3}]}, r"image 1 has width 'wide'"),
        ({"images": [{"id": 1, "width": 3, "height": 3}]}, r"image 1 has no file_name: give it one"),
        (
            {"categories": [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]},
            r"category 3 occurs twice, its id written as 3: give each an id of its own",
        ),
        ({"categories": [{"id": 3, "name": " "}]}, r"category 3 has no name: give it one"),
        ({"categories": [{"id": 3, "name": ["a"]}]}, r"category 3 has name \['a'\]: a text is expected"),
        (
            {
                "images": [
                    {"id": 1, "file_name": "001.jpg", "width": 100, "height": 80},
                    {"id": "1", "file_name": "002.jpg", "width": 100, "height": 80},
                ]
            },
            r"image 1 occurs twice, its id written as 1 and '1': give each an id of its own",
        ),
        (
            {
                "images": [{"id": 1, "file_name": "no.jpg", "width": 9, "height": 9}],
                "annotations": [annotation(1, 1, [0, 0, 5, 5])],
            },
            r"lists the image no\.jpg, which none of these folders holds: .*train2017",
        ),
    ],
)
def test_unusable_content_names_the_file_and_the_place(root, changes, message):
    spoil(root, **changes)
    with pytest.raises(DataError, match=rf"coco.*{message}"):
        load(root)


def test_files_that_disagree_on_a_category_mean_different_classes(root):
    spoil(root, categories=[{"id": 7, "name": "dog"}, {"id": 3, "name": "lion"}])
    data = load(root)
    assert data.classes == ("lion", "cat")
    assert {data.classes[label - 1] for record in data.splits["validation"] for label in record.labels} == {"cat"}


def test_no_box_at_all_is_refused(tmp_path):
    write(tmp_path, "train.json", "images", content(1, 5, annotations=[]))
    with pytest.raises(DataError, match="has no box in any of its annotations"):
        load(tmp_path)


def test_all_boxes_degenerate_is_refused_with_their_number(tmp_path):
    flat = [annotation(k, k, [10, 20, 0, 40]) for k in range(1, 6)]
    write(tmp_path, "train.json", "images", content(1, 5, annotations=flat))
    with pytest.raises(DataError, match=r"no usable box: all 5 have no area inside their image, first in 001\.jpg, 0"):
        load(tmp_path)


def test_empty_training_annotations_are_refused_before_images_are_read(root, tmp_path):
    spoil(root, annotations=[])
    for image in (root / "train2017").iterdir():
        image.write_bytes(b"")
    with pytest.raises(DataError, match=r"training split of coco:.* has no box to learn from in its 10 image"):
        build_cache(load(root), tmp_path / "cache", image_size=(8, 8))


def test_missing_folders_and_files_are_named(root, tmp_path):
    with pytest.raises(DataError, match=r"nowhere is not a folder: expected annotations/"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no training annotations: expected"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"coco test is 'x\.json'"):
        load(root, test="x.json")
    with pytest.raises(DataError, match=r"coco train is 'carved': neither"):
        load(root, train="carved")
    with pytest.raises(DataError, match="coco images is 'pics'"):
        load(root, images="pics")
    with pytest.raises(DataError, match="no option 'image'; did you mean 'images'"):
        load(root, image="pics")
    with pytest.raises(DataError, match="write coco:PATH"):
        open_data("coco", seed=0)


def test_fingerprint_follows_the_files(root):
    first = load(root).fingerprint
    assert load(root).fingerprint == first
    assert load(root, seed=1).fingerprint != first
    spoil(root, annotations=[annotation(1, 1, [0, 0, 5, 5])])
    assert load(root).fingerprint != first
