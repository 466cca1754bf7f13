"""YOLO data sets whose images, labels or description are links into a store: what counts is the path as written."""

import pytest
from yolo_folder import BOX, load_yolo, names_of, write_boxes, write_image, write_text

NAMES = [f"images/train/{number}" for number in range(6)]


def move_into_store(file, store):
    """Leave a link where a file was, as DVC and Hugging Face's cache do: names in the store say nothing."""
    store.mkdir(exist_ok=True)
    place = store / f"blob{len(list(store.iterdir()))}"
    file.rename(place)
    file.symlink_to(place)


def linked(root, store, files):
    for file in files:
        move_into_store(root / file, store)
    return root


def annotated(data):
    return {record.name: record.boxes.tolist() for records in data.splits.values() for record in records}


@pytest.mark.parametrize("kinds", [("images",), ("labels",), ("images", "labels")])
@pytest.mark.parametrize(
    "entries", ["train: images/train\n", "train: train.txt\n", "path: ../birds\ntrain: images/train\n"]
)
def test_linked_files_are_read_as_if_they_lay_there(tmp_path, kinds, entries):
    root = write_boxes(tmp_path / "birds", NAMES, keys=entries)
    write_text(root / "train.txt", "".join(f"./{name}.jpg\n" for name in NAMES))
    plain = load_yolo(root)
    suffixes = {"images": ".jpg", "labels": ".txt"}
    linked(root, tmp_path / "store", [f"{kind}/train/{n}{suffixes[kind]}" for kind in kinds for n in range(3)])
    data = load_yolo(root)
    assert annotated(data) == annotated(plain)
    assert (data.notes, data.repairs) == (plain.notes, plain.repairs)


@pytest.mark.parametrize("key", ["val", "test"])
def test_linked_files_of_every_split_keep_their_labels(tmp_path, key):
    names = [*NAMES, f"images/{key}/8", f"images/{key}/9"]
    root = write_boxes(tmp_path / "birds", names, keys=f"train: images/train\n{key}: {key}.txt\n")
    write_text(root / f"{key}.txt", f"images/{key}/8.jpg\nimages/{key}/9.jpg\n")
    linked(root, tmp_path / "store", [f"images/{key}/8.jpg", f"{key}.txt"])
    data = load_yolo(root)
    assert names_of(data, {"val": "validation", "test": "test"}[key]) == [f"images/{key}/8.jpg", f"images/{key}/9.jpg"]
    assert all(annotated(data).values())


def test_the_description_itself_may_be_a_link(tmp_path):
    root = linked(
        write_boxes(tmp_path / "birds", NAMES, keys="train: images/train\n"), tmp_path / "store", ["data.yaml"]
    )
    assert load_yolo(root / "data.yaml").fingerprint == load_yolo(root).fingerprint
    assert set(annotated(load_yolo(root))) == {f"{name}.jpg" for name in NAMES}


def test_darknets_lists_may_lead_through_links(tmp_path):
    root = tmp_path / "task"
    for number in range(3):
        write_image(root / "obj_train_data" / f"{number}.jpg")
        write_text(root / "obj_train_data" / f"{number}.txt", BOX)
    write_text(root / "obj.names", "cat\n")
    write_text(root / "obj.data", "train = data/train.txt\nnames = data/obj.names\n")
    write_text(root / "train.txt", "".join(f"data/obj_train_data/{number}.jpg\n" for number in range(3)))
    linked(root, tmp_path / "store", ["obj_train_data/1.jpg", "obj.data", "obj.names", "train.txt"])
    data = load_yolo(root)
    assert all(annotated(data).values())
    assert len(annotated(data)) == 3


@pytest.mark.parametrize("described", [True, False])
def test_a_folder_of_images_may_be_a_link(tmp_path, described):
    root = write_boxes(tmp_path / "birds", NAMES, keys="train: images/train\n")
    if not described:
        (root / "data.yaml").unlink()
        write_text(root / "classes.txt", "cat\n")
    plain = load_yolo(root)
    (root / "images").rename(tmp_path / "storage")
    (root / "images").symlink_to(tmp_path / "storage")
    assert annotated(load_yolo(root)) == annotated(plain)


def test_two_links_to_one_file_are_two_images(tmp_path):
    root = write_boxes(tmp_path / "birds", NAMES, keys="train: train.txt\n")
    write_text(root / "train.txt", "".join(f"{name}.jpg\n" for name in NAMES))
    (root / "images/train/1.jpg").unlink()
    (root / "images/train/1.jpg").symlink_to("0.jpg")
    assert len(annotated(load_yolo(root))) == 6


def test_a_path_through_a_link_and_back_counts_as_the_system_reads_it_where_nothing_else_does(tmp_path):
    write_boxes(tmp_path / "store" / "birds", NAMES, keys="train: ../birds/images/train\n")
    (tmp_path / "here").symlink_to(tmp_path / "store" / "birds")
    data = load_yolo(tmp_path / "here")
    assert len(annotated(data)) == 6
    assert not any("read instead" in note for note in data.notes)
