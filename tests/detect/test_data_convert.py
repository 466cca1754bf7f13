"""What is converted reads as it did before, in both layouts, and what a layout cannot hold is said."""

import io
import json
import os
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image
from pycocotools.coco import COCO
from voc_folder import write_voc
from yolo_folder import write_image, write_text, write_yolo

from spnas_core.errors import ConfigError, DataError
from spnas_detect.data import DetectionData, ImageRecord, open_data
from spnas_detect.data._base import READERS
from spnas_detect.data.conversion import LAYOUTS, convert
from spnas_detect.data.conversion import writing as conversion_writing
from spnas_detect.data.conversion.naming import file_names
from spnas_detect.data.conversion.writing import image_file
from spnas_detect.data.faults import Fault
from spnas_search.cli.main import commands

TINY = {"image_size": 64, "max_size": 32, "train": 6, "validation": 3, "test": 2}


def run(*given):
    """How ``spnas data convert`` ends: its exit code and what it prints."""
    result = CliRunner().invoke(commands, ["data", "convert", *map(str, given)])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.output


def agree(data, other, atol=0.0):
    """Equal classes, splits, sizes, boxes, labels and pixels, image by image in the order of their names."""
    assert data.classes == other.classes
    for split, records in data.splits.items():
        assert len(records) == len(other.splits[split])
        for one, same in zip(records, other.splits[split], strict=True):
            assert (one.width, one.height) == (same.width, same.height)
            np.testing.assert_allclose(same.boxes, one.boxes, rtol=0, atol=atol)
            assert same.labels.tolist() == one.labels.tolist()
            assert same.ignore.tolist() == one.ignore.tolist()
            assert np.array_equal(one.read(), same.read())


def record(name, boxes=((1, 2, 30, 40),), labels=None, ignore=None, tags=(), read=None):
    return ImageRecord(
        name,
        read or (lambda: np.zeros((80, 100, 3), np.uint8)),
        100,
        80,
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(labels or [1] * len(boxes), np.int64),
        np.asarray(ignore or [False] * len(boxes), np.bool_),
        tags,
    )


def data_of(train, classes=("cat", "dog"), **others):
    splits = {"train": train, "validation": [record("v")], "test": [record("t")], **others}
    return DetectionData("mine", classes, splits, "f")


@pytest.mark.parametrize(("kind", "atol"), [("coco", 0), ("yolo", 64e-4)])
def test_generated_images_round_trip_as_png(tmp_path, kind, atol):
    options = [f"--data-option={key}={value}" for key, value in TINY.items()]
    code, output = run("shapes", tmp_path / "new", "--to", kind, "--data-seed", 5, *options)
    assert code == 0, output
    assert f"train 6 images with {sum(map(len, boxes_of(tmp_path / 'new', kind)))} boxes, validation 3" in output
    agree(open_data("shapes", seed=5, **TINY), open_data(f"{kind}:{tmp_path}/new", seed=0), atol)


def boxes_of(root, kind):
    return [record.boxes for record in open_data(f"{kind}:{root}", seed=0).splits["train"]]


@pytest.mark.parametrize("how", ["--copy", "--link"])
@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_image_files_are_copied_or_linked_as_they_are(tmp_path, kind, how):
    root = write_voc(tmp_path / "voc", images=4)
    code, output = run(f"voc:{root}", tmp_path / "new", "--to", kind, how)
    assert code == 0, output
    before, after = open_data(f"voc:{root}", seed=0), open_data(f"{kind}:{tmp_path}/new", seed=0)
    agree(before, after, atol=1e-4)
    for one, same in zip(before.splits["train"], after.splits["train"], strict=True):
        assert image_file(one).samefile(image_file(same)) == (how == "--link")
        assert image_file(one).read_bytes() == image_file(same).read_bytes()
    assert after.notes == ()


@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_converting_twice_and_there_and_back_changes_nothing(tmp_path, kind):
    root = write_yolo(tmp_path / "first", images=4)
    other = "yolo" if kind == "coco" else "coco"
    for spec, folder, to in (
        (f"folder:{root}", "second", kind),
        (f"folder:{tmp_path}/second", "third", other),
        (f"{other}:{tmp_path}/third", "fourth", kind),
    ):
        code, output = run(spec, tmp_path / folder, "--to", to)
        assert code == 0, output
    agree(open_data(f"yolo:{root}", seed=0), open_data(f"{kind}:{tmp_path}/fourth", seed=0), atol=1e-4)


def test_carved_splits_and_repairs_are_written_as_they_were_read(tmp_path):
    for name in "abcdef":
        write_image(tmp_path / "old" / "images" / f"{name}.jpg")
        write_text(tmp_path / "old" / "labels" / f"{name}.txt", "1 0,02 0,5 0,1 0,4\n0 0.5 0.5 0 0.1\n")
    write_text(tmp_path / "old" / "classes.txt", "cat\ndog\nunused\n")
    code, output = run(f"yolo:{tmp_path}/old", tmp_path / "new", "--to", "yolo", "--data-seed", 3)
    assert code == 0, output
    assert "data: test split carved from training images by seed 3" in output
    after = open_data(f"yolo:{tmp_path}/new", seed=0)
    assert after.notes == after.dropped == ()
    assert after.classes == ("cat", "dog", "unused")
    agree(open_data(f"yolo:{tmp_path}/old", seed=3), after, atol=1e-4)


def test_pycocotools_reads_what_is_written(tmp_path):
    data = data_of([record("a/1.jpg", [(1, 2, 30, 40), (5, 5, 9.5, 9)], [1, 2], [False, True]), record("b/1.jpg", ())])
    done = convert(data, LAYOUTS["coco"], tmp_path / "new")
    assert done.notes == ("1 ignored box(es) are written as crowds (iscrowd 1)",)
    assert (done.images, done.boxes["train"]) == ({"train": 2, "validation": 1, "test": 1}, 1)
    peers = {}
    with redirect_stdout(io.StringIO()):
        for split in ("train", "val", "test"):
            peers[split] = COCO(tmp_path / "new" / "annotations" / f"instances_{split}.json")
    train = peers["train"]
    assert [image["file_name"] for image in train.loadImgs(train.getImgIds())] == ["a-1.png", "b-1.png"]
    assert [item["bbox"] for item in train.anns.values()] == [[1, 2, 29, 38], [5, 5, 4.5, 4]]
    assert [item["area"] for item in train.anns.values()] == [29 * 38, 18]
    assert [item["iscrowd"] for item in train.anns.values()] == [0, 1]
    assert [category["name"] for category in train.loadCats(train.getCatIds())] == ["cat", "dog"]
    for keys in (lambda peer: peer.getImgIds(), lambda peer: peer.getAnnIds()):
        ids = [identifier for peer in peers.values() for identifier in keys(peer)]
        assert len(set(ids)) == len(ids)
    back = open_data(f"coco:{tmp_path}/new", seed=0)
    agree(data, back)


def test_what_yolo_does_not_hold_is_counted(tmp_path):
    boxes = [(1, 2, 30, 40), (5, 5, 9, 9), (50, 50, 60, 70)]
    train = [record("a", boxes, ignore=[False, True, True], tags=(("occluded>40",), (), ("group",))), record("b")]
    done = convert(data_of(train), LAYOUTS["yolo"], tmp_path / "new")
    assert done.notes == (
        "2 ignored box(es) are left out: YOLO does not hold them, and what they cover counts as background",
        "2 box(es) have tags, which YOLO does not hold: left out",
    )
    assert done.boxes["train"] == 2
    assert open_data(f"yolo:{tmp_path}/new", seed=0).splits["train"][0].boxes.tolist() == [[1, 2, 30, 40]]


def test_yolo_is_written_as_ultralytics_reads_it(tmp_path):
    convert(data_of([record("a"), record("b", ())], ("no", "dog: [1]")), LAYOUTS["yolo"], tmp_path / "new")
    root = tmp_path / "new"
    assert yaml.safe_load((root / "data.yaml").read_text()) == {
        "train": "images/train",
        "val": "images/val",
        "test": "images/test",
        "nc": 2,
        "names": {0: "no", 1: "dog: [1]"},
    }
    assert (root / "labels" / "train" / "a.txt").read_text() == "0 0.155 0.2625 0.29 0.475\n"
    assert (root / "labels" / "train" / "b.txt").read_text() == ""
    assert (root / "images" / "train" / "b.png").is_file()
    root.rename(tmp_path / "moved")
    assert open_data(f"yolo:{tmp_path}/moved", seed=0).notes == ()


def test_boxes_are_cut_at_the_pixels_that_are_written(tmp_path):
    """The annotation says 100x80, the file has 50x40."""
    train = [record("a", [(1, 2, 60, 30), (70, 50, 90, 60)], read=lambda: np.zeros((40, 50, 3), np.uint8)), record("b")]
    done = convert(data_of(train), LAYOUTS["yolo"], tmp_path / "new")
    assert done.notes == ("1 box(es) outside their image's pixels left out, first a",)
    (first, _) = open_data(f"yolo:{tmp_path}/new", seed=0).splits["train"]
    assert (first.width, first.height) == (50, 40)
    np.testing.assert_allclose(first.boxes, [[1, 2, 50, 30]], atol=1e-4)


def test_an_image_type_that_readers_do_not_look_for_is_written_as_png(tmp_path):
    write_image(tmp_path / "old" / "train" / "a.ppm")
    image = {"id": 1, "file_name": "a.ppm", "width": 100, "height": 80}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 29, 38]}
    content = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "cat"}]}
    write_text(tmp_path / "old" / "annotations" / "instances_train.json", json.dumps(content))
    write_text(tmp_path / "old" / "annotations" / "instances_val.json", json.dumps(content))
    options = ["--data-option", "test=instances_val.json", "--data-option", "images=train"]
    code, output = run(f"coco:{tmp_path}/old", tmp_path / "new", "--to", "yolo", *options)
    assert code == 0, output
    assert [file.name for file in (tmp_path / "new" / "images" / "train").iterdir()] == ["a.png"]


# ------------------------------------------------------------------------------------------ refusals


def nothing_is_decoded(monkeypatch):
    Image.init()
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("decoded"))


@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path, monkeypatch, kind):
    write_text(tmp_path / "new" / "mine.txt", "mine")
    nothing_is_decoded(monkeypatch)
    code, output = run("shapes", tmp_path / "new", "--to", kind)
    assert code == 2
    assert output.count("\n") == 1
    assert f"{tmp_path}/new is not empty: name a new folder" in output
    assert [file.name for file in tmp_path.rglob("*")] == ["new", "mine.txt"]
    code, output = run("shapes", tmp_path / "new" / "mine.txt", "--to", kind)
    assert (code, "mine.txt is a file: name a new folder" in output) == (2, True)


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "new").mkdir()
    convert(data_of([record("a"), record("b")]), LAYOUTS["coco"], tmp_path / "new")
    assert (tmp_path / "new" / "annotations").is_dir()


@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_faulty_data_is_refused_with_nothing_written(tmp_path, monkeypatch, kind):
    root = write_voc(tmp_path / "voc", images=4)
    nothing_is_decoded(monkeypatch)
    (root / "JPEGImages" / "train002.jpg").write_bytes(b"no image")
    code, output = run(f"voc:{root}", tmp_path / "new", "--to", kind)
    assert code == 2
    assert "train002.jpg does not decode" in output
    (root / "Annotations" / "train001.xml").write_text("<annotation>")
    code, output = run(f"voc:{root}", tmp_path / "new", "--to", kind)
    assert (code, "malformed XML" in output) == (2, True)
    assert [item.name for item in tmp_path.iterdir()] == ["voc"]
    with pytest.raises(DataError, match="has no box to learn from"):
        convert(data_of([record("a", ())]), LAYOUTS[kind], tmp_path / "new")
    broken = replace(data_of([record("a")]), faults=(Fault("missing image", "a", "a is missing"),))
    with pytest.raises(DataError, match="a is missing"):
        convert(broken, LAYOUTS[kind], tmp_path / "new")


def test_class_names_alike_are_refused_for_yolo(tmp_path):
    with pytest.raises(DataError, match="labels 1 and 2 of mine are both called 'cat'"):
        convert(data_of([record("a")], ("cat", "cat")), LAYOUTS["yolo"], tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device"), DataError("damaged")])
def test_whatever_happens_in_between_leaves_nothing(tmp_path, failure):
    seen = []

    def read():
        seen.extend(item.name for item in tmp_path.iterdir())
        if isinstance(failure, OSError):
            (tmp_path / "gone" / "x").mkdir()
        raise failure

    train = [record("a"), record("b", read=read)]
    expected = KeyboardInterrupt if failure is KeyboardInterrupt else (DataError, ConfigError)
    with pytest.raises(expected):
        convert(data_of(train), LAYOUTS["yolo"], tmp_path / "new")
    assert seen == [f".new.{os.getpid()}.new"]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion_writing.shutil, "copyfile", full)
    root = write_voc(tmp_path / "voc", images=4)
    with pytest.raises(ConfigError, match=r"cannot write .*new: No space left on device; name another folder"):
        convert(open_data(f"voc:{root}", seed=0), LAYOUTS["coco"], tmp_path / "new")
    assert [item.name for item in tmp_path.iterdir()] == ["voc"]


def test_files_that_cannot_be_linked_say_what_to_do(tmp_path, monkeypatch):
    def another(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", another)
    root = write_voc(tmp_path / "voc", images=4)
    with pytest.raises(ConfigError, match=r"jpg cannot be linked: Invalid cross-device link; .*: use --copy"):
        convert(open_data(f"voc:{root}", seed=0), LAYOUTS["coco"], tmp_path / "new", links=True)


# ------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["2007/000005", "2012/000005"], ["2007-000005", "2012-000005"]),
        (["images/train/a.jpg", "images/train/b/a.jpg"], ["a", "b-a"]),
        (["images/train/a.jpg"], ["a"]),
        (["a.jpg", "a.png", "A.jpg"], ["a", "a-2", "A-3"]),
        (["a/b-c", "a-b/c", "a-b-c-2"], ["a-b-c", "a-b-c-2", "a-b-c-2-2"]),
        (["/home/joe/a.jpg", "/home/joe/b.jpg"], ["a", "b"]),
        (["../x/.hidden.jpg", "y.frame.0001"], ["x-hidden", "y.frame.0001"]),
        (["..", "C:\\joe\\a.JPG"], ["image", "C:-joe-a"]),
        ([], []),
    ],
)
def test_file_names_lie_in_one_folder_and_differ(names, expected):
    assert file_names(names, [".png"] * len(names)) == [f"{stem}.png" for stem in expected]


@pytest.mark.parametrize("kind", LAYOUTS)
def test_names_that_are_no_text_are_converted(tmp_path, kind):
    """Names in Latin-1 on a disk whose names are UTF-8."""
    root = write_voc(tmp_path / "voc", images=6)
    old, new = root / "JPEGImages" / "train001.jpg", os.fsdecode(b"caf\xe9")
    try:
        old.rename(root / "JPEGImages" / f"{new}.jpg")
    except OSError:
        pytest.skip("this file system has names of text alone")  # macOS's: there is no such image to convert
    (root / "Annotations" / "train001.xml").rename(root / "Annotations" / f"{new}.xml")
    lists = root / "ImageSets" / "Main"
    (lists / "train.txt").unlink()
    for split in ("val", "test"):
        (lists / f"{split}.txt").unlink(missing_ok=True)
    lists.rmdir()
    lists.parent.rmdir()
    code, said = run(f"voc:{root}", tmp_path / "new", "--to", kind)
    assert code == 0, said
    data = open_data(f"{kind}:{tmp_path / 'new'}", seed=0)
    assert any(new in record.name for records in data.splits.values() for record in records)


def test_an_empty_split_is_told(tmp_path):
    done = convert(data_of([record("a"), record("b"), record("c")], test=[]), LAYOUTS["yolo"], tmp_path / "new")
    assert done.notes == ("the test split is empty: it is not written, and would be carved",)
    assert open_data(f"yolo:{tmp_path}/new", seed=0).notes[0].startswith("test split carved")


def test_only_untouched_pixels_have_a_file(tmp_path):
    data = open_data(f"yolo:{write_yolo(tmp_path / 'yolo', images=4)}", seed=0)
    first = data.splits["train"][0]
    assert image_file(first) == tmp_path / "yolo" / "images" / "train" / "000000.jpg"
    assert image_file(replace(first, read=lambda: first.read()[::-1])) is None
    assert image_file(open_data("shapes", seed=0, **TINY).splits["train"][0]) is None


def test_each_layout_has_a_reader_of_its_name():
    assert set(LAYOUTS) <= set(READERS)


def test_what_was_written_is_json_where_that_is_asked_for(tmp_path):
    write_voc(tmp_path / "voc")
    printed = json.loads(run(f"voc:{tmp_path / 'voc'}", tmp_path / "new", "--to", "coco", "--json")[1])
    assert printed["spec"] == f"coco:{tmp_path / 'new'}"
    assert printed["images"] == {"train": 24, "validation": 12, "test": 12}
    written = open_data(printed["spec"], seed=0)
    boxes = {split: sum(int((~one.ignore).sum()) for one in written.splits[split]) for split in written.splits}
    assert printed["boxes"] == boxes
