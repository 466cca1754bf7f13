"""A folder is read as what it is, and as nothing where that is not clear."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image
from voc_folder import write_voc
from yolo_folder import write_image, write_text, write_yolo

from spnas_core.errors import DataError
from spnas_detect.data import open_data
from spnas_search.cli.main import commands


def load(root, **options):
    return open_data(f"folder:{root}", seed=0, **options)


def content(*names, folder=""):
    """A COCO file of one box per image, as exporters write it."""
    images = [{"id": n, "file_name": f"{folder}{name}", "width": 100, "height": 80} for n, name in enumerate(names)]
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [10, 20, 30, 40]} for n in range(len(names))]
    return {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}


def write_coco(root, file, folder, *names, prefix=""):
    for name in names:
        write_image(root / folder / name)
    write_text(root / file, json.dumps(content(*names, folder=prefix)))


def same(data, other):
    assert data.classes == other.classes
    assert data.fingerprint == other.fingerprint
    for split, records in data.splits.items():
        assert [record.name for record in records] == [record.name for record in other.splits[split]]


def test_each_kind_is_what_its_own_reader_reads(tmp_path):
    for kind, root, sign in (
        ("voc", write_voc(tmp_path / "voc", images=4), "Annotations/ and ImageSets/Main/"),
        ("yolo", write_yolo(tmp_path / "yolo", images=4), "data.yaml"),
    ):
        data = load(root)
        same(data, open_data(f"{kind}:{root}", seed=0))
        assert data.spec == f"folder:{root}"
        assert data.notes[0] == f"recognised as {kind}:{root} by {sign}"


def test_official_coco_is_recognised_and_takes_its_options(tmp_path):
    write_coco(tmp_path, "annotations/instances_train2017.json", "train2017", "1.jpg", "2.jpg", "3.jpg")
    write_coco(tmp_path, "annotations/instances_val2017.json", "val2017", "4.jpg", "5.jpg")
    data = load(tmp_path, validation="carved", test="instances_val2017.json")
    same(data, open_data(f"coco:{tmp_path}", seed=0, validation="carved", test="instances_val2017.json"))
    assert data.notes[0] == f"recognised as coco:{tmp_path} by annotations/instances_train2017.json"


def test_a_vocdevkit_is_recognised_in_the_folder_that_holds_it(tmp_path):
    write_voc(tmp_path / "VOCdevkit" / "VOC2007", images=4)
    assert load(tmp_path).notes[0] == f"recognised as voc:{tmp_path}/VOCdevkit by VOC2007/"
    assert load(tmp_path / "VOCdevkit").notes[0] == f"recognised as voc:{tmp_path}/VOCdevkit by VOC2007/"


def test_eurocity_is_recognised(tmp_path):
    for number in range(4):
        write_image(tmp_path / "ECP" / "day" / "img" / "train" / "ulm" / f"ulm_{number}.png")
        child = {"identity": "pedestrian", "x0": 10, "y0": 20, "x1": 40, "y1": 60, "tags": [], "children": []}
        frame = {"identity": "frame", "imagewidth": 100, "imageheight": 80, "children": [child]}
        write_text(tmp_path / "ECP" / "day" / "labels" / "train" / "ulm" / f"ulm_{number}.json", json.dumps(frame))
    assert load(tmp_path).notes[0] == f"recognised as ecp:{tmp_path}/ECP by day/labels/"


def test_roboflows_coco_has_a_file_per_split_among_its_images(tmp_path):
    for split in ("train", "valid", "test"):
        write_coco(tmp_path, f"{split}/_annotations.coco.json", split, "a_jpg.rf.1.jpg", "b_jpg.rf.2.jpg")
    data = load(tmp_path)
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 2, "validation": 2, "test": 2}
    assert data.notes == (f"recognised as coco:{tmp_path} by train/_annotations.coco.json",)
    assert data.layout.startswith("COCO, a folder per split: train/_annotations.coco.json, valid/")
    assert data.splits["test"][0].read().shape == (80, 100, 3)
    (tmp_path / "test" / "_annotations.coco.json").unlink()
    with pytest.raises(DataError, match=r"test has no annotations, expected one of .* or set test=carved"):
        load(tmp_path)
    assert load(tmp_path, test="carved").notes[-1].startswith("test split carved")


@pytest.mark.parametrize(
    ("file", "folder", "prefix"),
    [
        ("annotations/instances_default.json", "images", ""),  # CVAT
        ("annotations/instances_Train.json", "images/Train", ""),
        ("result.json", "images", "images/"),  # Label Studio
        ("labels.json", "data", ""),  # FiftyOne
        ("_annotations.coco.json", ".", ""),
    ],
)
def test_exports_of_one_file_are_recognised(tmp_path, file, folder, prefix):
    write_coco(tmp_path, file, folder, "a.jpg", "b.jpg", "c.jpg", prefix=prefix)
    data = load(tmp_path)
    assert data.notes[0] == f"recognised as coco:{tmp_path} by {file}"
    assert sum(len(record.boxes) for records in data.splits.values() for record in records) == 3


def test_capitals_and_other_words_for_splits_are_told_apart(tmp_path):
    for number, name in enumerate(("Train", "Validation", "Test")):
        names = [f"{number}{letter}.jpg" for letter in "ab"]
        write_coco(tmp_path, f"annotations/instances_{name}.json", f"images/{name}", *names)
    data = load(tmp_path)
    assert [record.name for record in data.splits["validation"]] == ["1a.jpg", "1b.jpg"]


def test_two_layouts_in_one_folder_are_refused_before_an_image_is_read(tmp_path, monkeypatch):
    root = write_yolo(tmp_path / "both", images=2)
    write_coco(root, "annotations/instances_train2017.json", "train2017", "1.jpg")
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("opened"))
    with pytest.raises(
        DataError,
        match=rf"both is coco \(annotations/instances_train2017\.json\) and yolo \(data\.yaml\): say .* coco:{root}",
    ):
        load(root)


def test_class_names_without_labels_are_no_yolo_data(tmp_path):
    root = write_voc(tmp_path / "voc", images=4)
    write_text(root / "classes.txt", "square\n")
    assert load(root).notes[0].startswith("recognised as voc")
    (root / "labels").mkdir()
    assert load(root).notes[0].startswith("recognised as voc")


def test_an_unknown_layout_is_refused_with_what_was_looked_for_and_found(tmp_path):
    write_image(tmp_path / "pictures" / "a.jpg")
    write_text(tmp_path / "boxes.csv", "a.jpg,1,2,3,4")
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is in no known layout: looked for VOC (Annotations/ and ImageSets/Main/, or VOC2007/), COCO "
        "(annotations/instances_train2017.json, or train/_annotations.coco.json), EuroCity Persons (day/labels/), YOLO "
        "(data.yaml, obj.data, or classes.txt and labels); found boxes.csv, pictures/"
    )
    write_yolo(tmp_path / "birds", images=2)
    with pytest.raises(
        DataError, match=rf"found birds/, boxes\.csv, pictures/; did you mean folder:{tmp_path}/birds\?"
    ):
        load(tmp_path)


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere is not a folder: looked for VOC"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="write folder:PATH"):
        open_data("folder", seed=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"YOLO \(.*\); it is empty"):
        load(tmp_path / "empty")


def test_faults_and_options_are_those_of_the_kind(tmp_path):
    root = write_yolo(tmp_path / "yolo", images=4)
    with pytest.raises(DataError, match="yolo data has no option 'difficult'"):
        load(root, difficult="train")
    write_text(root / "labels" / "train" / "000000.txt", "9 0.5 0.5 0.1 0.1")
    with pytest.raises(DataError, match=r"000000\.txt: line 1 has class 9"):
        load(root)


def test_the_check_says_what_was_recognised(tmp_path):
    root = write_yolo(tmp_path / "yolo", images=4)
    result = CliRunner().invoke(commands, ["data", "check", f"folder:{root}", "--no-decode"])
    assert result.exit_code == 0, result.output
    assert f"data: recognised as yolo:{root} by data.yaml" in result.output
