"""YOLO data sets as the tools write them that export them, and what becomes of their usual mistakes."""

import numpy as np
import pytest
from PIL import Image
from yolo_folder import write_image, write_text, write_yolo

from spnas_core.errors import DataError
from spnas_detect.data import FaultyDataError, build_cache, open_data, read_data

BOX = "0 0.5 0.5 0.2 0.4\n"  # (40, 24, 60, 56) in 100x80


def write(root, images, labels=BOX, names="names: [cat, dog]", keys="train: images/train\nval: images/val\n"):
    """Images and labels by name without suffix, such as ``images/train/a``; labels lie in ``labels``."""
    for name in images:
        write_image(root / f"{name}.jpg")
        write_text(root / f"{name.replace('images', 'labels')}.txt", labels)
    write_text(root / "data.yaml", f"{keys}{names}\n")
    return root


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "birds", [f"images/{split}/{name}" for split in ("train", "val") for name in "abc"])


def load(root, **options):
    return open_data(f"yolo:{root}", seed=0, **options)


def spoil(root, text, name="train/a"):
    write_text(root / "labels" / f"{name}.txt", text)


def names_of(data, split):
    return [record.name for record in data.splits[split]]


def record_of(data, name):
    (record,) = [record for records in data.splits.values() for record in records if record.name == name]
    return record


def a(root, **options):
    """The record whose labels ``spoil`` writes."""
    return record_of(load(root, **options), "images/train/a.jpg")


# ------------------------------------------------------------------------------------------ who wrote it


def test_ultralytics_layout_with_names_as_a_mapping_and_an_empty_test_key(tmp_path):
    keys = "path: .  # dataset root dir\ntrain: images/train  # 4 images\nval: images/val\ntest: # optional\n\n"
    root = write(
        tmp_path / "coco8",
        ["images/train/1", "images/train/2", "images/train/3", "images/val/4"],
        names="names:\n  0: person\n  1: traffic light\n",
        keys=keys,
    )
    data = load(root)
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
    data = load(root)
    assert names_of(data, "validation") == [f"valid/images/street-{n}.jpg" for n in ("1_jpg.rf.0a1b", "2_jpg.rf.2c3d")]
    assert data.notes == tuple(
        f"{key} of {root}/data.yaml is '../{folder}/images': {root}/{folder}/images is read instead"
        for key, folder in (("train", "train"), ("validation", "valid"), ("test", "test"))
    )


def test_roboflow_export_without_test_images_carves_them_and_says_so(tmp_path):
    data = load(write_roboflow(tmp_path / "birds", "train", "valid"))
    assert len(data.splits["test"]) == 1
    assert any("test images '../test/images', which" in note and "do not exist" in note for note in data.notes)
    assert data.notes[-1] == "test split carved from training images by seed 0: 1 images"


def test_another_split_that_is_named_and_missing_is_refused(root):
    write_text(root / "data.yaml", "train: images/train\nval: images/vall\nnames: [cat]\n")
    with pytest.raises(DataError, match=r"validation of .*data\.yaml is 'images/vall', and nothing .* to have the spl"):
        load(root)
    write_text(root / "data.yaml", "train: images/tarin\nval: images/val\nnames: [cat]\n")
    with pytest.raises(DataError, match=r"train of .*data\.yaml is 'images/tarin', and nothing of that name lies in"):
        load(root)


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
    data = load(root)
    assert data.classes == ("cat", "dog")
    assert {record.name for records in data.splits.values() for record in records} == {
        f"obj_train_data/frame_00000{number}.PNG" for number in range(3)
    }
    assert data.notes[0] == f"train of {root}/obj.data is 'data/train.txt': {root}/train.txt is read instead"
    assert data.notes[1].startswith("3 image(s) that a list names lie elsewhere, found by the end of their path, first")
    assert record_of(data, "obj_train_data/frame_000001.PNG").boxes.tolist() == [[40, 24, 60, 56]]
    assert load(root / "obj.data").classes == data.classes


def test_darknet_counts_must_agree(tmp_path):
    root = write_cvat(tmp_path)
    write_text(root / "obj.names", "cat\n\n")
    with pytest.raises(DataError, match=r"obj\.data has classes 2, but names 1 class\(es\): make them agree"):
        load(root)
    write_text(root / "obj.names", "cat\n\ndog\n")
    with pytest.raises(DataError, match=r"obj\.names: class 1 has an empty name"):
        load(root)
    write_text(root / "obj.data", "train = train.txt\n")
    with pytest.raises(DataError, match=r"obj\.data has no names: add the line"):
        load(root)
    write_text(root / "obj.data", "train = train.txt\nnames = mine.names\n")
    with pytest.raises(DataError, match=r"obj\.data has names mine\.names, which neither"):
        load(root)


def test_cvat_ultralytics_export_with_a_list(tmp_path):
    root = write(
        tmp_path,
        [f"images/train/{name}" for name in "abc"],
        names="names:\n  0: cat\n",
        keys="path: .\ntrain: train.txt\n",
    )
    write_text(root / "train.txt", "".join(f"data/images/train/{name}.jpg\n" for name in "abc"))
    assert sum(len(records) for records in load(root).splits.values()) == 3


def test_label_studio_export_has_class_names_and_no_splits(tmp_path):
    for name in ("0a1b2c3d-street", "1b2c3d4e-house", "2c3d4e5f-tree"):
        write_image(tmp_path / "images" / f"{name}.png")
        write_text(tmp_path / "labels" / f"{name}.txt", "1 0.5 0.5 0.2 0.4")
    write_text(tmp_path / "classes.txt", "cat\ndog\n")
    write_text(tmp_path / "notes.json", "{}")
    data = load(tmp_path)
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 1, "validation": 1, "test": 1}
    assert [note[:10] for note in data.notes] == ["test split", "validation"]


def test_labelimg_writes_labels_and_classes_beside_the_images(tmp_path):
    for name in "abc":
        write_image(tmp_path / f"{name}.jpg")
        write_text(tmp_path / f"{name}.txt", BOX)
    write_text(tmp_path / "classes.txt", "cat")
    assert sum(len(records) for records in load(tmp_path).splits.values()) == 3


@pytest.mark.parametrize("layout", ["images/{}/{}", "{}/images/{}", "{}/{}"])
def test_folders_of_splits_are_found_by_their_names(tmp_path, layout):
    for split in ("train", "valid", "test"):
        for name in "ab":
            image = write_image(tmp_path / f"{layout.format(split, name)}.jpg")
            labels = str(image.relative_to(tmp_path).with_suffix(".txt")).replace("images", "labels")
            write_text(tmp_path / labels, BOX)
    write_text(tmp_path / "classes.txt", "cat")
    data = load(tmp_path)
    assert [len(records) for records in data.splits.values()] == [2, 2, 2]
    assert data.notes == ()


def test_lists_beside_class_names_are_the_splits(tmp_path):
    root = write(tmp_path, [f"images/{name}" for name in "abcd"])
    (root / "data.yaml").unlink()
    write_text(root / "classes.txt", "cat")
    for split, names in (("train", "ab"), ("val", "c"), ("test", "d")):
        write_text(root / f"{split}.txt", "".join(f"./images/{name}.jpg\n" for name in names))
    assert names_of(load(root), "train") == ["images/a.jpg", "images/b.jpg"]


def test_a_validation_folder_below_the_images_trains_nobody(tmp_path):
    root = write(tmp_path, ["images/a", "images/b", "images/c", "images/val/d"])
    write_text(root / "data.yaml", "names: [cat]\n")
    data = load(root)
    assert names_of(data, "validation") == ["images/val/d.jpg"]
    assert "images/val/d.jpg" not in names_of(data, "train")


# ------------------------------------------------------------------------------------------ paths


def test_a_stale_root_falls_back_to_the_folders_beside_the_description(root):
    text = (root / "data.yaml").read_text()
    write_text(root / "data.yaml", f"path: /home/joe/datasets/birds\n{text}")
    data = load(root)
    assert names_of(data, "validation") == [f"images/val/{name}.jpg" for name in "abc"]
    assert (
        data.notes[0]
        == f"path '/home/joe/datasets/birds' of {root}/data.yaml does not exist here: {root} is read instead"
    )


def test_the_root_may_be_relative_to_a_description_elsewhere(root, tmp_path):
    text = (root / "data.yaml").read_text()
    (root / "data.yaml").unlink()
    described = write_text(tmp_path / "birds.yaml", f"path: birds\n{text}")
    assert len(load(described).splits["validation"]) == len(load(tmp_path).splits["validation"]) == 3
    assert load(described).notes[0].startswith("test split carved")
    write_text(described, f"path: {root}\n{text}")
    assert load(described).notes[0].startswith("test split carved")
    write_text(described, f"path: ../datasets/birds\n{text}")
    assert load(described).notes[0].endswith(f"does not exist here: {root} is read instead")


def test_folders_of_another_machine_are_found_by_their_ends(root):
    write_text(
        root / "data.yaml", "train: /content/birds/images/train\nval: C:\\joe\\birds\\images\\val\nnames: [cat]\n"
    )
    data = load(root)
    assert len(data.splits["validation"]) == 3
    assert sum("is read instead" in note for note in data.notes) == 2


def test_an_end_that_no_longer_tells_the_split_is_not_taken(root):
    """``images`` is there, and holds the training images too."""
    write_text(root / "data.yaml", "train: images/train\nval: /content/valid/images\nnames: [cat]\n")
    with pytest.raises(DataError, match="validation of"):
        load(root)


def test_several_folders_are_one_split(root):
    write_text(root / "data.yaml", "train: [images/train, images/val]\nval: images/val\nnames: [cat]\n")
    data = load(root, test="images/val")
    assert len(data.splits["train"]) == 6
    assert data.notes == tuple(
        f"3 training images are in the {split} split too, first {root}/images/val/a.jpg"
        for split in ("validation", "test")
    )


@pytest.mark.parametrize("written", ["./images/train/{}.jpg", "images/train/{}.jpg", "/old/birds/images/train/{}.jpg"])
def test_lists_name_images_relative_or_as_on_another_machine(root, written):
    lines = [written.format(name) for name in "ab"]
    write_text(root / "train.txt", "\ufeff" + "\r\n".join([*lines, "", lines[0]]) + "\r\n")
    write_text(root / "data.yaml", "train: train.txt\nval: images/val\nnames: [cat]\n")
    data = load(root, test="images/val")
    assert names_of(data, "train") == ["images/train/a.jpg", "images/train/b.jpg"]
    assert any(note.startswith("1 image(s) are listed more than once, and read once") for note in data.notes)
    assert any("lie elsewhere" in note for note in data.notes) == written.startswith("/old")


def test_lists_are_relative_to_their_own_folder_first(root):
    write_text(root / "lists" / "train.txt", "./../images/train/a.jpg\nimages/train/b.jpg\n")
    write_text(root / "data.yaml", "train: lists/train.txt\nval: images/val\nnames: [cat]\n")
    assert names_of(load(root, test="images/val"), "train") == ["images/train/a.jpg", "images/train/b.jpg"]


def test_listed_images_that_are_missing_are_faults_with_their_line(root):
    write_text(root / "train.txt", "images/train/a.jpg\nimages/train/zebra.jpg\nimages/train/b.jpg\n")
    write_text(root / "data.yaml", "train: train.txt\nval: images/val\nnames: [cat]\n")
    data = read_data(f"yolo:{root}", seed=0, options={})
    (fault,) = data.faults
    assert fault.kind == "missing image"
    assert f"{root}/train.txt: line 2 lists the image images/train/zebra.jpg, which {root} lack" in fault.text


def test_labels_lie_where_the_last_folder_images_is_called_labels(tmp_path):
    root = tmp_path / "images" / "birds"
    for name in "abc":
        write_image(root / "images" / "train" / "images" / f"{name}.jpg")
        write_text(root / "images" / "train" / "labels" / f"{name}.txt", BOX)
    write_text(root / "data.yaml", "train: images/train\nnames: [cat]\n")
    assert sum(len(record.boxes) for records in load(root).splits.values() for record in records) == 3


def test_images_outside_the_folder_are_named_from_what_they_share(tmp_path):
    root = write(tmp_path / "elsewhere", [f"images/train/{name}" for name in "abc"])
    described = write_text(tmp_path / "mine" / "data.yaml", f"train: {root}/images/train\nnames: [cat]\n")
    assert {r.name for records in load(described).splits.values() for r in records} == {"a.jpg", "b.jpg", "c.jpg"}


# ------------------------------------------------------------------------------------------ description


def test_names_may_have_keys_in_quotes_and_numbers_as_names(root):
    write_text(root / "data.yaml", "train: images/train\nval: images/val\nnc: 2\nnames:\n  '1': 7\n  '0': cat\n")
    assert load(root).classes == ("cat", "7")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("nc: 3\nnames: [cat, dog]", r"has nc 3, but names 2 class\(es\): make them agree"),
        ("nc: many\nnames: [cat, dog]", r"has nc many, but names 2 class\(es\)"),
        ("names: {0: cat, 1: dog, 3: cow}", r"names has 3 classes up to 3 and lacks 2: name every class from 0 on, if"),
        ("names: {1: cat, 2: dog}", r"names has 2 classes up to 2 and lacks 0"),
        ("names: {first: cat}", r"has the key 'first' in names: whole numbers from 0 on"),
        ("names: {0: cat, '0': dog}", r"names class 0 twice"),
        ("names: [cat, dog, cat]", r"classes 0 and 2 are both called 'cat'"),
        ("names: [yes, no]", r"the name of class 0 is read as True: put it in quotes"),
        ("names: [cat, 2020-01-01]", r"the name of class 1 is read as .*: put it in quotes"),
        ("names: [cat, null]", r"the name of class 1 is read as None: give it one"),
        ("names: [cat, ' ']", r"class 1 has an empty name"),
        ("names: []", r"names no class"),
        ("names: cat", r"has names 'cat': a list, or a mapping"),
        ("nc: 2", r"has no names: add the list"),
        ("names: [cat", r"is malformed YAML in line \d"),
        ("names: [cat]\n\tnc: 1", r"is malformed YAML in line \d"),
        ("names: [cat, 2020-13-45]", r"is malformed YAML: month must be"),
        ("names: [cat]\nkpt_shape: 17", r"has kpt_shape 17: a pair is expected"),
        ("names: [cat]\npath: [a]", r"has path \['a'\]: a folder is expected"),
        ("names: [cat]\ntest: 3", r"has test 3: a folder, a list of folders or a \.txt list"),
        ("names: [cat]\ntest: images/val/a.jpg", r"names the image .*a\.jpg: a folder of images or"),
        ("names: !!python/object/apply:os.getcwd []", r"is malformed YAML in line \d"),
    ],
)
def test_descriptions_that_contradict_themselves_are_refused(root, names, message):
    write_text(root / "data.yaml", f"train: images/train\nval: images/val\n{names}\n")
    with pytest.raises(DataError, match=rf"data\.yaml:? {message}"):
        load(root)


def test_names_may_lie_in_a_list_beside_the_description(root):
    write_text(root / "data.yaml", "train: images/train\nval: images/val\nnc: 2\n")
    write_text(root / "classes.txt", "cat\r\ndog\r\n")
    assert load(root).classes == ("cat", "dog")


def test_a_description_of_another_name_is_found_beside_a_trainings_settings(root):
    (root / "data.yaml").rename(root / "birds.yaml")
    write_text(root / "args.yaml", "task: detect\nmode: train\nval: true\n")
    assert load(root).classes == ("cat", "dog")
    write_text(root / "more.yaml", "names: [cow]\n")
    with pytest.raises(
        DataError, match=r"has several descriptions of a data set: birds\.yaml, more\.yaml; name one, as"
    ):
        load(root)
    assert load(root / "birds.yaml").classes == ("cat", "dog")


def test_what_is_no_data_set_is_refused(tmp_path, root):
    with pytest.raises(DataError, match=r"nowhere does not exist: expected data\.yaml"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"does not say what its classes are called: expected data\.yaml"):
        load(root / "images")
    with pytest.raises(DataError, match=r"a\.jpg is neither a folder nor a description"):
        load(root / "images" / "train" / "a.jpg")
    with pytest.raises(DataError, match="write yolo:PATH"):
        open_data("yolo", seed=0)
    with pytest.raises(DataError, match="yolo mixed is 'boxs'; did you mean 'boxes'"):
        load(root, mixed="boxs")
    with pytest.raises(DataError, match=r"yolo test is 3: it must be a folder"):
        load(root, test=3)
    with pytest.raises(DataError, match=r"yolo test is 'imgs', and nothing of that name lies in"):
        load(root, test="imgs")
    write_text(root / "data.yaml", "- cat\n")
    with pytest.raises(DataError, match=r"data\.yaml holds a list: keys such as train"):
        load(root)
    (tmp_path / "empty").mkdir()
    write_text(tmp_path / "empty" / "classes.txt", "cat")
    with pytest.raises(DataError, match=r"leads to no training image: images are looked for in images/train"):
        load(tmp_path / "empty")


def test_splits_can_be_chosen_and_carved(root):
    data = load(root, validation="carved", test="images/val")
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 2, "validation": 1, "test": 3}


# ------------------------------------------------------------------------------------------ lines


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("0 0.5 0.5 0.2 0.4", [[40, 24, 60, 56]]),
        ("\r\n0\t0.5\t0.5\t0.2\t0.4  \r\n\r\n", [[40, 24, 60, 56]]),
        ("\ufeff0 .5 0.5e0 2e-1 0.4\n", [[40, 24, 60, 56]]),
        ("0.0 0.5 0.5 0.2 0.4\n", [[40, 24, 60, 56]]),
        ("", []),
        ("\n \n", []),
        ("0 0.4 0.3 0.6 0.3 0.6 0.7", [[40, 24, 60, 56]]),
        ("0 0.4 0.3 0.6 0.3 0.6 0.7 0.4 0.7", [[40, 24, 60, 56]]),
        ("0 0.5 0.5 0.2 0", []),
    ],
)
def test_lines_are_read_as_they_are_meant(root, text, boxes):
    spoil(root, text)
    record = a(root, test="images/val")
    np.testing.assert_allclose(record.boxes, np.reshape(boxes, (-1, 4)), atol=1e-4)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read(root, encoding):
    (root / "labels" / "train" / "a.txt").write_bytes("1 0.5 0.5 0.2 0.4\r\n".encode(encoding))
    record = a(root, test="images/val")
    assert (record.labels.tolist(), record.boxes.tolist()) == ([2], [[40, 24, 60, 56]])


def test_repairs_are_counted_with_their_places(root):
    file = root / "labels" / "train" / "a.txt"
    lines = ["0 0,5 0,5 0,2 0,4", "0 0.02 0.5 0.1 0.4", "0 0.9500005 0.5 0.1 0.4", "0 0.5 0.5 -0.01 0.1"]
    spoil(root, "\n".join([*lines, "1 -0.05 0 1.05 0 1 1"]))
    data = load(root, test="images/val", mixed="boxes")
    np.testing.assert_allclose(
        record_of(data, "images/train/a.jpg").boxes,
        [[40, 24, 60, 56], [0, 24, 7, 56], [90, 24, 100, 56], [0, 0, 100, 80]],
        atol=1e-4,
    )
    assert data.notes == (
        "1 degenerate box dropped: images/train/a.jpg",
        f"2 object(s) reach beyond 0…1, and are cut at their image, first {file}: line 2",
        f"1 object(s) have decimal commas, read as points, first {file}: line 1",
        f"1 polygon(s) are read as their bounding boxes, first {file}: line 5",
    )
    assert data.dropped == ("images/train/a.jpg",)


def test_corners_in_the_place_of_centres_are_doubted(root):
    for name in ("train/a", "train/b", "train/c", "val/a", "val/b", "val/c"):
        spoil(root, "0 0.6 0.6 0.9 0.9\n", name)
    assert any(note.endswith("if most do, they may be corners and no centres and sizes") for note in load(root).notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{BOX}7 0.5 0.5 0.2 0.4", r"a\.txt: line 2 has class 7, but .*data\.yaml names 2 class\(es\), 0…1: name it"),
        ("-1 0.5 0.5 0.2 0.4", r"line 1 has class -1, but .* names 2"),
        ("1.5 0.5 0.5 0.2 0.4", r"line 1 has class '1\.5': a whole number is expected"),
        ("dog 0.5 0.5 0.2 0.4", r"line 1 has class 'dog': write its number, which is 1"),
        ("cow 0.5 0.5 0.2 0.4", r"line 1 has class 'cow': a whole number is expected, .*data\.yaml"),
        ("0 nan 0.5 0.2 0.4", r"line 1 has 'nan', not a number"),
        ("0 0.5 inf 0.2 0.4", r"line 1 has 'inf', not a number"),
        ("0 0.5 1_0 0.2 0.4", r"line 1 has '1_0', not a number"),
        ("0 50% 0.5 0.2 0.4", r"line 1 has '50%', not a number"),
        ("0 0.5, 0.5, 0.2, 0.4", r"line 1 has '0\.5,': columns are separated by spaces"),
        ("0,0.5,0.5,0.2,0.4", r"line 1 has 1 column\(s\): class, cx, cy, w and h are expected, separated by spaces"),
        ("0 0.5 0.5", r"line 1 has 3 column\(s\): class, cx, cy, w and h are expected"),
        ("0 320 240 40 32", r"line 1 has 320, far outside 0…1: fractions .*divide x by its width 100 and y by .* 80"),
        ("0 0.5 0.5 -0.2 0.4", r"line 1 has -0\.2, far outside 0…1"),
        ("0 0.5 0.5 0.2 0.4 0.87", r"line 1 is a box with a confidence or a track behind it, as predictions have"),
        ("0 0.5 0.5 0.2 0.4 0.87 12", r"line 1 has 12, far outside 0…1: .*; if it is a track's number, remove it"),
        ("0 0.1 0.1 0.9 0.1 0.9 0.9 0.4", r"line 1 has 8 column\(s\): coordinates come in pairs"),
        (
            f"0 0.1 0.1 0.9 0.1 0.9 0.9\n{BOX}",
            r"line 2 has two points in a file of polygons: a polygon needs three; if",
        ),
    ],
)
def test_lines_that_cannot_be_used_are_faults_with_file_and_line(root, text, message):
    spoil(root, text)
    with pytest.raises(DataError, match=message):
        load(root)
    data = read_data(f"yolo:{root}", seed=0, options={"test": "images/val"})
    assert all(fault.where == str(root / "labels" / "train" / "a.txt") for fault in data.faults)
    assert len(data.splits["train"]) == 3


def test_boxes_beside_polygons_can_be_read_as_boxes(root):
    spoil(root, f"0 0.1 0.1 0.9 0.1 0.9 0.9\n{BOX}")
    assert a(root, mixed="boxes", test="images/val").boxes[1].tolist() == [40, 24, 60, 56]


def test_keypoints_are_left_out_where_the_description_declares_them(root):
    text = (root / "data.yaml").read_text()
    write_text(root / "data.yaml", f"{text}kpt_shape: [2, 3]\n")
    spoil(root, "0 0.5 0.5 0.2 0.4 0.45 0.4 2 0 0 0\n")
    data = load(root, test="images/val")
    assert record_of(data, "images/train/a.jpg").boxes.tolist() == [[40, 24, 60, 56]]
    assert f"1 object(s) have keypoints, which are left out, first {root}/labels/train/a.txt: line 1" in data.notes
    spoil(root, "0 0.5 0.5 0.2 0.4 0.45 0.4\n")
    with pytest.raises(
        DataError, match=r"line 1 has 7 columns, but kpt_shape of .* gives keypoints of 3 numbers behind"
    ):
        load(root)


def test_missing_labels_are_no_objects_and_counted(root):
    (root / "labels" / "train" / "a.txt").unlink()
    spoil(root, "", "train/b")
    data = load(root, test="images/val")
    assert [len(record.boxes) for record in data.splits["train"]] == [0, 0, 1]
    assert data.notes[0] == "1 image(s) without a label file count as images without objects, first images/train/a.jpg"


def test_labels_without_an_image_are_counted(root):
    (root / "images" / "train" / "a.jpg").unlink()
    assert any(
        note == f"1 label file(s) belong to no image of the splits, first {root}/labels/train/a.txt"
        for note in load(root, test="images/val").notes
    )


def test_no_label_at_all_says_where_labels_are_looked_for(root):
    (root / "labels").rename(root / "annotations")
    with pytest.raises(
        DataError, match=r"has 6 image\(s\), and none of them a label file: .*labels/.*\.txt and .*images"
    ):
        load(root)


def test_no_box_at_all_is_refused(tmp_path):
    root = write(tmp_path, [f"images/train/{name}" for name in "abc"], labels="", keys="train: images/train\n")
    with pytest.raises(DataError, match=r"data\.yaml has no box in any of its annotations"):
        load(root)


def test_images_without_a_header_are_faults_before_any_is_decoded(root, monkeypatch):
    (root / "images" / "train" / "a.jpg").write_bytes(b"no image")
    spoil(root, "9 0.5 0.5 0.2 0.4")
    Image.init()
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(FaultyDataError) as caught:
        load(root)
    assert [fault.kind for fault in caught.value.faults] == ["unreadable image", "unknown class"]


def test_labels_that_are_no_text_are_faults(root):
    (root / "labels" / "train" / "a.txt").write_bytes(b"\xff\xd8\xff\xe0 JFIF")
    with pytest.raises(DataError, match=r"a\.txt is not a text file in UTF-8 or UTF-16 \(byte 0 is not in UTF-8\)"):
        load(root)


def test_the_fingerprint_follows_labels_and_names(root):
    first = load(root).fingerprint
    assert load(root).fingerprint == first
    spoil(root, f"{BOX}{BOX}")
    second = load(root).fingerprint
    (root / "labels" / "train" / "a.txt").unlink()
    third = load(root).fingerprint
    write_text(root / "data.yaml", "train: images/train\nval: images/val\nnames: [cow, dog]\n")
    assert len({first, second, third, load(root).fingerprint}) == 4


def test_the_cache_takes_it(tmp_path):
    data = load(write_yolo(tmp_path / "shapes"))
    shapes = open_data("shapes", seed=3, image_size=64, max_size=32, train=6, validation=3, test=3)
    cache = build_cache(data, tmp_path / "cache", image_size=(32, 32))
    np.testing.assert_allclose(cache.split("test").canvas_boxes(0), shapes.splits["test"][0].boxes / 2, atol=1e-3)
