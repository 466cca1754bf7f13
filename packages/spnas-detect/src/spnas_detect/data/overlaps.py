"""Images that are in two splits: the same file, or another one with the same bytes or the same pixels.

Whoever is scored on what he was trained on looks better than he is.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spnas_detect.data._base import SPLITS, ImageRecord
from spnas_detect.data.checks import SPLIT_WORDS
from spnas_detect.data.faults import Fault
from spnas_detect.data.images import ImageFile

Same = Literal["file", "bytes", "pixels"]

_SHOWN = 3


@dataclass(frozen=True)
class Overlap:
    """An image that an earlier split has, too.

    Attributes:
        split: the later one.
        name: of the image there.
        earlier: the earlier split.
        earlier_name: of the image there.
        same: what of both is the same: the file, else its bytes, else only its pixels.
    """

    split: str
    name: str
    earlier: str
    earlier_name: str
    same: Same

    @property
    def fault(self) -> Fault:
        """What ``spnas data check`` says of it."""
        there = f"image {self.earlier_name} of the {SPLIT_WORDS[self.earlier]} split"
        text = f"image {self.name} of the {SPLIT_WORDS[self.split]} split is {there}, too: the same {self.same}"
        return Fault("in two splits", self.name, text, is_fatal=False)


def find_overlaps(
    splits: Mapping[str, Sequence[ImageRecord]], digests: Mapping[str, Sequence[bytes]] | None = None
) -> list[Overlap]:
    """Find the images of each split that an earlier one has, too, each once.

    Args:
        splits: records by split; a split that is missing has none.
        digests: of their pixels, in the same order. None compares the files alone: only those are read whose size
            occurs in two splits.
    """
    known: dict[bytes, tuple[str, ImageRecord]] = {}
    found = []
    keys = _file_digests(splits) if digests is None else digests
    for split in SPLITS:
        own: dict[bytes, tuple[str, ImageRecord]] = {}
        for record, key in zip(splits.get(split, ()), keys.get(split, ()), strict=True):
            if not key:
                continue
            if key in known:
                earlier, other = known[key]
                found.append(Overlap(split, record.name, earlier, other.name, _same(record, other)))
            own.setdefault(key, (split, record))
        known = {**own, **known}
    return found


def overlap_notes(overlaps: Sequence[Overlap]) -> list[str]:
    """Count overlaps for each two splits, and name the first three images.

    Of the same files nothing is said: their readers do.
    """
    pairs: dict[tuple[str, str], list[Overlap]] = {}
    for one in overlaps:
        if one.same != "file":
            pairs.setdefault((one.split, one.earlier), []).append(one)
    notes = []
    for (split, earlier), ones in pairs.items():
        counts = Counter(one.same for one in ones)
        how = " and ".join(f"{count} with the same {same}" for same, count in counts.items())
        named = ", ".join(f"{one.name} = {one.earlier_name}" for one in ones[:_SHOWN])
        more = ", …" if len(ones) > _SHOWN else ""
        notes.append(f"{split} images that {earlier} has, too: {how}: {named}{more}")
    return notes


def shared_files(splits: Mapping[str, Sequence[ImageRecord]], *, tests_on_validation: bool = False) -> list[str]:
    """Word the notes on files that are in two splits, without opening any.

    Args:
        splits: records by split.
        tests_on_validation: whether the test images are the validation images, which has a note of its own.
    """
    files = {split: {image_file(record) for record in splits[split]} - {None} for split in SPLITS}
    notes = []
    for earlier, split in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = [record.name for record in splits[split] if image_file(record) in files[earlier]]
        if shared and not (tests_on_validation and earlier == "validation"):
            notes.append(
                f"{len(shared)} {SPLIT_WORDS[earlier]} images are in the {split} split too, first {min(shared)}"
            )
    return notes


def image_file(record: ImageRecord) -> Path | None:
    """Return the file that a record is read from; None where that is none, or unknown."""
    return record.read.path if isinstance(record.read, ImageFile) else None


def _same(one: ImageRecord, other: ImageRecord) -> Same:
    files = image_file(one), image_file(other)
    if files[0] is None or files[1] is None:
        return "pixels"
    if files[0] == files[1]:
        return "file"
    return "bytes" if _digest(files[0]) == _digest(files[1]) else "pixels"


def _file_digests(splits: Mapping[str, Sequence[ImageRecord]]) -> dict[str, list[bytes]]:
    """Digest the files whose size occurs in two splits; the others have an empty digest."""
    files = {split: [image_file(record) for record in records] for split, records in splits.items()}
    sizes = {split: [_size(file) for file in found] for split, found in files.items()}
    often = Counter(size for found in sizes.values() for size in set(found))
    return {
        split: [
            b"" if file is None or size is None or often[size] < 2 else _digest(file)
            for file, size in zip(found, sizes[split], strict=True)
        ]
        for split, found in files.items()
    }


def _size(file: Path | None) -> int | None:
    try:
        return None if file is None else file.stat().st_size
    except OSError:  # which is a fault of its own
        return None


def _digest(file: Path) -> bytes:
    """Digest a file's bytes; empty where it cannot be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError:
        return b""
