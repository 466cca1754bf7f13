"""Images on a whole canvas: one at another scale, or four that share it.

Both write straight into the batch: an image is read, scaled and put in its place, one after the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from spnas_core.errors import DataError
from spnas_detect.data.finishing import MEAN
from spnas_detect.data.transforms import Augmentation, Rules, check_scale_range, place

GREY = tuple(round(255 * value) for value in MEAN)
"""The colour of empty places, which normalising brings closest to zero."""

TILE_SCALES = (0.5, 1.0)
"""Least and greatest factor by which an image of a mosaic is scaled: about what its quarter of the canvas holds, and
all that it was."""

CENTRES = (0.25, 0.75)
"""Where the four images of a mosaic meet: shares of the canvas, in either direction."""

Part = tuple[Tensor, Tensor, Tensor]
"""uint8[3, h, w], boxes float32[G, 4] and labels int64[G] of one image."""


@dataclass(frozen=True)
class Scenes:
    """What canvases are filled with.

    Attributes:
        scale_range: least and greatest factor by which a lone image is scaled before it is cut, or placed at random, on
            the whole canvas: large-scale jitter with (0.1, 2.0) as Ghiasi et al., "Simple Copy-Paste", section 3. None
            leaves lone images to the ordinary augmentation.
        mosaic: probability of four images on a canvas in place of one: the mosaic of Bochkovskiy et al., "YOLOv4",
            without a larger canvas in between. Each lies in a quarter, cut or placed at random.
        mosaic_epochs: epochs, from the first, that have mosaics; the last ones see whole images, as Ge et al., "YOLOX",
            section 2.1, found better. None for all.
        augmentation: of each image before that; None leaves it.
        rules: of what is left of boxes.

    Raises:
        DataError: a value out of its range.
    """

    scale_range: tuple[float, float] | None = None
    mosaic: float = 0.0
    mosaic_epochs: int | None = None
    augmentation: Augmentation | None = None
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        check_scale_range(self.scale_range)
        if not 0 <= self.mosaic <= 1:
            raise DataError(f"augmentation mosaic is {self.mosaic!r}: it must be a probability in 0…1")

    def images(self, epoch: int, rng: np.random.Generator) -> int:
        """Draw how many images a canvas shows: 4, 1, or 0 where the ordinary augmentation is to make it."""
        is_late = self.mosaic_epochs is not None and epoch >= self.mosaic_epochs
        if rng.random() < self.mosaic and not is_late:
            return 4
        return 0 if self.scale_range is None else 1

    def compose(
        self, canvas: Tensor, count: int, parts: Iterable[Part], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Fill a canvas.

        Args:
            canvas: uint8[3, H, W], written as a whole.
            count: of images, as ``images`` said.
            parts: that many, taken one after the other.
            rng: decides everything.

        Returns:
            The boxes float32[G, 4] in pixels of the canvas, and their labels int64[G].
        """
        canvas.copy_(torch.tensor(GREY, dtype=torch.uint8)[:, None, None])
        height, width = canvas.shape[-2:]
        if count == 1:
            quarters, scales = [(0, 0, width, height)], self.scale_range or (1.0, 1.0)
        else:
            x, y = (round(rng.uniform(*CENTRES) * side) for side in (width, height))
            quarters, scales = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)], TILE_SCALES
        boxes, labels = [], []
        for (left, top, right, bottom), (image, own, own_labels) in zip(quarters, parts, strict=True):
            target = canvas[:, top:bottom, left:right]
            moved, kept = place(target, image, own, own_labels, scales, self.rules, rng)
            boxes.append(moved + moved.new_tensor([left, top] * 2))
            labels.append(kept)
        return torch.cat(boxes), torch.cat(labels)
