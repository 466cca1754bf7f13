"""Figures of networks: parsed as XML, they have what the architecture has, where it belongs."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings

from spnas_core import Architecture, backbone_cost
from spnas_core.drawing import Drawing, draw_network
from spnas_core.drawing.network import LETTER
from spnas_core.testing import architectures

SVG = "{http://www.w3.org/2000/svg}"
PARALLEL = "b@8_11-21-12-1121_0-2-2-0"


def parsed(code, size=(128, 96)):
    return ET.fromstring(draw_network(Architecture.parse(code), size))


def blocks(figure):
    return [{**one.attrib, "x": float(one.get("x")), "y": float(one.get("y"))} for one in figure.iter(f"{SVG}rect")]


def texts(figure):
    return ["".join(one.itertext()) for one in figure.iter(f"{SVG}text")]


@settings(max_examples=25)
@given(architectures())
def test_every_block_of_every_row_is_drawn_inside_and_none_overlaps(architecture):
    figure = parsed(str(architecture))
    _, _, width, height = map(float, figure.get("viewBox").split())
    rows = architecture.rows or (0,) * len(architecture.stages)
    drawn = blocks(figure)
    assert len(drawn) == sum(len(stage) * (1 + row) for stage, row in zip(architecture.stages, rows, strict=True))
    filled = sum(one["class"].startswith("doubles") for one in drawn)
    assert filled == sum(stage.count("2") * (1 + row) for stage, row in zip(architecture.stages, rows, strict=True))
    boxes = [(one["x"], one["y"], one["x"] + float(one["width"]), one["y"] + float(one["height"])) for one in drawn]
    assert all(0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height for x1, y1, x2, y2 in boxes)
    for place, (x1, y1, x2, y2) in enumerate(boxes):
        for a1, b1, a2, b2 in boxes[place + 1 :]:
            assert x2 <= a1 or a2 <= x1 or y2 <= b1 or b2 <= y1


def ends(text):
    """Where a line of text begins and ends, as wide as the drawing takes its letters."""
    x, width = float(text.get("x")), LETTER * len(text.text)
    left = x - width / 2 if text.get("text-anchor") == "middle" else x
    return left, left + width


@pytest.mark.parametrize("size", [(32, 32), (128, 128), (1333, 800)])
@pytest.mark.parametrize(
    "code", ["b_11", "b_1_3s", "r_1_2s", "b_11-21_1-1", "b@8_11-21-1211-21_1-0-0-1", PARALLEL + "s", "r_111-2111-21-2"]
)
def test_every_line_of_text_is_inside(code, size):
    figure = parsed(code, size)
    _, _, width, height = map(float, figure.get("viewBox").split())
    for text in figure.iter(f"{SVG}text"):
        left, right = ends(text)
        assert 0 <= left < right <= width, text.text
        assert 0 < float(text.get("y")) < height


def test_stages_say_their_resolution_and_channels_as_they_are_counted():
    cost = backbone_cost(Architecture.parse(PARALLEL), 128, 96)
    written = texts(parsed(PARALLEL))
    for stage in cost.stages[1:]:
        assert f"{stage.width} × {stage.height}" in written
        assert f"{stage.channels} channels" in written
    assert any(text.startswith(f"{PARALLEL} at 128 × 96: ") for text in written)


def test_blocks_are_the_lower_the_less_they_resolve_and_the_wider_the_more_channels_they_give():
    drawn = blocks(parsed("r_111-2111-211111-211", (224, 224)))
    heights, widths = ([float(one[name]) for one in drawn] for name in ("height", "width"))
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 4
    assert widths == sorted(widths)
    assert len(set(widths)) == 4


def test_rows_stand_above_and_each_has_a_fusion():
    figure = parsed(PARALLEL)
    main = max(one["y"] + float(one["height"]) / 2 for one in blocks(figure))
    above = {round(one["y"] + float(one["height"]) / 2) for one in blocks(figure)} - {round(main)}
    assert len(above) == 2
    assert all(height < main for height in above)
    assert len([one for one in figure.iter() if one.get("class") == "fusion"]) == 4
    assert len(list(figure.iter(f"{SVG}circle"))) == 4
    assert not list(parsed("b_11-21").iter(f"{SVG}circle"))


def test_rows_that_share_weights_are_dashed_and_said():
    own, shared = parsed(PARALLEL), parsed(PARALLEL + "s")
    dashed = [sum("stroke-dasharray" in one for one in blocks(figure)) for figure in (own, shared)]
    assert dashed == [0, 2 * 2 + 2 * 2]
    assert "weights of their own" in texts(own)[-1]
    assert "the main path's weights" in texts(shared)[-1]


def test_it_is_black_white_and_grey():
    for one in parsed(PARALLEL + "s").iter():
        for name in ("fill", "stroke"):
            colour = one.get(name, "none")
            assert colour == "none" or len({colour[1:3], colour[3:5], colour[5:7]}) == 1


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", 'a" onload="b', "a\x00\x1bb", "a & b"])
def test_text_stays_text(text):
    drawing = Drawing(10, 10, text)
    drawing.write(1, 1, text, class_=text)
    root = ET.fromstring(drawing.text())
    assert [one.tag for one in root] == [f"{SVG}text"]
    assert set(root[0].attrib) == {"x", "y", "class"}
    if text.isprintable():
        assert (root[0].text, root.get("aria-label"), root[0].get("class")) == (text, text, text)
