"""Augmentation of training images: flip, scale and crop; boxes and ignored regions follow.

Every draw comes from the generator that is passed in, none from a global one: the same generator gives the same
image in any thread.
"""

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from spnas_core.errors import DataError
from spnas_detect.data.targets import IGNORED


class Augmentation:
    """A chain of random changes that keeps image, boxes and labels together; see ``train_augmentation``."""

    def __init__(
        self,
        *,
        flip: float,
        scale_range: tuple[float, float] | None,
        min_box: float,
        min_visible: float,
    ) -> None:
        self._flip = flip
        self._scale_range = scale_range
        self._min_box = min_box
        self._min_visible = min_visible

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
            The same three, the image in its size, boxes clipped to it. An object goes, with its label, where a side
            became smaller than ``min_box`` or less than ``min_visible`` of its area is left. An ignored region stays
            ignored, whatever is left of it, down to one pixel.
        """
        if rng.random() < self._flip:
            image, boxes = _flipped(image, boxes)
        if self._scale_range is not None:
            image, boxes = _rescaled(image, boxes, self._scale_range, rng)
        return image, *self._visible(boxes, labels, image.shape[-2], image.shape[-1])

    def _visible(self, boxes: Tensor, labels: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Clip boxes to the image and take out those of which too little is left."""
        clipped = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
        sides, whole = clipped[:, 2:] - clipped[:, :2], boxes[:, 2:] - boxes[:, :2]
        is_object = labels != IGNORED
        least = torch.where(is_object, self._min_box, 1.0)
        enough = ~is_object | (sides.clamp(min=0).prod(1) >= self._min_visible * whole.prod(1))
        kept = (sides >= least[:, None]).all(1) & enough
        return clipped[kept], labels[kept]


def train_augmentation(
    *,
    flip: float = 0.5,
    scale_range: tuple[float, float] | None = None,
    min_box: float = 1.0,
    min_visible: float = 0.25,
) -> Augmentation:
    """Build the augmentation of training images.

    Args:
        flip: probability of a horizontal flip, 0…1.
        scale_range: least and greatest factor, drawn uniformly, by which the image is scaled before a random crop
            (factor above 1) or a random placement on zeros (below 1), back to the size that it had; None leaves the
            scale.
        min_box: objects with a side below this many pixels are removed, at least 1.
        min_visible: objects of whose area the crop leaves less than this share are removed, 0…1. The piece of an
            object that is left then counts as background.

    Returns:
        A callable (image, boxes, labels, rng) → (image, boxes, labels).

    Raises:
        DataError: a setting out of its range.
    """
    if not 0 <= flip <= 1:
        raise DataError(f"augmentation flip is {flip!r}: it must be a probability in 0…1")
    if not min_box >= 1:
        raise DataError(f"augmentation min_box is {min_box!r}: it must be at least 1 pixel")
    if not 0 <= min_visible <= 1:
        raise DataError(f"augmentation min_visible is {min_visible!r}: it must be a share in 0…1")
    if scale_range is not None and not 0.1 <= scale_range[0] <= scale_range[1] <= 10:
        raise DataError(f"augmentation scale_range is {scale_range!r}: it must ascend within 0.1…10")
    return Augmentation(flip=flip, scale_range=scale_range, min_box=min_box, min_visible=min_visible)


def _flipped(image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(1)
    width = image.shape[-1]
    return image.flip(-1), torch.stack([width - x2, y1, width - x1, y2], 1)


def _rescaled(
    image: Tensor, boxes: Tensor, scale_range: tuple[float, float], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Scale by a random factor, then cut or place at random to the former size; boxes may leave the image."""
    height, width = image.shape[-2:]
    factor = rng.uniform(*scale_range)
    new_height, new_width = max(1, round(height * factor)), max(1, round(width * factor))
    scaled = functional.resize(image, [new_height, new_width], antialias=True)
    top, left = _offset(height - new_height, rng), _offset(width - new_width, rng)
    canvas = torch.zeros_like(image)
    target = (slice(max(top, 0), top + new_height), slice(max(left, 0), left + new_width))
    source = (slice(max(-top, 0), height - top), slice(max(-left, 0), width - left))
    canvas[:, *target] = scaled[:, *source]
    ratios = boxes.new_tensor([new_width / width, new_height / height] * 2)
    return canvas, boxes * ratios + boxes.new_tensor([left, top] * 2)


def _offset(slack: int, rng: np.random.Generator) -> int:
    """Draw where the scaled image begins on the canvas: inside where it is smaller, before it where it is larger."""
    drawn = int(rng.integers(abs(slack) + 1))
    return drawn if slack >= 0 else -drawn
