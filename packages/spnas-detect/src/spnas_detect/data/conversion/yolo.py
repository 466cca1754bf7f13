"""The layout of Ultralytics: ``data.yaml``, ``images/train`` and ``labels/train`` and the like."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from spnas_core.errors import DataError
from spnas_detect.data._base import DetectionData, object_areas
from spnas_detect.data.conversion._base import FOLDERS, Written, own_boxes_lost


class YoloLayout:
    """A line per box, ``class cx cy w h`` in fractions of the image; there are no ignored boxes."""

    def image_folder(self, split: str) -> str:
        """Return the split's folder below ``images``."""
        return f"images/{FOLDERS[split]}"

    def check(self, data: DetectionData) -> None:
        """Refuse class names that occur twice: ``data.yaml`` would name two classes alike.

        Raises:
            DataError: names both labels.
        """
        for label, name in enumerate(data.classes, start=1):
            first = data.classes.index(name) + 1
            if first != label:
                raise DataError(f"labels {first} and {label} of {data.spec} are both called {name!r}: tell them apart")

    def write(self, folder: Path, classes: Sequence[str], splits: Mapping[str, Sequence[Written]]) -> None:
        """Write a label file per image, empty where it has no object, and ``data.yaml`` with relative paths only."""
        for split, items in splits.items():
            labels = folder / "labels" / FOLDERS[split]
            if items:
                labels.mkdir(parents=True)
            for item in items:
                (labels / item.file).with_suffix(".txt").write_text(_lines(item), encoding="utf-8")
        named = {FOLDERS[split]: self.image_folder(split) for split, items in splits.items() if items}
        content = {**named, "nc": len(classes), "names": dict(enumerate(classes))}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (folder / "data.yaml").write_text(text, encoding="utf-8")

    def losses(self, splits: Mapping[str, Sequence[Written]]) -> list[str]:
        """Count ignored boxes, boxes with tags, objects with a box of their own, and areas of masks."""
        kept = [item.placed for items in splits.values() for item in items]
        ignored = sum(int(one.record.ignore[one.kept].sum()) for one in kept)
        tagged = sum(bool(tags) for one in kept for tags in one.record.tags)
        sized = sum(int((one.areas != object_areas(one.boxes)).sum()) for one in kept)
        background = "YOLO does not hold them, and what they cover counts as background"
        return [
            *([f"{ignored} ignored box(es) are left out: {background}"] if ignored else []),
            *([f"{tagged} box(es) have tags, which YOLO does not hold: left out"] if tagged else []),
            *own_boxes_lost(kept),
            *([f"{sized} area(s) other than their box's are left out: YOLO does not hold them"] if sized else []),
        ]


def _lines(item: Written) -> str:
    placed = item.placed
    width, height = placed.size
    counted = ~placed.record.ignore[placed.kept]
    lines = []
    for label, (x1, y1, x2, y2) in zip(
        placed.record.labels[placed.kept][counted].tolist(), placed.boxes[counted].tolist(), strict=True
    ):
        box = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        lines.append(f"{label - 1} {' '.join(f'{value:.12g}' for value in box)}\n")
    return "".join(lines)
