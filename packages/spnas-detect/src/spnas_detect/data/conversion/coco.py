"""The COCO layout: ``annotations/instances_train.json`` and the like beside ``train/``, ``val/`` and ``test/``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from spnas_detect.data._base import DetectionData
from spnas_detect.data.conversion._base import FOLDERS, Written, own_boxes_lost


class CocoLayout:
    """Boxes are (x, y, width, height) in pixels, with the areas that were read; an ignored box is a crowd."""

    def image_folder(self, split: str) -> str:
        """Return the split's own folder."""
        return FOLDERS[split]

    def check(self, data: DetectionData) -> None:
        """Refuse nothing."""

    def write(self, folder: Path, classes: Sequence[str], splits: Mapping[str, Sequence[Written]]) -> None:
        """Write a JSON file per split; ids of images and annotations go on from one to the next."""
        (folder / "annotations").mkdir()
        categories = [{"id": label, "name": name, "supercategory": ""} for label, name in enumerate(classes, start=1)]
        image_id = annotation_id = 1
        for split, items in splits.items():
            if not items:
                continue
            content = {
                "images": [_image(image_id + index, item) for index, item in enumerate(items)],
                "annotations": [],
                "categories": categories,
            }
            for index, item in enumerate(items):
                found = _annotations(annotation_id, image_id + index, item)
                content["annotations"] += found
                annotation_id += len(found)
            image_id += len(items)
            file = folder / "annotations" / f"instances_{FOLDERS[split]}.json"
            file.write_text(json.dumps(content), encoding="utf-8")  # ASCII: names of files may be no text

    def losses(self, splits: Mapping[str, Sequence[Written]]) -> list[str]:
        """Count ignored boxes, which become crowds, boxes with tags, and objects with a box of their own."""
        kept = [item.placed for items in splits.values() for item in items]
        ignored = sum(int(one.record.ignore[one.kept].sum()) for one in kept)
        tagged = sum(bool(tags) for one in kept for tags in one.record.tags)
        return [
            *([f"{ignored} ignored box(es) are written as crowds (iscrowd 1)"] if ignored else []),
            *([f"{tagged} box(es) have tags, which COCO does not hold: left out"] if tagged else []),
            *own_boxes_lost(kept),
        ]


def _image(identifier: int, item: Written) -> dict[str, object]:
    width, height = item.placed.size
    return {"id": identifier, "file_name": item.file, "width": width, "height": height}


def _annotations(first: int, image: int, item: Written) -> list[dict[str, object]]:
    placed = item.placed
    found: list[dict[str, object]] = []
    labels, ignore = placed.record.labels[placed.kept].tolist(), placed.record.ignore[placed.kept].tolist()
    columns = zip(labels, ignore, placed.areas.tolist(), placed.boxes.tolist(), strict=True)
    for label, is_ignored, area, (x1, y1, x2, y2) in columns:
        box = [x1, y1, x2 - x1, y2 - y1]
        known = {"id": first + len(found), "image_id": image, "category_id": label, "iscrowd": int(is_ignored)}
        found.append({**known, "bbox": box, "area": area, "segmentation": []})
    return found
