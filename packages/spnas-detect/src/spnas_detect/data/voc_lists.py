"""Which image of a Pascal VOC data set is in which split: one folder's lists, or those of an official VOCdevkit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spnas_core.errors import DataError, suggestion
from spnas_detect.data._base import carve_missing
from spnas_detect.data.faults import BROKEN_ANNOTATION, FaultCollector

_LAYOUT = (
    "expected Annotations/*.xml, JPEGImages/*.jpg and ImageSets/Main/train.txt, or the folders VOC2007 and VOC2012 of "
    "a VOCdevkit,"
)
_FOLDERS = ("Annotations", "JPEGImages", "ImageSets/Main")
_VALIDATIONS = ("carved", "val", "test")

_LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
_USUAL_YEARS = (2007, 2012)
_TEST_YEAR = 2007  # the only one whose test annotations are public


@dataclass(frozen=True)
class Listed:
    """One image of a list.

    Attributes:
        root: the folder that holds its ``Annotations`` and ``JPEGImages``.
        stem: file name of image and annotation without the suffix.
        name: what messages and reports call it: the stem, in a VOCdevkit behind its year, as in ``2007/000005``.
    """

    root: Path
    stem: str
    name: str


Lists = dict[str, list[Listed]]


def list_images(
    root: Path, options: Mapping[str, object], seed: int, faults: FaultCollector
) -> tuple[Lists, list[str]]:
    """Return the images of each split, and notes; the splits and the options are those of ``read_voc``.

    A list that is no text is noted among the faults.

    Raises:
        DataError: a missing folder or list, an empty training list, or an option that is not usable.
    """
    years = _years_of(root)
    if years and not (root / "Annotations").is_dir():
        return _devkit_lists(root, years, options, seed, faults)
    for option in ("years", "validation"):
        if options.get(option) is not None:
            raise DataError(f"voc {option} is an option of a VOCdevkit, and {root} holds no folder such as VOC2007")
    return _folder_lists(root, seed, faults)


def _folder_lists(root: Path, seed: int, faults: FaultCollector) -> tuple[Lists, list[str]]:
    _check_folders(root)
    lists = root / "ImageSets" / "Main"
    if not (lists / "train.txt").is_file():
        raise DataError(f"{lists / 'train.txt'} does not exist: {_LAYOUT} under {root}")
    stems = {split: _read_list(lists / file, faults) for split, file in _LISTS.items()}
    found = {split: [Listed(root, stem, stem) for stem in stems[split]] for split in _LISTS}
    if not found["train"]:
        raise DataError(f"{lists / 'train.txt'} lists no image")
    return found, [*_shared_notes(found), *carve_missing(found, seed)]


def _devkit_lists(
    root: Path, present: Mapping[int, Path], options: Mapping[str, object], seed: int, faults: FaultCollector
) -> tuple[Lists, list[str]]:
    years = _chosen_years(root, present, options.get("years"))
    validation = options.get("validation") or "carved"
    if validation not in _VALIDATIONS:
        raise DataError(f"voc has no validation {validation!r}{suggestion(str(validation), _VALIDATIONS)}")
    for year in years:
        _check_folders(present[year])

    def listed(year: int, *files: str) -> list[Listed]:
        lists = present[year] / "ImageSets" / "Main"
        stems = [stem for file in files for stem in _read_list(lists / file, faults)]
        if not stems:
            raise DataError(f"{' and '.join(files)} of {lists} are missing, or list no image")
        return [Listed(present[year], stem, f"{year}/{stem}") for stem in dict.fromkeys(stems)]

    parts = ["train.txt"] if validation == "val" else ["train.txt", "val.txt"]
    found: Lists = {
        "train": [image for year in years for image in listed(year, *parts)],
        "validation": [image for year in years for image in listed(year, "val.txt")] if validation == "val" else [],
        "test": [],
    }
    if _TEST_YEAR in years and (present[_TEST_YEAR] / "ImageSets" / "Main" / "test.txt").is_file():
        found["test"] = listed(_TEST_YEAR, "test.txt")
    notes = [f"years {'+'.join(map(str, years))}: {'train' if validation == 'val' else 'trainval'} images train"]
    if validation == "test":
        if not found["test"]:
            raise DataError(f"voc validation is 'test', but {root} has no VOC2007/ImageSets/Main/test.txt for years")
        found["validation"] = found["test"]
        notes.append("validation split is the test split: choose nothing by its scores")
    return found, [*notes, *_shared_notes(found), *carve_missing(found, seed)]


def _years_of(root: Path) -> dict[int, Path]:
    if not root.is_dir():
        return {}
    matches = [(re.fullmatch(r"VOC(\d{4})", folder.name), folder) for folder in sorted(root.iterdir())]
    return {int(match[1]): folder for match, folder in matches if match and folder.is_dir()}


def _chosen_years(root: Path, present: Mapping[int, Path], given: object) -> list[int]:
    if given is None:
        return [year for year in _USUAL_YEARS if year in present] or list(present)
    words = given if isinstance(given, list | tuple) else str(given).split("+")
    numbers = [int(str(word)) if re.fullmatch(r"\d{1,4}", str(word).strip()) else 0 for word in words]
    years = [number + 2000 if 0 < number < 100 else number for number in numbers]
    if not years or 0 in years or len(set(years)) != len(years):
        raise DataError(f"voc years is {given!r}: it must name different years, such as 07, 12 or 07+12")
    for year in years:
        if year not in present:
            folders = ", ".join(folder.name for folder in present.values())
            raise DataError(f"voc years is {given!r}, but {root} has no folder VOC{year}; it has {folders}")
    return sorted(years)


def _check_folders(root: Path) -> None:
    for folder in (root, *(root / name for name in _FOLDERS)):
        if not folder.is_dir():
            hint = f"; did you mean {root / 'VOCdevkit'}?" if (root / "VOCdevkit").is_dir() else ""
            raise DataError(f"{folder} is not a folder: {_LAYOUT} under {root}{hint}")


def _shared_notes(found: Lists) -> list[str]:
    """Say where images that train also score."""
    train = {image.name for image in found["train"]}
    notes = []
    for split in ("validation", "test"):
        shared = train & {image.name for image in found[split]}
        if shared:
            notes.append(f"{len(shared)} training images are in the {split} split too, first {min(shared)}")
    return notes


def _read_list(file: Path, faults: FaultCollector) -> Sequence[str]:
    """Return the first word of each line, each once; no word where the file is missing."""
    if not file.is_file():
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        faults.add(BROKEN_ANNOTATION, file, f"{file} is not a text file in UTF-8: {error}")
        return []
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
