"""Anchor boxes on every level of a feature pyramid."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spnas_core.errors import ConfigError

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
        sizes: square roots of the anchors' areas on each level in pixels, in place of the scales; a level beyond the
            last entry has that entry's sizes times the ratio of the strides. None follows the scales.
        follows_canvas: whether s is ⌊canvas / level⌋ along each side, and not the level's stride.
        nominal: strides that sizes follow in place of the levels' own, where several levels have one stride.

    Raises:
        ConfigError: sizes of more levels than there are.
    """

    def __init__(
        self,
        strides: Sequence[int],
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        *,
        sizes: Sequence[Sequence[float]] | None = None,
        follows_canvas: bool = False,
        nominal: Sequence[int] | None = None,
    ) -> None:
        if sizes is not None and len(sizes) > len(strides):
            raise ConfigError(
                f"detector.anchor_sizes has sizes for {len(sizes)} levels, and there are {len(strides)}: leave out "
                "those of the coarsest, or choose more levels"
            )
        self.strides = tuple(strides)
        self.scales = tuple(scales)
        self.aspect_ratios = tuple(aspect_ratios)
        self.follows_canvas = follows_canvas
        self._nominal = self.strides if nominal is None else tuple(nominal)
        self._sizes = None if sizes is None else _continued(sizes, self._nominal)
        self._grids: dict[tuple[tuple[Shape, ...], Shape | None, torch.device], Tensor] = {}

    @property
    def per_position(self) -> int:
        """Anchors at each position of a level."""
        return len(self.scales if self._sizes is None else self._sizes[0]) * len(self.aspect_ratios)

    def sizes(self) -> list[list[float]]:
        """Square roots of the anchors' areas on each level, in pixels."""
        if self._sizes is not None:
            return [list(sizes) for sizes in self._sizes]
        return [[scale * stride for scale in self.scales] for stride in self._nominal]

    def counts(self, shapes: Sequence[Shape]) -> list[int]:
        """Anchors of each level, for levels of (height, width)."""
        return [height * width * self.per_position for height, width in shapes]

    def grid(self, shapes: Sequence[Shape], device: torch.device, canvas: Shape | None = None) -> Tensor:
        """List all anchors: float32[A, 4], level by level, row by row, position by position.

        Args:
            shapes: (height, width) of each level.
            device: where they are wanted; kept there for the next call.
            canvas: (height, width) of the images; needed where anchors follow it.

        Raises:
            ValueError: they do, and it is None.
        """
        if not self.follows_canvas:
            canvas = None
        elif canvas is None:
            raise ValueError("anchors that follow the canvas need its size")
        if torch.compiler.is_compiling():  # a graph holds what it needs; a cache would be a side effect
            return self._grid(shapes, device, canvas)
        key = (tuple(shapes), canvas, device)
        if key not in self._grids:
            if len(self._grids) >= 64:  # training on many image sizes: forget the oldest
                self._grids.pop(next(iter(self._grids)))
            self._grids[key] = self._grid(shapes, device, canvas)
        return self._grids[key]

    def _grid(self, shapes: Sequence[Shape], device: torch.device, canvas: Shape | None) -> Tensor:
        levels = []
        for level, ((height, width), stride) in enumerate(zip(shapes, self.strides, strict=True)):
            down, right = (stride, stride) if canvas is None else (canvas[0] // height, canvas[1] // width)
            rows = torch.arange(height, device=device, dtype=torch.float32) * down
            columns = torch.arange(width, device=device, dtype=torch.float32) * right
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            centres = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
            levels.append((centres + self._around_zero(level, device)).reshape(-1, 4))
        return torch.cat(levels)

    def _around_zero(self, level: int, device: torch.device) -> Tensor:
        """float32[per_position, 4], ratio by ratio."""
        if self._sizes is None:
            sizes = torch.tensor(self.scales, device=device) * self._nominal[level]
        else:
            sizes = torch.tensor(self._sizes[level], device=device)
        height = torch.tensor(self.aspect_ratios, device=device).sqrt()
        widths = ((1 / height)[:, None] * sizes).reshape(-1)
        heights = (height[:, None] * sizes).reshape(-1)
        halves = (torch.stack([widths, heights, widths, heights], dim=1) / 2).round().clamp(min=0.5)  # never no area
        return halves * torch.tensor([-1, -1, 1, 1], device=device)


def _continued(sizes: Sequence[Sequence[float]], strides: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """Give every level its sizes; the last entry's grow with the stride."""
    last = len(sizes) - 1
    return tuple(
        tuple(float(size) * (stride / strides[last] if level > last else 1) for size in sizes[min(level, last)])
        for level, stride in enumerate(strides)
    )
