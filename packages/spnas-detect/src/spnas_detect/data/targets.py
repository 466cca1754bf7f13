"""What a batch of images holds, padded to one shape: what training learns from."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

PADDING = 0
"""The label of a row without a box."""

IGNORED = -1
"""The label of a region in which nothing is learnt: neither an object nor background."""

ROWS = 8


class Targets(NamedTuple):
    """The boxes of a batch of N images, each padded to G rows.

    A tuple of tensors and nothing else, so that it passes through ``torch.compile`` as it is.

    Attributes:
        boxes: float32[N, G, 4] of (x1, y1, x2, y2) in canvas pixels; zeros in padding.
        labels: int64[N, G]: 1…C a class, 0 padding, -1 an ignored region. Padding may stand anywhere.
        sizes: float32[N, 2], (height, width) of the part of the canvas, from its top left, that is image.
    """

    boxes: Tensor
    labels: Tensor
    sizes: Tensor

    def to(self, device: torch.device) -> "Targets":
        """Move all three."""
        return Targets(*(part.to(device, non_blocking=True) for part in self))

    def image(self, index: int) -> dict[str, Tensor]:
        """Take the learnt boxes of one image out: ``boxes`` float32[K, 4] and ``labels`` int64[K]."""
        found = self.labels[index] > PADDING
        return {"boxes": self.boxes[index, found], "labels": self.labels[index, found]}


def pad_targets(
    images: Sequence[Mapping[str, Tensor]], sizes: Sequence[tuple[int, int]], rows: int | None = None
) -> Targets:
    """Put the boxes of several images into one ``Targets``.

    Args:
        images: per image ``boxes`` [K, 4], ``labels`` [K] and, where there are such, ``ignore`` bool[K].
        sizes: per image (height, width) in canvas pixels.
        rows: G, at least 1; by default the greatest K, rounded up to a multiple of 8 and at least 8.

    Raises:
        ValueError: an image has more boxes than rows, or there are no rows.
    """
    most = max((len(image["labels"]) for image in images), default=0)
    if rows is None:
        rows = padded_rows(most)
    if rows < 1:
        raise ValueError(f"targets have {rows} rows: at least one, which may be padding")
    if most > rows:
        raise ValueError(f"an image has {most} boxes, but the targets {rows} rows: raise rows")
    device = images[0]["boxes"].device if images else None
    boxes = torch.zeros(len(images), rows, 4, device=device)
    labels = torch.full((len(images), rows), PADDING, device=device)
    for i, image in enumerate(images):
        count = len(image["labels"])
        boxes[i, :count] = image["boxes"]
        labels[i, :count] = image["labels"]
        if "ignore" in image:
            labels[i, :count].masked_fill_(image["ignore"], IGNORED)
    return Targets(boxes, labels, torch.tensor(sizes, dtype=torch.float32, device=device).reshape(-1, 2))


def padded_rows(most: int) -> int:
    """Round a number of boxes up, so that few different shapes occur."""
    return max(ROWS, -(-most // ROWS) * ROWS)
