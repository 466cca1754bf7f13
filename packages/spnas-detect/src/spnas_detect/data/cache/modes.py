"""Which form a cache has: what each takes of the disk, and which one suits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from spnas_detect.data._base import SPLITS, DetectionData, ImageRecord
from spnas_detect.data.cache.files import pixel_bytes
from spnas_detect.data.cache.packing import packed_size
from spnas_detect.data.canvases import Size
from spnas_detect.data.images import ImageFile

Mode = Literal["images", "encoded", "none"]
"""``images``: decoded and resized; ``encoded``: files as they are, in one per split; ``none``: where these lie."""

MODES: tuple[Mode, ...] = get_args(Mode)
"""The quickest to read first."""

LIMIT = 64.0
"""GiB that a cache takes at most where its form is not chosen by the user."""

GIB = 2**30

_MOST_OF_FREE = 0.9
_SAID_FROM = GIB


@dataclass(frozen=True)
class Needs:
    """Bytes that the forms of a cache take; ``none`` as many as there are images that come from no file.

    Attributes:
        images: of the canvases.
        encoded: of the files, at most.
        none: of what comes from no file, at most.
    """

    images: int
    encoded: int
    none: int

    def of(self, mode: Mode) -> int:
        """Return those of one form."""
        return {"images": self.images, "encoded": self.encoded, "none": self.none}[mode]


def needs_of(data: DetectionData, image_size: Size) -> Needs:
    """Count what a data set takes; its files are looked at, not read."""
    records: Sequence[ImageRecord] = [record for split in SPLITS for record in data.splits[split]]
    sizes = [packed_size(record) for record in records]
    others = sum(size for record, size in zip(records, sizes, strict=True) if not isinstance(record.read, ImageFile))
    return Needs(pixel_bytes(len(records), image_size), sum(sizes), others)


def suitable_mode(needs: Needs, limit: float, free: int) -> tuple[Mode, str]:
    """Choose the quickest form that stays below a limit and leaves a tenth of the free space.

    Example: COCO on 1344×800 takes 355 GiB decoded and 19 GiB encoded; with a limit of 64 GiB it is encoded.

    Args:
        needs: of the data.
        limit: in GiB.
        free: bytes where the cache will lie.

    Returns:
        The form, and what a user should know: nothing where little space is at stake.
    """
    most = min(limit * GIB, _MOST_OF_FREE * free)
    mode: Mode = next((one for one in MODES if needs.of(one) <= most), "none")
    if mode == "images":
        return mode, f"images are cached decoded, {_gib(needs.images)}" if needs.images >= _SAID_FROM else ""
    bound = (
        f"cache_limit = {limit:g} GiB" if limit * GIB <= _MOST_OF_FREE * free else f"nine tenths of {_gib(free)} free"
    )
    held = {"encoded": f"as their files are, {_gib(needs.encoded)}", "none": "not at all, and read from the data"}
    return mode, f"decoded images would take {_gib(needs.images)}, more than {bound}: they are cached {held[mode]}"


def _gib(size: float) -> str:
    return f"{size / GIB:,.1f} GiB"
