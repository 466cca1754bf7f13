"""One annotation file of a Pascal VOC data set: XML in any encoding, its image, size and objects."""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import defusedxml.ElementTree  # type: ignore[import-untyped]
import numpy as np
from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped]

from spnas_core.errors import DataError
from spnas_detect.data._base import MOST_SIDE
from spnas_detect.data.faults import BROKEN_ANNOTATION, MISSING_IMAGE, FaultCollector
from spnas_detect.data.images import IMAGE_SUFFIXES, ImageFinder, LookedAt
from spnas_detect.data.repairs import CLIPPED, SIZE_FROM_FILE, RepairCollector
from spnas_detect.data.texts import told_encoding
from spnas_detect.data.voc.lists import Listed, VocFolder

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_CHINESE = frozenset(
    {"gb2312", "gb_2312-80", "gbk", "cp936"}
)  # gb18030 has all of their characters, and these mix them
_ROUNDING = 0.05  # pixels outside that come of written decimals

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Object:
    """One object as written: corners are (xmin, ymin, xmax, ymax), counted from 1."""

    label: str
    corners: Box
    is_difficult: bool


@dataclass(frozen=True)
class WrittenFile:
    """One annotation file as written; ``size`` is None where it says none."""

    name: str
    annotation: Path
    image: Path
    size: tuple[int, int] | None
    objects: tuple[_Object, ...]


@dataclass(frozen=True)
class AnnotatedFile:
    """One annotation file.

    Attributes:
        name: what messages call the image.
        annotation: the XML file.
        image: that it belongs to.
        width: in pixels, as annotated, but turned where the image is.
        height: in pixels, likewise.
        objects: label, box (x1, y1, x2, y2) inside the image in pixels counted from 0, and whether it is difficult.
        dropped: number of boxes without area.
    """

    name: str
    annotation: Path
    image: Path
    width: int
    height: int
    objects: tuple[tuple[str, Box, bool], ...]
    dropped: int


def read_annotation(
    listed: Listed, finder: ImageFinder, faults: FaultCollector, repairs: RepairCollector
) -> WrittenFile | None:
    """Read an annotation file, and note whatever is wrong with it or was mended; None where it cannot be used."""
    folder, place = listed.folder, f"{listed.name}.xml"
    file = folder.files.get(listed.stem, folder.annotations / f"{listed.stem}.xml")
    tree = faults.attempt(BROKEN_ANNOTATION, file, lambda: _parse(file, listed))
    if tree is None:
        return None
    if _drop_namespaces(tree):
        repairs.add("annotation files with an XML namespace, read without it", place)
    image = faults.attempt(MISSING_IMAGE, file, lambda: _find_image(folder, listed.stem, tree, file, finder))
    found = []
    for position, item in enumerate(tree.findall("object"), start=1):
        if item.find("bndbox") is None and item.find("part") is not None:
            repairs.add("objects with a box of their parts only, left out", place)
            continue
        where = f"annotation {file}: object {position}"
        found.append(faults.attempt(BROKEN_ANNOTATION, file, partial(_object, item, where)))
    if image is None:
        return None
    _note_file_name(tree, listed.stem, image, place, repairs)
    return WrittenFile(listed.name, file, image, _size(tree), tuple(one for one in found if one is not None))


def place_annotation(
    item: WrittenFile, looked: LookedAt, unreadable: dict[Path, str], repairs: RepairCollector
) -> AnnotatedFile | None:
    """Cut the boxes at their image; None, and the reason noted, where nothing says how large that is."""
    place, size = f"{item.name}.xml", looked.size(item.image, item.size)
    if size is None:
        unreadable[item.image] = looked.reasons[item.image]
        return None
    if item.size is None:
        repairs.add(SIZE_FROM_FILE, place)  # tools that never opened the image write zeros
    placed = [(one.label, _clip(one.corners, *size, place, repairs), one.is_difficult) for one in item.objects]
    objects = tuple((label, box, is_difficult) for label, box, is_difficult in placed if box is not None)
    return AnnotatedFile(item.name, item.annotation, item.image, *size, objects, dropped=len(placed) - len(objects))


def named_image(file: Path, folder: VocFolder) -> Path | None:
    """Return the image that an annotation file's ``<filename>`` names; None where the folder does not hold it.

    Raises:
        DataError: the file cannot be read.
    """
    tree = _parse(file)
    _drop_namespaces(tree)
    written = _written(tree)
    image = folder.images / PureWindowsPath(written).name
    return image if written and image.is_file() else None


def _clip(corners: Box, width: int, height: int, place: str, repairs: RepairCollector) -> Box | None:
    """Count a box's pixels from 0 and cut it at its image; None for a degenerate one."""
    xmin, ymin, xmax, ymax = corners
    box = (max(xmin - 1, 0), max(ymin - 1, 0), min(xmax, width), min(ymax, height))
    if xmax <= xmin or ymax <= ymin or box[2] <= box[0] or box[3] <= box[1]:
        return None
    if min(xmin - 1, ymin - 1, width - xmax, height - ymax) < -_ROUNDING:
        repairs.add(CLIPPED, place)
    return box


def _parse(file: Path, listed: Listed | None = None) -> "Element":
    try:
        tree: Element | None = _tree(file.read_bytes())
    except FileNotFoundError:
        reason = "" if listed is None else f", but {listed.listing} lists {listed.stem!r}"
        raise DataError(f"annotation {file} does not exist{reason}") from None
    except defusedxml.ElementTree.ParseError as error:
        line = error.position[0]
        raise DataError(f"annotation {file} is malformed XML in line {line}: {error}") from None
    except DefusedXmlException as error:
        reason = "entities, which can expand without bound, are refused"
        raise DataError(f"annotation {file} declares XML entities: {reason} ({error})") from None
    except OSError as error:
        raise DataError(f"annotation {file} cannot be read: {error}") from None
    except (ValueError, LookupError) as error:  # an encoding nobody knows, or another one than is declared
        raise DataError(f"annotation {file} cannot be read: {error}: save it as UTF-8") from None
    if tree is None:
        raise DataError(f"annotation {file} has no element")
    return tree


def _tree(content: bytes) -> "Element | None":
    """Parse XML, also in an encoding of several bytes a character, which expat leaves to its caller.

    What the first bytes tell counts more than what is declared: tools save in another encoding, and leave the line.
    """
    told = told_encoding(content)
    if told is not None:
        return _from_string(content.decode(told))
    try:
        return _from_string(content)
    except DefusedXmlException:
        raise
    except (ValueError, LookupError):
        declared = re.match(rb"\s*<\?xml[^>]*\bencoding\s*=\s*[\"']([\w.-]+)", content)
        if declared is None:
            raise
        return _from_string(content.decode(_codec(declared[1].decode().lower())))


def _codec(declared: str) -> str:
    """Return Python's name of an encoding, whose code pages Windows calls otherwise."""
    name = re.sub(r"^(?:x-)?(?:windows-|ms-?)(?=\d+$)", "cp", declared).removeprefix("x-")
    return "gb18030" if name in _CHINESE else name


def _from_string(text: str | bytes) -> "Element | None":
    tree: Element | None = defusedxml.ElementTree.fromstring(text)
    return tree


def _drop_namespaces(tree: "Element") -> bool:
    """Reduce the tags to their local names; say whether any had more."""
    found = [element for element in tree.iter() if "}" in element.tag]
    for element in found:
        element.tag = element.tag.rpartition("}")[2]
    return bool(found)


def _written(tree: "Element") -> str:
    return (tree.findtext("filename") or "").strip()


def _find_image(folder: VocFolder, stem: str, tree: "Element", file: Path, finder: ImageFinder) -> Path:
    """Find the image by the annotation's own name, whatever its extension, else by its ``<filename>``.

    Where there are several of its own name, that of the ``<filename>`` counts, then ``.jpg``.
    """
    written = PureWindowsPath(_written(tree)).name
    own = PurePosixPath(stem).name
    # what tools write there need not be the image's name, and then says nothing of its extension
    path = PureWindowsPath(written)
    annotated = written if path.stem == own and path.suffix.lower() in IMAGE_SUFFIXES else None
    expected = annotated or f"{own}.jpg"
    places = dict.fromkeys([(folder.images / stem).parent, folder.images])
    if own in folder.alone:  # wherever below
        places[folder.alone[own].parent] = None
    for place in places:
        if (place / expected).is_file():
            return finder.take(place / expected, place / expected)
    for place in places:
        found = finder.by_stem(place / expected)
        if found is not None:
            return finder.take(place / expected if annotated or found.stem != own else found, found)
    if written:
        named = folder.images / written
        found = named if named.is_file() else finder.by_stem(named)
        if found is not None:
            return found
    raise DataError(f"annotation {file} names the image {written or expected}, which {folder.images} does not hold")


def _note_file_name(tree: "Element", stem: str, image: Path, place: str, repairs: RepairCollector) -> None:
    written, own = PureWindowsPath(_written(tree)), PurePosixPath(stem).name
    if not written.name or own in {written.name, written.stem}:
        return
    if image.stem.casefold() == own.casefold():
        repairs.add("file names in annotations of another name, not followed", f"{place} ({written.name})")
    else:
        repairs.add("images found by the file name in their annotation", f"{place} ({written.name})")


def _size(tree: "Element") -> tuple[int, int] | None:
    try:
        width, height = (int(float(tree.findtext(f"size/{side}", ""))) for side in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if 0 < min(width, height) <= max(width, height) <= MOST_SIDE else None


def _object(item: "Element", where: str) -> _Object:
    label = (item.findtext("name") or "").strip()
    if not label:
        raise DataError(f"{where} has no <name>")
    corners: list[float] = []
    for corner in _CORNERS:
        text = item.findtext(f"bndbox/{corner}")
        try:
            value = float(text or "")
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise DataError(f"{where} has <{corner}> {text!r}, not a number")
        corners.append(value)
    is_difficult = (item.findtext("difficult") or "0").strip() in {"1", "true", "True"}
    return _Object(label, (corners[0], corners[1], corners[2], corners[3]), is_difficult)
