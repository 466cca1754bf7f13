"""Looking at all image files of a data set before any is decoded: which are to be turned, and what notes should say."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from spnas_core.errors import DataError
from spnas_core.machine import usable_cores
from spnas_detect.data.images.opening import ImageHeader, read_header
from spnas_detect.data.images.options import ImageOptions
from spnas_detect.data.images.orientation import Evidence, evidence, majority_turns, turned_size
from spnas_detect.data.images.pixels import KINDS
from spnas_detect.data.images.reading import ImageFile

_CHUNK = 256  # files, for one thread at a time
_MOST_THREADS = 8

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class LookedAt:
    """What the headers of a data set's images say.

    Attributes:
        options: how the images are read.
        headers: by file, as far as they can be read.
        reasons: why the others cannot.
        turned: files of which the pixels are turned.
        notes: what a reader of results should know.
    """

    options: ImageOptions
    headers: Mapping[Path, ImageHeader]
    reasons: Mapping[Path, str]
    turned: frozenset[Path]
    notes: tuple[str, ...]

    def size(self, path: Path, annotated: Size | None) -> Size | None:
        """Return the (width, height) that an image has when it is read.

        The annotated size stays where it has nothing to do with the file's; None where neither is known.
        """
        header = self.headers.get(path)
        if header is None:
            return annotated
        turned = turned_size(header.size, header.orientation)
        if annotated is None or annotated in {header.size, turned}:
            return turned if path in self.turned else header.size
        return annotated

    def reader(self, path: Path) -> ImageFile:
        """Return what decodes an image."""
        return ImageFile(path, turned=path in self.turned, max_pixels=self.options.max_pixels)


def look_at(images: Iterable[tuple[Path, Size | None]], options: ImageOptions) -> LookedAt:
    """Read the headers of image files, and decide which are turned.

    Args:
        images: files, and the (width, height) that their annotation has, None where it has none.
        options: how the images are read.
    """
    annotated = dict(images)
    files = list(annotated)
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    with ThreadPoolExecutor(min(usable_cores(), _MOST_THREADS)) as pool:
        found = [one for part in pool.map(_headers, chunks) for one in part]
    headers = {path: one for path, one in zip(files, found, strict=True) if isinstance(one, ImageHeader)}
    reasons = {path: one for path, one in zip(files, found, strict=True) if isinstance(one, str)}
    said = {
        path: evidence(header.size, header.orientation, annotated[path])
        for path, header in headers.items()
        if header.orientation != 1
    }
    turned, how = _decide(said, options.exif)
    notes = (*_kind_notes(headers), *([how] if said else []))
    return LookedAt(options, headers, reasons, turned, notes)


def _headers(files: Sequence[Path]) -> list[ImageHeader | str]:
    found: list[ImageHeader | str] = []
    for path in files:
        try:
            found.append(read_header(path))
        except DataError as error:
            found.append(str(error))
    return found


def _decide(said: Mapping[Path, Evidence], exif: str) -> tuple[frozenset[Path], str]:
    """Return the files to turn, and how that was decided."""
    files = {one: [path for path, found in said.items() if found is one] for one in Evidence}
    by_size, as_stored, undecided = (files[one] for one in (Evidence.TURNED, Evidence.STORED, Evidence.NONE))
    if exif == "auto":
        others_turn = majority_turns(said.values())
        turned = frozenset([*by_size, *(undecided if others_turn else [])])
        rest = "as most of the others" if by_size or as_stored else "for want of evidence"
        verb = "turned" if others_turn else "left as stored"
        counts = [
            f"{len(by_size)} turned and {len(as_stored)} left as stored by their annotated sizes"
            * bool(by_size or as_stored),
            f"{len(undecided)} {verb} {rest}" * bool(undecided),
        ]
        how = ", ".join(count for count in counts if count)
    else:
        turned = frozenset(said) if exif == "apply" else frozenset()
        verb = "turned" if turned else "left as stored"
        against, other = (as_stored, "stored") if exif == "apply" else (by_size, "turned")
        how = f"all {verb}, as exif = {exif!r} asks"
        if against:
            how += (
                f"; {len(against)} have the annotated size of the {other} image, first {against[0].name}: their boxes "
                f"are taken as they are"
            )
    first = next((path.name for path in said), "")
    return turned, f"EXIF notes an orientation in {len(said)} image(s), first {first}: {how}"


def _kind_notes(headers: Mapping[Path, ImageHeader]) -> Iterator[str]:
    """Say what was chosen for images whose pixels needed a choice."""
    special = [(path, header.kinds) for path, header in headers.items() if header.kinds]
    for kind, text in KINDS.items():
        files = [path for path, kinds in special if kind in kinds]
        if files:
            yield f"{len(files)} image(s) {text}, first {files[0].name}"
