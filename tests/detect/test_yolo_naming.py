"""Descriptions of YOLO data sets: what names the classes, and what is refused."""

import pytest
from yolo_folder import load_yolo, write_boxes, write_text

from spnas_core.errors import DataError
from spnas_detect.data import open_data


@pytest.fixture
def root(tmp_path):
    return write_boxes(tmp_path / "birds", [f"images/{split}/{name}" for split in ("train", "val") for name in "abc"])


def test_names_may_have_keys_in_quotes_and_numbers_as_names(root):
    write_text(root / "data.yaml", "train: images/train\nval: images/val\nnc: 2\nnames:\n  '1': 7\n  '0': cat\n")
    assert load_yolo(root).classes == ("cat", "7")


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
        load_yolo(root)


def test_names_may_lie_in_a_list_beside_the_description(root):
    write_text(root / "data.yaml", "train: images/train\nval: images/val\nnc: 2\n")
    write_text(root / "classes.txt", "cat\r\ndog\r\n")
    assert load_yolo(root).classes == ("cat", "dog")


def test_a_description_of_another_name_is_found_beside_a_trainings_settings(root):
    (root / "data.yaml").rename(root / "birds.yaml")
    write_text(root / "args.yaml", "task: detect\nmode: train\nval: true\n")
    assert load_yolo(root).classes == ("cat", "dog")
    write_text(root / "more.yaml", "names: [cow]\n")
    with pytest.raises(
        DataError, match=r"has several descriptions of a data set: birds\.yaml, more\.yaml; name one, as"
    ):
        load_yolo(root)
    assert load_yolo(root / "birds.yaml").classes == ("cat", "dog")


def test_what_is_no_data_set_is_refused(tmp_path, root):
    with pytest.raises(DataError, match=r"nowhere does not exist: expected data\.yaml"):
        load_yolo(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"does not say what its classes are called: expected data\.yaml"):
        load_yolo(root / "images")
    with pytest.raises(DataError, match=r"a\.jpg is neither a folder nor a description"):
        load_yolo(root / "images" / "train" / "a.jpg")
    with pytest.raises(DataError, match="write yolo:PATH"):
        open_data("yolo", seed=0)
    with pytest.raises(DataError, match="yolo mixed is 'boxs'; did you mean 'boxes'"):
        load_yolo(root, mixed="boxs")
    with pytest.raises(DataError, match=r"yolo test is 3: it must be a folder"):
        load_yolo(root, test=3)
    with pytest.raises(DataError, match=r"yolo test is 'imgs', and nothing of that name lies in"):
        load_yolo(root, test="imgs")
    write_text(root / "data.yaml", "- cat\n")
    with pytest.raises(DataError, match=r"data\.yaml holds a list: keys such as train"):
        load_yolo(root)
    (tmp_path / "empty").mkdir()
    write_text(tmp_path / "empty" / "classes.txt", "cat")
    with pytest.raises(DataError, match=r"leads to no training image: images are looked for in images/train"):
        load_yolo(tmp_path / "empty")


def test_splits_can_be_chosen_and_carved(root):
    data = load_yolo(root, validation="carved", test="images/val")
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 2, "validation": 1, "test": 3}
