"""COCO data as exporters lay it out, and as it is found in the wild: what is read, mended, said and refused."""

import json

import pytest
import torch
from click.testing import CliRunner
from coco_folder import CATS, CORNERS, box, boxes, image, load, named, picture, records, repairs, simple, write
from commands import refused

from spnas_core.errors import DataError
from spnas_detect.commands.data import data_group
from spnas_detect.data import StreamedSplit, build_cache, read_data
from spnas_detect.metrics import CocoMetric


def roboflow(root, valid="valid", ids=((1, 2), (1, 2), (1, 2))):
    """As Roboflow exports: the supercategory of all has id 0 and no box."""
    for folder, (cat, dog) in zip(("train", valid, "test"), ids, strict=True):
        names = [f"img{k}_jpg.rf.0a1b{k}.jpg" for k in range(2)]
        for name in names:
            picture(root / folder / name)
        categories = [
            {"id": 0, "name": "pets", "supercategory": "none"},
            {"id": cat, "name": "cat", "supercategory": "pets"},
            {"id": dog, "name": "dog", "supercategory": "pets"},
        ]
        annotations = [
            box(0, 0, cat, bbox=[10, 20, 30, 40.5], area=1215, segmentation=[]),
            box(1, 1, dog, bbox=[5, 6, 7, 8], area=56, segmentation=[]),
        ]
        images = [image(k, name, license=1, date_captured="2024-05-06T07:08:09+00:00") for k, name in enumerate(names)]
        write(root / folder / "_annotations.coco.json", images, annotations, categories)
    return root


@pytest.mark.parametrize("valid", ["valid", "val", "Validation"])
def test_roboflow_has_a_folder_per_split_with_the_json_beside_the_images(tmp_path, valid):
    data = load(roboflow(tmp_path, valid))
    assert {split: len(found) for split, found in data.splits.items()} == {"train": 2, "validation": 2, "test": 2}
    assert data.classes == ("cat", "dog")
    assert named(data, "validation")[0] == f"{valid}/img0_jpg.rf.0a1b0.jpg"
    assert boxes(data, "test/img0_jpg.rf.0a1b0.jpg") == [("cat", 10, 20, 40, 60.5)]
    assert repairs(data) == {"categories without a box in any split, left out": (1, ("'pets'",))}
    assert "a folder per split: train/_annotations.coco.json" in data.layout
    assert data.notes == ()
    assert data.splits["train"][0].read().shape == (80, 100, 3)


def test_a_split_folder_without_annotations_is_refused_unless_it_is_carved(tmp_path):
    root = roboflow(tmp_path)
    (root / "valid" / "_annotations.coco.json").unlink()
    with pytest.raises(DataError, match=r"valid has no annotations, expected one of .* set validation=carved"):
        load(root)
    assert len(load(root, validation="carved").splits["validation"]) == 1


def test_one_split_folder_is_a_data_set_of_its_own(tmp_path):
    data = load(roboflow(tmp_path) / "train", test="../test/_annotations.coco.json", validation="carved")
    assert len(data.splits["test"]) == 2
    assert "as Roboflow writes it" in data.layout


@pytest.mark.parametrize("ids", [((1, 2), (2, 1), (1, 2)), ((1, 2), (11, 12), (7, 5)), ((0, 1), (1, 2), (2, 3))])
def test_classes_are_merged_by_name_up_to_the_labels_that_are_scored(tmp_path, ids):
    """A detector that finds what the training labels mean scores 1 on every split, whatever the ids there."""
    root = tmp_path / "data"
    if ids[0][0] == 0:  # without the supercategory
        roboflow(root, ids=((3, 1), *ids[1:]))
    else:
        roboflow(root, ids=ids)
    data = load(root)
    assert sorted(data.classes) == ["cat", "dog"]
    cache = build_cache(data, tmp_path / "cache", image_size=(50, 40))
    meant = {0: "cat", 1: "dog"}
    for split in ("train", "validation", "test"):
        for read in (cache.split(split), StreamedSplit(data.splits[split], (50, 40))):
            metric = CocoMetric(data.classes)
            for index in range(2):
                label = data.classes.index(meant[index]) + 1
                assert read.labels(index).tolist() == [label]
                truth = {"boxes": read.boxes(index), "labels": read.labels(index), "ignore": read.ignore(index)}
                found = {
                    "boxes": truth["boxes"],
                    "labels": torch.tensor([label]),
                    "scores": torch.tensor([0.9]),
                }
                metric.process([found], [{**truth, "size": read.size(index)}])
            assert metric.evaluate()["AP"] == pytest.approx(1)
    what = "classes with other category ids in other files, merged by name"
    assert repairs(data)[what][0] == 2


def test_cvat_has_instances_default(tmp_path):
    for k in range(4):
        picture(tmp_path / "images" / f"frame_{k:06d}.PNG")
    attributes = {"occluded": False, "rotation": 0.0}
    write(
        tmp_path / "annotations" / "instances_default.json",
        [image(k + 1, f"frame_{k:06d}.PNG", license=0, flickr_url="", coco_url="") for k in range(4)],
        [box(k + 1, k + 1, segmentation=[], area=1200.0, attributes=attributes) for k in range(4)],
    )
    data = load(tmp_path)
    assert "one file for all images as CVAT writes it: annotations/instances_default.json" in data.layout
    assert {split: len(found) for split, found in data.splits.items()} == {"train": 2, "validation": 1, "test": 1}
    assert boxes(data, "frame_000000.PNG") == [("cat", *CORNERS)]


def test_cvat_has_subsets_in_folders_of_their_names(tmp_path):
    for subset in ("Train", "Validation"):
        names = [f"{subset[0]}{k}.jpg" for k in range(3)]
        for name in names:
            picture(tmp_path / "images" / subset / name)
        images = [image(k, name) for k, name in enumerate(names)]
        write(tmp_path / "annotations" / f"instances_{subset}.json", images, [box(k, k) for k in range(3)])
    assert named(load(tmp_path), "validation") == ["V0.jpg", "V1.jpg", "V2.jpg"]


@pytest.mark.parametrize(
    "written", ["images/{}.jpg", "images\\{}.jpg", "..\\..\\label-studio\\media\\upload\\1\\{}.jpg"]
)
def test_label_studio_has_result_json(tmp_path, written):
    for k in range(4):
        picture(tmp_path / "images" / f"{k}.jpg")
    images = [image(k, written.format(k)) for k in range(4)]
    boxes_of = [box(k, k, 0, ignore=0, segmentation=[], area=1200) for k in range(4)]
    write(tmp_path / "result.json", images, boxes_of, [{"id": 0, "name": "cat"}])
    data = load(tmp_path)
    assert "as Label Studio writes it: result.json" in data.layout
    assert boxes(data, "images/3.jpg") == [("cat", *CORNERS)]
    found = repairs(data).get("file names of another place, found by their tail", (0, ()))
    assert found[0] == (4 if "\\" in written else 0)


def test_fiftyone_has_labels_json_and_data(tmp_path):
    for k in range(4):
        picture(tmp_path / "data" / f"{k}.jpg")
    write(
        tmp_path / "labels.json", [image(k, f"{k}.jpg", license=None) for k in range(4)], [box(k, k) for k in range(4)]
    )
    data = load(tmp_path)
    assert "as FiftyOne writes it: labels.json" in data.layout
    assert set(records(data)) == {f"{k}.jpg" for k in range(4)}


@pytest.mark.parametrize("place", ["mine.json", "annotations/mine.json"])
def test_one_json_file_is_a_data_set(tmp_path, place):
    for k in range(4):
        picture(tmp_path / "images" / f"{k}.jpg")
    write(tmp_path / place, [image(k, f"{k}.jpg") for k in range(4)], [box(k, k) for k in range(4)])
    data = load(tmp_path / place)
    assert sum(map(len, data.splits.values())) == 4
    assert data.layout == f"COCO, one JSON file: {place}"
    if "/" in place:
        with pytest.raises(
            DataError, match=r"it has annotations/mine\.json: name one by the option train, or give its p"
        ):
            load(tmp_path)


TAIL = "file names of another place, found by their tail"


@pytest.mark.parametrize(
    ("written", "called", "is_repaired"),
    [
        ("./0.jpg", "0.jpg", False),
        ("sub/0.jpg", "sub/0.jpg", False),
        ("sub\\0.jpg", "images/sub/0.jpg", True),
        (".\\0.jpg", "images/0.jpg", True),
        ("/home/ann/shop/images/sub/0.jpg", "images/sub/0.jpg", True),
        ("C:\\Users\\ann\\shop\\0.jpg", "images/0.jpg", True),
        ("../pictures/0.jpg", "images/0.jpg", True),
        ("images/0.jpg", "images/0.jpg", False),
    ],
)
def test_file_names_lead_to_the_image_that_is_meant(tmp_path, written, called, is_repaired):
    root = simple(tmp_path, [image(k, f"{k}.jpg" if k else written) for k in range(6)])
    picture(root / "images" / "sub" / "0.jpg", (50, 40))
    data = load(root)
    assert called in records(data)
    in_folder = "sub" in written
    assert records(data)[called].read().shape == ((40, 50, 3) if in_folder else (80, 100, 3))
    assert repairs(data).get(TAIL) == ((1, (f"{written} as {called}",)) if is_repaired else None)


def test_two_images_of_other_folders_are_not_taken_for_one(tmp_path):
    root = simple(tmp_path, [image(k, f"{k}.jpg" if k > 1 else f"D:\\{k}\\0.jpg") for k in range(6)])
    with pytest.raises(
        DataError, match=r"train\.json: image 1 is D:\\1\\0\.jpg, and another one is D:\\0\\0\.jpg: both"
    ):
        load(root)


def test_images_that_are_not_there_are_all_named(tmp_path):
    root = simple(tmp_path, names=range(2, 6))
    faults = read_data(f"coco:{root}", seed=0, options={}).faults
    assert [fault.kind for fault in faults] == ["missing image"] * 2
    assert all(f"lists the image {k}.jpg, which none of" in fault.text for k, fault in enumerate(faults))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    root = simple(tmp_path)
    file = root / "annotations" / "train.json"
    file.write_text(file.read_text(), encoding=encoding)
    assert load(root).classes == ("cat", "dog")


@pytest.mark.parametrize("kind", [str, float, lambda value: f"{value}.0", lambda value: f"{value:04d}"])
def test_ids_may_be_texts_or_decimals(tmp_path, kind):
    images = [image(kind(k), f"{k}.jpg") for k in range(6)]
    categories = [{"id": kind(10), "name": "dog"}, {"id": kind(9), "name": "cat"}]  # as texts, 10 would come first
    annotations = [box(kind(k), k, kind(9 + k % 2)) for k in range(6)]
    data = load(simple(tmp_path, images, annotations, categories))
    assert data.classes == ("cat", "dog")
    assert boxes(data, "1.jpg") == [("dog", *CORNERS)]
    assert repairs(data)["ids written as texts or decimals, read as whole numbers"][0] == 14


def test_ids_may_be_names(tmp_path):
    images = [image(f"shop-{k}", f"{k}.jpg") for k in range(6)]
    data = load(simple(tmp_path, images, [box(f"a{k}", f"shop-{k}") for k in range(6)]))
    assert boxes(data) == [("cat", *CORNERS)]
    assert not any("ids" in what for what in repairs(data))


@pytest.mark.parametrize("changes", [{"width": 0, "height": 0}, {"width": None}, {"height": 0}, None])
def test_sizes_that_are_missing_come_from_the_image(tmp_path, changes):
    first = {"id": 0, "file_name": "0.jpg"} if changes is None else image(0, "0.jpg", **changes)
    annotations = [box(k, k, 1 + k % 2) for k in range(6)] + [box(9, 0, bbox=[50, 60, 500, 500])]
    data = load(simple(tmp_path, [first, *(image(k, f"{k}.jpg", width="100") for k in range(1, 6))], annotations))
    assert boxes(data) == [("cat", *CORNERS), ("cat", 50, 60, 100, 80)]
    assert repairs(data) == {
        "image sizes that were missing or unusable, taken from the image file": (1, ("0.jpg",)),
        "boxes that leave their image, clipped": (1, ("0.jpg",)),
    }


def test_a_missing_size_of_a_broken_image_is_a_fault(tmp_path):
    root = simple(tmp_path, [image(k, f"{k}.jpg", **({} if k else {"width": 0})) for k in range(6)])
    (root / "images" / "0.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"image .*0\.jpg does not decode"):
        load(root)


def test_crowds_may_be_missing_or_texts(tmp_path):
    annotations = [box(k, k) for k in range(6)] + [box(7, 0, 2, iscrowd="1"), box(8, 0, 2, iscrowd=None)]
    del annotations[0]["iscrowd"]
    assert records(load(simple(tmp_path, annotations=annotations)))["0.jpg"].ignore.tolist() == [False, True, False]


def test_annotation_ids_may_occur_again(tmp_path):
    data = load(simple(tmp_path, annotations=[box(1, k, 1 + k % 2) for k in range(6)]))
    assert boxes(data, "5.jpg") == [("dog", *CORNERS)]
    what = "annotation ids that occur again, of no consequence"
    assert repairs(data)[what] == (5, ("annotations/train.json: annotation 1",))


def test_two_entries_of_one_file_name_are_one_image_with_the_boxes_of_both(tmp_path):
    images = [*(image(k, f"{k}.jpg") for k in range(6)), image(17, "./0.jpg")]
    annotations = [*(box(k, k) for k in range(6)), box(17, 17), box(18, 17, 2, bbox=[1, 2, 3, 4])]
    data = load(simple(tmp_path, images, annotations))
    assert len(records(data)) == sum(map(len, data.splits.values())) == 6
    assert boxes(data) == [("cat", *CORNERS), ("dog", 1, 2, 4, 6)]
    assert repairs(data)["image entries of one file name, joined"] == (1, ("0.jpg",))


def test_annotations_of_images_that_are_not_listed_are_refused(tmp_path):
    with pytest.raises(DataError, match="annotation 4 belongs to image 99, which the file does not list; and 1 more"):
        load(simple(tmp_path, annotations=[box(1, 1), box(2, 2), box(4, 99), box(5, 98)]))


def test_names_that_occur_twice_are_joined_and_those_that_look_alike_are_told(tmp_path):
    categories = [{"id": k, "name": name} for k, name in enumerate(["cat", "dog", "cat", "Cat", "do g"])]
    annotations = [box(k, k % 6, k % 5) for k in range(10)]
    data = load(simple(tmp_path, annotations=annotations, categories=categories))
    assert data.classes == ("cat", "dog", "Cat", "do g")
    what = "names that several categories of a file have, joined"
    assert repairs(data)[what] == (1, ("'cat' in annotations/train.json",))
    advice = "differ in case or blanks only and stay apart: give them one name if they are one class"
    assert [note for note in data.notes if "class" in note][:2] == [
        f"classes 'cat', 'Cat' {advice}",
        f"classes 'dog', 'do g' {advice}",
    ]


def test_a_class_of_the_validation_split_only_is_kept_and_told(tmp_path):
    root = roboflow(tmp_path)
    file = root / "train" / "_annotations.coco.json"
    content = json.loads(file.read_text())
    content["annotations"].pop()
    content["categories"].pop()
    file.write_text(json.dumps(content))
    data = load(root)
    assert data.classes == ("cat", "dog")
    note = "1 class(es) have boxes in the validation or test split only, none to learn from: 'dog'"
    assert data.notes == (note,)


def test_classes_can_be_given(tmp_path):
    root = simple(tmp_path, categories=[*CATS, {"id": 3, "name": "owl"}])
    data = load(root, classes=["owl", "dog", "cat"])
    assert data.classes == ("owl", "dog", "cat")
    assert boxes(data, "1.jpg") == [("dog", *CORNERS)]
    assert load(root).fingerprint != data.fingerprint
    with pytest.raises(DataError, match=r"boxes of the class 'dog'; did you mean 'dogs'"):
        load(root, classes=["cat", "dogs"])
    with pytest.raises(DataError, match=r"coco classes is \['cat', 'cat'\]: it must be a list of different names"):
        load(root, classes=["cat", "cat"])


def test_a_given_class_that_no_file_has_is_refused(tmp_path):
    root = simple(tmp_path)
    with pytest.raises(DataError, match=r"coco classes has 'unicorn', which is a category of no file; known: cat, dog"):
        load(root, classes=["cat", "dog", "unicorn"])
    message = refused("data", "convert", f"coco:{root}", tmp_path / "x", "--to", "yolo",
                      "--data-option", 'classes=["cat", "dog", "dogg"]')  # fmt: skip
    assert "coco classes has 'dogg', which is a category of no file; did you mean 'dog'?" in message


def test_a_look_at_the_data_names_the_layout_and_every_repair(tmp_path):
    data = str(roboflow(tmp_path, ids=((1, 2), (11, 12), (1, 2))))
    shown = CliRunner().invoke(data_group, ["check", f"coco:{data}", "--no-decode"])
    assert shown.exit_code == 0, shown.output
    flat = " ".join(shown.output.split())
    assert "layout: COCO, a folder per split: train/_annotations.coco.json, valid/_annotations.coco.json" in flat
    assert "repaired: categories without a box in any split, left out: 1, first 'pets'" in flat
    report = json.loads(CliRunner().invoke(data_group, ["check", f"coco:{data}", "--no-decode", "--json"]).stdout)
    assert report["layout"].startswith("COCO, a folder per split")
    assert [repair["count"] for repair in report["repairs"]] == [2, 1]


def test_repairs_are_among_the_notes_of_whoever_trains_on_the_data(tmp_path):
    data = load(roboflow(tmp_path / "data"))
    cache = build_cache(data, tmp_path / "cache", image_size=(50, 40))
    assert cache.notes[0] == "categories without a box in any split, left out: 1, first 'pets'"
