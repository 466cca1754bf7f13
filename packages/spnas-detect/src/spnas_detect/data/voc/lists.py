"""Lists of images of a Pascal VOC data set, and the folders that they speak of."""

import codecs
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from spnas_detect.data.faults import BROKEN_ANNOTATION, FaultCollector
from spnas_detect.data.images import IMAGE_SUFFIXES
from spnas_detect.data.repairs import RepairCollector

_USUAL = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
_SUFFIXES = (*_USUAL, *sorted(IMAGE_SUFFIXES.difference(_USUAL)))
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, eq=False)
class VocFolder:
    """Annotation files and images that belong together by their stems.

    Attributes:
        annotations: holds the XML files.
        images: holds the images; may be the same folder.
        files: XML files by stem, which is the name below the folder without the suffix: ``000005``, ``street/000005``.
        pictures: images by stem.
        alone: images by the last part of their stem, where no other image has it.
    """

    annotations: Path
    images: Path
    files: Mapping[str, Path]
    pictures: Mapping[str, Path]
    alone: Mapping[str, Path]


@dataclass(frozen=True)
class Listed:
    """One image of a list.

    Attributes:
        folder: where its annotation and its image are.
        stem: file name of the annotation without the suffix.
        name: what messages and reports call it: the stem, behind its year in a VOCdevkit, as in ``2007/000005``, and
            behind its folder where every split has one.
        listing: the folder of the list.
    """

    folder: VocFolder
    stem: str
    name: str
    listing: str = "ImageSets/Main"


Lists = dict[str, list[Listed]]


def open_folder(annotations: Path, images: Path) -> VocFolder:
    """Look at what two folders hold; of images of one stem the most usual suffix counts."""
    files = {_stem_of(file, annotations): file for file in sorted(_files(annotations, (".xml",)))}
    found = sorted(_files(images, _SUFFIXES), key=lambda file: (_SUFFIXES.index(file.suffix.lower()), file))
    pictures: dict[str, Path] = {}
    for file in found:
        pictures.setdefault(_stem_of(file, images), file)
    times = Counter(file.stem for file in pictures.values())
    alone = {file.stem: file for file in pictures.values() if times[file.stem] == 1}
    return VocFolder(annotations, images, files, pictures, alone)


def read_list(file: Path, folder: VocFolder, faults: FaultCollector, repairs: RepairCollector) -> list[str]:
    """Return the stem that each line means, each once; none where the file is missing.

    A line is a stem, or one with a flag of VOC's class lists behind it. Example: where ``car 1.xml`` exists, ``car 1``
    is that stem, and where only ``car.xml`` does, ``car 1`` is ``car`` with the flag 1. It may have a suffix, as in
    ``000005.jpg``, or be a path, as in ``JPEGImages/000005.jpg``, also with the path of the annotation behind it.

    Args:
        file: in UTF-8, or in UTF-16 with its mark.
        folder: has the stems that exist.
        faults: takes a file that is no text.
        repairs: takes lines with suffixes or paths.
    """
    if not file.is_file():
        return []
    content = file.read_bytes()
    try:
        text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        faults.add(BROKEN_ANNOTATION, file, f"{file} is not a text file in UTF-8 or UTF-16: {error}")
        return []
    if "\0" in text or (content and not text):
        faults.add(BROKEN_ANNOTATION, file, f"{file} is not a text file in UTF-8 or UTF-16: save it as UTF-8")
        return []
    known = folder.files.keys() | folder.pictures.keys()
    stems = []
    for line in filter(None, map(str.strip, text.splitlines())):
        stem = _stem(line, known)
        if not line.startswith(stem) or line[len(stem) : len(stem) + 1].strip():
            repairs.add("list lines with a suffix or a path, read as names", f"{line} in {file.name}")
        stems.append(stem)
    return list(dict.fromkeys(stems))


def _stem(line: str, known: Collection[str]) -> str:
    """Return the stem that a line means: the first reading that exists, else the plainest."""
    flagged = re.fullmatch(r"(.*\S)\s+(?:-1|0|1)", line)
    paired = re.fullmatch(r"(\S+)\s+\S+\.xml", line, re.IGNORECASE)
    texts = [line, *(match[1] for match in (flagged, paired) if match)]
    readings = [reading for text in texts for reading in _readings(text)]
    return next((reading for reading in readings if reading in known), _without_suffix(texts[-1]))


def _readings(text: str) -> Iterator[str]:
    parts = PureWindowsPath(text).parts  # takes slashes as well
    for tail in (text, *("/".join(parts[start:]) for start in range(len(parts)))):
        yield tail
        yield _without_suffix(tail)


def _without_suffix(text: str) -> str:
    suffix = PureWindowsPath(text).suffix
    return text[: -len(suffix)] if suffix.lower() in {*_SUFFIXES, ".xml"} else text


def _stem_of(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix().removesuffix(file.suffix)


def _files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    return [file for file in folder.rglob("*") if file.suffix.lower() in suffixes and not file.name.startswith(".")]
