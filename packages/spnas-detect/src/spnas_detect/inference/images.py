"""Which images a user means."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from spnas_core.errors import DataError
from spnas_detect.data.images import IMAGE_SUFFIXES

_WILDCARDS = frozenset("*?[")


def find_images(given: Iterable[Path | str]) -> tuple[Path, ...]:
    """Find the image files that files, folders and patterns stand for.

    Args:
        given: files as they are; folders for the images directly inside, by name; patterns such as ``photos/**/*.jpg``
            (``**`` descends into folders) for the images that match, by name. What counts as an image there is told
            by its suffix; a file that is named itself may have any name.

    Returns:
        Every file once, where it was first named.

    Raises:
        DataError: something that does not exist, or holds or matches no image, or nothing at all.
    """
    found: dict[Path, Path] = {}
    for item in given:
        for path in _expand(str(item)):
            found.setdefault(path.resolve(), path)
    if not found:
        raise DataError("there is no image to look at: name files, folders or patterns")
    return tuple(found.values())


def _expand(text: str) -> Sequence[Path]:
    path = Path(text)
    if path.is_dir():
        inside = sorted(child for child in path.iterdir() if _is_image(child))
        if not inside:
            raise DataError(f"folder {text} has no image in it; for those of its folders write {path / '**' / '*.jpg'}")
        return inside
    if path.exists():
        return [path]
    if _WILDCARDS.isdisjoint(text):
        raise DataError(f"image {text} does not exist")
    matching = sorted(match for match in map(Path, glob.glob(text, recursive=True)) if _is_image(match))  # noqa: PTH207
    if not matching:
        raise DataError(f"no image matches {text}")
    return matching


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
