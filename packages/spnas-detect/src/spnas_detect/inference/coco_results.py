"""Detections as COCO's results: the list that ``COCO.loadRes`` of pycocotools reads."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spnas_core.commands.json_text import to_json
from spnas_core.durable import whole_file
from spnas_core.errors import ConfigError
from spnas_detect.data import ImageRecord
from spnas_detect.folders import make_folder, writing_into
from spnas_detect.inference.outputs import refuse_foreign, write_document
from spnas_detect.inference.report import DESCRIPTION
from spnas_detect.metrics.collection import Collection, Detections, Truths

_HEADS = ('[\n{"image_id": ', "[\n]")
"""What our files begin with, that of no detection too."""

_Row = dict[str, Any]


class _Ids(NamedTuple):
    """By which images and classes are told.

    Attributes:
        images: in their order.
        categories: of each class; None where the file of annotations has none of its name.
        are_own: whether these are the data's.
    """

    images: Sequence[int | str]
    categories: Sequence[int | str | None]
    are_own: bool


def truth_beside(file: Path) -> Path:
    """Return the file that says what the ids of a file of results stand for, where they are not the data's own."""
    return file.with_name(f"{file.stem}-truth.json")


def prepare_results(file: Path) -> None:
    """Make the folder, and see to it that only results of an earlier evaluation are overwritten.

    Raises:
        ConfigError: somebody else's file is there, or nothing can be written.
    """
    make_folder(file.parent)
    if file.exists() and not _begins(file):
        raise ConfigError(f"{file} exists and was not written by spnas: choose another --detections")
    refuse_foreign([truth_beside(file)], DESCRIPTION, "--detections")


def _begins(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(len(_HEADS[0])).startswith(_HEADS)
    except (OSError, ValueError):
        return False


def write_results(file: Path, found: Collection, records: Sequence[ImageRecord], classes: Sequence[str]) -> list[Path]:
    """Write every detection as a row ``image_id``, ``category_id``, ``bbox`` (x, y, width, height), ``score``.

    Ids are those of the data set's own file of annotations, where all images are of one and its ids are read as they
    are written; detections of a class that it lacks are left out. Otherwise images are numbered in their order from 1,
    and classes are the labels 1…C; a second file then has the annotations of these images, in COCO's format, as the
    metrics have seen them.

    Args:
        file: as ``prepare_results`` has left it.
        found: detections and annotations of all images.
        records: the images, in the same order.
        classes: names of the labels 1…C.

    Returns:
        The files.
    """
    ids = _ids(records, classes)
    with writing_into(file.parent):
        with whole_file(file, is_durable=False) as unfinished, unfinished.open("w", encoding="utf-8") as opened:
            before = "[\n"
            for row in _results(found.detections(), ids):
                opened.write(before + to_json(row))
                before = ",\n"
            opened.write("\n]\n" if before != "[\n" else "[\n]\n")
        if ids.are_own:
            return [file]
        write_document(truth_beside(file), _truth(found.truths(), records, classes))
    return [file, truth_beside(file)]


def _ids(records: Sequence[ImageRecord], classes: Sequence[str]) -> _Ids:
    known = [one.annotated_as for one in records if one.annotated_as is not None and one.annotated_as.is_as_written]
    if known and len(known) == len(records) and len({one.file for one in known}) == 1:
        return _Ids([one.image for one in known], [known[0].categories.get(name) for name in classes], are_own=True)
    return _Ids(range(1, len(records) + 1), range(1, len(classes) + 1), are_own=False)


def _results(found: Detections, ids: _Ids) -> Iterator[_Row]:
    columns = zip(found.images.tolist(), found.labels.tolist(), _sides(found.boxes), found.scores.tolist(), strict=True)
    for image, label, box, score in columns:
        category = ids.categories[label - 1]
        if category is not None:
            yield {"image_id": ids.images[image], "category_id": category, "bbox": box, "score": score}


def _truth(truths: Truths, records: Sequence[ImageRecord], classes: Sequence[str]) -> Mapping[str, Any]:
    columns = zip(
        truths.images.tolist(),
        truths.labels.tolist(),
        _sides(truths.boxes),
        truths.areas.tolist(),
        truths.ignore.tolist(),
        strict=True,
    )
    return {
        "info": {"description": DESCRIPTION},
        "images": [
            {"id": number, "file_name": record.name, "width": record.width, "height": record.height}
            for number, record in enumerate(records, 1)
        ],
        "categories": [{"id": label, "name": name} for label, name in enumerate(classes, 1)],
        "annotations": [
            {
                "id": number,
                "image_id": image + 1,
                "category_id": label,
                "bbox": box,
                "area": area,
                "iscrowd": int(is_ignored),
            }
            for number, (image, label, box, area, is_ignored) in enumerate(columns, 1)
        ],
    }


def _sides(boxes: Any) -> list[list[float]]:
    """Turn float64[N, 4] of (x1, y1, x2, y2) into lists of (x, y, width, height)."""
    return [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes.tolist()]
