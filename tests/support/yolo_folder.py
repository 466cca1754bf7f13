"""Small YOLO data sets on disk, for tests that read, move and change one."""

from pathlib import Path

from PIL import Image

from spnas_detect.data import open_data

BOX = "0 0.5 0.5 0.2 0.4\n"
"""A label line; (40, 24, 60, 56) in images of 100x80."""

FOLDERS = {"train": "train", "validation": "val", "test": "test"}


def write_image(file: Path, size: tuple[int, int] = (100, 80)) -> Path:
    """Write an image of one colour, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 200, 30)).save(file)
    return file


def write_text(file: Path, text: str) -> Path:
    """Write a text file as it is, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())
    return file


def write_yolo(folder: Path, images: int = 6, size: int = 64) -> Path:
    """Write generated shapes in the layout of Ultralytics.

    Args:
        folder: of the data set; made.
        images: to train on; half as many validate, half as many test.
        size: of an image's sides in pixels.
    """
    data = open_data(
        "shapes", seed=3, image_size=size, max_size=size // 2, train=images, validation=images // 2, test=images // 2
    )
    for split, records in data.splits.items():
        for index, record in enumerate(records):
            name = f"{FOLDERS[split]}/{index:06}"
            (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(record.read()).save(folder / "images" / f"{name}.jpg", quality=95)
            lines = [
                f"{label - 1} {(x1 + x2) / 2 / size:.6f} {(y1 + y2) / 2 / size:.6f} {(x2 - x1) / size:.6f} "
                f"{(y2 - y1) / size:.6f}\n"
                for label, (x1, y1, x2, y2) in zip(record.labels.tolist(), record.boxes.tolist(), strict=True)
            ]
            write_text(folder / "labels" / f"{name}.txt", "".join(lines))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(data.classes))
    write_text(
        folder / "data.yaml", f"path: .\ntrain: images/train\nval: images/val\ntest: images/test\nnames:\n{names}"
    )
    return folder


def write_boxes(root, images, labels=BOX, names="names: [cat, dog]", keys="train: images/train\nval: images/val\n"):
    """Images and labels by name without suffix, such as ``images/train/a``; labels lie in ``labels``."""
    for name in images:
        write_image(root / f"{name}.jpg")
        write_text(root / f"{name.replace('images', 'labels')}.txt", labels)
    write_text(root / "data.yaml", f"{keys}{names}\n")
    return root


def load_yolo(root, **options):
    """The data set below a folder, or that of a description."""
    return open_data(f"yolo:{root}", seed=0, **options)


def spoil(root, text, name="train/a"):
    """Write the labels of one image anew."""
    write_text(root / "labels" / f"{name}.txt", text)


def names_of(data, split):
    """Names of a split's images."""
    return [record.name for record in data.splits[split]]


def record_of(data, name):
    """The one image of that name, in whichever split."""
    (record,) = [record for records in data.splits.values() for record in records if record.name == name]
    return record
