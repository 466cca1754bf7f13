"""Anchor boxes on every level of a feature pyramid."""

from collections.abc import Sequence

import torch
from torch import Tensor

Shape = tuple[int, int]


class Anchors:
    """The same boxes around every position of each level.

    Position (row, column) of a level with stride s has its anchors centred at (column·s, row·s); a scale of 4 on a
    level of stride 8 gives boxes of area 32². Corners around the centre are rounded to whole pixels, as torchvision
    rounds them.

    Args:
        strides: input pixels per feature pixel of each level, finest first.
        scales: square root of an anchor's area in multiples of the stride.
        aspect_ratios: height / width.
    """

    def __init__(self, strides: Sequence[int], scales: Sequence[float], aspect_ratios: Sequence[float]) -> None:
        self.strides = tuple(strides)
        self.scales = tuple(scales)
        self.aspect_ratios = tuple(aspect_ratios)
        self._grids: dict[tuple[tuple[Shape, ...], torch.device], Tensor] = {}

    @property
    def per_position(self) -> int:
        """Anchors at each position of a level."""
        return len(self.scales) * len(self.aspect_ratios)

    def sizes(self) -> list[list[float]]:
        """Square roots of the anchors' areas on each level, in pixels."""
        return [[scale * stride for scale in self.scales] for stride in self.strides]

    def counts(self, shapes: Sequence[Shape]) -> list[int]:
        """Anchors of each level, for levels of (height, width)."""
        return [height * width * self.per_position for height, width in shapes]

    def grid(self, shapes: Sequence[Shape], device: torch.device) -> Tensor:
        """List all anchors: float32[A, 4], level by level, row by row, position by position.

        Args:
            shapes: (height, width) of each level.
            device: where they are wanted; kept there for the next call.
        """
        if torch.compiler.is_compiling():  # a graph holds what it needs; a cache would be a side effect
            return self._grid(shapes, device)
        key = (tuple(shapes), device)
        if key not in self._grids:
            if len(self._grids) >= 64:  # training on many image sizes: forget the oldest
                self._grids.pop(next(iter(self._grids)))
            self._grids[key] = self._grid(shapes, device)
        return self._grids[key]

    def _grid(self, shapes: Sequence[Shape], device: torch.device) -> Tensor:
        levels = []
        for (height, width), stride in zip(shapes, self.strides, strict=True):
            rows = torch.arange(height, device=device, dtype=torch.float32) * stride
            columns = torch.arange(width, device=device, dtype=torch.float32) * stride
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            centres = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
            levels.append((centres + self._around_zero(stride, device)).reshape(-1, 4))
        return torch.cat(levels)

    def _around_zero(self, stride: int, device: torch.device) -> Tensor:
        """float32[per_position, 4], ratio by ratio."""
        scales = torch.tensor(self.scales, device=device) * stride
        height = torch.tensor(self.aspect_ratios, device=device).sqrt()
        widths = ((1 / height)[:, None] * scales).reshape(-1)
        heights = (height[:, None] * scales).reshape(-1)
        return (torch.stack([-widths, -heights, widths, heights], dim=1) / 2).round()
