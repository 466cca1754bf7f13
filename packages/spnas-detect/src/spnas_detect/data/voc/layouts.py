"""Which image of a Pascal VOC data set is in which split: by lists, by folders, or as a VOCdevkit has it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spnas_core.errors import DataError, suggestion
from spnas_detect.data._base import CARVED, VALIDATION, carve_missing, has_no_own_test
from spnas_detect.data.faults import BROKEN_ANNOTATION, FaultCollector
from spnas_detect.data.file_names import find_folder, find_split_folders
from spnas_detect.data.repairs import RepairCollector
from spnas_detect.data.voc.annotations import named_image
from spnas_detect.data.voc.lists import Listed, Lists, VocFolder, open_folder, read_list

_LAYOUT = (
    "expected Annotations/*.xml, JPEGImages/*.jpg and ImageSets/Main/train.txt, or the folders VOC2007 and VOC2012 of "
    "a VOCdevkit, or train and valid with XML files beside the images,"
)
_ANNOTATIONS, _IMAGES = ("Annotations", "annots"), ("JPEGImages", "images")
_VALIDATIONS, _TESTS = (CARVED, "val", "test"), (CARVED, VALIDATION)

_LISTS = {"train": ("train.txt",), "validation": ("val.txt", "valid.txt", "validation.txt"), "test": ("test.txt",)}
_LISTS_OF_ALL = ("trainval.txt", "default.txt")  # the latter as CVAT writes it
_USUAL_YEARS = (2007, 2012)
_TEST_YEAR = 2007  # the only one whose test annotations are public


@dataclass(frozen=True)
class VocLayout:
    """The arrangement of a data set's files.

    Attributes:
        text: says what was recognised.
        lists: the images of each split.
        notes: what a reader of results should know of the splits.
        tests_on_validation: whether the validation images are the test images, too.
    """

    text: str
    lists: Lists
    notes: list[str]
    tests_on_validation: bool


def find_layout(
    root: Path, options: Mapping[str, object], seed: int, faults: FaultCollector, repairs: RepairCollector
) -> VocLayout:
    """Recognise the layout of a data set; the splits and the options are those of ``read_voc``.

    Args:
        root: folder of the data set.
        options: of the reader.
        seed: decides carved splits.
        faults: takes lists that are no text.
        repairs: takes files that are left out, and lines that were read otherwise than written.

    Raises:
        DataError: a missing folder or list, an empty training list, or an option that is not usable.
    """
    years = _years_of(root)
    test = options.get("test")
    if test is not None and test not in _TESTS:
        raise DataError(f"voc has no test {test!r}{suggestion(str(test), _TESTS)}")
    if years and find_folder(root, _ANNOTATIONS) is None:
        return _devkit(root, years, options, seed, partial(read_list, faults=faults, repairs=repairs))
    for option in ("years", "validation"):
        if options.get(option) is not None:
            raise DataError(f"voc {option} is an option of a VOCdevkit, and {root} holds no folder such as VOC2007")
    text, found = _plain(root, faults, repairs)
    return _filled(f"Pascal VOC, {text}", found, [], test, seed)


def _filled(text: str, found: Lists, notes: list[str], test: object, seed: int) -> VocLayout:
    """Carve what is missing, and take the test images from where the option has them."""
    if test is not None:
        found["test"] = []
    tests_on_validation = test == VALIDATION or (test != CARVED and has_no_own_test(found, _file))
    filled = carve_missing(found, seed, tests_on_validation=tests_on_validation, image=_file)
    return VocLayout(text, found, [*notes, *filled], tests_on_validation)


def _file(image: Listed) -> Path:
    return image.folder.annotations / image.stem


def find_sign(root: Path) -> str | None:
    """Say what tells that a folder has one of the layouts; None where nothing does."""
    years = _years_of(root)
    annotations, images = find_folder(root, _ANNOTATIONS), find_folder(root, _IMAGES)
    if years and annotations is None:
        return " and ".join(f"{folder.name}/" for folder in years.values())
    if annotations is not None and images is not None:
        if (root / "ImageSets" / "Main").is_dir():
            return f"{annotations.name}/ and ImageSets/Main/"
        if any(annotations.rglob("*.xml")):
            return f"XML files in {annotations.name}/"
    train = find_split_folders(root).get("train")
    opened = None if train is None else _split_folder(train)
    if train is not None and opened is not None and opened.files.keys() & opened.pictures.keys():
        return f"XML files in {train.name}/"
    names = {file.stem for file in root.glob("*.xml")}
    return "XML files beside images" if names and names & open_folder(root, root).pictures.keys() else None


def _plain(root: Path, faults: FaultCollector, repairs: RepairCollector) -> tuple[str, Lists]:
    annotations, images = find_folder(root, _ANNOTATIONS), find_folder(root, _IMAGES)
    if annotations is not None and images is not None:
        folder, text = open_folder(annotations, images), f"{annotations.name} and {images.name}"
        lists = _lists_folder(root)
        if lists is not None:
            where = lists.relative_to(root).as_posix()
            text += f", lists in {'the folder itself' if where == '.' else where}"
            return text, _by_lists(lists, where, folder, partial(read_list, faults=faults, repairs=repairs))
        pairs = _pairs(folder, root, "", faults, repairs)
        if "train" in (parts := find_split_folders(annotations)):
            return f"{text}, a folder per split in each", _by_folder(pairs, parts, repairs)
        if "train" in (parts := find_split_folders(images)):
            return f"{text}, images in a folder per split", _by_folder(pairs, parts, repairs)
        return f"{text}, without lists", _alone(pairs, root)
    splits = {split: _split_folder(folder) for split, folder in find_split_folders(root).items()}
    known = {split: folder for split, folder in splits.items() if folder is not None and folder.files}
    if "train" in known:
        found = {
            split: [] if folder is None else _pairs(folder, root, f"{_top(folder, root)}/", faults, repairs)
            for split, folder in {**dict.fromkeys(_LISTS), **splits}.items()
        }
        names = ", ".join(_top(folder, root) for folder in known.values())
        return f"a folder per split: {names}", found
    if any(root.glob("*.xml")):
        return "XML files beside the images", _alone(_pairs(open_folder(root, root), root, "", faults, repairs), root)
    _check_folders(root)
    raise DataError(f"{root} holds no XML file: {_LAYOUT} under {root}")


def _picture(folder: VocFolder, stem: str) -> Path | None:
    """Find the image of an annotation file, of which the last part of the stem is enough where no other has it."""
    own = stem.rpartition("/")[2]
    return folder.pictures.get(stem) or folder.pictures.get(own) or folder.alone.get(own)


def _by_folder(images: list[Listed], parts: Mapping[str, Path], repairs: RepairCollector) -> Lists:
    """Share images out by the folders of the splits, which hold the annotation file or the image."""
    found: Lists = {split: [] for split in _LISTS}
    for image in images:
        files = (image.folder.files[image.stem], _picture(image.folder, image.stem))
        within = (split for split, part in parts.items() for file in files if file and file.is_relative_to(part))
        split = next(within, None)
        if split is None:
            repairs.add("images outside the folders of the splits, left out", image.name)
        else:
            found[split].append(image)
    return found


def _alone(images: list[Listed], root: Path) -> Lists:
    if not images:
        raise DataError(f"{root} has no XML file with an image: {_LAYOUT} under {root}")
    return {"train": images, "validation": [], "test": []}


def _split_folder(folder: Path) -> VocFolder | None:
    """Open the folder of one split, or its folders of annotations and images; None where there is nothing."""
    opened = open_folder(find_folder(folder, _ANNOTATIONS) or folder, find_folder(folder, _IMAGES) or folder)
    return opened if opened.files or opened.pictures else None


def _top(folder: VocFolder, root: Path) -> str:
    return folder.annotations.relative_to(root).parts[0]


def _pairs(
    folder: VocFolder, root: Path, prefix: str, faults: FaultCollector, repairs: RepairCollector
) -> list[Listed]:
    """Return the annotation files that have an image, in the order of their names; tell files that stand alone.

    Raises:
        DataError: there are annotation files, and none has an image.
    """
    found, used = [], set()
    other_case = {stem.casefold(): image for stem, image in folder.pictures.items() if stem not in folder.files}
    for stem, file in sorted(folder.files.items()):
        image = _picture(folder, stem) or other_case.get(stem.casefold())
        if image is None:
            own = faults.of_image()
            image = own.attempt(BROKEN_ANNOTATION, file, partial(named_image, file, folder))
            if image is None and not faults.leaves_out(stem, own) and not own.found:
                repairs.add("annotation files without an image, left out", file.relative_to(root).as_posix())
        if image is not None:
            found.append(Listed(folder, stem, f"{prefix}{stem}"))
            used.add(image)
    for image in folder.pictures.values():
        if image not in used:
            repairs.add("images without an annotation file, left out", image.relative_to(root).as_posix())
    if folder.files and not found and not faults.found:
        raise DataError(
            f"none of the {len(folder.files)} XML files of {folder.annotations} has its image in {folder.images}"
        )
    return found


def _lists_folder(root: Path) -> Path | None:
    """Find the folder of the lists; None for a data set without.

    Raises:
        DataError: ``ImageSets`` is there, and has no lists.
    """
    sets = find_folder(root, ("ImageSets",))
    if sets is None:
        return root if (root / "train.txt").is_file() else None
    main = find_folder(sets, ("Main",)) or (sets if any(sets.glob("*.txt")) else None)
    if main is None:
        raise DataError(f"{sets / 'Main'} is not a folder: {_LAYOUT} under {root}")
    return main


def _by_lists(lists: Path, where: str, folder: VocFolder, read: Callable[[Path, VocFolder], list[str]]) -> Lists:
    present = {file.name.lower(): file for file in sorted(lists.glob("*"), reverse=True)}
    files = {split: next((present[name] for name in _LISTS[split] if name in present), None) for split in _LISTS}
    if files["train"] is None and files["validation"] is None:
        files["train"] = next((present[name] for name in _LISTS_OF_ALL if name in present), None)
    if files["train"] is None:
        raise DataError(f"{lists / 'train.txt'} does not exist: {_LAYOUT} under {folder.annotations.parent}")
    found = {
        split: [] if file is None else [Listed(folder, stem, stem, where) for stem in read(file, folder)]
        for split, file in files.items()
    }
    if not found["train"]:
        raise DataError(f"{files['train']} lists no image")
    return found


def _devkit(
    root: Path,
    present: Mapping[int, Path],
    options: Mapping[str, object],
    seed: int,
    read: Callable[[Path, VocFolder], list[str]],
) -> VocLayout:
    years = _chosen_years(root, present, options.get("years"))
    validation = options.get("validation") or "carved"
    if validation not in _VALIDATIONS:
        raise DataError(f"voc has no validation {validation!r}{suggestion(str(validation), _VALIDATIONS)}")
    for year in years:
        _check_folders(present[year])
    folders = {year: open_folder(present[year] / "Annotations", present[year] / "JPEGImages") for year in years}

    def listed(year: int, *files: str) -> list[Listed]:
        lists = present[year] / "ImageSets" / "Main"
        stems = [stem for file in files for stem in read(lists / file, folders[year])]
        if not stems:
            raise DataError(f"{' and '.join(files)} of {lists} are missing, or list no image")
        return [Listed(folders[year], stem, f"{year}/{stem}") for stem in dict.fromkeys(stems)]

    parts = ["train.txt"] if validation == "val" else ["train.txt", "val.txt"]
    found: Lists = {
        "train": [image for year in years for image in listed(year, *parts)],
        "validation": [image for year in years for image in listed(year, "val.txt")] if validation == "val" else [],
        "test": [],
    }
    if _TEST_YEAR in years and (present[_TEST_YEAR] / "ImageSets" / "Main" / "test.txt").is_file():
        found["test"] = listed(_TEST_YEAR, "test.txt")
    notes = [f"years {'+'.join(map(str, years))}: {'train' if validation == 'val' else 'trainval'} images train"]
    test = options.get("test")
    if validation == "test":
        if not found["test"] or test is not None:
            why = f"{root} has no VOC2007/ImageSets/Main/test.txt for years" if test is None else f"test is {test!r}"
            raise DataError(f"voc validation is 'test', but {why}")
        found["validation"], test = found["test"], VALIDATION
    return _filled(f"Pascal VOC, devkit: {', '.join(present[year].name for year in years)}", found, notes, test, seed)


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
    for folder in (root, *(root / name for name in ("Annotations", "JPEGImages", "ImageSets/Main"))):
        if not folder.is_dir():
            hint = f"; did you mean {root / 'VOCdevkit'}?" if (root / "VOCdevkit").is_dir() else ""
            raise DataError(f"{folder} is not a folder: {_LAYOUT} under {root}{hint}")
