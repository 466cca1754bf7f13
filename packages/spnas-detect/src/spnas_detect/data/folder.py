"""Reader of a folder in any layout that the others read: it recognises which, and says so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from spnas_core.errors import DataError
from spnas_core.paths import found_at
from spnas_detect.data._base import READERS, DetectionData
from spnas_detect.data.coco.layouts import training_file
from spnas_detect.data.voc.layouts import find_sign
from spnas_detect.data.yolo.naming import is_described

_SHOWN = 8


@dataclass(frozen=True)
class _Recognised:
    """A layout that a folder has.

    Attributes:
        kind: of data.
        path: what that kind's reader reads.
        sign: what tells the layout.
    """

    kind: str
    path: Path
    sign: str


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
    root = found_at(path)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: {_looked_for()}")
    found = _recognise(root)
    if not found:
        raise DataError(f"{root} is in no known layout: {_looked_for()}; {_content(root)}{_hint(root)}")
    if len(found) > 1:
        names = " and ".join(f"{one.kind} ({one.sign})" for one in found)
        raise DataError(f"{root} is {names}: say which one is meant, as {found[0].kind}:{found[0].path}")
    layout = found[0]
    data = READERS[layout.kind](str(layout.path), seed=seed, options=options)
    note = f"recognised as {layout.kind}:{layout.path} by {layout.sign}"
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
        sign = find_sign(folder)
        if sign is not None:
            return _Recognised("voc", folder, sign)
    return None


def _find_coco(root: Path) -> _Recognised | None:
    file = training_file(root)
    return None if file is None else _Recognised("coco", root, file.relative_to(root).as_posix())


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
    _Layout("COCO (annotations/instances_train2017.json, or train/_annotations.coco.json)", _find_coco),
    _Layout("EuroCity Persons (day/labels/)", _find_eurocity),
    _Layout("YOLO (data.yaml, obj.data, or classes.txt and labels)", _find_yolo),
)
