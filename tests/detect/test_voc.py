import os

import numpy as np
import pytest
from PIL import Image

from spnas_core.errors import DataError
from spnas_detect.data import build_cache, open_data

ONE = [("cat", (11, 21, 50, 60), 0)]


def xml(name, objects=ONE, size=(100, 80), filename=None):
    parts = [f"<annotation><filename>{filename or name + '.jpg'}</filename>"]
    if size is not None:
        parts.append(f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    for label, (xmin, ymin, xmax, ymax), difficult in objects:
        parts.append(
            f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{xmin}</xmin>"
            f"<ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
        )
    return "\n".join([*parts, "</annotation>"])


def add(root, name, text=None, image=True, **options):
    (root / "Annotations" / f"{name}.xml").write_text(xml(name, **options) if text is None else text)
    if image:
        Image.new("RGB", (100, 80), (200, 100, 50)).save(root / "JPEGImages" / f"{name}.jpg")


def write_list(root, split, *names):
    (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "voc"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split, names in (("train", ("a", "b")), ("val", ("c",)), ("test", ("d",))):
        for name in names:
            add(root, name)
        write_list(root, split, *names)
    return root


def load(root, seed=0, **options):
    return open_data(f"voc:{root}", seed=seed, **options)


def test_corners_are_counted_from_zero_and_end_outside(root):
    add(root, "a", objects=[("cat", (1, 1, 2, 2), 0), ("dog", (11, 21, 50, 60), 1)])
    record = load(root).splits["train"][0]
    assert record.boxes.tolist() == [[0, 0, 2, 2], [10, 20, 50, 60]]
    assert record.boxes.dtype == np.float32
    assert record.labels.tolist() == [1, 2]
    assert record.ignore.tolist() == [False, True]
    assert (record.name, record.width, record.height) == ("a", 100, 80)
    assert record.read().shape == (80, 100, 3)


def test_boxes_are_clipped_to_the_image(root):
    add(root, "a", objects=[("cat", (-5, 0, 130, 81), 0)])
    assert load(root).splits["train"][0].boxes.tolist() == [[0, 0, 100, 80]]


@pytest.mark.parametrize("corners", [(5, 5, 5, 9), (5, 9, 9, 9), (9, 5, 5, 9), (101, 5, 120, 9), (5, -9, 9, 0)])
def test_degenerate_boxes_are_dropped_and_counted(root, corners):
    add(root, "a", objects=[*ONE, ("cat", corners, 0)])
    data = load(root)
    assert len(data.splits["train"][0].boxes) == 1
    assert data.notes == ("1 degenerate box dropped: a.xml",)


def test_images_without_objects_stay_as_negatives(root):
    add(root, "b", objects=[])
    record = load(root).splits["train"][1]
    assert record.boxes.shape == (0, 4)
    assert record.labels.shape == record.ignore.shape == (0,)


def test_splits_follow_their_lists(root):
    splits = load(root).splits
    assert {name: [record.name for record in split] for name, split in splits.items()} == {
        "train": ["a", "b"],
        "validation": ["c"],
        "test": ["d"],
    }


def test_classes_are_sorted_over_all_splits_unless_given(root):
    add(root, "d", objects=[("ant", (1, 1, 9, 9), 0)])
    assert load(root).classes == ("ant", "cat")
    given = load(root, classes=["cat", "dog", "ant"])
    assert given.classes == ("cat", "dog", "ant")
    assert given.splits["test"][0].labels.tolist() == [3]
    assert "1 class(es) have no box in any split: 'dog'" in given.notes
    assert not any("no box in any split" in note for note in load(root).notes)


def test_class_outside_the_given_ones_names_file_and_class(root):
    with pytest.raises(DataError, match=r"a\.xml has the class 'cat'; did you mean 'cats'\?"):
        load(root, classes=["cats"])


@pytest.mark.parametrize("classes", [[], "cat", [1], ["cat", "cat"], ["cat", 1]])
def test_classes_must_be_different_names(root, classes):
    with pytest.raises(DataError, match="must be a list of different names"):
        load(root, classes=classes)


@pytest.mark.parametrize("empty", [True, False])
def test_missing_splits_are_carved_from_training_images_by_the_seed(root, empty):
    names = [f"i{i:02d}" for i in range(20)]
    for name in names:
        add(root, name)
    write_list(root, "train", *names)
    for split in ("val", "test"):
        if empty:
            write_list(root, split)
        else:
            (root / "ImageSets" / "Main" / f"{split}.txt").unlink()
    carved = {name: [record.name for record in split] for name, split in load(root).splits.items()}
    assert {name: len(split) for name, split in carved.items()} == {"train": 13, "validation": 3, "test": 4}
    assert sorted(name for split in carved.values() for name in split) == names
    assert "test split carved from training images by seed 0: 4 images" in load(root).notes
    assert "validation split carved from training images by seed 0: 3 images" in load(root).notes
    tests = [[record.name for record in load(root, seed=seed).splits["test"]] for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]
    write_list(root, "train", *reversed(names))
    assert sorted(record.name for record in load(root).splits["test"]) == tests[0]


def test_one_training_image_cannot_be_carved(root):
    write_list(root, "train", "a")
    write_list(root, "test")
    with pytest.raises(DataError, match=r"1 training image\(s\) cannot also make a test split"):
        load(root)


def test_image_in_two_splits_is_noted(root):
    write_list(root, "test", "d", "b")
    assert load(root).notes == ("1 training images are in the test split too, first b",)


def test_size_falls_back_to_the_image_header(root):
    for size in (None, (0, 0)):
        add(root, "a", size=size, objects=[("cat", (1, 1, 300, 300), 0)])
        record = load(root).splits["train"][0]
        assert (record.width, record.height) == (100, 80)
        assert record.boxes.tolist() == [[0, 0, 100, 80]]


def test_wrong_size_is_tolerated_and_mended_by_the_cache(root, tmp_path):
    add(root, "a", size=(200, 200), objects=[("cat", (91, 1, 150, 40), 0)])
    cache = build_cache(load(root), tmp_path / "cache", image_size=(50, 40))
    assert cache.split("train").boxes(0).tolist() == [[90, 0, 100, 40]]
    assert any("first a: 100x80 instead of 200x200" in note for note in cache.notes)


def test_fingerprint_follows_files_and_options(root):
    first = load(root).fingerprint
    assert load(root).fingerprint == first
    seen = {first, load(root, seed=1).fingerprint, load(root, classes=["cat", "dog"]).fingerprint}
    add(root, "a", objects=[("cat", (1, 1, 9, 9), 0)])
    seen.add(load(root).fingerprint)
    image = root / "JPEGImages" / "a.jpg"
    os.utime(image, ns=(1, image.stat().st_mtime_ns + 1))
    seen.add(load(root).fingerprint)
    assert len(seen) == 5


@pytest.mark.parametrize("folder", ["", "Annotations", "JPEGImages", "ImageSets/Main"])
def test_missing_folder_says_the_layout(root, folder):
    (root / folder).rename(root.parent / "gone")
    with pytest.raises(DataError, match=r"is not a folder: expected Annotations/\*\.xml, JPEGImages/\*\.jpg"):
        load(root)


def test_missing_or_empty_training_list_is_refused(root):
    write_list(root, "train")
    with pytest.raises(DataError, match=r"train\.txt lists no image"):
        load(root)
    (root / "ImageSets" / "Main" / "train.txt").unlink()
    with pytest.raises(DataError, match=r"train\.txt does not exist"):
        load(root)


def test_missing_annotation_is_named(root):
    (root / "Annotations" / "b.xml").unlink()
    with pytest.raises(DataError, match=r"b\.xml does not exist, but ImageSets/Main lists 'b'"):
        load(root)


def test_annotation_of_a_missing_image_is_named(root):
    (root / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"b\.xml names the image b\.jpg, which .*JPEGImages does not hold"):
        load(root)


def test_image_is_found_by_the_annotated_file_name(root):
    add(root, "b", image=False, filename="a.jpg")
    (root / "JPEGImages" / "b.jpg").unlink()
    assert load(root).splits["train"][1].read().shape == (80, 100, 3)


@pytest.mark.parametrize("text", ["<annotation>\n<size>\n</annotation>", "<annotation>\n<a>\n&nope;</a></annotation>"])
def test_malformed_xml_names_file_and_line(root, text):
    add(root, "b", text=text)
    with pytest.raises(DataError, match=r"b\.xml is malformed XML in line 3"):
        load(root)


def test_empty_annotation_is_malformed(root):
    add(root, "b", text="")
    with pytest.raises(DataError, match=r"b\.xml is malformed XML"):
        load(root)


def test_entity_expansion_is_refused(root):
    bomb = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><annotation>&y;</annotation>'
    add(root, "b", text=bomb)
    with pytest.raises(DataError, match=r"b\.xml declares XML entities: .* are refused"):
        load(root)


def test_external_entities_are_refused(root):
    secret = root / "secret"
    secret.write_text("x")
    text = f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]><annotation><filename>&x;</filename></annotation>'
    add(root, "b", text=text)
    with pytest.raises(DataError, match="refused"):
        load(root)


def test_unusable_coordinates_and_names_are_refused(root):
    for corners in ((1, 2, "x", 4), (1, 2, "nan", 4), (1, 2, "", 4)):
        add(root, "b", objects=[("cat", corners, 0)])
        with pytest.raises(DataError, match=r"b\.xml: object 1 has <xmax> .*, not a number"):
            load(root)
    add(root, "b", objects=[*ONE, ("", (1, 2, 3, 4), 0)])
    with pytest.raises(DataError, match=r"b\.xml: object 2 has no <name>"):
        load(root)


def test_no_box_at_all_is_refused(root):
    for name in "abcd":
        add(root, name, objects=[])
    with pytest.raises(DataError, match="has no box in any of its annotations"):
        load(root)


def test_damaged_image_is_named_when_it_is_read(root, tmp_path):
    image = root / "JPEGImages" / "a.jpg"
    image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(DataError, match=r"image .*a\.jpg does not decode"):
        build_cache(load(root), tmp_path / "cache", image_size=(8, 8))
    data = load(root)
    image.unlink()
    with pytest.raises(DataError, match=r"image .*a\.jpg does not exist"):
        data.splits["train"][0].read()


def test_errors_are_one_line(root):
    add(root, "b", text="<annotation>\n")
    with pytest.raises(DataError) as caught:
        load(root)
    assert "\n" not in str(caught.value)
