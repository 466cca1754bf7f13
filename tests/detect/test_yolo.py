"""YOLO data sets as the tools write them that export them, and wherever their images lie."""

import pytest
from yolo_folder import BOX, load_yolo, names_of, record_of, write_boxes, write_image, write_text

from spnas_core.errors import DataError
from spnas_detect.data import read_data


@pytest.fixture
def root(tmp_path):
    return write_boxes(tmp_path / "birds", [f"images/{split}/{name}" for split in ("train", "val") for name in "abc"])


def test_ultralytics_layout_with_names_as_a_mapping_and_an_empty_test_key(tmp_path):
    keys = "path: .  # dataset root dir\ntrain: images/train  # 4 images\nval: images/val\ntest: # optional\n\n"
    root = write_boxes(
        tmp_path / "coco8",
        ["images/train/1", "images/train/2", "images/train/3", "images/val/4"],
        names="names:\n  0: person\n  1: traffic light\n",
        keys=keys,
    )
    data = load_yolo(root)
    assert data.classes == ("person", "traffic light")
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 2, "validation": 1, "test": 1}
    assert data.notes == ("test split carved from training images by seed 0: 1 images",)
    record = record_of(data, "images/val/4.jpg")
    assert record.boxes.tolist() == [[40, 24, 60, 56]]
    assert (record.labels.tolist(), record.ignore.tolist(), record.width, record.height) == ([1], [False], 100, 80)
    assert record.read().shape == (80, 100, 3)


def write_roboflow(root, *splits):
    for split in splits:
        for name in ("street-1_jpg.rf.0a1b", "street-2_jpg.rf.2c3d"):
            write_image(root / split / "images" / f"{name}.jpg")
            write_text(root / split / "labels" / f"{name}.txt", "1 0.5 0.5 0.2 0.4")
    write_text(root / "README.roboflow.txt", "\nbirds - v1\n")
    write_text(
        root / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['cat', 'dog']\n\n"
        "roboflow:\n  workspace: me\n  project: birds\n  version: 1\n  license: CC BY 4.0\n",
    )
    return root


def test_roboflow_export_though_its_paths_leave_the_folder(tmp_path):
    root = write_roboflow(tmp_path / "birds", "train", "valid", "test")
    data = load_yolo(root)
    assert names_of(data, "validation") == [f"valid/images/street-{n}.jpg" for n in ("1_jpg.rf.0a1b", "2_jpg.rf.2c3d")]
    assert data.notes == tuple(
        f"{key} of {root}/data.yaml is '../{folder}/images': {root}/{folder}/images is read instead"
        for key, folder in (("train", "train"), ("validation", "valid"), ("test", "test"))
    )


def test_roboflow_export_without_test_images_carves_them_and_says_so(tmp_path):
    data = load_yolo(write_roboflow(tmp_path / "birds", "train", "valid"))
    assert len(data.splits["test"]) == 1
    assert any("test images '../test/images', which" in note and "do not exist" in note for note in data.notes)
    assert data.notes[-1] == "test split carved from training images by seed 0: 1 images"


def test_another_split_that_is_named_and_missing_is_refused(root):
    write_text(root / "data.yaml", "train: images/train\nval: images/vall\nnames: [cat]\n")
    with pytest.raises(DataError, match=r"validation of .*data\.yaml is 'images/vall', and nothing .* to have the spl"):
        load_yolo(root)
    write_text(root / "data.yaml", "train: images/tarin\nval: images/val\nnames: [cat]\n")
    with pytest.raises(DataError, match=r"train of .*data\.yaml is 'images/tarin', and nothing of that name lies in"):
        load_yolo(root)


def write_cvat(root, lists=("train",)):
    """CVAT's YOLO 1.1, which is darknet's."""
    for name in ("frame_000000", "frame_000001", "frame_000002"):
        write_image(root / "obj_train_data" / f"{name}.PNG")
        write_text(root / "obj_train_data" / f"{name}.txt", "1 0.500000 0.500000 0.200000 0.400000\n")
    write_text(root / "obj.names", "cat\ndog\n")
    write_text(root / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    for split in lists:
        write_text(
            root / f"{split}.txt", "".join(f"data/obj_train_data/frame_00000{number}.PNG\n" for number in range(3))
        )
    return root


def test_cvat_darknet_export_whose_lists_begin_with_data(tmp_path):
    root = write_cvat(tmp_path / "task")
    data = load_yolo(root)
    assert data.classes == ("cat", "dog")
    assert {record.name for records in data.splits.values() for record in records} == {
        f"obj_train_data/frame_00000{number}.PNG" for number in range(3)
    }
    assert data.notes[0] == f"train of {root}/obj.data is 'data/train.txt': {root}/train.txt is read instead"
    (repair,) = data.repairs
    assert str(repair).startswith("listed images that lie elsewhere, found by the end of their path: 3, first ")
    assert data.layout == "YOLO, described by obj.data"
    assert record_of(data, "obj_train_data/frame_000001.PNG").boxes.tolist() == [[40, 24, 60, 56]]
    assert load_yolo(root / "obj.data").classes == data.classes


def test_darknet_counts_must_agree(tmp_path):
    root = write_cvat(tmp_path)
    write_text(root / "obj.names", "cat\n\n")
    with pytest.raises(DataError, match=r"obj\.data has classes 2, but names 1 class\(es\): make them agree"):
        load_yolo(root)
    write_text(root / "obj.names", "cat\n\ndog\n")
    with pytest.raises(DataError, match=r"obj\.names: class 1 has an empty name"):
        load_yolo(root)
    write_text(root / "obj.data", "train = train.txt\n")
    with pytest.raises(DataError, match=r"obj\.data has no names: add the line"):
        load_yolo(root)
    write_text(root / "obj.data", "train = train.txt\nnames = mine.names\n")
    with pytest.raises(DataError, match=r"obj\.data has names mine\.names, which neither"):
        load_yolo(root)


def test_cvat_ultralytics_export_with_a_list(tmp_path):
    root = write_boxes(
        tmp_path,
        [f"images/train/{name}" for name in "abc"],
        names="names:\n  0: cat\n",
        keys="path: .\ntrain: train.txt\n",
    )
    write_text(root / "train.txt", "".join(f"data/images/train/{name}.jpg\n" for name in "abc"))
    assert sum(len(records) for records in load_yolo(root).splits.values()) == 3


def test_label_studio_export_has_class_names_and_no_splits(tmp_path):
    for name in ("0a1b2c3d-street", "1b2c3d4e-house", "2c3d4e5f-tree"):
        write_image(tmp_path / "images" / f"{name}.png")
        write_text(tmp_path / "labels" / f"{name}.txt", "1 0.5 0.5 0.2 0.4")
    write_text(tmp_path / "classes.txt", "cat\ndog\n")
    write_text(tmp_path / "notes.json", "{}")
    data = load_yolo(tmp_path)
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 1, "validation": 1, "test": 1}
    assert [note[:10] for note in data.notes] == ["test split", "validation"]


def test_labelimg_writes_labels_and_classes_beside_the_images(tmp_path):
    for name in "abc":
        write_image(tmp_path / f"{name}.jpg")
        write_text(tmp_path / f"{name}.txt", BOX)
    write_text(tmp_path / "classes.txt", "cat")
    assert sum(len(records) for records in load_yolo(tmp_path).splits.values()) == 3


@pytest.mark.parametrize("layout", ["images/{}/{}", "{}/images/{}", "{}/{}"])
def test_folders_of_splits_are_found_by_their_names(tmp_path, layout):
    for split in ("train", "valid", "test"):
        for name in "ab":
            image = write_image(tmp_path / f"{layout.format(split, name)}.jpg")
            labels = str(image.relative_to(tmp_path).with_suffix(".txt")).replace("images", "labels")
            write_text(tmp_path / labels, BOX)
    write_text(tmp_path / "classes.txt", "cat")
    data = load_yolo(tmp_path)
    assert [len(records) for records in data.splits.values()] == [2, 2, 2]
    assert data.notes == ()


def test_lists_beside_class_names_are_the_splits(tmp_path):
    root = write_boxes(tmp_path, [f"images/{name}" for name in "abcd"])
    (root / "data.yaml").unlink()
    write_text(root / "classes.txt", "cat")
    for split, names in (("train", "ab"), ("val", "c"), ("test", "d")):
        write_text(root / f"{split}.txt", "".join(f"./images/{name}.jpg\n" for name in names))
    assert names_of(load_yolo(root), "train") == ["images/a.jpg", "images/b.jpg"]


def test_a_validation_folder_below_the_images_trains_nobody(tmp_path):
    root = write_boxes(tmp_path, ["images/a", "images/b", "images/c", "images/val/d"])
    write_text(root / "data.yaml", "names: [cat]\n")
    data = load_yolo(root)
    assert names_of(data, "validation") == ["images/val/d.jpg"]
    assert "images/val/d.jpg" not in names_of(data, "train")


# ------------------------------------------------------------------------------------------ paths


def test_a_stale_root_falls_back_to_the_folders_beside_the_description(root):
    text = (root / "data.yaml").read_text()
    write_text(root / "data.yaml", f"path: /home/joe/datasets/birds\n{text}")
    data = load_yolo(root)
    assert names_of(data, "validation") == [f"images/val/{name}.jpg" for name in "abc"]
    assert (
        data.notes[0]
        == f"path '/home/joe/datasets/birds' of {root}/data.yaml does not exist here: {root} is read instead"
    )


def test_the_root_may_be_relative_to_a_description_elsewhere(root, tmp_path):
    text = (root / "data.yaml").read_text()
    (root / "data.yaml").unlink()
    described = write_text(tmp_path / "birds.yaml", f"path: birds\n{text}")
    assert len(load_yolo(described).splits["validation"]) == len(load_yolo(tmp_path).splits["validation"]) == 3
    assert load_yolo(described).notes[0].startswith("test split carved")
    write_text(described, f"path: {root}\n{text}")
    assert load_yolo(described).notes[0].startswith("test split carved")
    write_text(described, f"path: ../datasets/birds\n{text}")
    assert load_yolo(described).notes[0].endswith(f"does not exist here: {root} is read instead")


def test_folders_of_another_machine_are_found_by_their_ends(root):
    write_text(
        root / "data.yaml", "train: /content/birds/images/train\nval: C:\\joe\\birds\\images\\val\nnames: [cat]\n"
    )
    data = load_yolo(root)
    assert len(data.splits["validation"]) == 3
    assert sum("is read instead" in note for note in data.notes) == 2


def test_an_end_that_no_longer_tells_the_split_is_not_taken(root):
    """``images`` is there, and holds the training images too."""
    write_text(root / "data.yaml", "train: images/train\nval: /content/valid/images\nnames: [cat]\n")
    with pytest.raises(DataError, match="validation of"):
        load_yolo(root)


def test_several_folders_are_one_split(root):
    write_text(root / "data.yaml", "train: [images/train, images/val]\nval: images/val\nnames: [cat]\n")
    data = load_yolo(root, test="images/val")
    assert len(data.splits["train"]) == 6
    assert data.notes == (
        "test = validation: 3 images are both, so nothing that their scores decide is tested on others",
        *(
            f"3 training images are in the {split} split too, first images/val/a.jpg"
            for split in ("validation", "test")
        ),
    )


@pytest.mark.parametrize("written", ["./images/train/{}.jpg", "images/train/{}.jpg", "/old/birds/images/train/{}.jpg"])
def test_lists_name_images_relative_or_as_on_another_machine(root, written):
    lines = [written.format(name) for name in "ab"]
    write_text(root / "train.txt", "\ufeff" + "\r\n".join([*lines, "", lines[0]]) + "\r\n")
    write_text(root / "data.yaml", "train: train.txt\nval: images/val\nnames: [cat]\n")
    data = load_yolo(root, test="images/val")
    assert names_of(data, "train") == ["images/train/a.jpg", "images/train/b.jpg"]
    moved = (
        {"listed images that lie elsewhere, found by the end of their path": 3} if written.startswith("/old") else {}
    )
    lost = {"images that are listed more than once, read once": 1, "label files without an image, not read": 1}
    assert {repair.what: repair.count for repair in data.repairs} == {**moved, **lost}


def test_lists_are_relative_to_their_own_folder_first(root):
    write_text(root / "lists" / "train.txt", "./../images/train/a.jpg\nimages/train/b.jpg\n")
    write_text(root / "data.yaml", "train: lists/train.txt\nval: images/val\nnames: [cat]\n")
    assert names_of(load_yolo(root, test="images/val"), "train") == ["images/train/a.jpg", "images/train/b.jpg"]


def test_listed_images_that_are_missing_are_faults_with_their_line(root):
    write_text(root / "train.txt", "images/train/a.jpg\nimages/train/zebra.jpg\nimages/train/b.jpg\n")
    write_text(root / "data.yaml", "train: train.txt\nval: images/val\nnames: [cat]\n")
    data = read_data(f"yolo:{root}", seed=0, options={})
    (fault,) = data.faults
    assert fault.kind == "missing image"
    assert f"{root}/train.txt: line 2 lists the image images/train/zebra.jpg, which {root} lack" in fault.text


def test_a_line_longer_than_any_name_is_a_fault_with_its_line(root):
    write_text(root / "train.txt", "images/train/a.jpg\n" + "images/train/b.jpg " * 500 + "\nimages/train/b.jpg\n")
    write_text(root / "data.yaml", "train: train.txt\nval: images/val\nnames: [cat]\n")
    (fault,) = read_data(f"yolo:{root}", seed=0, options={}).faults
    assert fault.text.startswith(f"{root}/train.txt: line 2 lists the image images/train/b.jpg")
    assert len(fault.text) < 5000


def test_labels_lie_where_the_last_folder_images_is_called_labels(tmp_path):
    root = tmp_path / "images" / "birds"
    for name in "abc":
        write_image(root / "images" / "train" / "images" / f"{name}.jpg")
        write_text(root / "images" / "train" / "labels" / f"{name}.txt", BOX)
    write_text(root / "data.yaml", "train: images/train\nnames: [cat]\n")
    assert sum(len(record.boxes) for records in load_yolo(root).splits.values() for record in records) == 3


def test_images_outside_the_folder_are_named_from_what_they_share(tmp_path):
    root = write_boxes(tmp_path / "elsewhere", [f"images/train/{name}" for name in "abc"])
    described = write_text(tmp_path / "mine" / "data.yaml", f"train: {root}/images/train\nnames: [cat]\n")
    assert {r.name for records in load_yolo(described).splits.values() for r in records} == {"a.jpg", "b.jpg", "c.jpg"}
