"""Finding image files by names that were written on another machine, and folders by names in any case."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PureWindowsPath

from spnas_detect.data.images import ImageFinder

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("valid", "val", "validation"),
    "test": ("test", "testing"),
}
"""What exporters call the folder of a split, in small letters, the most usual first."""


def find_image(folders: Iterable[Path], written: str) -> tuple[Path, bool] | None:
    """Find an image by the name that an annotation gives it.

    As it is written, or by its tail, the longest first: ``C:/data/train/1.jpg`` is looked for as ``data/train/1.jpg``,
    ``train/1.jpg`` and ``1.jpg`` in every folder.

    Args:
        folders: where it may lie, the likeliest first.
        written: relative or absolute, with slashes or backslashes.

    Returns:
        The file, and whether only the tail of its name leads there; None where no folder holds it.
    """
    places = tuple(folders)
    for folder in places:
        if (folder / written).is_file():
            return folder / written, False
    for tail in _tails(written):
        for folder in places:
            if (folder / tail).is_file():
                return folder / tail, True
    return None


def find_image_by_stem(folders: Iterable[Path], written: str, finder: ImageFinder) -> tuple[Path, Path] | None:
    """Find an image whose extension or case differs from the name that an annotation gives it, which no folder holds.

    Args:
        folders: where it may lie, the likeliest first.
        written: as for ``find_image``, and looked for likewise.
        finder: looks for stems.

    Returns:
        The file as it was looked for and as it is; None where no folder holds one of that stem.

    Raises:
        DataError: a folder holds several.
    """
    places = tuple(folders)
    for tail in dict.fromkeys([Path(written), *_tails(written)]):
        for folder in places:
            found = finder.by_stem(folder / tail) if tail.name else None
            if found is not None:
                return folder / tail, found
    return None


def _tails(written: str) -> list[Path]:
    """List the ends of a path, the longest first, without drive, root, ``.`` and ``..``."""
    path = PureWindowsPath(written)  # takes slashes as well
    parts = [part for part in path.parts[bool(path.anchor) :] if part != ".."]
    return [Path(*parts[start:]) for start in range(len(parts))]


def find_folder(root: Path, names: Sequence[str]) -> Path | None:
    """Find a folder by its names in any case; the first name counts most, then the case as given.

    Args:
        root: holds the folder; it may be missing.
        names: in the case that is usual.
    """
    if not root.is_dir():
        return None
    present = sorted(path for path in root.iterdir() if path.is_dir())
    for name in names:
        if (root / name) in present:
            return root / name
        for path in present:
            if path.name.lower() == name.lower():
                return path
    return None


def find_split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of the splits that a data set has, by the split's name."""
    found = {split: find_folder(root, names) for split, names in SPLIT_FOLDERS.items()}
    return {split: folder for split, folder in found.items() if folder is not None}
