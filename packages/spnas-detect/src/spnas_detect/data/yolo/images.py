"""Which images and labels are in which split of a YOLO data set."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spnas_core.errors import DataError
from spnas_detect.data._base import CARVED, SPLITS, VALIDATION
from spnas_detect.data.faults import BROKEN_ANNOTATION, MISSING_IMAGE, FaultCollector
from spnas_detect.data.image_folder import images_below
from spnas_detect.data.images import IMAGE_SUFFIXES
from spnas_detect.data.repairs import RepairCollector
from spnas_detect.data.texts import read_lines
from spnas_detect.data.yolo.naming import Description
from spnas_detect.data.yolo.places import images_of_split, is_optional, label_places, locate

_NO_LABELS = ("classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt", "notes.txt", "predefined_classes.txt")


@dataclass(frozen=True)
class Pair:
    """An image and its label file; None where it has none."""

    image: Path
    labels: Path | None


@dataclass
class _Listing:
    """What is found while lists and folders are read."""

    faults: FaultCollector
    repairs: RepairCollector
    notes: list[str] = field(default_factory=list)


def list_pairs(
    description: Description, options: Mapping[str, object], faults: FaultCollector, repairs: RepairCollector
) -> tuple[dict[str, list[Pair]], list[str]]:
    """Return the images of each split with their labels, in the order of lists and of names, and notes.

    Args:
        description: of the data set.
        options: ``train``, ``validation``, ``test`` of ``read_yolo``.
        faults: takes images that are listed and missing, and lists that are no text.
        repairs: takes images that were found elsewhere or listed twice, and label files without an image.

    Raises:
        DataError: a list or folder that is named and missing, or no training image.
    """
    listing = _Listing(faults, repairs)
    splits: dict[str, list[Path]] = {}
    for split in SPLITS:
        images = list(_images_of(split, description, options.get(split), listing))
        splits[split] = list(dict.fromkeys(images))
        for image, count in Counter(images).items():
            if count > 1:
                repairs.add("images that are listed more than once, read once", image)
    if not splits["train"] and not faults.found:
        raise DataError(f"{description.file} leads to no training image: {_looked_for(description)}")
    pairs = {split: [Pair(image, _labels_of(image)) for image in images] for split, images in splits.items()}
    for file in _lost_labels(pairs):
        repairs.add("label files without an image, not read", file)
    return pairs, [*description.notes, *listing.notes]


def _looked_for(description: Description) -> str:
    if description.entries:
        return "its key train must name a folder of images or a .txt list"
    folder = description.bases[0]
    return f"images are looked for in images/train, train/images, train and images of {folder}, and in {folder} itself"


def _images_of(split: str, description: Description, given: object, listing: _Listing) -> Iterator[Path]:
    """Yield the images of a split, some of them perhaps twice."""
    if (given == CARVED and split != "train") or (given == VALIDATION and split == "test"):
        return
    if given is not None and not isinstance(given, str | Path):
        raise DataError(f"yolo {split} is {given!r}: it must be a folder of images or a .txt list")
    entries = (str(given),) if given is not None else description.entries.get(split, ())
    source = f"yolo {split}" if given is not None else f"{split} of {description.file}"
    for entry in entries:
        found = locate(entry, description.bases)
        if found is None and given is None and is_optional(entry, split):
            listing.notes.append(f"{split} images {entry!r}, which {description.file} names, do not exist")
            continue
        if found is None:
            places = ", ".join(map(str, description.bases))
            remedy = "mend the path" if split == "train" else "mend the path, or remove it to have the split carved"
            raise DataError(f"{source} is {entry!r}, and nothing of that name lies in {places}: {remedy}")
        if found.is_moved:
            listing.notes.append(f"{source} is {entry!r}: {found.path} is read instead")
        yield from _images_in(found.path, description, listing)
    if not entries and not description.entries:  # nothing describes the splits
        place = images_of_split(description.bases[0], split)
        if place is not None:
            others = _other_places(description.bases[0], split)
            yield from (image for image in _images_in(place, description, listing) if not others & set(image.parents))


def _other_places(folder: Path, split: str) -> set[Path]:
    """Return the folders of the other splits, which may lie below that of the training images."""
    places = (images_of_split(folder, other) for other in SPLITS if split == "train" and other != "train")
    return {place for place in places if place is not None}


def _images_in(place: Path, description: Description, listing: _Listing) -> Iterator[Path]:
    """Yield the images of a folder or of a list."""
    if place.is_dir():
        yield from images_below(place)
        return
    if place.suffix.lower() in IMAGE_SUFFIXES:
        raise DataError(f"{description.file} names the image {place}: a folder of images or a .txt list is expected")
    lines = listing.faults.attempt(BROKEN_ANNOTATION, place, lambda: read_lines(place)) or []
    bases = [place.parent, *description.bases]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found = locate(line, bases)
        if found is None or not found.path.is_file():
            where, own = f"{place}: line {number}", listing.faults.of_image()
            looked = ", ".join(dict.fromkeys(map(str, bases)))
            own.add(MISSING_IMAGE, place, f"{where} lists the image {line.strip()}, which {looked} lack")
            listing.faults.leaves_out(line.strip(), own)
            continue
        if found.is_moved:
            listing.repairs.add("listed images that lie elsewhere, found by the end of their path", found.path)
        yield found.path


def _labels_of(image: Path) -> Path | None:
    return next((place for place in label_places(image) if place.is_file()), None)


def _lost_labels(pairs: Mapping[str, Sequence[Pair]]) -> list[Path]:
    """Find label files beside those that were found which belong to no image."""
    used = {pair.labels for listed in pairs.values() for pair in listed if pair.labels is not None}
    folders = sorted({file.parent for file in used})
    files = [file for folder in folders for file in sorted(folder.glob("*.txt"))]
    return [file for file in files if file not in used and file.name not in _NO_LABELS and "README" not in file.name]
