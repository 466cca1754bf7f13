"""How an image and its boxes come to lie in a canvas."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spnas_core.errors import DataError
from spnas_detect.data._base import ImageRecord, object_areas
from spnas_detect.data.canvases import Orientation, canvas_of, is_transposed
from spnas_detect.data.images import ImageFile
from spnas_detect.data.resizing import resize


def letterbox(
    image: NDArray[np.uint8], size: tuple[int, int], whole: tuple[int, int] | None = None
) -> tuple[Tensor, float]:
    """Fit an image into a canvas, its aspect kept, at the top left, padded with zeros.

    Args:
        image: uint8[h, w, 3].
        size: (width, height) of the canvas.
        whole: (width, height) that the image has, where it was decoded at a part of that.

    Returns:
        uint8[3, H, W], the occupied part only, and the scale from original to canvas pixels.
        Both sides of the occupied part are rounded to whole pixels.
    """
    height, width = image.shape[:2]
    fitted = fitted_size(whole or (width, height), size)
    tensor = torch.tensor(image).permute(2, 0, 1)
    scale = fitted_scale(whole or (width, height), size)
    if fitted == (width, height):
        return tensor, scale
    return resize(tensor, *fitted), scale


def fitted_scale(image: tuple[int, int], canvas: tuple[int, int]) -> float:
    """Return canvas pixels per pixel of an image that fits the canvas."""
    return min(canvas[0] / image[0], canvas[1] / image[1])


def fitted_size(image: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """Return the largest (width, height) of an image's aspect that fits a canvas, in whole pixels."""
    scale = fitted_scale(image, canvas)
    width, height = (min(max(round(side * scale), 1), most) for side, most in zip(image, canvas, strict=True))
    return width, height


def to_canvas(boxes: Tensor, image: tuple[int, int], fitted: tuple[int, int]) -> Tensor:
    """Scale boxes from an image to a canvas, each side as its pixels were.

    Both sides of what an image occupies are whole pixels, so its axes rarely have one factor.

    Example: of 333×500 pixels a canvas of 100×100 holds 67×100, so the factor is 0.2012 along x, and 0.2 along y.

    Args:
        boxes: float32[G, 4] of (x1, y1, x2, y2) in pixels of the image.
        image: its (width, height).
        fitted: (width, height) of what it occupies of the canvas.
    """
    return boxes * _factors(boxes, image, fitted)


def to_image(boxes: Tensor, image: tuple[int, int], fitted: tuple[int, int]) -> Tensor:
    """Scale boxes back from a canvas to an image, and cut them there; see ``to_canvas``."""
    scaled = (boxes / _factors(boxes, image, fitted)).clamp(min=0)
    return scaled.minimum(scaled.new_tensor(image * 2))


def _factors(boxes: Tensor, image: tuple[int, int], fitted: tuple[int, int]) -> Tensor:
    """Canvas pixels per pixel of an image, for x1, y1, x2 and y2."""
    return boxes.new_tensor([fitted[0] / image[0], fitted[1] / image[1]] * 2)


def fitted_in(image: tuple[int, int], image_size: tuple[int, int], orientation: Orientation) -> tuple[int, int]:
    """Return the (width, height) that an image gets in the canvas of its orientation."""
    return fitted_size(image, canvas_of(image, image_size, orientation))


@dataclass(frozen=True, eq=False)
class PlacedRecord:
    """Which of a record's boxes its pixels bear out.

    Attributes:
        record: the image.
        size: its (width, height) as decoded.
        kept: bool[G], the record's boxes that have an area inside the decoded image.
        boxes: float32[K, 4], those boxes in original pixels, cut at the image.
    """

    record: ImageRecord
    size: tuple[int, int]
    kept: NDArray[np.bool_]
    boxes: NDArray[np.float32]

    @property
    def own_boxes(self) -> NDArray[np.float32]:
        """float32[K, 4], the objects' own boxes, likewise; some may have no area."""
        own = self.record.own_boxes
        return self.boxes if own is None else _cut(own[self.kept], self.size)

    @property
    def areas(self) -> NDArray[np.float64]:
        """float64[K] in square pixels: as annotated, else those of the boxes."""
        annotated = self.record.areas
        return object_areas(self.boxes, None if annotated is None else annotated[self.kept])


@dataclass(frozen=True, eq=False)
class FittedRecord(PlacedRecord):
    """How an image lies in its canvas, and which of its boxes.

    Attributes:
        resized: (width, height) of what it occupies of the canvas.
        scale: canvas pixels per original pixel, before both sides are rounded to whole ones; see ``to_canvas``.
        is_transposed: whether its canvas is the transposed one.
    """

    resized: tuple[int, int]
    scale: float
    is_transposed: bool = False


def read_pixels(record: ImageRecord) -> NDArray[np.uint8]:
    """Decode an image.

    Returns:
        uint8[H, W, 3] with a pixel at least.

    Raises:
        DataError: the image cannot be read.
    """
    try:
        image = record.read()
    except OSError as error:  # a plugin's reader may not translate its errors
        raise DataError(f"image {record.name} cannot be read: {error}") from None
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(f"image {record.name} was read as {image.dtype}{list(image.shape)}, not as uint8[H, W, 3]")
    return image


def announced_size(record: ImageRecord) -> tuple[int, int]:
    """Return the (width, height) that an image will have, before it is decoded: its file's, else as annotated.

    Raises:
        DataError: the file is missing or no image.
    """
    return record.read.size() if isinstance(record.read, ImageFile) else (record.width, record.height)


def read_for_canvas(
    record: ImageRecord,
    image_size: tuple[int, int],
    orientation: Orientation = "fixed",
    *,
    is_reduced: bool = False,
    content: bytes | None = None,
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode as much of an image as its canvas needs.

    Args:
        record: the image.
        image_size: (width, height) of the canvas.
        orientation: whether it may be the transposed one.
        is_reduced: whether a JPEG is decoded at a part of its size, where that is enough.
        content: the bytes of the image's file, where they were read before.

    Returns:
        uint8[h, w, 3], and the whole (width, height).

    Raises:
        DataError: the image cannot be read.
    """
    source = record.read
    if is_reduced and isinstance(source, ImageFile):
        return source.reduced(partial(fitted_in, image_size=image_size, orientation=orientation), content)
    image = read_pixels(record) if content is None or not isinstance(source, ImageFile) else source.decode(content)
    return image, (image.shape[1], image.shape[0])


def place_record(record: ImageRecord, image: NDArray[np.uint8]) -> PlacedRecord:
    """Cut a record's boxes at its pixels: the annotation's word on the size may be wrong, theirs is not."""
    height, width = image.shape[:2]
    return place_boxes(record, (width, height))


def place_boxes(record: ImageRecord, size: tuple[int, int]) -> PlacedRecord:
    """Cut a record's boxes at the (width, height) that its image file has."""
    boxes = _cut(record.boxes, size)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return PlacedRecord(record, size, kept, boxes[kept])


def _cut(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.clip(boxes, 0, np.asarray(size * 2, np.float32))


def fit_record(
    record: ImageRecord,
    image: NDArray[np.uint8],
    image_size: tuple[int, int],
    orientation: Orientation = "fixed",
    whole: tuple[int, int] | None = None,
) -> tuple[Tensor, FittedRecord]:
    """Fit a decoded image into a canvas, and cut its boxes at its pixels.

    Args:
        record: the image.
        image: its pixels, uint8[H, W, 3].
        image_size: (width, height) of the canvas.
        orientation: whether it may be the transposed one.
        whole: (width, height) that the image has, where it was decoded at a part of that.

    Returns:
        uint8[3, h, w], the occupied part of the canvas, and where everything is.
    """
    located = locate_record(record, whole or (image.shape[1], image.shape[0]), image_size, orientation)
    return letterbox(image, canvas_of(located.size, image_size, orientation), located.size)[0], located


def locate_record(
    record: ImageRecord, size: tuple[int, int], image_size: tuple[int, int], orientation: Orientation = "fixed"
) -> FittedRecord:
    """Say how an image will lie in a canvas, without its pixels.

    Args:
        record: the image.
        size: its (width, height) as decoded.
        image_size: (width, height) of the canvas.
        orientation: whether it may be the transposed one.
    """
    placed, canvas = place_boxes(record, size), canvas_of(size, image_size, orientation)
    return FittedRecord(
        record,
        size,
        placed.kept,
        placed.boxes,
        fitted_size(size, canvas),
        fitted_scale(size, canvas),
        is_transposed(size, image_size, orientation),
    )
