"""One JSON file of a COCO data set: its categories, images and annotations."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath

from spnas_core.errors import DataError
from spnas_detect.data._base import image_size, read_json
from spnas_detect.data.coco_boxes import Box, clip, corners
from spnas_detect.data.coco_classes import Identifier
from spnas_detect.data.coco_layouts import Source
from spnas_detect.data.faults import BROKEN_ANNOTATION, MISSING_IMAGE, UNREADABLE_IMAGE, FaultCollector
from spnas_detect.data.file_names import find_image
from spnas_detect.data.repairs import CLIPPED, SIZE_FROM_FILE, RepairCollector


@dataclass(frozen=True)
class AnnotatedImage:
    """One image of a JSON file.

    Attributes:
        name: what messages call it.
        file: that holds its pixels.
        width: in pixels.
        height: in pixels.
        objects: box (x1, y1, x2, y2) inside the image, name of the class, and whether it is a crowd.
    """

    name: str
    file: Path
    width: int
    height: int
    objects: tuple[tuple[Box, str, bool], ...]


@dataclass(frozen=True)
class Contents:
    """One JSON file.

    Attributes:
        images: in the order of the file.
        categories: names by id.
        dropped: of each box without area, the name of its image.
    """

    images: list[AnnotatedImage]
    categories: dict[Identifier, str]
    dropped: list[str]


@dataclass(frozen=True)
class _Image:
    name: str
    file: Path
    width: int
    height: int


@dataclass(frozen=True)
class _Object:
    """One entry of ``annotations``; the box lies inside its image, None for one without area."""

    image: _Image
    box: Box | None
    category: str
    is_crowd: bool


def read_file(source: Source, root: Path, faults: FaultCollector, repairs: RepairCollector) -> Contents:
    """Read a JSON file, and note whatever is wrong in it, and what was mended.

    Args:
        source: the file, and where its images may lie.
        root: folder of the data set.
        faults: takes what cannot be used.
        repairs: takes what was mended.
    """
    return _FileReader(source, root, faults, repairs).read()


class _FileReader:
    def __init__(self, source: Source, root: Path, faults: FaultCollector, repairs: RepairCollector) -> None:
        self._source, self._root, self._faults, self._repairs = source, root, faults, repairs
        self._file = source.file
        self._place = source.place(root)

    def read(self) -> Contents:
        file, faults = self._file, self._faults
        content = faults.attempt(BROKEN_ANNOTATION, file, lambda: read_json(file, "images"))
        lists = {
            key: None
            if content is None
            else faults.attempt(BROKEN_ANNOTATION, file, partial(_entries, content, key, file))
            for key in ("categories", "images", "annotations")
        }
        categories = self._categories(lists["categories"] or [])
        images = self._images(lists["images"] or [])
        if lists["images"] == []:
            faults.add(BROKEN_ANNOTATION, file, f"{file} lists no image")
        # without one of the lists, every object would lack its image or its category
        entries = [] if None in lists.values() else lists["annotations"] or []
        kept = [image for image in images.values() if image is not None]
        objects: dict[Path, list[_Object]] = {image.file: [] for image in kept}
        for one in self._objects(entries, images, categories):
            objects[one.image.file].append(one)
        times = Counter(image.file for image in kept)
        return Contents(
            [
                _annotated(image, objects[file], is_joined=times[file] > 1)
                for file, image in {image.file: image for image in kept}.items()
            ],
            {identifier: name for identifier, name in categories.items() if name is not None},
            [one.image.name for found in objects.values() for one in found if one.box is None],
        )

    def _categories(self, entries: Sequence[Mapping[str, object]]) -> dict[Identifier, str | None]:
        """Return names by id; None for a category that is among the faults."""
        categories: dict[Identifier, str | None] = {}
        for item in entries:
            identifier = self._attempt(partial(self._identifier, item, "id", f"{self._file}: category"))
            if identifier is None:
                continue
            name = item.get("name")
            if not isinstance(name, str) or not name.strip() or identifier in categories:
                where = f"{self._file}: category {identifier}"
                self._faults.add(BROKEN_ANNOTATION, where, f"{where} has no name, or occurs twice")
                name = None
            categories[identifier] = name
        return categories

    def _images(self, entries: Sequence[Mapping[str, object]]) -> dict[Identifier, _Image | None]:
        """Return images by id, in the order of the file; None for one that is among the faults.

        Entries of one file name are one image.
        """
        images: dict[Identifier, _Image | None] = {}
        written: dict[Path, tuple[str, _Image]] = {}
        for item in entries:
            identifier = self._attempt(partial(self._identifier, item, "id", f"{self._file}: image"))
            if identifier is None:
                continue
            where = f"{self._file}: image {identifier}"
            is_new = identifier not in images
            images[identifier] = None
            name = self._faults.attempt(BROKEN_ANNOTATION, where, partial(_file_name, item, where, is_new=is_new))
            sides = self._faults.attempt(BROKEN_ANNOTATION, where, partial(_sides, item, where))
            found = None if name is None else self._faults.attempt(MISSING_IMAGE, where, partial(self._find, name))
            if name is None or sides is None or found is None:
                continue
            before = written.get(found)
            if before is None:
                images[identifier] = image = self._image(name, found, sides, where)
                if image is not None:
                    written[found] = (name, image)
            elif _plain(before[0]) == _plain(name):
                self._repairs.add("image entries of one file name, joined", self._called(name, found))
                images[identifier] = before[1]
            else:
                text = f"{where} is {name}, and another one is {before[0]}: both lead to {found}"
                self._faults.add(BROKEN_ANNOTATION, where, text)
        return images

    def _image(self, name: str, file: Path, sides: tuple[int, int], where: str) -> _Image | None:
        called = self._called(name, file)
        if min(sides) < 1:
            sizes = self._faults.attempt(UNREADABLE_IMAGE, where, lambda: image_size(file))
            if sizes is None:
                return None
            self._repairs.add(SIZE_FROM_FILE, called)
            sides = sizes
        return _Image(called, file, *sides)

    def _find(self, name: str) -> Path:
        found = find_image(self._source.folders, name)
        if found is None:
            places = ", ".join(map(str, self._source.folders))
            raise DataError(f"{self._file} lists the image {name}, which none of these folders holds: {places}")
        if found[1]:
            self._repairs.add(
                "file names of another place, found by their tail", f"{name} as {self._called(name, found[0])}"
            )
        return found[0]

    def _called(self, name: str, file: Path) -> str:
        """Call an image by what stays when the data set is moved; in a split's own folder, by that too."""
        is_as_written = not self._source.is_own_folder and not Path(name).is_absolute() and "\\" not in name
        if is_as_written and any(file == folder / name for folder in self._source.folders):
            return Path(name).as_posix()
        if file.is_relative_to(self._root):
            return file.relative_to(self._root).as_posix()
        return name if Path(name) == file else file.name

    def _objects(
        self,
        entries: Sequence[Mapping[str, object]],
        images: Mapping[Identifier, _Image | None],
        categories: Mapping[Identifier, str | None],
    ) -> list[_Object]:
        """Return objects; those whose image or category is among the faults are left out."""
        objects = []
        seen: set[object] = set()
        for position, item in enumerate(entries):
            identifier = item.get("id", f"number {position + 1}")
            place = f"{self._place}: annotation {identifier}"
            if isinstance(identifier, int | float | str):
                if identifier in seen:
                    self._repairs.add("annotation ids that occur again, of no consequence", place)
                seen.add(identifier)
            where = f"{self._file}: annotation {identifier}"
            read = self._faults.attempt(
                BROKEN_ANNOTATION, where, partial(self._object, item, where, place, images, categories)
            )
            if read is not None:
                objects.append(read)
        return objects

    def _object(
        self,
        item: Mapping[str, object],
        where: str,
        place: str,
        images: Mapping[Identifier, _Image | None],
        categories: Mapping[Identifier, str | None],
    ) -> _Object | None:
        """Return an object; None for one without a box, or whose image or category is among the faults itself."""
        identifier = self._identifier(item, "image_id", where)
        category = self._identifier(item, "category_id", where)
        if identifier not in images:
            raise DataError(f"{where} belongs to image {identifier}, which the file does not list")
        if category not in categories:
            raise DataError(f"{where} has category {category}, which the file does not list")
        box = corners(item, where, place, self._repairs)
        image, name = images[identifier], categories[category]
        if box is None or image is None or name is None:
            return None
        clipped, is_beyond = clip(box, image.width, image.height)
        if clipped is not None and is_beyond:
            self._repairs.add(CLIPPED, image.name)
        return _Object(image, clipped, name, item.get("iscrowd", 0) in (1, "1"))

    def _attempt(self, read: "partial[Identifier]") -> Identifier | None:
        return self._faults.attempt(BROKEN_ANNOTATION, self._file, read)

    def _identifier(self, item: Mapping[str, object], key: str, where: str) -> Identifier:
        value = item.get(key)
        if type(value) is int:
            return value
        number = _whole(value)
        if number is not None:
            self._repairs.add(
                "ids written as texts or decimals, read as whole numbers", f"{self._place}: {key} {value!r}"
            )
            return number
        if isinstance(value, str) and value.strip():
            return value.strip()
        raise DataError(f"{where} has {key} {value!r}: a whole number or a text is expected")


def _annotated(image: _Image, objects: Sequence[_Object], *, is_joined: bool) -> AnnotatedImage:
    kept = [(one.box, one.category, one.is_crowd) for one in objects if one.box is not None]
    # entries that were joined often repeat each other's objects
    return AnnotatedImage(
        image.name, image.file, image.width, image.height, tuple(dict.fromkeys(kept) if is_joined else kept)
    )


def _file_name(item: Mapping[str, object], where: str, *, is_new: bool) -> str:
    name = item.get("file_name")
    if not isinstance(name, str) or not is_new:
        raise DataError(f"{where} has no file_name, or occurs twice")
    return name


def _sides(item: Mapping[str, object], where: str) -> tuple[int, int]:
    """Return width and height as annotated; 0 for one that is missing."""
    sides = []
    for key in ("width", "height"):
        value = item.get(key)
        number = 0 if value is None else _whole(value)
        if number is None:
            raise DataError(f"{where} has {key} {value!r}: a whole number is expected")
        sides.append(number)
    return sides[0], sides[1]


def _whole(value: object) -> int | None:
    """Read a whole number that may be written as 3, 3.0, "3" or "3.0"."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    is_text = isinstance(value, str) and re.fullmatch(r"-?\d{1,18}(\.0*)?", value.strip(), re.ASCII)
    return int(str(value).strip().partition(".")[0]) if is_text else None


def _plain(name: str) -> str:
    """Return a file name with slashes, without ``.``."""
    return PureWindowsPath(name).as_posix()


def _entries(content: Mapping[str, object], key: str, file: Path) -> list[dict[str, object]]:
    found = content.get(key)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise DataError(f"{file} has no list of objects under the key {key!r}")
    return found
