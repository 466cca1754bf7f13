"""Small YOLO data sets on disk, for tests that read, move and change one."""

from pathlib import Path

from PIL import Image

from spnas_detect.data import open_data

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
