"""Small COCO data sets on disk, and what was read of them, for tests."""

import json

from PIL import Image

from spnas_detect.data import open_data

CATS = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
BOX, CORNERS = [10, 20, 30, 40], [10, 20, 40, 60]


def picture(path, size=(100, 80)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 200, 30)).save(path)


def image(identifier, name, **changes):
    return {"id": identifier, "file_name": name, "width": 100, "height": 80, **changes}


def box(identifier, of, category=1, **changes):
    own = {"id": identifier, "image_id": of, "category_id": category}
    return {**own, "bbox": BOX, "area": 1200, "iscrowd": 0, **changes}


def write(file, images, annotations, categories=CATS, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content), **options)


def simple(root, images=None, annotations=None, categories=CATS, folder="images", names=range(6)):
    """Six images of one file: all that is not said is as it should be."""
    for name in names:
        picture(root / folder / f"{name}.jpg")
    images = [image(k, f"{k}.jpg") for k in range(6)] if images is None else images
    annotations = [box(k, k, 1 + k % 2) for k in range(6)] if annotations is None else annotations
    write(root / "annotations" / "train.json", images, annotations, categories)
    return root


def load(path, **options):
    return open_data(f"coco:{path}", seed=0, **options)


def records(data):
    return {record.name: record for split in data.splits.values() for record in split}


def repairs(data):
    return {repair.what: (repair.count, repair.places) for repair in data.repairs}


def boxes(data, name="0.jpg"):
    record = records(data)[name]
    return [(data.classes[label - 1], *box) for label, box in zip(record.labels, record.boxes.tolist(), strict=True)]


def named(data, split):
    return [record.name for record in data.splits[split]]
