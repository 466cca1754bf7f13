"""What image files are called in the new data set."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from spnas_detect.data.images import IMAGE_SUFFIXES


def file_names(names: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    """Name the images of a split so that they lie in one folder, and that no two have the same stem.

    Folders that all of them share are left out, and the others become part of the name. Example:
    ``images/train/a.jpg`` and ``images/train/b/a.jpg`` become ``a.jpg`` and ``b-a.jpg``.

    Args:
        names: of the records.
        suffixes: of the files to write, such as ``.png``.

    Returns:
        A name per image; where two would be alike but for capitals, the later one ends in ``-2``.
    """
    parts = [_parts(name) for name in names]
    shared = 0
    while parts and all(len(one) > shared + 1 and one[shared] == parts[0][shared] for one in parts):
        shared += 1
    stems: dict[str, None] = {}
    found = []
    for one, suffix in zip(parts, suffixes, strict=True):
        stem = wanted = "-".join(one[shared:])
        number = 1
        while stem.lower() in stems:
            number += 1
            stem = f"{wanted}-{number}"
        stems[stem.lower()] = None
        found.append(f"{stem}{suffix}")
    return found


def _parts(name: str) -> list[str]:
    """Split a name into folders and stem; none of them begins with a dot, since such files are hidden."""
    path = PurePosixPath(name.replace("\\", "/"))
    stem = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
    parts = [part.lstrip(".") for part in (*path.parts[:-1], stem)]
    return [part.replace("/", "") for part in parts if part.replace("/", "")] or ["image"]
