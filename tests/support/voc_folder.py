"""A small data set in Pascal VOC layout on disk, for tests that move and change one."""

from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

from spnas_detect.data import open_data

SPLITS = {"train": "train", "validation": "val", "test": "test"}


def write_voc(folder: Path, images: int = 24, size: int = 64) -> Path:
    """Write generated shapes as a VOC folder.

    Args:
        folder: of the data set; made.
        images: to train on; half as many validate, half as many test.
        size: of an image's sides in pixels.
    """
    data = open_data(
        "shapes", seed=3, image_size=size, max_size=size // 2, train=images, validation=images // 2, test=images // 2
    )
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for split, records in data.splits.items():
        names = []
        for index, record in enumerate(records):
            names.append(f"{split}{index:03}")
            Image.fromarray(record.read()).save(folder / "JPEGImages" / f"{names[-1]}.jpg", quality=95)
            objects = "".join(
                f"<object><name>{escape(data.classes[label - 1])}</name><difficult>0</difficult><bndbox>"
                f"<xmin>{x1 + 1:.0f}</xmin><ymin>{y1 + 1:.0f}</ymin><xmax>{x2:.0f}</xmax><ymax>{y2:.0f}</ymax>"
                "</bndbox></object>"
                for label, (x1, y1, x2, y2) in zip(record.labels.tolist(), record.boxes.tolist(), strict=True)
            )
            (folder / "Annotations" / f"{names[-1]}.xml").write_text(
                f"<annotation><filename>{names[-1]}.jpg</filename><size><width>{size}</width><height>{size}</height>"
                f"<depth>3</depth></size>{objects}</annotation>"
            )
        (folder / "ImageSets" / "Main" / f"{SPLITS[split]}.txt").write_text("\n".join(names) + "\n")
    return folder
