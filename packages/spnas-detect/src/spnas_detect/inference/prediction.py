"""Detecting objects in image files, with pictures of what was found."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spnas_core.errors import ConfigError, DataError
from spnas_core.machine import usable_cores
from spnas_detect.data.fitting import fitted_in
from spnas_detect.data.images import MAX_PIXELS, ImageFile, read_image
from spnas_detect.detectors import Detector, DetectorDescription
from spnas_detect.detectors.loading import load_detector
from spnas_detect.devices import choose_device
from spnas_detect.drawing import DrawnBox, draw_boxes, save_picture
from spnas_detect.folders import explained_writing, writing_into
from spnas_detect.inference.detection import detect
from spnas_detect.inference.images import find_images
from spnas_detect.inference.outputs import DESCRIPTION, DOCUMENT, name_pictures, write_document
from spnas_detect.inference.sources import find_weights

_T = TypeVar("_T")

Report = Callable[[int, int], None]
"""Called with the number of finished images and of all images."""

BATCH_SIZE = 8
"""Images per forward pass where nothing else is asked for."""


@dataclass(frozen=True, eq=False)
class ImagePrediction:
    """What was found in one image.

    Attributes:
        image: its file.
        picture: the file that shows the boxes; None where none was asked for.
        width: of the image in pixels, turned as EXIF notes it.
        height: of the image in pixels, likewise.
        boxes: float32[K, 4] of (x1, y1, x2, y2) in pixels of the image.
        scores: float32[K], descending.
        labels: int64[K] in 1…C.
    """

    image: Path
    picture: Path | None
    width: int
    height: int
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """What was found in all images.

    Attributes:
        weights: file that was used.
        description: the detector.
        score_threshold: detections below it were left out.
        images: those that were read, in the order in which they were given.
        failed: message by file of those that were not.
    """

    weights: Path
    description: DetectorDescription
    score_threshold: float
    images: tuple[ImagePrediction, ...]
    failed: Mapping[Path, str]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, as a file of annotations in COCO's format has them.

        ``annotations`` are what was found: ``image_id``, ``category_id``, ``bbox`` as x, y, width and height, and
        besides ``score``, and the class's name as ``category``. Images are numbered in their order from 1, classes by
        their labels; ``images`` and ``categories`` say what the ids stand for.
        """
        return {
            "info": {
                "description": DESCRIPTION,
                "weights": str(self.weights),
                "architecture": self.description.architecture,
                "score_threshold": self.score_threshold,
            },
            "images": [
                {
                    "id": number,
                    "file_name": str(found.image),
                    "width": found.width,
                    "height": found.height,
                    "picture": None if found.picture is None else found.picture.name,
                }
                for number, found in enumerate(self.images, 1)
            ],
            "categories": [{"id": label, "name": name} for label, name in enumerate(self.description.classes, 1)],
            "annotations": list(self._annotations()),
            "failed": [{"file_name": str(path), "reason": reason} for path, reason in self.failed.items()],
        }

    def _annotations(self) -> Iterator[dict[str, Any]]:
        number = 0
        for image, found in enumerate(self.images, 1):
            for box, score, label in zip(
                found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
            ):
                number += 1
                x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
                yield {
                    "id": number,
                    "image_id": image,
                    "category_id": label,
                    "category": self.description.classes[label - 1],
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "score": score,
                }


def predict(
    weights: Path | str,
    images: Iterable[Path | str] | Path | str,
    out: Path | str | None = None,
    *,
    score_threshold: float = 0.5,
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
    max_pixels: int = MAX_PIXELS,
    report: Report | None = None,
) -> Predictions:
    """Detect objects in image files, as ``spnas predict`` does.

    Args:
        weights: a weights file, the folder of a training, a run for its best candidate, or ``RUN:ID``.
        images: files, folders and patterns.
        out: folder for a picture of each image and for ``predictions.json``; None writes nothing.
        score_threshold: in 0…1; detections below it are left out. The detector has a lower one of its own.
        device: ``auto`` is CUDA where there is one.
        batch_size: images per forward pass.
        max_pixels: images with more are not decoded.
        report: told how far it is.

    Returns:
        What was found. An image that cannot be read is among ``failed`` and stops nothing.

    Raises:
        DataError: an image, folder or pattern that does not exist or stands for no image.
        WeightsError: the weights are missing, damaged, or do not describe a detector.
        ConfigError: a setting out of its range, memory that does not suffice, or a picture that would overwrite
            something.
    """
    if not 0 <= score_threshold <= 1:
        raise ConfigError(f"score threshold {score_threshold} is no score: it must be in 0…1")
    if batch_size < 1:
        raise ConfigError(f"batch size {batch_size} is no number of images: it must be at least 1")
    if max_pixels < 1:
        raise ConfigError(f"max_pixels {max_pixels} is no number of pixels: it must be at least 1")
    files = find_images([images] if isinstance(images, str | Path) else images)
    folder = None if out is None else Path(out)
    pictures: Sequence[Path | None] = [None] * len(files)
    if folder is not None:
        with explained_writing(folder):
            pictures = name_pictures(files, folder)
    source = find_weights(weights)
    where = choose_device(device)
    detector, description = load_detector(source.path, where)
    precision = source.precision(description)
    found: list[ImagePrediction] = []
    failed: dict[Path, str] = {}
    with nullcontext() if folder is None else writing_into(folder):
        for first in range(0, len(files), batch_size):
            part = slice(first, first + batch_size)
            read = partial(_read, max_pixels=max_pixels)
            outcomes = [*zip(files[part], pictures[part], _in_threads(read, files[part]), strict=True)]
            failed |= {file: image for file, _, image in outcomes if isinstance(image, str)}
            good = [(file, picture, image) for file, picture, image in outcomes if not isinstance(image, str)]
            images_read = [image for *_, image in good]
            decoded = [file for file, *_ in good]
            detections = _detections(detector, description, decoded, images_read, where, precision)
            batch = [
                _prediction(file, picture, image, one, score_threshold)
                for (file, picture, image), one in zip(good, detections, strict=True)
            ]
            if folder is not None:
                _in_threads(partial(_draw, classes=description.classes), batch, images_read)
            found += batch
            if report is not None:
                report(len(found) + len(failed), len(files))
        result = Predictions(source.path, description, score_threshold, tuple(found), failed)
        if folder is not None:
            write_document(folder / DOCUMENT, result.as_dict())
    return result


def _detections(
    detector: Detector,
    description: DetectorDescription,
    files: Sequence[Path],
    images: Sequence[NDArray[np.uint8]],
    device: torch.device,
    precision: str,
) -> list[dict[str, Tensor]]:
    """Detect in images, decoded as they were for training; those that are drawn on are whole."""
    canvas = description.image_size, description.orientation
    if not images or not description.reduced_decoding:
        return detect(detector, images, *canvas, device, precision) if images else []

    def reduced(file: Path) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        needed = partial(fitted_in, image_size=canvas[0], orientation=canvas[1])
        return ImageFile(file, max_pixels=sys.maxsize).reduced(needed)  # they were let through before

    pixels, sizes = zip(*_in_threads(reduced, files), strict=True)
    return detect(detector, pixels, *canvas, device, precision, sizes=sizes)


def _in_threads(function: Callable[..., _T], *arguments: Sequence[Any]) -> list[_T]:
    """Map a function over a batch; decoding and encoding images leave Python's lock."""
    with ThreadPoolExecutor(min(usable_cores(), 8)) as pool:
        return list(pool.map(function, *arguments))


def _read(path: Path, max_pixels: int) -> NDArray[np.uint8] | str:
    """Return an image's pixels, or why there are none."""
    try:
        return read_image(path, max_pixels=max_pixels)
    except DataError as error:
        return str(error)


def _prediction(
    file: Path, picture: Path | None, image: NDArray[np.uint8], found: Mapping[str, Tensor], threshold: float
) -> ImagePrediction:
    kept = found["scores"] >= threshold
    boxes, scores, labels = (found[name][kept].numpy() for name in ("boxes", "scores", "labels"))
    return ImagePrediction(file, picture, image.shape[1], image.shape[0], boxes, scores, labels)


def _draw(found: ImagePrediction, image: NDArray[np.uint8], classes: Sequence[str]) -> None:
    """Write an image's picture."""
    boxes = [
        DrawnBox((box[0], box[1], box[2], box[3]), label, score)
        for box, label, score in zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    ]
    save_picture(draw_boxes(image, boxes, classes), cast("Path", found.picture))
