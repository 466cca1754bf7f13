"""Augmentation of training images: flip, scale and crop; boxes and ignored regions follow.

What a crop leaves of an object, and is too little to be learnt, becomes an ignored region: it is no background either.

Every draw comes from the generator that is passed in, none from a global one: the same generator gives the same
image in any thread.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spnas_core.errors import DataError
from spnas_detect.data.resizing import resize
from spnas_detect.data.targets import IGNORED

MIN_VISIBLE = 0.25


@dataclass(frozen=True)
class Rules:
    """How much must be left of an object so that it is learnt; the rest of one that is less becomes an ignored region.

    Attributes:
        min_box: pixels that both sides have at least, 1 or more.
        min_visible: share of its area, 0…1.

    Raises:
        DataError: a value out of its range.
    """

    min_box: float = 1.0
    min_visible: float = MIN_VISIBLE

    def __post_init__(self) -> None:
        if not self.min_box >= 1:
            raise DataError(f"augmentation min_box is {self.min_box!r}: it must be at least 1 pixel")
        if not 0 <= self.min_visible <= 1:
            raise DataError(f"augmentation min_visible is {self.min_visible!r}: it must be a share in 0…1")

    def visible(self, boxes: Tensor, labels: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Clip boxes to an image, and say what they stand for then.

        Args:
            boxes: float32[G, 4] of (x1, y1, x2, y2) in pixels; they may leave the image.
            labels: int64[G], 1…C or IGNORED.
            height: of the image.
            width: of the image.

        Returns:
            Both, without the boxes of which less than a pixel is left in either direction.
        """
        clipped = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
        sides, whole = clipped[:, 2:] - clipped[:, :2], boxes[:, 2:] - boxes[:, :2]
        is_enough = (sides >= self.min_box).all(1) & (sides.prod(1) >= self.min_visible * whole.prod(1))
        kept = (sides >= 1).all(1)
        return clipped[kept], torch.where(is_enough, labels, IGNORED)[kept]


class Augmentation:
    """A chain of random changes that keeps image, boxes and labels together; see ``train_augmentation``."""

    def __init__(self, *, flip: float, scale_range: tuple[float, float] | None, rules: Rules) -> None:
        self._flip = flip
        self._scale_range = scale_range
        self._rules = rules

    def __call__(
        self, image: Tensor, boxes: Tensor, labels: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Augment one image.

        Args:
            image: uint8[3, H, W]; not changed.
            boxes: float32[G, 4] of (x1, y1, x2, y2) in pixels, inside the image.
            labels: int64[G], 1…C or IGNORED.
            rng: decides everything.

        Returns:
            The same three, the image in its size, boxes clipped to it. An object of which too little is left by
            ``Rules`` is an ignored region; what is less than a pixel goes.
        """
        if rng.random() < self._flip:
            image, boxes = _flipped(image, boxes)
        if self._scale_range is None:
            return image, *self._rules.visible(boxes, labels, image.shape[-2], image.shape[-1])
        canvas = torch.zeros_like(image)
        return canvas, *place(canvas, image, boxes, labels, self._scale_range, self._rules, rng)


def train_augmentation(
    *,
    flip: float = 0.5,
    scale_range: tuple[float, float] | None = None,
    min_box: float = 1.0,
    min_visible: float = MIN_VISIBLE,
) -> Augmentation:
    """Build the augmentation of training images.

    Args:
        flip: probability of a horizontal flip, 0…1.
        scale_range: least and greatest factor, drawn uniformly, by which the image is scaled before a random crop
            (factor above 1) or a random placement on zeros (below 1), back to the size that it had; None leaves the
            scale.
        min_box: objects with a side below this many pixels become ignored regions, at least 1.
        min_visible: objects of whose area the crop leaves less than this share become ignored regions, 0…1.

    Returns:
        A callable (image, boxes, labels, rng) → (image, boxes, labels).

    Raises:
        DataError: a setting out of its range.
    """
    if not 0 <= flip <= 1:
        raise DataError(f"augmentation flip is {flip!r}: it must be a probability in 0…1")
    check_scale_range(scale_range)
    return Augmentation(flip=flip, scale_range=scale_range, rules=Rules(min_box, min_visible))


def check_scale_range(scale_range: tuple[float, float] | None) -> None:
    """Refuse factors that do not ascend within 0.1…10.

    Raises:
        DataError: they do not.
    """
    if scale_range is not None and not 0.1 <= scale_range[0] <= scale_range[1] <= 10:
        raise DataError(f"augmentation scale_range is {scale_range!r}: it must ascend within 0.1…10")


def place(
    target: Tensor,
    image: Tensor,
    boxes: Tensor,
    labels: Tensor,
    scale_range: tuple[float, float],
    rules: Rules,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Scale an image by a random factor, then cut it, or place it, at random; what it does not cover stays.

    Args:
        target: uint8[3, H, W], written.
        image: uint8[3, h, w]; not changed.
        boxes: float32[G, 4] in pixels of the image.
        labels: int64[G], 1…C or IGNORED.
        scale_range: least and greatest factor, drawn uniformly.
        rules: of what is left of a box.
        rng: decides everything.

    Returns:
        Boxes in pixels of the target, and their labels.
    """
    height, width = image.shape[-2:]
    factor = rng.uniform(*scale_range)
    new_height, new_width = max(1, round(height * factor)), max(1, round(width * factor))
    scaled = resize(image, new_width, new_height)
    rows, columns = target.shape[-2:]
    top, left = _offset(rows - new_height, rng), _offset(columns - new_width, rng)
    target[:, max(top, 0) : top + new_height, max(left, 0) : left + new_width] = scaled[
        :, max(-top, 0) : rows - top, max(-left, 0) : columns - left
    ]
    ratios = boxes.new_tensor([new_width / width, new_height / height] * 2)
    return rules.visible(boxes * ratios + boxes.new_tensor([left, top] * 2), labels, rows, columns)


def _flipped(image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(1)
    width = image.shape[-1]
    return image.flip(-1), torch.stack([width - x2, y1, width - x1, y2], 1)


def _offset(slack: int, rng: np.random.Generator) -> int:
    """Draw where the scaled image begins on the canvas: inside where it is smaller, before it where it is larger."""
    drawn = int(rng.integers(abs(slack) + 1))
    return drawn if slack >= 0 else -drawn
