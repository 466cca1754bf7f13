"""Reader of a folder in any layout that the others read: it recognises which, and says so."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from spnas_core.errors import DataError
from spnas_detect.data._base import READERS, DetectionData
from spnas_detect.data.coco import FILES
from spnas_detect.data.yolo_naming import is_described

_COCO_SPLITS = {
    "train": ("train", "default"),  # CVAT calls images that are in no split default
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}
_ROBOFLOW = "_annotations.coco.json"
_SHOWN = 8


@dataclass(frozen=True)
class _Recognised:
    """A layout that a folder has.

    Attributes:
        kind: of data.
        path: what that kind's reader reads.
        sign: what tells the layout.
        options: for the reader.
    """

    kind: str
    path: Path
    sign: str
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class _Layout:
    """A layout: what it looks like, and a function that recognises it."""

    description: str
    find: Callable[[Path], _Recognised | None]


def read_folder(path: str | None, *, seed: int, options: Mapping[str, object]) -> DetectionData:
    """Recognise the layout of a folder, and read it as that kind of data.

    Known are the layouts of ``voc``, ``coco``, ``ecp`` and ``yolo``; of COCO also the exports of Roboflow (a
    ``_annotations.coco.json`` beside the images of each split), CVAT (``annotations/instances_default.json``, or splits
    with capitals), Label Studio (``result.json``) and FiftyOne (``labels.json`` beside ``data/``).

    Args:
        path: the folder.
        seed: decides carved splits.
        options: of the kind of data that it is found to be.

    Returns:
        What that kind's reader returns, with a first note on what was recognised.

    Raises:
        DataError: no folder, a folder of no layout or of several, or whatever that reader has to say.
    """
    if path is None:
        raise DataError("folder data needs a folder: write folder:PATH")
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: {_looked_for()}")
    found = _recognise(root)
    if not found:
        raise DataError(f"{root} is in no known layout: {_looked_for()}; {_content(root)}{_hint(root)}")
    if len(found) > 1:
        names = " and ".join(f"{one.kind} ({one.sign})" for one in found)
        raise DataError(f"{root} is {names}: say which one is meant, as {found[0].kind}:{found[0].path}")
    layout = found[0]
    data = READERS[layout.kind](str(layout.path), seed=seed, options={**layout.options, **options})
    given = "".join(f", {key} {value}" for key, value in layout.options.items())
    note = f"recognised as {layout.kind}:{layout.path} by {layout.sign}{given}"
    return replace(data, spec=f"folder:{path}", notes=(note, *data.notes))


def _recognise(root: Path) -> list[_Recognised]:
    found = (layout.find(root) for layout in _LAYOUTS)
    return [one for one in found if one is not None]


def _looked_for() -> str:
    return "looked for " + ", ".join(layout.description for layout in _LAYOUTS)


def _content(root: Path) -> str:
    names = sorted(f"{item.name}/" if item.is_dir() else item.name for item in root.iterdir())
    if not names:
        return "it is empty"
    return f"found {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"


def _hint(root: Path) -> str:
    """Point to the folder inside that archives often unpack to."""
    inside = next((item for item in sorted(root.iterdir()) if item.is_dir() and _recognise(item)), None)
    return f"; did you mean folder:{inside}?" if inside is not None else ""


def _find_voc(root: Path) -> _Recognised | None:
    for folder in (root, root / "VOCdevkit"):
        if (folder / "Annotations").is_dir() and (folder / "ImageSets" / "Main").is_dir():
            return _Recognised("voc", folder, "Annotations/ and ImageSets/Main/")
        years = sorted(item.name for item in folder.glob("VOC*") if re.fullmatch(r"VOC\d{4}", item.name))
        if years:
            return _Recognised("voc", folder, " and ".join(f"{year}/" for year in years))
    return None


def _find_coco(root: Path) -> _Recognised | None:
    folder = root / "annotations"
    usual = next((name for name in FILES["train"] if (folder / name).is_file()), None)
    if usual is not None:
        return _Recognised("coco", root, f"annotations/{usual}")
    single: tuple[tuple[Path, dict[str, str]], ...] = (
        (root / _ROBOFLOW, {}),
        (root / "result.json", {}),  # of Label Studio
        (root / "labels.json", {"images": "data"}),  # of FiftyOne
    )
    for found in (_capital_files(folder), _roboflow_files(root)):
        if "train" in found:
            relative = {split: file.relative_to(root).as_posix() for split, file in found.items()}
            return _Recognised("coco", root, relative["train"], relative)
    for file, options in single:
        if file.is_file() and all((root / folder).is_dir() for folder in options.values()):
            return _Recognised("coco", root, file.name, {"train": file.name, **options})
    return None


def _capital_files(folder: Path) -> dict[str, Path]:
    """Return the JSON files of a folder ``annotations`` by split, whether or not their names have capitals."""
    files = {file.stem.lower().removeprefix("instances_"): file for file in sorted(folder.glob("*.json"))}
    chosen = {split: [files[name] for name in names if name in files] for split, names in _COCO_SPLITS.items()}
    return {split: found[0] for split, found in chosen.items() if found}


def _roboflow_files(root: Path) -> dict[str, Path]:
    files = {split: [root / name / _ROBOFLOW for name in names] for split, names in _COCO_SPLITS.items()}
    return {split: file for split, listed in files.items() for file in reversed(listed) if file.is_file()}


def _find_eurocity(root: Path) -> _Recognised | None:
    for folder in (root, root / "ECP"):
        for time in ("day", "night"):
            if (folder / time / "labels").is_dir():
                return _Recognised("ecp", folder, f"{time}/labels/")
    return None


def _find_yolo(root: Path) -> _Recognised | None:
    file = is_described(root)
    return None if file is None else _Recognised("yolo", root, file.relative_to(root).as_posix())


_LAYOUTS = (
    _Layout("VOC (Annotations/ and ImageSets/Main/, or VOC2007/)", _find_voc),
    _Layout(f"COCO (annotations/instances_train2017.json, or train/{_ROBOFLOW})", _find_coco),
    _Layout("EuroCity Persons (day/labels/)", _find_eurocity),
    _Layout("YOLO (data.yaml, obj.data, or classes.txt and labels)", _find_yolo),
)
