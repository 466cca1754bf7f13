"""Small data sets of image files of any kind."""

import json

import numpy as np
from PIL import Image

from spnas_detect.data import open_data

SPLITS = {"train": "train.json", "validation": "val.json", "test": "test.json"}


def picture(width=30, height=20, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save_coco(folder, **splits):
    """Write a COCO folder of image files that lie in ``folder/images``: per split {name: annotated (width, height)}."""
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    for split, file in SPLITS.items():
        if split not in splits:
            Image.fromarray(picture()).save(folder / "images" / f"{split}-plain.png")
        sizes = splits.get(split, {f"{split}-plain.png": (30, 20)})
        images = [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, (width, height)) in enumerate(sizes.items(), 1)
        ]
        boxes = [
            {"id": image["id"], "image_id": image["id"], "category_id": 1, "bbox": [2, 3, 12, 25], "iscrowd": 0}
            for image in images
        ]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
        (folder / "annotations" / file).write_text(json.dumps(content))
    return folder


def load(folder, **options):
    return open_data(f"coco:{folder}", seed=0, **options)
