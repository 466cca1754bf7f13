"""The contract of a layout that data can be written in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spnas_detect.data._base import SPLITS, DetectionData
from spnas_detect.data.fitting import PlacedRecord

FOLDERS: Mapping[str, str] = dict(zip(SPLITS, ("train", "val", "test"), strict=True))
"""What the splits are called in the layouts."""


@dataclass(frozen=True, eq=False)
class Written:
    """An image that has been written.

    Attributes:
        file: its name in the split's folder; no other image of the split has its stem.
        placed: its boxes, cut at its pixels.
    """

    file: str
    placed: PlacedRecord


def own_boxes_lost(kept: Sequence[PlacedRecord]) -> list[str]:
    """Count the boxes of objects without what belongs to them, which no layout holds."""
    lost = sum(int((one.own_boxes != one.boxes).any(1).sum()) for one in kept)
    text = "object(s) have a box without what belongs to them, such as riders without their vehicles: left out"
    return [f"{lost} {text}"] if lost else []


class Layout(Protocol):
    """Writes the annotations of a data set."""

    def image_folder(self, split: str) -> str:
        """Return the folder of a split's images, relative to the data set's."""
        ...

    def check(self, data: DetectionData) -> None:
        """Refuse data that the layout cannot hold, before anything is written.

        Raises:
            DataError: says what, and what to do.
        """
        ...

    def write(self, folder: Path, classes: Sequence[str], splits: Mapping[str, Sequence[Written]]) -> None:
        """Write the annotations of all splits that have an image.

        Args:
            folder: of the data set; the images lie in it.
            classes: names of the labels 1…C.
            splits: their images.
        """
        ...

    def losses(self, splits: Mapping[str, Sequence[Written]]) -> list[str]:
        """Say what the layout does not hold, or holds as something else."""
        ...
