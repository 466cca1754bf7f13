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
from spnas_detect.data._base import image_size
from spnas_detect.data.faults import BROKEN_ANNOTATION, MISSING_IMAGE, UNREADABLE_IMAGE, FaultCollector
from spnas_detect.data.repairs import CLIPPED, SIZE_FROM_FILE, RepairCollector
from spnas_detect.data.voc_lists import Listed, VocFolder

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ROUNDING = 0.05  # pixels outside that come of written decimals

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Object:
    """One object as written: corners are (xmin, ymin, xmax, ymax), counted from 1."""

    label: str
    corners: Box
    is_difficult: bool


@dataclass(frozen=True)
class AnnotatedFile:
    """One annotation file.

    Attributes:
        name: what messages call the image.
        annotation: the XML file.
        image: that it belongs to.
        width: in pixels, as annotated.
        height: in pixels, as annotated.
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


def read_annotation(listed: Listed, faults: FaultCollector, repairs: RepairCollector) -> AnnotatedFile | None:
    """Read an annotation file, and note whatever is wrong with it or was mended; None where it cannot be used."""
    folder, place = listed.folder, f"{listed.name}.xml"
    file = folder.files.get(listed.stem, folder.annotations / f"{listed.stem}.xml")
    tree = faults.attempt(BROKEN_ANNOTATION, file, lambda: _parse(file, listed))
    if tree is None:
        return None
    if _drop_namespaces(tree):
        repairs.add("annotation files with an XML namespace, read without it", place)
    image = faults.attempt(MISSING_IMAGE, file, lambda: _find_image(folder, listed.stem, tree, file))
    size = (
        None if image is None else faults.attempt(UNREADABLE_IMAGE, image, lambda: _size(tree, image, place, repairs))
    )
    found = []
    for position, item in enumerate(tree.findall("object"), start=1):
        if item.find("bndbox") is None and item.find("part") is not None:
            repairs.add("objects with a box of their parts only, left out", place)
            continue
        where = f"annotation {file}: object {position}"
        found.append(faults.attempt(BROKEN_ANNOTATION, file, partial(_object, item, where)))
    if image is None or size is None:
        return None
    _note_file_name(tree, listed.stem, image, place, repairs)
    placed = [
        (one.label, _clip(one.corners, *size, place, repairs), one.is_difficult) for one in found if one is not None
    ]
    objects = tuple((label, box, is_difficult) for label, box, is_difficult in placed if box is not None)
    return AnnotatedFile(listed.name, file, image, *size, objects, dropped=len(placed) - len(objects))


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
    except (OSError, ValueError, LookupError) as error:  # unreadable, or an encoding nobody knows
        raise DataError(f"annotation {file} cannot be read: {error}") from None
    if tree is None:
        raise DataError(f"annotation {file} has no element")
    return tree


def _tree(content: bytes) -> "Element | None":
    """Parse XML, also in an encoding of several bytes a character, which expat leaves to its caller."""
    try:
        return _from_string(content)
    except DefusedXmlException:
        raise
    except (ValueError, LookupError):
        declared = re.match(rb"\s*<\?xml[^>]*\bencoding\s*=\s*[\"']([\w.-]+)", content)
        if declared is None:
            raise
        encoding = declared[1].decode().lower()
        # its superset: files that declare gb2312 have characters of gbk too
        return _from_string(content.decode("gb18030" if encoding in {"gb2312", "gbk"} else encoding))


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


def _find_image(folder: VocFolder, stem: str, tree: "Element", file: Path) -> Path:
    """Find the image by the annotation's own name, else by its ``<filename>``."""
    own = folder.pictures.get(stem) or folder.pictures.get(PurePosixPath(stem).name)
    if own is not None:
        return own
    written = _written(tree)
    other = folder.images / PureWindowsPath(written).name
    if written and other.is_file():
        return other
    raise DataError(
        f"annotation {file} names the image {written or stem + '.jpg'}, which {folder.images} does not hold"
    )


def _note_file_name(tree: "Element", stem: str, image: Path, place: str, repairs: RepairCollector) -> None:
    written, own = PureWindowsPath(_written(tree)), PurePosixPath(stem).name
    if not written.name or own in {written.name, written.stem}:
        return
    if image.stem == own:
        repairs.add("file names in annotations of another name, not followed", f"{place} ({written.name})")
    else:
        repairs.add("images found by the file name in their annotation", f"{place} ({written.name})")


def _size(tree: "Element", image: Path, place: str, repairs: RepairCollector) -> tuple[int, int]:
    try:
        width, height = (int(float(tree.findtext(f"size/{side}", ""))) for side in ("width", "height"))
    except (ValueError, OverflowError):
        width = height = 0
    if width > 0 and height > 0:
        return width, height
    size = image_size(image)
    repairs.add(SIZE_FROM_FILE, place)  # tools that never opened the image write zeros
    return size


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
