"""Which JSON file of a COCO data set describes which split, and where its images lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spnas_core.errors import DataError
from spnas_detect.data._base import CARVED, SPLITS, VALIDATION
from spnas_detect.data.file_names import find_split_folders

_FILES = {
    "train": ("instances_train2017.json", "instances_train2014.json", "instances_train.json", "train.json"),
    "validation": (
        "instances_val2017.json",
        "instances_val2014.json",
        "instances_val.json",
        "instances_valid.json",
        "instances_validation.json",
        "val.json",
        "valid.json",
        "validation.json",
    ),
    "test": ("instances_test2017.json", "instances_test.json", "test.json"),
}
_EXPORTS = {
    "_annotations.coco.json": "Roboflow",
    "annotations/instances_default.json": "CVAT",
    "result.json": "Label Studio",
    "labels.json": "FiftyOne",
}
_OFFICIAL = ("2017", "2014")
LAYOUT = (
    "expected annotations/instances_train2017.json and train2017/, annotations/train.json and images/, "
    "train/_annotations.coco.json, annotations/instances_default.json, result.json or labels.json"
)
"""What a refusal says that would have been read."""


@dataclass(frozen=True)
class Source:
    """The description of one split.

    Attributes:
        file: in COCO's JSON.
        folders: that may hold its images, the likeliest first.
        is_own_folder: whether another split may have images of the same names, in a folder of its own.
    """

    file: Path
    folders: tuple[Path, ...]
    is_own_folder: bool

    def place(self, root: Path) -> str:
        """Call the file by its path below the data set's folder, where it lies there."""
        return self.file.relative_to(root).as_posix() if self.file.is_relative_to(root) else str(self.file)


@dataclass(frozen=True)
class Layout:
    """The arrangement of a data set's files.

    Attributes:
        root: what relative names start from, and names of images are relative to.
        text: says what was recognised.
        sources: of the splits that are there, by name.
        tests_on_validation: whether the validation images are the test images, too.
    """

    root: Path
    text: str
    sources: dict[str, Source]
    tests_on_validation: bool


def find_layout(given: Path, options: Mapping[str, object]) -> Layout:
    """Recognise the layout of a data set; the options are those of ``read_coco``.

    Args:
        given: a folder, or one JSON file whose images all train.
        options: that name files or the folder of images.

    Raises:
        DataError: there is nothing, no training file, a folder of a split without its file, or an option that is not
            usable.
    """
    if given.is_file():
        root = given.parent.parent if given.parent.name.lower() == "annotations" else given.parent
        found, text = {"train": given}, "one JSON file"
    elif given.is_dir():
        root = given
        found, text = _recognise(given, options)
    else:
        raise DataError(f"{given} is not a folder: {LAYOUT}")
    named = {split: _named(root, split, options[split]) for split in SPLITS if options.get(split) is not None}
    files = {**found, **named}
    tests_on_validation = options.get("test") == VALIDATION or (files == found and _is_official(found))
    if files.get("train") is None:
        raise DataError(f"{root} has no training annotations: {LAYOUT}{_others(root)}")
    sources = {}
    for split in SPLITS:
        file = files.get(split)
        if file is not None:
            is_own = text == _SPLIT_FOLDERS and split not in named
            sources[split] = Source(file, _image_folders(root, file, options.get("images")), is_own)
    listed = ", ".join(source.place(root) for source in sources.values())
    return Layout(root, f"COCO, {text}: {listed}", sources, tests_on_validation)


def training_file(root: Path) -> Path | None:
    """Return the JSON file of the training images, where a folder has one of the known layouts."""
    found, _ = _recognise(root, {"validation": CARVED, "test": CARVED})
    return found.get("train")


_SPLIT_FOLDERS = "a folder per split"


def _recognise(root: Path, options: Mapping[str, object]) -> tuple[dict[str, Path], str]:
    for folder in (root / "annotations", root):
        present = {file.name.lower(): file for file in sorted(folder.glob("*.json"))} if folder.is_dir() else {}
        found = {
            split: next(present[name] for name in names if name in present)
            for split, names in _FILES.items()
            if any(name in present for name in names)
        }
        if "train" in found or options.get("train") is not None:
            return found, "a file per split"
    folders = find_split_folders(root)
    if "train" in folders and _export_in(folders["train"]) is not None:
        return _split_files(folders, options), _SPLIT_FOLDERS
    single = _export_in(root)
    if single is not None:
        return {"train": single[0]}, f"one file for all images as {single[1]} writes it"
    return {}, ""


def _split_files(folders: Mapping[str, Path], options: Mapping[str, object]) -> dict[str, Path]:
    found = {}
    for split, folder in folders.items():
        export = _export_in(folder)
        if export is not None:
            found[split] = export[0]
        elif options.get(split) is None and any(folder.iterdir()):
            names = ", ".join(_EXPORTS)
            remedy = f"name its file by the option {split}, or set {split}={CARVED}"
            raise DataError(f"{folder} has no annotations, expected one of {names}: {remedy}")
    return found


def _export_in(folder: Path) -> tuple[Path, str] | None:
    """Return the file of a folder that one of the exporters wrote, and which."""
    for name, exporter in _EXPORTS.items():
        if (folder / name).is_file():
            return folder / name, exporter
    return None


def _named(root: Path, split: str, given: object) -> Path | None:
    """Find the file that an option names; None for a split to be carved, and for a test split that is validation."""
    if (given == CARVED and split != "train") or (given == VALIDATION and split == "test"):
        return None
    if not isinstance(given, str | Path):
        raise DataError(f"coco {split} is {given!r}: it must be the name of a JSON file")
    for file in (root / given, root / "annotations" / given):
        if file.is_file():
            return file
    raise DataError(f"coco {split} is {str(given)!r}: neither {root} nor its annotations folder holds it")


def _is_official(files: Mapping[str, Path]) -> bool:
    """Say whether these are COCO's own files, whose test annotations nobody has."""
    names = {split: file.name.lower() for split, file in files.items()}
    own = ({"train": f"instances_train{year}.json", "validation": f"instances_val{year}.json"} for year in _OFFICIAL)
    return names in own


def _image_folders(root: Path, file: Path, given: object) -> tuple[Path, ...]:
    """List the folders where the images of a JSON file may lie, the most particular first."""
    if given is not None:
        if not isinstance(given, str | Path) or not (root / given).is_dir():
            raise DataError(f"coco images is {str(given)!r}: {root} has no such folder")
        return (root / given,)
    split = file.stem.removeprefix("instances_")
    own = file.parent.parent if file.parent.name.lower() == "annotations" else file.parent
    places = [
        place
        for base in (own, root)
        for place in (base / split, base / "images" / split, base / "images", base / "data", base)
    ]
    return tuple(place for place in dict.fromkeys(places) if place.is_dir())


def _others(root: Path) -> str:
    """Say which JSON files there are under other names."""
    found = [file.relative_to(root).as_posix() for folder in ("*.json", "*/*.json") for file in root.glob(folder)]
    if not found:
        return ""
    return f"; it has {', '.join(sorted(found)[:3])}: name one by the option train, or give its path"
