"""What a file of annotations in COCO's format has of an image, for results that are told in its terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class AnnotatedAs:
    """One image of such a file.

    Attributes:
        file: the file.
        image: the image's id.
        categories: ids by class.
        is_as_written: whether all ids of the file are those that it has; not where texts were read as numbers.
        altered: objects of the image whose box or area is not as written, or that are left out since they have no area.
    """

    file: Path
    image: int | str
    categories: Mapping[str, int | str] = field(hash=False)
    is_as_written: bool = True
    altered: int = 0
