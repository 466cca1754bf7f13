"""Each layout, and each kind of image, goes all the way: data check, one epoch of train, evaluate and predict."""

import json
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
from click.testing import CliRunner
from image_files import write_deep_png, write_deep_tiff
from PIL import Image

from spnas_search.cli.main import commands

SIZE = (64, 48)
BOX = (8, 6, 40, 36)
TINY = ["b@4_1-2", "--image-size", "64x64", "--epochs", "1"]
for setting in ("neck_channels=8", "head_channels=16", "rpn_proposals=20", "rpn_samples=8", "box_samples=8"):
    TINY += ["--set", f"detector.{setting}"]
TINY += ["--set", "training.batch_size=2"]
COUNT = 5


def pixels(number):
    width, height = SIZE
    image = np.full((height, width, 3), 30 * number, np.uint8)
    image[BOX[1] : BOX[3], BOX[0] : BOX[2]] = (250, 20 * number, 10)
    return image


def picture(file, number):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number)).save(file)


def write_xml(file, name, size=SIZE):
    file.parent.mkdir(parents=True, exist_ok=True)
    x1, y1, x2, y2 = BOX
    file.write_text(
        f"<annotation><filename>{escape(name)}</filename><size><width>{size[0]}</width><height>{size[1]}</height>"
        f"<depth>3</depth></size><object><name>cat</name><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin>"
        f"<ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object></annotation>"
    )


def write_coco(file, names, **other):
    x1, y1, x2, y2 = BOX
    images = [
        {"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1], **other} for i, name in enumerate(names)
    ]
    box = {"category_id": 7, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
    annotations = [{"id": i, "image_id": i, **box} for i in range(len(names))]
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 7, "name": "cat"}]}
    file.write_text(json.dumps(content))


def write_label(file):
    x1, y1, x2, y2 = BOX
    width, height = SIZE
    file.parent.mkdir(parents=True, exist_ok=True)
    centre = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    file.write_text(f"0 {' '.join(f'{value:.6f}' for value in centre)}\n")


def voc(root):
    for number in range(COUNT):
        picture(root / "JPEGImages" / f"{number}.jpg", number)
        write_xml(root / "Annotations" / f"{number}.xml", f"{number}.jpg")
    lists = {"train": "0\n1\n2\n", "val": "3\n", "test": "4\n"}
    for name, text in lists.items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    return "voc"


def voc_folders(root):
    for number, split in enumerate(("train", "train", "train", "valid", "test")):
        picture(root / split / f"{number}.jpg", number)
        write_xml(root / split / f"{number}.xml", f"{number}.jpg")
    return "voc"


def coco_official(root):
    for split, numbers in (("train2017", (0, 1, 2)), ("val2017", (3, 4))):
        for number in numbers:
            picture(root / split / f"{number}.jpg", number)
        write_coco(root / "annotations" / f"instances_{split}.json", [f"{number}.jpg" for number in numbers])
    return "coco"


def coco_folders(root):
    for split, numbers in (("train", (0, 1, 2)), ("valid", (3,)), ("test", (4,))):
        for number in numbers:
            picture(root / split / f"{number}.jpg", number)
        write_coco(root / split / "_annotations.coco.json", [f"{number}.jpg" for number in numbers])
    return "coco"


def coco_cvat(root):
    for number in range(COUNT):
        picture(root / "images" / f"{number}.jpg", number)
    write_coco(root / "annotations" / "instances_default.json", [f"{number}.jpg" for number in range(COUNT)])
    return "coco"


def coco_label_studio(root):
    for number in range(COUNT):
        picture(root / "images" / f"{number}.jpg", number)
    write_coco(root / "result.json", [f"images\\{number}.jpg" for number in range(COUNT)])
    return "coco"


def coco_fiftyone(root):
    for number in range(COUNT):
        picture(root / "data" / f"{number}.jpg", number)
    write_coco(root / "labels.json", [f"{number}.jpg" for number in range(COUNT)], width=None, height=None)
    return "coco"


def yolo(root):
    for number, split in enumerate(("train", "train", "train", "val", "test")):
        picture(root / "images" / split / f"{number}.jpg", number)
        write_label(root / "labels" / split / f"{number}.txt")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\ntest: images/test\nnames: [cat]\n")
    return "yolo"


def yolo_roboflow(root):
    for number, split in enumerate(("train", "train", "train", "valid", "test")):
        picture(root / split / "images" / f"{number}.jpg", number)
        write_label(root / split / "labels" / f"{number}.txt")
    places = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    (root / "data.yaml").write_text(f"{places}nc: 1\nnames: ['cat']\n")
    return "yolo"


def yolo_darknet(root):
    names = [f"data/obj_train_data/{number}.jpg" for number in range(COUNT)]
    for number in range(COUNT):
        picture(root / "obj_train_data" / f"{number}.jpg", number)
        write_label(root / "obj_train_data" / f"{number}.txt")
    (root / "train.txt").write_text("\n".join(names))
    (root / "obj.names").write_text("cat\n")
    (root / "obj.data").write_text("classes = 1\ntrain = data/train.txt\nnames = data/obj.names\n")
    return "yolo"


def yolo_bare(root):
    for number in range(COUNT):
        picture(root / "images" / f"{number}.jpg", number)
        write_label(root / "labels" / f"{number}.txt")
    (root / "classes.txt").write_text("cat\n")
    return "yolo"


LAYOUTS = (
    *(voc, voc_folders),
    *(coco_official, coco_folders, coco_cvat, coco_label_studio, coco_fiftyone),
    *(yolo, yolo_roboflow, yolo_darknet, yolo_bare),
)


def done(*arguments):
    ended = CliRunner().invoke(commands, list(map(str, arguments)))
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def all_the_way(spec, images, out, *options):
    """Check, train, evaluate and predict; return what the check says."""
    given = [part for option in options for part in ("--data-option", option)]
    checked = done("data", "check", spec, *given)
    done("train", *TINY, "--data", spec, *given, "--out", out / "training")
    scores = json.loads(done("evaluate", out / "training", "--json"))
    assert scores["metrics"]["AP50"] is not None
    found = json.loads(done("predict", out / "training", *images, "--out", out / "found", "--json"))
    assert len(found["images"]) == len(images)
    return checked


@pytest.mark.parametrize("write", LAYOUTS)
@pytest.mark.parametrize("by_name", [True, False], ids=["by name", "folder"])
def test_a_layout_goes_all_the_way(tmp_path, write, by_name):
    kind = write(tmp_path / "data")
    images = sorted(tmp_path.rglob("*.jpg"))
    if by_name:
        all_the_way(f"{kind}:{tmp_path / 'data'}", images, tmp_path)
    else:
        assert "Faults: 0" in done("data", "check", f"folder:{tmp_path / 'data'}")


def deep(number):
    return pixels(number).astype(np.uint16) * 257


def kinds(root):
    """A data set in which each image is of another kind; returns their files."""
    folder = root / "JPEGImages"
    folder.mkdir(parents=True)
    image = Image.fromarray(pixels(3))
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("P").save(folder / "palette.png")
    image.convert("L").save(folder / "grey.png")
    image.convert("1").save(folder / "bits.png")
    image.convert("RGBA").save(folder / "alpha.png")
    image.save(folder / "photo.webp")
    image.save(folder / "animated.gif", save_all=True, append_images=[Image.fromarray(pixels(5))])
    image.save(folder / "upper.JPG")
    image.save(folder / "bitmap.bmp")
    write_deep_png(folder / "deep.png", deep(2))
    write_deep_tiff(folder / "deep.tiff", deep(4))
    Image.fromarray(pixels(1)[:, :, 0].astype(np.float32) / 255).save(folder / "floats.tif")
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(pixels(6))).save(folder / "turned.jpg", exif=exif)
    files = sorted(folder.iterdir())
    for file in files:
        write_xml(root / "Annotations" / f"{file.stem}-{file.suffix[1:]}.xml", file.name)
    for file in files:  # the XML's own name finds the image
        file.rename(file.with_name(f"{file.stem}-{file.suffix[1:]}{file.suffix}"))
    return sorted(folder.iterdir())


def test_every_kind_of_image_goes_all_the_way(tmp_path):
    files = kinds(tmp_path / "data")
    assert len(files) == 13
    checked = " ".join(all_the_way(f"voc:{tmp_path / 'data'}", files, tmp_path).split())
    for said in ("of 16 bit scaled to 8 bit", "in CMYK", "transparency laid on white", "of several frames", "EXIF"):
        assert said in checked, checked


def test_torn_images_are_dropped_and_counted_all_the_way(tmp_path):
    voc_folders(tmp_path / "data")
    torn = tmp_path / "data" / "train" / "1.jpg"
    torn.write_bytes(torn.read_bytes()[:200])
    whole = [file for file in sorted(tmp_path.rglob("*.jpg")) if file != torn]
    all_the_way(f"voc:{tmp_path / 'data'}", whole, tmp_path, "on_fault=drop")
    refused = CliRunner().invoke(
        commands, ["train", *TINY, "--data", f"voc:{tmp_path / 'data'}", "--out", str(tmp_path / "other")]
    )
    assert refused.exit_code == 2
    assert Path(torn).name in refused.stderr
