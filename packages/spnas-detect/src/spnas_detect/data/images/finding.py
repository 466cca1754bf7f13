"""Finding image files whose extension or case differs from what annotations say."""

import os
import unicodedata
from pathlib import Path, PurePath

from spnas_core.errors import DataError
from spnas_detect.data.images.opening import IMAGE_SUFFIXES


class ImageFinder:
    """Finds files by their stem, and keeps account of it.

    Example: ``photo.jpg`` is annotated, and the folder holds ``Photo.PNG`` and no other image of that stem: that is it.
    """

    def __init__(self) -> None:
        self._listings: dict[Path, dict[str, list[str]]] = {}
        self._annotated: dict[Path, set[Path]] = {}
        self._repaired: dict[Path, Path] = {}

    def by_stem(self, annotated: Path) -> Path | None:
        """Find the image of an annotated file's folder and stem, whatever its extension and case; None for none.

        Raises:
            DataError: there are several; names them.
        """
        found = self._listing(annotated.parent).get(_key(annotated.name), [])
        if len(found) > 1:
            names = ", ".join(found)
            raise DataError(
                f"image {annotated} does not exist, and {names} might all be meant: rename one, or remove the others"
            )
        return annotated.parent / found[0] if found else None

    def take(self, annotated: Path, found: Path) -> Path:
        """Note that an annotated file was found as another one, or as itself; returns the latter."""
        self._annotated.setdefault(found, set()).add(annotated)
        if annotated != found:
            self._repaired[annotated] = found
        return found

    @property
    def contested(self) -> dict[Path, str]:
        """Files that were found for several annotated ones, which cannot be, and why."""
        reasons = {}
        for found in dict.fromkeys(self._repaired.values()):
            names = sorted(annotated.name for annotated in self._annotated[found])
            if len(names) > 1:
                reasons[found] = (
                    f"image {found} is the only one for {' and '.join(names)}, which are annotated apart: name the "
                    "files as the annotations do"
                )
        return reasons

    @property
    def notes(self) -> tuple[str, ...]:
        """No note, or one that counts what was found under another name."""
        if not self._repaired:
            return ()
        annotated, found = next(iter(self._repaired.items()))
        count = f"{len(self._repaired)} image(s) found under another extension or case than annotated"
        return (f"{count}, first {annotated.name} as {found.name}",)

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208 - names are enough
            except (FileNotFoundError, NotADirectoryError):
                names = []
            for name in names:
                if PurePath(name).suffix.lower() in IMAGE_SUFFIXES:
                    listing.setdefault(_key(name), []).append(name)
            self._listings[folder] = listing
        return self._listings[folder]


def _key(name: str) -> str:
    """Return a file name without the extension of an image, and without its case."""
    path = PurePath(name)
    stem = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
    return unicodedata.normalize("NFC", stem).casefold()
