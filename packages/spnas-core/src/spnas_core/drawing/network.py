"""A network as a figure: the serial main path from left to right, stages as high as their resolution, rows above."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spnas_core.commands.wording import amount
from spnas_core.cost import Cost, backbone_cost
from spnas_core.drawing.svg import FONT, Drawing
from spnas_core.encoding import Architecture
from spnas_core.networks.layout import StagePlacement, stage_placements

INK, PAPER, GREY = "#1a1a1a", "#ffffff", "#5f5f5f"
HIGHEST, LOWEST = 96.0, 14.0
"""Pixels: the stem's output, and the least that a block is drawn with."""

NARROWEST, PER_DOUBLING = 8.0, 3.5
"""Pixels: width of a block of the first stage's channels, and what twice as many add."""

GAP, BETWEEN = 3.0, 34.0
"""Pixels between blocks, and between stages."""

LANE = 26.0
"""Pixels between the rows, where fusions run."""

MARGIN, LETTER = 14.0, 5.9
"""Pixels around the figure, and about the width of a letter of its text."""


@dataclass(frozen=True)
class _Stage:
    """A stage with its place.

    Attributes:
        placement: its blocks and rows.
        left: where its column begins.
        width: of the column.
        widths: of its blocks.
        height: of its blocks.
        lines: what is written below.
    """

    placement: StagePlacement
    left: float
    width: float
    widths: tuple[float, ...]
    height: float
    lines: tuple[str, ...]

    @property
    def first(self) -> float:
        """Where its blocks begin."""
        return self.left + (self.width - self.span) / 2

    @property
    def last(self) -> float:
        """Where they end."""
        return self.first + self.span

    @property
    def span(self) -> float:
        """Pixels that its blocks take."""
        return sum(self.widths) + GAP * (len(self.widths) - 1)


def draw_network(architecture: Architecture, image_size: tuple[int, int]) -> str:
    """Draw a backbone as SVG for a paper: black on white, legible without colour.

    A block is as high as the square root of its resolution (the stem's output is ``HIGHEST``), and the wider the more
    channels it gives. Filled blocks double the channels. Rows of the parallel phase stand above the main path; a dashed
    line is a fusion, from the end of a row to the input of the next row down; blocks that share the main path's weights
    are dashed.

    Args:
        architecture: to draw.
        image_size: (width, height) in pixels of the images that sizes are told for.
    """
    cost = backbone_cost(architecture, *image_size)
    stages = _placed(architecture, cost)
    axes = _axes(stages)
    caption, legend = _caption(architecture, cost, image_size), _legend(architecture)
    width = max(stages[-1].left + stages[-1].width + MARGIN, MARGIN * 2 + LETTER * max(len(caption), len(legend)))
    base = axes[0] + HIGHEST / 2
    figure = Drawing(width, base + 92, f"network {architecture}", class_="network", font_family=FONT, font_size=10.5)
    stem = _draw_stem(figure, architecture, cost, axes[0], base)
    for before, stage in zip((None, *stages), stages, strict=False):
        _draw_links(figure, stem, before, stage, axes)
        for row in range(stage.placement.rows, -1, -1):
            shared = row > 0 and architecture.shares_rows
            _draw_blocks(figure, stage, architecture.stages[stage.placement.number - 1], axes[row], shared=shared)
        _draw_fusions(figure, stage, axes)
        _write_lines(figure, stage.left + stage.width / 2, base, stage.lines)
    figure.write(MARGIN, base + 66, caption, class_="note", fill=INK)
    figure.write(MARGIN, base + 80, legend, class_="note", fill=GREY)
    return figure.text()


def _caption(architecture: Architecture, cost: Cost, image_size: tuple[int, int]) -> str:
    width, height = image_size
    counted = f"{amount(cost.parameters)} parameters, {amount(cost.multiply_adds)} multiply-adds"
    return f"{architecture} at {width} × {height}: {counted}"


def _legend(architecture: Architecture) -> str:
    legend = "□ keeps the channels, ■ doubles them"
    if not architecture.rows:
        return legend
    weights = "the main path's weights" if architecture.shares_rows else "weights of their own"
    return f"{legend}; rows above with {weights}, ⊕ where they are added"


def _placed(architecture: Architecture, cost: Cost) -> list[_Stage]:
    """Give every stage its column."""
    placements, counted = stage_placements(architecture), cost.stages[1:]
    largest = max(math.sqrt(cost.stages[0].width * cost.stages[0].height), 1.0)
    fewest = placements[0].blocks[0].out_channels
    left, stages = MARGIN + _stem_width(architecture, cost) + BETWEEN, []
    for placement, stage in zip(placements, counted, strict=True):
        height = max(LOWEST, HIGHEST * math.sqrt(math.sqrt(stage.width * stage.height) / largest))
        widths = tuple(
            NARROWEST + PER_DOUBLING * max(0.0, math.log2(block.out_channels / fewest)) for block in placement.blocks
        )
        lines = (f"stage {placement.number}", f"{stage.width} × {stage.height}", f"{stage.channels} channels")
        needed = max(sum(widths) + GAP * (len(widths) - 1), LETTER * max(map(len, lines)) - BETWEEN / 2)
        stages.append(_Stage(placement, left, needed, widths, height, lines))
        left += needed + BETWEEN
    return stages


def _axes(stages: Sequence[_Stage]) -> list[float]:
    """Return the height of the axis of the main path, then those of the rows above it."""
    most = max(stage.placement.rows for stage in stages)
    heights = [
        max([stage.height for stage in stages if stage.placement.rows >= max(row, 1)], default=HIGHEST)
        for row in range(most + 1)
    ]
    above = [0.0]
    for row in range(1, most + 1):
        above.append(above[-1] + heights[row - 1] / 2 + LANE + heights[row] / 2)
    top = MARGIN + max(above[-1] + heights[-1] / 2, HIGHEST / 2)
    return [top - distance for distance in above]


def _stem_lines(architecture: Architecture, cost: Cost) -> tuple[str, ...]:
    stem = cost.stages[0]
    return f"stem {architecture.stem}", f"{stem.width} × {stem.height}", f"{stem.channels} channels"


def _stem_width(architecture: Architecture, cost: Cost) -> float:
    return max(NARROWEST * 3, LETTER * max(map(len, _stem_lines(architecture, cost))) - BETWEEN / 2)


def _draw_stem(figure: Drawing, architecture: Architecture, cost: Cost, axis: float, base: float) -> float:
    """Draw what comes before the stages; returns where it ends."""
    middle = MARGIN + _stem_width(architecture, cost) / 2
    left, right, half = middle - NARROWEST * 1.5, middle + NARROWEST * 1.5, HIGHEST / 2
    corners = [(left, axis - half), (right, axis - half * 0.75), (right, axis + half * 0.75), (left, axis + half)]
    points = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in corners) + "Z"
    figure.add("path", d=points, class_="keeps", fill=PAPER, stroke=INK, stroke_width=1)
    _write_lines(figure, middle, base, _stem_lines(architecture, cost))
    return right


def _draw_blocks(figure: Drawing, stage: _Stage, digits: str, axis: float, *, shared: bool) -> None:
    left = stage.first
    dashes = {"stroke_dasharray": "2.5 2"} if shared else {}
    for digit, width in zip(digits, stage.widths, strict=True):
        kind, fill = ("doubles", INK) if digit == "2" else ("keeps", PAPER)
        if shared and digit == "2":
            kind, fill = "doubles shared", GREY
        figure.rectangle(
            left,
            axis - stage.height / 2,
            width,
            stage.height,
            class_=kind,
            fill=fill,
            stroke=INK,
            stroke_width=1,
            rx=1,
            **dashes,
        )
        left += width + GAP


def _draw_links(figure: Drawing, stem: float, before: _Stage | None, stage: _Stage, axes: Sequence[float]) -> None:
    """Draw where each row of a stage continues from: the stem, which ends at ``stem``, or a row of the stage before."""
    for row, source in enumerate((0, *stage.placement.sources)):
        begin = stem if before is None else before.last
        points = [(begin, axes[source]), (stage.first, axes[row])]
        if source != row:
            turn = stage.first - 14
            points = [(begin, axes[source]), (turn, axes[source]), (turn, axes[row]), (stage.first, axes[row])]
        figure.line(points, class_="link", stroke=INK, stroke_width=1)
        _draw_head(figure, stage.first, axes[row])


def _draw_fusions(figure: Drawing, stage: _Stage, axes: Sequence[float]) -> None:
    """Draw what each row adds to the input of the next row down."""
    for row in range(1, stage.placement.rows + 1):
        lane = axes[row] + stage.height / 2 + LANE / 2
        end, begin = stage.last + 6, stage.first - 7
        way = [(stage.last, axes[row]), (end, axes[row]), (end, lane), (begin, lane), (begin, axes[row - 1] - 3.5)]
        figure.line(way, class_="fusion", stroke=INK, stroke_width=1, stroke_dasharray="3 2")
        figure.add("circle", cx=begin, cy=axes[row - 1], r=3.5, class_="keeps", fill=PAPER, stroke=INK, stroke_width=1)
        figure.line(
            [(begin - 3.5, axes[row - 1]), (begin + 3.5, axes[row - 1])], class_="link", stroke=INK, stroke_width=1
        )
        figure.line(
            [(begin, axes[row - 1] - 3.5), (begin, axes[row - 1] + 3.5)], class_="link", stroke=INK, stroke_width=1
        )


def _draw_head(figure: Drawing, x: float, y: float) -> None:
    figure.add("path", d=f"M{x:.2f} {y:.2f}l-5 -2.5v5z", class_="head", fill=INK)


def _write_lines(figure: Drawing, middle: float, base: float, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines):
        colour, kind = (INK, "name") if number == 0 else (GREY, "note")
        figure.write(middle, base + 18 + 13 * number, line, class_=kind, fill=colour, text_anchor="middle")
