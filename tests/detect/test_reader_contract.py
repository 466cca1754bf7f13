"""The contract suite over everything built in; and that it sees what is wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
from voc_folder import write_voc
from yolo_folder import write_yolo

from spnas_core.plugins import registry
from spnas_detect.data import open_data
from spnas_detect.data._base import READERS
from spnas_detect.testing import ReaderContract

TINY = {"image_size": 64, "max_size": 32, "train": 6, "validation": 3, "test": 2}


class TestShapes(ReaderContract):
    reader = READERS["shapes"]
    options = TINY

    def write(self, folder):
        return None


class TestVoc(ReaderContract):
    reader = READERS["voc"]

    def write(self, folder):
        return str(write_voc(folder / "data", images=6))


def save(record, path):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(record.read()).save(path)


class TestCoco(ReaderContract):
    reader = READERS["coco"]

    def write(self, folder):
        data = open_data("shapes", seed=3, **TINY)
        (folder / "annotations").mkdir(parents=True)
        for split, name in (("train", "train2017"), ("validation", "val2017")):
            images, annotations = [], []
            for number, record in enumerate(data.splits[split], 1):
                save(record, folder / name / f"{number}.png")
                images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
                for label, (x1, y1, x2, y2) in zip(record.labels.tolist(), record.boxes.tolist(), strict=True):
                    box = [x1, y1, x2 - x1, y2 - y1]
                    known = {"id": len(annotations) + 1, "image_id": number, "category_id": label}
                    annotations.append({**known, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
            categories = [{"id": label, "name": name} for label, name in enumerate(data.classes, 1)]
            content = {"images": images, "annotations": annotations, "categories": categories}
            (folder / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
        return str(folder)


class TestEurocity(ReaderContract):
    reader = READERS["ecp"]

    def write(self, folder):
        data = open_data("shapes", seed=3, **TINY)
        for split, name in (("train", "train"), ("validation", "val")):
            for number, record in enumerate(data.splits[split]):
                stem = f"ulm_{number:05d}"
                save(record, folder / "day" / "img" / name / "ulm" / f"{stem}.png")
                children = [
                    {"identity": "pedestrian", "x0": x1, "y0": y1, "x1": x2, "y1": y2, "tags": [], "children": []}
                    for x1, y1, x2, y2 in record.boxes.astype(int).tolist()
                ]
                labels = folder / "day" / "labels" / name / "ulm"
                labels.mkdir(parents=True, exist_ok=True)
                content = {"identity": "frame", "imagewidth": 64, "imageheight": 64, "children": children}
                (labels / f"{stem}.json").write_text(json.dumps(content))
        return str(folder)


class TestYolo(ReaderContract):
    reader = READERS["yolo"]

    def write(self, folder):
        return str(write_yolo(folder / "data"))


class TestFolder(ReaderContract):
    reader = READERS["folder"]

    def write(self, folder):
        return str(write_yolo(folder / "data"))


def test_every_built_in_reader_has_a_suite():
    suites = [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, ReaderContract)]
    tested = {name for name, reader in READERS.items() if any(kind.__dict__.get("reader") is reader for kind in suites)}
    built_in = {name for name, plugin in registry("datasets").plugins.items() if plugin == "detect"}
    assert built_in == tested == set(READERS)


def spoilt(**changes):
    """A reader of shapes whose first training record is changed."""

    def read(path, *, seed, options):
        data = READERS["shapes"](path, seed=seed, options=options).made()
        first, *others = data.splits["train"]
        values = {name: change(first) for name, change in changes.items()}
        return replace(data, splits={**data.splits, "train": (replace(first, **values), *others)})

    return read


@pytest.mark.parametrize(
    ("reader", "test"),
    [
        (spoilt(boxes=lambda one: one.boxes + 64), "test_boxes_lie_inside_their_images"),
        (spoilt(boxes=lambda one: one.boxes[:, [2, 3, 0, 1]]), "test_boxes_lie_inside_their_images"),
        (spoilt(labels=lambda one: one.labels - 1), "test_boxes_lie_inside_their_images"),
        (spoilt(labels=lambda one: one.labels[1:]), "test_boxes_lie_inside_their_images"),
        (spoilt(width=lambda one: one.width + 1), "test_pixels_are_as_large_as_annotated_and_always_the_same"),
        (spoilt(read=lambda one: lambda: np.zeros((64, 64), np.uint8)), "test_pixels_are_as_large_as_annotated_and"),
        (spoilt(name=lambda one: one.name.replace("00000", "00001")), "test_there_are_three_splits_and_names"),
        (lambda path, *, seed, options: READERS["shapes"](None, seed=seed, options=TINY), "test_unknown_options_are_r"),
        (lambda path, *, seed, options: READERS["shapes"](None, seed=seed, options=TINY), "test_a_missing_path_is_ref"),
        (
            lambda path, *, seed, options: replace(
                READERS["shapes"](path, seed=seed, options=options), fingerprint=str(np.random.default_rng().random())
            ),
            "test_the_same_path_and_seed_give_the_same_data",
        ),
    ],
)
def test_the_suite_sees_what_is_wrong(reader, test):
    suite = type("Spoilt", (TestShapes,), {"reader": staticmethod(reader)})()
    (name,) = [name for name in dir(suite) if name.startswith(test)]
    with pytest.raises(AssertionError):
        getattr(suite, name)()
