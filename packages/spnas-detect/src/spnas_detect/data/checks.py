"""Which data a detector can learn from and be scored on: one verdict, for trainings and for ``spnas data check``."""

from collections.abc import Iterator, Sequence

import numpy as np

from spnas_core.errors import DataError
from spnas_detect.data._base import SPLITS, DetectionData, ImageRecord
from spnas_detect.data.coordinates import unit_faults
from spnas_detect.data.faults import Fault
from spnas_detect.data.fitting import PlacedRecord

SPLIT_WORDS = {"train": "training", "validation": "validation", "test": "test"}
"""What messages call the splits."""


def check_canvas(image_size: tuple[int, int]) -> None:
    """Refuse a canvas without pixels.

    Raises:
        DataError: a side is below 1.
    """
    if min(image_size) < 1:
        raise DataError(f"image_size {image_size[0]}x{image_size[1]} is empty: both sides must be at least 1")


def annotation_faults(data: DetectionData) -> list[Fault]:
    """List what the annotations show to be wrong before any image is decoded: in all splits, by ``split_faults``."""
    return [fault for split in SPLITS for fault in split_faults(data, split)]


def split_faults(data: DetectionData, split: str) -> list[Fault]:
    """List what the annotations of a split show to be wrong.

    Fatal are labels outside the classes, tags, own boxes or areas that do not belong to the boxes, a split without a
    box that counts (an empty validation or test split is none), and coordinates in another unit than pixels.
    """
    records = data.splits[split]
    return [
        *(fault for record in records for fault in _record_faults(record, len(data.classes))),
        *_empty_split(data, split, records),
        *unit_faults(data.spec, SPLIT_WORDS[split], records),
    ]


def placement_faults(data: DetectionData, split: str, placed: Sequence[PlacedRecord]) -> list[Fault]:
    """Refuse a split of which no box that counts lies inside its decoded image.

    Args:
        data: the data set.
        split: name of the split.
        placed: its images that were decoded.
    """
    annotated = [item for item in placed if (~item.record.ignore).any()]
    if not annotated or any((item.kept & ~item.record.ignore).any() for item in annotated):
        return []
    text = (
        f"no box of the {SPLIT_WORDS[split]} split of {data.spec} lies inside its image: the annotated sizes do not "
        f"belong to these files, first {annotated[0].record.name}"
    )
    return [Fault("boxes outside", split, text)]


def emptied_faults(data: DetectionData, split: str, left: Sequence[ImageRecord]) -> list[Fault]:
    """Refuse a split of which the images that do not decode were left out, and with them every box that counts.

    Args:
        data: the data set.
        split: name of the split.
        left: its images that decode.
    """
    if any((~record.ignore).any() for record in left):
        return []
    text = f"the {SPLIT_WORDS[split]} split of {data.spec} has no box in its {len(left)} image(s) that decode"
    return [Fault("split without a box", split, text)]


def _record_faults(record: ImageRecord, classes: int) -> Iterator[Fault]:
    wrong = record.labels[(record.labels < 1) | (record.labels > classes)]
    if len(wrong):
        text = f"image {record.name} has a box of class {wrong[0]}: the data declares 1…{classes}"
        yield Fault("unknown class", record.name, text)
    if record.tags and len(record.tags) != len(record.boxes):
        text = f"image {record.name} has {len(record.boxes)} boxes and tags for {len(record.tags)}"
        yield Fault("tags differ", record.name, text)
    for name in ("own_boxes", "areas"):
        values = getattr(record, name)
        if values is not None and len(values) != len(record.boxes):
            text = f"image {record.name} has {len(record.boxes)} boxes and {name} for {len(values)}"
            yield Fault(f"{name.replace('_', ' ')} differ", record.name, text)


def _empty_split(data: DetectionData, split: str, records: Sequence[ImageRecord]) -> Iterator[Fault]:
    if (len(records) or split == "train") and not any(bool(np.any(~record.ignore)) for record in records):
        what = "learn from" if split == "train" else "score on"
        text = f"the {SPLIT_WORDS[split]} split of {data.spec} has no box to {what} in its {len(records)} image(s)"
        yield Fault("split without a box", split, text)
