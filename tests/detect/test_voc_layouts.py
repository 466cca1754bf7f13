"""Pascal VOC data as exporters lay it out, and as it is found in the wild: what is read, mended, said and refused."""

import json

import pytest
from click.testing import CliRunner
from voc_files import CORNERS, folder, load, picture, thing, write

from spnas_core.errors import DataError
from spnas_detect.commands.data import data_group
from spnas_detect.data import build_cache, read_data


def write_list(root, name, text, encoding="utf-8", main="ImageSets/Main"):
    (root / main).mkdir(parents=True, exist_ok=True)
    (root / main / name).write_bytes(text.encode(encoding))


def records(data):
    return {record.name: record for split in data.splits.values() for record in split}


def repairs(data):
    return {repair.what: (repair.count, repair.places) for repair in data.repairs}


def boxes(data, name="a"):
    record = records(data)[name]
    return [(data.classes[label - 1], *box) for label, box in zip(record.labels, record.boxes.tolist(), strict=True)]


def named(data, split):
    return [record.name for record in data.splits[split]]


def roboflow(root, valid="valid"):
    """As Roboflow exports Pascal VOC: XML beside the images, a folder per split."""
    for split in ("train", valid, "test"):
        for k in range(2):
            stem = f"img{k}_jpg.rf.0a1b{k}"
            extra = "<pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><occluded>0</occluded>"
            write(root / split / f"{stem}.xml", thing(("cat", "dog")[k], extra=extra))
            picture(root / split / f"{stem}.jpg")
    (root / "README.roboflow.txt").write_text("exported")
    return root


@pytest.mark.parametrize("valid", ["valid", "val", "Validation"])
def test_roboflow_has_a_folder_per_split_with_the_xml_beside_the_images(tmp_path, valid):
    data = load(roboflow(tmp_path, valid))
    assert named(data, "validation") == [f"{valid}/img{k}_jpg.rf.0a1b{k}" for k in range(2)]
    assert {split: len(found) for split, found in data.splits.items()} == {"train": 2, "validation": 2, "test": 2}
    assert data.classes == ("cat", "dog")
    assert boxes(data, "test/img1_jpg.rf.0a1b1") == [("dog", *CORNERS)]
    assert data.layout == f"Pascal VOC, a folder per split: train, {valid}, test"
    assert (data.repairs, data.notes) == ((), ())


def test_split_folders_may_have_folders_of_annotations_and_images(tmp_path):
    for split in ("train", "val"):
        folder(tmp_path / split, "ab", "annotations", "images")
    data = load(tmp_path)
    assert named(data, "validation") == ["val/a", "val/b"]
    assert sorted(named(data, "train") + named(data, "test")) == ["train/a", "train/b"]


def test_annotations_and_images_may_have_folders_of_splits(tmp_path):
    for split in ("train", "val"):
        folder(tmp_path, "abcd", f"annotations/{split}", f"images/{split}")
    data = load(tmp_path)
    assert named(data, "validation") == [f"val/{name}" for name in "abcd"]
    assert "a folder per split in each" in data.layout


def test_a_split_folder_without_pairs_is_refused(tmp_path):
    root = roboflow(tmp_path)
    for image in (root / "valid").glob("*.jpg"):
        image.unlink()
    with pytest.raises(DataError, match=r"none of the 2 XML files of .*valid has its image in .*valid"):
        load(root)


@pytest.mark.parametrize("annotations", ["Annotations", "annotations", "annots", "Annots", "ANNOTATIONS"])
@pytest.mark.parametrize("images", ["JPEGImages", "jpegimages", "images", "Images"])
def test_folders_have_several_names_in_any_case(tmp_path, annotations, images):
    data = load(folder(tmp_path, "abc", annotations, images))
    assert data.layout == f"Pascal VOC, {annotations} and {images}, without lists"
    assert boxes(data) == [("cat", *CORNERS)]


def test_without_lists_all_images_train_and_the_other_splits_are_carved(tmp_path):
    data = load(folder(tmp_path))
    assert {split: len(found) for split, found in data.splits.items()} == {"train": 4, "validation": 1, "test": 1}
    assert sorted(records(data)) == list("abcdef")
    assert data.notes == (
        "test split carved from training images by seed 0: 1 images",
        "validation split carved from training images by seed 0: 1 images",
    )


def test_xml_files_beside_the_images_are_a_data_set(tmp_path):
    data = load(folder(tmp_path, annotations=".", images="."))
    assert sorted(records(data)) == list("abcdef")
    assert data.layout == "Pascal VOC, XML files beside the images"


def test_files_that_stand_alone_are_left_out_counted_and_named(tmp_path):
    root = folder(tmp_path)
    (root / "Annotations" / "b.xml").unlink()
    (root / "JPEGImages" / "c.jpg").unlink()
    (root / "JPEGImages" / "d.jpg").rename(root / "JPEGImages" / "IMG_4.png")
    write(root / "Annotations" / "d.xml", filename="C:\\pictures\\IMG_4.png")
    data = load(root)
    assert sorted(records(data)) == ["a", "d", "e", "f"]
    assert repairs(data) == {
        "annotation files without an image, left out": (1, ("Annotations/c.xml",)),
        "images without an annotation file, left out": (1, ("JPEGImages/b.jpg",)),
        "images found by the file name in their annotation": (1, ("d.xml (IMG_4.png)",)),
    }


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_may_have_a_mark_and_be_in_utf_16(tmp_path, encoding, end):
    root = folder(tmp_path, ["a", "b", "größe"])
    mark = "\ufeff" if encoding.endswith("e") else ""
    write_list(root, "train.txt", mark + end.join(["a", "größe", ""]), encoding)
    write_list(root, "val.txt", mark + end.join(["b", ""]), encoding)
    data = load(root)
    assert sorted(named(data, "train") + named(data, "test")) == ["a", "größe"]
    assert named(data, "validation") == ["b"]
    assert data.layout == "Pascal VOC, Annotations and JPEGImages, lists in ImageSets/Main"


SUFFIXED = "list lines with a suffix or a path, read as names"


@pytest.mark.parametrize(
    ("line", "is_repaired"),
    [
        ("{}", False),
        ("  {}  ", False),
        ("{} 1", False),
        ("{}  -1", False),
        ("{} 0", False),
        ("{}.jpg", True),
        ("{}.xml", True),
        ("{}.JPG 1", True),
        ("JPEGImages/{}.jpg", True),
        ("JPEGImages\\{}", True),
        ("./JPEGImages/{}.jpg", True),
        ("/home/ann/VOC/JPEGImages/{}.jpg", True),
        ("./JPEGImages/{}.jpg ./Annotations/{}.xml", True),
    ],
)
def test_a_list_line_leads_to_the_stem_that_is_meant(tmp_path, line, is_repaired):
    root = folder(tmp_path)
    write_list(root, "train.txt", "".join(f"{line.format(name, name)}\n" for name in "abcd"))
    write_list(root, "val.txt", "e\n")
    write_list(root, "test.txt", "f\n")
    data = load(root)
    assert named(data, "train") == list("abcd")
    assert repairs(data) == ({SUFFIXED: (4, repairs(data)[SUFFIXED][1])} if is_repaired else {})


@pytest.mark.parametrize("line", ["{}", "{} 1", "{}.jpg", "JPEGImages/{}.jpg"])
def test_stems_may_have_blanks_and_end_like_a_flag(tmp_path, line):
    """Sixteen images stay sixteen, though ``street 0`` and ``street 1`` could be one stem with two flags."""
    stems = [f"street {k}" for k in range(16)]
    root = folder(tmp_path, [*stems, "street", "v", "t"])
    write_list(root, "train.txt", "".join(f"{line.format(stem)}\n" for stem in stems))
    write_list(root, "val.txt", "v\n")
    write_list(root, "test.txt", "t\n")
    assert named(load(root), "train") == stems


def test_a_line_that_leads_nowhere_is_a_fault_and_no_other_image(tmp_path):
    root = folder(tmp_path)
    write_list(root, "train.txt", "a\nb 7\nc 1\nno.jpg\n")
    faults = read_data(f"voc:{root}", seed=0, options={}).faults
    assert [fault.text.rpartition("lists ")[2] for fault in faults] == ["'b 7'", "'no'"]


@pytest.mark.parametrize("main", ["ImageSets", "imagesets/main", "."])
def test_lists_may_lie_in_other_folders(tmp_path, main):
    root = folder(tmp_path)
    write_list(root, "train.txt", "a\nb\nc\n", main=main)
    write_list(root, "valid.txt", "d\n", main=main)
    data = load(root)
    assert named(data, "validation") == ["d"]
    assert sorted(records(data)) == list("abcd")


def test_cvat_lists_all_images_in_default_txt(tmp_path):
    root = folder(tmp_path)
    write_list(root, "default.txt", "a\nb\nc\nd\n")
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\ncat:128,0,0::\n")
    assert sorted(records(load(root))) == list("abcd")


def test_a_listed_image_without_its_files_is_a_fault(tmp_path):
    root = folder(tmp_path)
    write_list(root, "train.txt", "a\nb\nc\n")
    (root / "Annotations" / "a.xml").unlink()
    (root / "JPEGImages" / "b.jpg").unlink()
    kinds = [fault.kind for fault in read_data(f"voc:{root}", seed=0, options={}).faults]
    assert sorted(kinds) == ["broken annotation", "missing image"]


def test_entities_are_refused_in_every_encoding(tmp_path):
    root = folder(tmp_path)
    head = '<?xml version="1.0" encoding="gbk"?><!DOCTYPE a [<!ENTITY x "ha">]>'
    write(root / "Annotations" / "a.xml", thing("&x;"), head=head, encoding="gbk")
    with pytest.raises(DataError, match=r"a\.xml declares XML entities: .* are refused"):
        load(root)


def test_namespaces_are_taken_off_and_counted(tmp_path):
    root = folder(tmp_path)
    write(root / "Annotations" / "a.xml", thing("dog"), root='<annotation xmlns="http://example.org/voc">')
    data = load(root)
    assert boxes(data) == [("dog", *CORNERS)]
    assert repairs(data) == {"annotation files with an XML namespace, read without it": (1, ("a.xml",))}


def test_the_annotations_own_name_counts_more_than_its_filename(tmp_path):
    root = folder(tmp_path)
    write(root / "Annotations" / "a.xml", filename="b.jpg")
    picture(root / "JPEGImages" / "a.jpg", (50, 40))
    write(root / "Annotations" / "c.xml", filename="c")  # without suffix, as some tools write it
    data = load(root)
    assert records(data)["a"].read().shape == (40, 50, 3)
    assert repairs(data) == {"file names in annotations of another name, not followed": (1, ("a.xml (b.jpg)",))}


@pytest.mark.parametrize(
    "size",
    [
        "",
        "<size/>",
        "<size><width>0</width><height>0</height></size>",
        "<size><width>100</width><height>0</height></size>",
        "<size><width/><height/></size>",
    ],
)
def test_sizes_that_are_missing_come_from_the_image(tmp_path, size):
    root = folder(tmp_path)
    write(root / "Annotations" / "a.xml", thing(corners=(11, 21, 300, 300)), size=size)
    data = load(root)
    assert boxes(data) == [("cat", 10, 20, 100, 80)]
    assert repairs(data) == {
        "image sizes that were missing or unusable, taken from the image file": (1, ("a.xml",)),
        "boxes that leave their image, clipped": (1, ("a.xml",)),
    }


def test_decimals_are_read(tmp_path):
    root = folder(tmp_path)
    size = "<size><width>100.0</width><height>80.0</height></size>"
    write(root / "Annotations" / "a.xml", thing(corners=("11.25", "2.1e1", " 50.5 ", "60")), size=size)
    data = load(root)
    assert boxes(data) == [("cat", 10.25, 20, 50.5, 60)]
    assert data.repairs == ()


def test_corners_the_wrong_way_round_are_dropped_and_counted(tmp_path):
    root = folder(tmp_path)
    write(root / "Annotations" / "a.xml", thing(), thing("dog", (50, 21, 11, 60)))
    data = load(root)
    assert boxes(data) == [("cat", *CORNERS)]
    assert data.notes[0] == "1 degenerate box dropped: a.xml"
    assert data.classes == ("cat",)


def test_boxes_beyond_their_image_are_clipped_and_counted(tmp_path):
    root = folder(tmp_path)
    write(root / "Annotations" / "a.xml", thing(corners=(0, 1, 50, 60)), thing(corners=(11, 21, 100, 80)))
    data = load(root)
    assert boxes(data) == [("cat", 0, 0, 50, 60), ("cat", 10, 20, 100, 80)]
    assert repairs(data) == {"boxes that leave their image, clipped": (1, ("a.xml",))}


PART = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"


def test_objects_that_have_parts_only_are_left_out_and_counted(tmp_path):
    root = folder(tmp_path)
    write(root / "Annotations" / "a.xml", f"<object><name>person</name>{PART}</object>", thing(extra=PART))
    data = load(root)
    assert boxes(data) == [("cat", *CORNERS)]
    assert repairs(data) == {"objects with a box of their parts only, left out": (1, ("a.xml",))}
    write(root / "Annotations" / "a.xml", "<object><name>person</name></object>")
    with pytest.raises(DataError, match=r"a\.xml: object 1 has <xmin> None, not a number"):
        load(root)


def test_an_object_that_does_not_say_is_not_difficult(tmp_path):
    root = folder(tmp_path)
    extras = ("", "<difficult/>", "<difficult>1</difficult>")
    write(root / "Annotations" / "a.xml", *(thing(extra=extra) for extra in extras))
    assert records(load(root))["a"].ignore.tolist() == [False, False, True]


def test_names_that_look_alike_and_classes_of_one_split_are_told(tmp_path):
    root = roboflow(tmp_path)
    write(root / "valid" / "img0_jpg.rf.0a1b0.xml", thing("Dog"), thing(" cat "))
    data = load(root)
    assert data.classes == ("Dog", "cat", "dog")
    assert data.notes == (
        "classes 'Dog', 'dog' differ in case or blanks only and stay apart: give them one name if they are one class",
        "1 class(es) have boxes in the validation or test split only, none to learn from: 'Dog'",
    )


def test_suffixes_may_be_in_capitals(tmp_path):
    root = folder(tmp_path)
    (root / "Annotations" / "a.xml").rename(root / "Annotations" / "a.XML")
    (root / "JPEGImages" / "a.jpg").rename(root / "JPEGImages" / "a.JpG")
    assert boxes(load(root)) == [("cat", *CORNERS)]


def test_a_look_at_the_data_names_the_layout_and_every_repair(tmp_path):
    root = roboflow(tmp_path / "data")
    write(root / "train" / "img0_jpg.rf.0a1b0.xml", size="")
    (root / "test" / "img1_jpg.rf.0a1b1.jpg").unlink()
    shown = CliRunner().invoke(data_group, ["check", f"voc:{root}"])
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0] == "layout: Pascal VOC, a folder per split: train, valid, test"
    flat = " ".join(shown.output.split())
    alone = "annotation files without an image, left out: 1, first test/img1_jpg.rf.0a1b1.xml"
    size = "image sizes that were missing or unusable, taken from the image file: 1, first train/img0_jpg.rf.0a1b0.xml"
    assert f"repaired: {alone} repaired: {size}" in flat
    report = json.loads(CliRunner().invoke(data_group, ["check", f"voc:{root}", "--json"]).stdout)
    assert [repair["count"] for repair in report["repairs"]] == [1, 1]
    notes = build_cache(load(root), tmp_path / "cache", image_size=(50, 40)).notes
    assert notes[:2] == (alone, size)
