"""What describes a YOLO data set: data.yaml, darknet's obj.data, or a list of class names and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from spnas_core.errors import DataError
from spnas_detect.data.texts import read_lines
from spnas_detect.data.yolo.places import VALIDATION_NAMES, has_labels, images_of_split, locate

LAYOUT = (
    "expected data.yaml, darknet's obj.data, or classes.txt beside images/ and labels/ or beside the folders train and "
    "valid"
)
_USUAL = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_NAME_LISTS = ("classes.txt", "obj.names", "labels/classes.txt", "data/obj.names", "train/_darknet.labels")
_KEYS = {"train": ("train",), "validation": VALIDATION_NAMES, "test": ("test",)}


@dataclass(frozen=True)
class Description:
    """What the describing file says.

    Attributes:
        file: the describing file.
        source: the file that names the classes, mostly the same.
        root: the folder that images are named from.
        bases: folders that its paths are relative to, the first one first.
        classes: names in the order of their ids from 0.
        entries: by split, the folders and lists that it names; none at all where they follow from the
            folders beside it.
        keypoint_values: numbers per keypoint where objects have keypoints.
        notes: what was put right.
    """

    file: Path
    source: Path
    root: Path
    bases: tuple[Path, ...]
    classes: tuple[str, ...]
    entries: Mapping[str, tuple[str, ...]]
    keypoint_values: int | None = None
    notes: tuple[str, ...] = ()


def find_description(folder: Path) -> Path | None:
    """Find what describes the data set in a folder; None where there is nothing of the kind.

    Raises:
        DataError: several files do.
    """
    for name in _USUAL:
        if (folder / name).is_file():
            return folder / name
    described = [file for file in sorted(folder.glob("*.y*ml")) if file.is_file() and _describes(file)]
    described = described or [file for file in sorted(folder.glob("*.data")) if file.is_file()]
    if len(described) > 1:
        names = ", ".join(file.name for file in described)
        raise DataError(f"{folder} has several descriptions of a data set: {names}; name one, as yolo:{described[0]}")
    if described:
        return described[0]
    return next((folder / name for name in _NAME_LISTS if (folder / name).is_file()), None)


def describe(given: Path) -> Description:
    """Read the description of a data set.

    Args:
        given: the describing file, or its folder.

    Raises:
        DataError: no description, one that is malformed or contradicts itself, or one without class names.
    """
    if not given.exists():
        raise DataError(f"{given} does not exist: {LAYOUT}")
    file = find_description(given) if given.is_dir() else given
    if file is None:
        raise DataError(f"{given} does not say what its classes are called: {LAYOUT}")
    if file.suffix in {".yaml", ".yml"}:
        return _describe_yaml(file)
    if file.suffix == ".data":
        return _describe_darknet(file)
    if given.is_dir():
        return Description(file, file, given, (given,), _read_names(file), {})
    raise DataError(f"{given} is neither a folder nor a description: {LAYOUT}")


def _describes(file: Path) -> bool:
    """Tell whether a YAML file describes a data set; one that is malformed, or a training's settings, does not."""
    try:
        content = _load(file)
    except DataError:
        return False
    return "names" in content or isinstance(content.get("train"), str | list)


def _load(file: Path) -> dict[object, object]:
    try:
        content: object = yaml.safe_load("\n".join(read_lines(file)))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DataError(f"{file} is malformed YAML in line {line}: {error.problem}") from None
    except DataError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a date that does not exist
        raise DataError(f"{file} is malformed YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise DataError(f"{file} holds a {type(content).__name__}: keys such as train, val and names are expected")
    return content


def _describe_yaml(file: Path) -> Description:
    content, folder = _load(file), file.parent
    entries = {split: _entries(content, keys, file) for split, keys in _KEYS.items()}
    source, classes = _yaml_names(content, file)
    bases, notes = _bases(content.get("path"), file)
    return Description(
        file,
        source,
        bases[0],
        (*bases, *([] if folder in bases else [folder])),
        classes,
        {split: found for split, found in entries.items() if found},
        _keypoint_values(content.get("kpt_shape"), file),
        tuple(notes),
    )


def _bases(path: object, file: Path) -> tuple[list[Path], list[str]]:
    """Return the folder that ``path`` names, or the YAML file's where it was exported on another machine."""
    folder = file.parent
    if path is None or path == "":
        return [folder], []
    if not isinstance(path, str):
        raise DataError(f"{file} has path {path!r}: a folder is expected")
    found = locate(path, [folder])
    if found is not None and found.path.is_dir() and not found.is_moved:
        return [found.path], []
    place = found.path if found is not None and found.path.is_dir() else folder
    return [place], [f"path {path!r} of {file} does not exist here: {place} is read instead"]


def _entries(content: Mapping[object, object], keys: Sequence[str], file: Path) -> tuple[str, ...]:
    for key in keys:
        found = content.get(key)
        if found is None or found in ("", []):
            continue
        listed: list[object] = found if isinstance(found, list) else [found]
        texts = tuple(entry.strip() for entry in listed if isinstance(entry, str) and entry.strip())
        if len(texts) < len(listed):
            raise DataError(f"{file} has {key} {found!r}: a folder, a list of folders or a .txt list is expected")
        return texts
    return ()


def _yaml_names(content: Mapping[object, object], file: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the class names, from a list beside the file where it has none itself."""
    found, source = content.get("names"), file
    if found is None:
        beside = next((file.parent / name for name in _NAME_LISTS if (file.parent / name).is_file()), None)
        if beside is None:
            raise DataError(f"{file} has no names: add the list of class names, in the order of their ids")
        source, classes = beside, _read_names(beside)
    else:
        classes = _check_names(_numbered(found, file), file)
    _check_count(content.get("nc"), "nc", file, classes)
    return source, classes


def _check_count(count: object, key: str, file: Path, classes: Sequence[str]) -> None:
    if count is None:
        return
    if not str(count).strip().isdecimal() or int(str(count)) != len(classes):
        raise DataError(f"{file} has {key} {count}, but names {len(classes)} class(es): make them agree")


def _numbered(found: object, file: Path) -> list[object]:
    """Return names in the order of their ids; a mapping must have all of them."""
    if isinstance(found, list):
        return found
    if not isinstance(found, dict):
        raise DataError(f"{file} has names {found!r}: a list, or a mapping from 0, 1, … to names is expected")
    numbers: dict[int, object] = {}
    for key, name in found.items():
        if isinstance(key, bool) or not str(key).isdecimal():
            raise DataError(f"{file} has the key {key!r} in names: whole numbers from 0 on are expected")
        if int(str(key)) in numbers:
            raise DataError(f"{file} names class {int(str(key))} twice: keep one of the lines")
        numbers[int(str(key))] = name
    missing = next((number for number in range(len(numbers)) if number not in numbers), None)
    if missing is not None:
        most = max(numbers)
        reason = f"names has {len(numbers)} classes up to {most} and lacks {missing}"
        raise DataError(f"{file}: {reason}: name every class from 0 on, if need be 'unused {missing}'")
    return [numbers[number] for number in range(len(numbers))]


def _check_names(names: Sequence[object], file: Path) -> tuple[str, ...]:
    """Refuse names that are no text, empty, or alike."""
    checked: list[str] = []
    for number, name in enumerate(names):
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)  # noqa: PLW2901 - digits are names, too
        if not isinstance(name, str):
            reason = "put it in quotes" if name is not None else "give it one"
            raise DataError(f"{file}: the name of class {number} is read as {name!r}: {reason}")
        if not name.strip():
            raise DataError(f"{file}: class {number} has an empty name: give it one, if need be 'unused {number}'")
        if name in checked:
            first = checked.index(name)
            raise DataError(f"{file}: classes {first} and {number} are both called {name!r}: tell them apart")
        checked.append(name)
    if not checked:
        raise DataError(f"{file} names no class: add the list of class names, in the order of their ids")
    return tuple(checked)


def _read_names(file: Path) -> tuple[str, ...]:
    """Read a name per line."""
    lines = read_lines(file)
    while lines and not lines[-1].strip():
        lines.pop()
    return _check_names([line.strip() for line in lines], file)


def _keypoint_values(shape: object, file: Path) -> int | None:
    if shape is None:
        return None
    if not isinstance(shape, list) or len(shape) != 2 or shape[1] not in (2, 3):
        raise DataError(f"{file} has kpt_shape {shape!r}: a pair is expected, keypoints and 2 or 3 numbers of each")
    return int(shape[1])


def _describe_darknet(file: Path) -> Description:
    """Read ``key = value`` lines: classes, train, valid, names."""
    pairs = [line.partition("=") for line in read_lines(file) if "=" in line and not line.lstrip().startswith("#")]
    values: dict[object, object] = {key.strip(): value.strip() for key, _, value in pairs}
    folder = file.parent
    named = values.get("names")
    if not named:
        raise DataError(f"{file} has no names: add the line 'names = obj.names'")
    found = locate(str(named), [folder, folder.parent])
    if found is None:
        raise DataError(f"{file} has names {named}, which neither {folder} nor {folder.parent} holds")
    classes = _read_names(found.path)
    _check_count(values.get("classes"), "classes", file, classes)
    entries = {split: _entries(values, keys, file) for split, keys in _KEYS.items()}
    entries = {split: listed for split, listed in entries.items() if listed}
    return Description(file, found.path, folder, (folder, folder.parent), classes, entries)


def is_described(folder: Path) -> Path | None:
    """Tell what describes the data set in a folder, if there are labels: a list of names alone is no data set."""
    file = find_description(folder)
    if file is None or file.suffix in {".yaml", ".yml", ".data"}:
        return file
    place = images_of_split(folder, "train")
    return file if place is not None and (place.is_file() or has_labels(place)) else None
