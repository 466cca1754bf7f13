"""One JSON file of a COCO data set: its categories, images and annotations."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from spnas_core.errors import DataError
from spnas_detect.data._base import read_json
from spnas_detect.data.annotated import AnnotatedAs
from spnas_detect.data.coco.boxes import Box, annotated_area, clip, corners
from spnas_detect.data.coco.classes import Identifier
from spnas_detect.data.coco.layouts import Source
from spnas_detect.data.coco.values import is_crowd, is_missing, name_once, sides, whole
from spnas_detect.data.faults import BROKEN_ANNOTATION, MISSING_IMAGE, FaultCollector
from spnas_detect.data.file_names import find_image, find_image_by_stem
from spnas_detect.data.images import ImageFinder, LookedAt
from spnas_detect.data.repairs import CLIPPED, SIZE_FROM_FILE, RepairCollector


class CocoObject(NamedTuple):
    """One object of an image.

    Attributes:
        box: its corners (x1, y1, x2, y2).
        category: name of the class.
        is_crowd: whether it is a crowd.
        area: in square pixels as annotated; None where the box's is meant.
    """

    box: Box
    category: str
    is_crowd: bool
    area: float | None


@dataclass(frozen=True)
class AnnotatedImage:
    """One image of a JSON file.

    Attributes:
        name: what messages call it.
        file: that holds its pixels.
        width: in pixels, of the image as it is read.
        height: in pixels, likewise.
        objects: their boxes inside the image.
        dropped: number of boxes without area.
        annotated_as: what the JSON file calls it; the same image may have other ids in another one.
    """

    name: str
    file: Path
    width: int
    height: int
    objects: tuple[CocoObject, ...]
    dropped: int
    annotated_as: AnnotatedAs = field(compare=False)


@dataclass(frozen=True)
class WrittenImage:
    """One image of a JSON file as written there, its file found.

    Attributes:
        name: what messages call it.
        file: that holds its pixels.
        size: (width, height) in pixels; None where it is missing or 0.
        objects: their boxes as written.
        is_joined: whether it has several entries, which often repeat each other's objects.
        annotated_as: what the first one of these is called, and how many areas are not as written.
    """

    name: str
    file: Path
    size: tuple[int, int] | None
    objects: tuple[CocoObject, ...]
    is_joined: bool
    annotated_as: AnnotatedAs


@dataclass(frozen=True)
class Contents:
    """One JSON file.

    Attributes:
        images: in the order of the file.
        categories: names by id.
    """

    images: list[WrittenImage]
    categories: dict[Identifier, str]


@dataclass(frozen=True)
class _Image:
    name: str
    file: Path
    size: tuple[int, int] | None
    identifier: Identifier


@dataclass(frozen=True)
class _Object:
    """One entry of ``annotations``, as written."""

    image: _Image
    content: CocoObject


def read_file(
    source: Source, root: Path, finder: ImageFinder, faults: FaultCollector, repairs: RepairCollector
) -> Contents:
    """Read a JSON file, and note whatever is wrong in it, and what was mended.

    Args:
        source: the file, and where its images may lie.
        root: folder of the data set.
        finder: finds images whose extension or case differs from what the file says.
        faults: takes what cannot be used.
        repairs: takes what was mended.
    """
    return _FileReader(source, root, finder, faults, repairs).read()


def place_image(
    written: WrittenImage, looked: LookedAt, unreadable: dict[Path, str], repairs: RepairCollector
) -> AnnotatedImage | None:
    """Cut the boxes at their image, as large as that is when it is read.

    Args:
        written: the image.
        looked: its header.
        unreadable: takes the image, and the reason, where nothing says how large it is.
        repairs: takes what was mended.

    Returns:
        None where nothing says how large the image is.
    """
    size = looked.size(written.file, written.size)
    if size is None:
        unreadable[written.file] = looked.reasons[written.file]
        return None
    if written.size is None:
        repairs.add(SIZE_FROM_FILE, written.name)
    kept: list[CocoObject] = []
    clipped = 0
    for one in written.objects:
        box, is_beyond = clip(one.box, *size)
        if box is not None:
            kept.append(one._replace(box=box))
            if is_beyond:
                repairs.add(CLIPPED, written.name)
                clipped += 1
    dropped = len(written.objects) - len(kept)
    objects = tuple(dict.fromkeys(kept) if written.is_joined else kept)
    known = replace(written.annotated_as, altered=written.annotated_as.altered + clipped + dropped)
    return AnnotatedImage(written.name, written.file, *size, objects, dropped, known)


class _FileReader:
    def __init__(
        self, source: Source, root: Path, finder: ImageFinder, faults: FaultCollector, repairs: RepairCollector
    ) -> None:
        self._source, self._root, self._finder = source, root, finder
        self._faults, self._repairs = faults, repairs
        self._file = source.file
        self._place = source.place(root)
        self._left_out: set[Path] = set()  # images with a fault
        self._ids_are_as_written = True
        self._other_areas: Counter[Path] = Counter()  # of images, those that are written and no area

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
        objects: dict[Path, list[_Object]] = {image.file: [] for image in images.values() if image is not None}
        for one in self._objects(entries, images, categories):
            objects[one.image.file].append(one)
        kept = [image for image in images.values() if image is not None and image.file not in self._left_out]
        times = Counter(image.file for image in kept)
        names = {identifier: name for identifier, name in categories.items() if name is not None}
        ids = {name: identifier for identifier, name in reversed(names.items())}  # of several of one name the first
        # Where entries are joined, an evaluator that reads the file itself counts objects of the others as missed.
        is_as_written = self._ids_are_as_written and len(ids) == len(names) and max(times.values(), default=1) == 1
        return Contents(
            [
                WrittenImage(
                    image.name,
                    file,
                    image.size,
                    tuple(one.content for one in objects[file]),
                    is_joined=times[file] > 1,
                    annotated_as=AnnotatedAs(self._file, image.identifier, ids, is_as_written, self._other_areas[file]),
                )
                for file, image in {image.file: image for image in kept}.items()
            ],
            names,
        )

    def _categories(self, entries: Sequence[Mapping[str, object]]) -> dict[Identifier, str | None]:
        """Return names by id; None for a category that is among the faults."""
        categories: dict[Identifier, str | None] = {}
        written: dict[Identifier, object] = {}
        for item in entries:
            identifier = self._attempt(partial(self._identifier, item, "id", f"{self._file}: category"))
            if identifier is None:
                continue
            where = f"{self._file}: category {identifier}"
            categories[identifier] = self._faults.attempt(
                BROKEN_ANNOTATION, where, partial(name_once, item, "name", where, written, identifier)
            )
        return categories

    def _images(self, entries: Sequence[Mapping[str, object]]) -> dict[Identifier, _Image | None]:
        """Return images by id, in the order of the file; None for one that is among the faults.

        Entries of one file name are one image.
        """
        images: dict[Identifier, _Image | None] = {}
        known: dict[Path, tuple[str, _Image]] = {}
        written: dict[Identifier, object] = {}
        for item in entries:
            identifier = self._attempt(partial(self._identifier, item, "id", f"{self._file}: image"))
            if identifier is None:
                continue
            where, own = f"{self._file}: image {identifier}", self._faults.of_image()
            images[identifier] = None
            name = own.attempt(
                BROKEN_ANNOTATION, where, partial(name_once, item, "file_name", where, written, identifier)
            )
            size = own.attempt(BROKEN_ANNOTATION, where, partial(sides, item, where))
            place = None if name is None else own.attempt(MISSING_IMAGE, where, partial(self._find, name))
            is_left_out = self._faults.leaves_out(name or f"image {identifier}", own)
            if is_left_out and place is not None:
                self._left_out.add(place[1])
            if name is None or place is None or any(fault.kind == BROKEN_ANNOTATION for fault in own.found):
                continue
            annotated, found = place
            called = self._called(name, annotated)
            before = known.get(found)
            if before is None:
                images[identifier] = image = _Image(called, found, size, identifier)
                known[found] = (name, image)
            elif _plain(before[0]) == _plain(name):
                self._repairs.add("image entries of one file name, joined", called)
                images[identifier] = before[1]
            elif found not in self._finder.contested:  # which is a fault already
                text = f"{where} is {name}, and another one is {before[0]}: both lead to {found}"
                own.add(BROKEN_ANNOTATION, where, text)
                if self._faults.leaves_out(name, own):
                    self._left_out.add(found)
        return images

    def _find(self, name: str) -> tuple[Path, Path]:
        """Return the image's file as it is annotated, moved to where it lies, and as it is."""
        folders = self._source.folders
        exact = find_image(folders, name)
        pair = find_image_by_stem(folders, name, self._finder) if exact is None else (exact[0], exact[0])
        if pair is None:
            places = ", ".join(map(str, self._source.folders))
            raise DataError(f"{self._file} lists the image {name}, which none of these folders holds: {places}")
        annotated, found = pair
        self._finder.take(annotated, found)
        if annotated not in {folder / name for folder in folders}:
            called = self._called(name, annotated)
            self._repairs.add("file names of another place, found by their tail", f"{name} as {called}")
        return pair

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
        image, name = images[identifier], categories[category]
        own = self._faults.of_image()
        size = None if image is None else image.size
        box = own.attempt(BROKEN_ANNOTATION, where, lambda: corners(item, where, place, self._repairs, size))
        crowd = own.attempt(BROKEN_ANNOTATION, where, partial(is_crowd, item, where))
        is_left_out = self._faults.leaves_out(f"image {identifier}" if image is None else image.name, own)
        if is_left_out and image is not None:
            self._left_out.add(image.file)
        if box is None or crowd is None or image is None or name is None:
            return None
        area = annotated_area(item, place, self._repairs)
        if area is None and not is_missing(item.get("area")):
            self._other_areas[image.file] += 1
        return _Object(image, CocoObject(box, name, crowd, area))

    def _attempt(self, read: "partial[Identifier]") -> Identifier | None:
        return self._faults.attempt(BROKEN_ANNOTATION, self._file, read)

    def _identifier(self, item: Mapping[str, object], key: str, where: str) -> Identifier:
        value = item.get(key)
        if type(value) is int:
            return value
        number = whole(value)
        if number is not None:
            self._ids_are_as_written &= not isinstance(value, str)  # 1.0 is 1 to whoever looks it up
            self._repairs.add(
                "ids written as texts or decimals, read as whole numbers", f"{self._place}: {key} {value!r}"
            )
            return number
        if isinstance(value, str) and value.strip():
            self._ids_are_as_written &= value == value.strip()
            return value.strip()
        raise DataError(f"{where} has {key} {value!r}: a whole number or a text is expected")


def _plain(name: str) -> str:
    """Return a file name with slashes, without ``.``."""
    return PureWindowsPath(name).as_posix()


def _entries(content: Mapping[str, object], key: str, file: Path) -> list[dict[str, object]]:
    found = content.get(key)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise DataError(f"{file} has no list of objects under the key {key!r}")
    return found
