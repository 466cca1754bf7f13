"""Boxes whose coordinates are no pixels: normalised to 0…1, or in percent.

Readers take coordinates for pixels and clip them at the image, so a normalised box ends in the image's first pixel
whatever its format: of VOC's corners, which count from 1, the upper left one becomes 0; COCO's width and height are
below 1 like its corner.
"""

from collections.abc import Sequence

import numpy as np

from spnas_detect.data._base import ImageRecord
from spnas_detect.data.faults import Fault

_FEW_PIXELS = 8  # images of fewer may well have boxes of a pixel
_PERCENT = 100.0
_LARGE = 2 * _PERCENT  # pixels: in smaller images, coordinates up to 100 say nothing
_MANY = 10  # images: in fewer, chance may leave everything in one corner


def unit_faults(spec: str, word: str, records: Sequence[ImageRecord]) -> list[Fault]:
    """List images whose boxes are normalised, and guess what to do.

    Fatal where that holds for more than half of the split's images with boxes, and for more than one box: a lone tiny
    one may be meant. Example: with boxes in three images, two of which have theirs in their first pixel, the data
    cannot be used.

    Args:
        spec: of the data set.
        word: for the split, such as ``training``.
        records: of the split.
    """
    boxed = [record for record in records if len(record.boxes)]
    found = [record for record in boxed if _is_normalised(record)]
    faults = [_normalised_image(record) for record in found]
    if 2 * len(found) > len(boxed) and sum(len(record.boxes) for record in found) > 1:
        first = found[0]
        text = (
            f"{len(found)} of the {len(boxed)} {word} images of {spec} that have boxes have all of them in the first "
            f"pixel, as coordinates normalised to 0…1 do, first {first.name}: multiply x by the image's width and y by "
            f"its height, there {first.width} and {first.height}"
        )
        return [Fault("normalised boxes", word, text), *faults]
    return [*faults, *_percent(word, boxed)]


def _is_normalised(record: ImageRecord) -> bool:
    return min(record.width, record.height) > _FEW_PIXELS and float(record.boxes.max()) <= 1


def _normalised_image(record: ImageRecord) -> Fault:
    text = (
        f"all its {len(record.boxes)} box(es) lie in the first pixel: if they are normalised to 0…1, multiply x by "
        f"{record.width} and y by {record.height}"
    )
    return Fault("normalised boxes", record.name, text, is_fatal=False)


def _percent(word: str, boxed: Sequence[ImageRecord]) -> list[Fault]:
    """Doubt boxes that fill 0…100 in both directions and never reach beyond, in images that are much larger."""
    if len(boxed) < _MANY or min(min(record.width, record.height) for record in boxed) < _LARGE:
        return []
    most = np.max([record.boxes[:, 2:].max(0) for record in boxed], axis=0)
    if not np.all((most <= _PERCENT) & (most > 0.9 * _PERCENT)):
        return []
    text = (
        f"no box reaches beyond 100 pixels in {len(boxed)} larger images: if coordinates are in percent, multiply x by "
        "a hundredth of the image's width and y by one of its height"
    )
    return [Fault("boxes in percent", word, text, is_fatal=False)]
