"""The rule of image files in every layout: turns, names, limits and faults beside what readers mend."""

import numpy as np
import pytest
from coco_folder import CORNERS, box, boxes, image, load, named, records, repairs, simple
from eurocity_folder import frame, thing
from eurocity_folder import write as write_frame
from PIL import Image
from voc_folder import write_voc
from yolo_folder import write_text, write_yolo

from spnas_core.errors import DataError
from spnas_detect.data import open_data
from spnas_detect.data.conversion import LAYOUTS, convert
from spnas_detect.data.conversion.writing import image_file
from spnas_detect.data.images import IMAGE_SUFFIXES

TAIL = "file names of another place, found by their tail"


def save_noted(path, size=(100, 80), orientation=6):
    """Write an image with a left half of one colour, and a note on how to hold it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.new("RGB", size, (10, 200, 30))
    picture.paste((200, 10, 30), (0, 0, size[0] // 2, size[1]))
    picture.save(path, exif=exif)


@pytest.fixture
def yolo(tmp_path):
    root = write_yolo(tmp_path / "yolo", images=4)
    save_noted(root / "images" / "train" / "000000.jpg")
    (root / "labels" / "train" / "000000.txt").write_text("0 0.5 0.25 1 0.5\n")
    return root


@pytest.mark.parametrize(("exif", "size", "corners"), [("auto", (80, 100), (80, 50)), ("ignore", (100, 80), (100, 40))])
def test_fractions_of_yolo_are_of_the_image_as_it_is_read(yolo, exif, size, corners):
    data = open_data(f"yolo:{yolo}", seed=0, exif=exif)
    first = data.splits["train"][0]
    assert (first.width, first.height) == first.read().shape[1::-1] == size
    assert first.boxes.tolist() == [[0, 0, *corners]]
    assert data.notes[-1].startswith("EXIF notes an orientation in 1 image(s), first 000000.jpg")


def test_options_of_images_change_yolos_fingerprint_and_are_checked(yolo):
    known = {open_data(f"yolo:{yolo}", seed=0, **one).fingerprint for one in ({}, {"exif": "apply"}, {"max_pixels": 9})}
    assert len(known) == 3
    with pytest.raises(DataError, match="yolo exif is 'applied'"):
        open_data(f"yolo:{yolo}", seed=0, exif="applied")


def test_a_yolo_image_without_a_header_is_refused_or_dropped(yolo):
    (yolo / "images" / "train" / "000001.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"000001\.jpg does not decode"):
        open_data(f"yolo:{yolo}", seed=0)
    data = open_data(f"yolo:{yolo}", seed=0, on_fault="drop")
    assert data.on_fault == "drop"
    assert len(data.splits["train"]) == 3
    assert data.notes[-1] == "1 image(s) that do not decode left out: 000001.jpg"


@pytest.mark.parametrize(("exif", "is_copied"), [("apply", True), ("ignore", False)])
@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_a_converted_data_set_has_the_same_pixels_whichever_way_images_were_turned(
    yolo, tmp_path, kind, exif, is_copied
):
    old = open_data(f"yolo:{yolo}", seed=0, exif=exif)
    convert(old, LAYOUTS[kind], tmp_path / "new")
    new = open_data(f"{kind}:{tmp_path}/new", seed=0)
    assert (image_file(old.splits["train"][0]) is not None) == is_copied
    for one, other in zip(old.splits["train"], new.splits["train"], strict=True):
        np.testing.assert_array_equal(one.read(), other.read())
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)


def test_a_converted_data_set_lacks_what_is_dropped_and_says_so(yolo, tmp_path):
    file = yolo / "images" / "train" / "000001.jpg"
    file.write_bytes(file.read_bytes()[:700])
    done = convert(open_data(f"yolo:{yolo}", seed=0, on_fault="drop"), LAYOUTS["coco"], tmp_path / "new")
    assert done.images["train"] == 3
    assert done.notes[0].startswith("1 training image(s) that do not decode left out")


def test_a_missing_size_of_coco_is_that_of_the_turned_image(tmp_path):
    root = simple(tmp_path, [image(0, "0.jpg", width=0), *(image(k, f"{k}.jpg") for k in range(1, 6))])
    save_noted(root / "images" / "0.jpg")
    data = load(root)
    first = records(data)["0.jpg"]
    assert (first.width, first.height) == first.read().shape[1::-1] == (80, 100)
    assert repairs(data) == {"image sizes that were missing or unusable, taken from the image file": (1, ("0.jpg",))}


def test_boxes_of_coco_are_cut_at_the_turned_image(tmp_path):
    images = [image(0, "0.jpg", width=80, height=100), *(image(k, f"{k}.jpg") for k in range(1, 6))]
    root = simple(tmp_path, images, [*(box(k, k, 1 + k % 2) for k in range(6)), box(9, 0, bbox=[10, 50, 500, 500])])
    save_noted(root / "images" / "0.jpg")
    data = load(root)
    assert boxes(data) == [("cat", *CORNERS), ("cat", 10, 50, 80, 100)]
    assert repairs(data) == {"boxes that leave their image, clipped": (1, ("0.jpg",))}


def test_an_image_of_coco_without_any_size_is_refused_or_dropped(tmp_path):
    root = simple(tmp_path, [image(k, f"{k}.jpg", **({} if k else {"width": 0})) for k in range(6)])
    (root / "images" / "0.jpg").write_bytes(b"no image")
    data = load(root, on_fault="drop")
    assert "0.jpg" not in records(data)
    assert data.notes[-1] == "1 image(s) that do not decode left out: 0.jpg"


def test_names_of_another_place_are_found_by_their_stem_too(tmp_path):
    root = simple(tmp_path, [image(k, f"{k}.jpg" if k else "C:\\shop\\0.jpg") for k in range(6)], names=range(1, 6))
    Image.new("RGB", (100, 80)).save(root / "images" / "0.PNG")
    data = load(root)
    assert repairs(data)[TAIL] == (1, ("C:\\shop\\0.jpg as images/0.jpg",))
    assert data.notes[-1].endswith("found under another extension or case than annotated, first 0.jpg as 0.PNG")


def test_voc_pairs_files_whose_case_differs(tmp_path):
    root = write_voc(tmp_path / "voc", images=6)
    file = root / "JPEGImages" / "train000.jpg"
    file.rename(file.with_name("Train000.JPG"))
    listed = open_data(f"voc:{root}", seed=0)
    for list_file in (root / "ImageSets" / "Main").iterdir():
        list_file.unlink()
    for folder in ("Main", ""):
        (root / "ImageSets" / folder).rmdir()
    alone = open_data(f"voc:{root}", seed=0)
    for data in (listed, alone):
        assert "train000" in [name for split in data.splits for name in named(data, split)]
        assert any("first train000.jpg as Train000.JPG" in note for note in data.notes)
    assert alone.repairs == ()


def test_a_folder_of_voc_without_lists_is_recognised(tmp_path):
    root = write_voc(tmp_path / "voc", images=6)
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "train").mkdir()
    for folder in ("Annotations", "JPEGImages"):
        for file in (root / folder).iterdir():
            file.rename(tmp_path / "split" / "train" / file.name)
    data = open_data(f"folder:{tmp_path}/split", seed=0)
    assert data.notes[0] == f"recognised as voc:{tmp_path}/split by XML files in train/"
    assert data.layout == "Pascal VOC, a folder per split: train"


SUFFIXED = sorted(IMAGE_SUFFIXES)


def save_of_kind(file):
    """Write a small image as its suffix says; ``.pgm`` is grey."""
    mode = "L" if file.suffix == ".pgm" else "RGB"
    formats = {".jfif": "JPEG", ".jpe": "JPEG", ".ppm": "PPM", ".pgm": "PPM"}
    Image.new(mode, (100, 80), 77).save(file, format=formats.get(file.suffix))


@pytest.mark.parametrize("entry", ["images/train", "train.txt"])
def test_yolo_finds_images_of_every_kind(yolo, entry):
    for suffix in SUFFIXED:
        save_of_kind(yolo / "images" / "train" / f"of{suffix[1:]}{suffix}")
        (yolo / "labels" / "train" / f"of{suffix[1:]}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (yolo / "train.txt").write_text("".join(f"images/train/of{suffix[1:]}{suffix}\n" for suffix in SUFFIXED))
    description = (yolo / "data.yaml").read_text().replace("train: images/train", f"train: {entry}")
    (yolo / "data.yaml").write_text(description)
    data = open_data(f"yolo:{yolo}", seed=0)
    found = {record.name.rpartition(".")[2]: record for record in data.splits["train"] if "/of" in record.name}
    assert sorted(found) == [suffix[1:] for suffix in SUFFIXED]
    assert all(record.read().shape == (80, 100, 3) and len(record.boxes) == 1 for record in found.values())
    lost = [repair.count for repair in data.repairs if repair.what.startswith("label files without an image")]
    assert lost == ([4] if entry == "train.txt" else [])  # of the images that the list leaves out


def test_a_bare_yolo_folder_may_hold_gifs_alone(tmp_path):
    for number in range(4):
        (tmp_path / "images").mkdir(exist_ok=True)
        save_of_kind(tmp_path / "images" / f"{number}.gif")
        write_text(tmp_path / "labels" / f"{number}.txt", "0 0.5 0.5 0.4 0.4\n")
    write_text(tmp_path / "classes.txt", "cat\n")
    data = open_data(f"folder:{tmp_path}", seed=0)
    assert sum(map(len, data.splits.values())) == 4


def test_coco_reads_images_of_every_kind(tmp_path):
    names = [f"of{suffix[1:]}{suffix}" for suffix in SUFFIXED]
    (tmp_path / "images").mkdir()
    for name in names:
        save_of_kind(tmp_path / "images" / name)
    images = [image(number, name) for number, name in enumerate(names)]
    simple(tmp_path, images, [box(number, number) for number in range(len(names))], names=())
    assert all(record.read().shape == (80, 100, 3) for record in records(load(tmp_path)).values())


def test_images_of_eurocity_persons_without_labels_are_counted_whatever_their_kind(tmp_path):
    for number in range(3):
        write_frame(tmp_path, "day", "train", "ulm", number, frame(thing("pedestrian")))
    (tmp_path / "day/img/train/ulm/ulm_00001.png").rename(tmp_path / "day/img/train/ulm/ulm_00001.PNG")
    assert not any("without a label file" in note for note in open_data(f"ecp:{tmp_path}", seed=0).notes)
    for suffix in SUFFIXED:
        save_of_kind(tmp_path / "day/img/train/ulm" / f"lone{suffix}")
    notes = open_data(f"ecp:{tmp_path}", seed=0).notes
    assert any(note.startswith(f"{len(SUFFIXED)} image(s) without a label file left out") for note in notes)
