"""Pages are complete in themselves, escape whatever comes in, and forbid by their policy what they do not contain."""

import base64
import hashlib
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from pages import cells, parse_page, points

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.wording import printable
from spnas_core.pages import (
    Dots,
    Line,
    Note,
    Report,
    Row,
    Section,
    Segments,
    bar,
    command,
    details,
    draw_chart,
    facts,
    interval,
    paragraph,
    render_page,
    table,
)
from spnas_core.pages.scales import marks, scale_of

EVIL = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<!-- & -->",
    "</style></title></section>",
    "{{ 7 * 7 }} {% raw %}",
    "\u202egnp.exe \x1b[2J\x00",
    "{0} {a.__class__} %s",
]


def report(text="x", **values):
    body = Markup("").join(
        [
            *(paragraph(text, kind="note"), command(text, text), details(text, paragraph(text)), facts([(text, text)])),
            table((Column(text), *numbers(text)), [Row((text, text), text, is_marked=True)]),
            draw_chart(text, [Dots([(1.0, 2.0, text)]), Note((1.0, 2.0), text)], x=text, y=text, caption=text),
        ]
    )
    return Report(
        Path(text),
        text,
        text,
        text,
        (Section("one", text, body),),
        ((text, text),),
        {text: [text]},
        {text: text},
        **values,
    )


def page(text="x", **values):
    return parse_page(render_page(report(text), written="now", **values))


@pytest.mark.parametrize("text", EVIL)
def test_whatever_comes_in_is_text(text):
    plain, evil = page(), page(text)
    assert [one.tag for one in evil.all()] == [one.tag for one in plain.all()]
    assert [set(one.attributes) for one in evil.all()] == [set(one.attributes) for one in plain.all()]
    shown = printable(text)
    assert evil.one("title").text == evil.one("h1").text == shown
    assert cells(evil.one("table")) == [[shown, shown]]
    assert points(evil) == {text: [shown]}
    assert evil.one("button", **{"data-words": shown}).text == shown


@given(st.text(max_size=40))
def test_any_text_is_what_it_was(text):
    assert parse_page(paragraph(text)).one("p").text == printable(text).replace("\r", "\n")


def test_nothing_is_asked_for_from_anywhere():
    text = render_page(report(), written="now", reload_seconds=5)
    asking = {"src", "srcset", "href", "xlink:href", "action", "data", "poster", "background", "style"}
    found = [
        (name, value) for one in parse_page(text).all() for name, value in one.attributes.items() if name in asking
    ]
    assert found == [("href", "#one")]
    assert not re.search(r"url\(|@import|import\(|fetch\(|XMLHttp|WebSocket|\beval\b|innerHTML", text)
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not {one.tag for one in parse_page(text).all()} & {"link", "iframe", "object", "embed", "base", "img"}


def test_the_policy_names_the_only_script_and_the_only_styles():
    found = page()
    policy = next(found.all("meta", **{"http-equiv": "Content-Security-Policy"})).attributes["content"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    (script,) = [one for one in found.all("script") if "type" not in one.attributes]
    for kind, element in (("script-src", script), ("style-src", found.one("style"))):
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"


def test_only_a_watched_page_loads_itself_anew():
    assert "data-reload" not in page().one("html").attributes
    watched = page(reload_seconds=2.5)
    assert watched.one("html").attributes["data-reload"] == "2.5"
    assert watched.one("noscript").one("meta").attributes == {"http-equiv": "refresh", "content": "2.5"}


def test_a_row_has_a_cell_per_column():
    with pytest.raises(ValueError, match="zip"):
        table(numbers("a", "b"), [Row(("1",))])


@pytest.mark.parametrize("anchor", ["", "Aa", "1a", 'a"b', "a b"])
def test_anchors_are_plain(anchor):
    with pytest.raises(ValueError, match="small letters"):
        Section(anchor, "title", Markup())


def test_marks_by_hand():
    assert marks(0, 1, 5) == pytest.approx((0, 0.2, 0.4, 0.6, 0.8, 1))
    assert marks(0.225, 0.282, 6) == pytest.approx((0.23, 0.24, 0.25, 0.26, 0.27, 0.28))
    assert marks(-3, 12, 3) == pytest.approx((0, 5, 10))
    assert marks(4.9, 7.1, 8, whole=True) == (5, 6, 7)
    assert marks(0.9, 1.1, 8, whole=True) == (1,)
    assert marks(-0.5, 20.5, 9, whole=True) == (0, 5, 10, 15, 20)
    assert marks(0, 200, 8, whole=True) == (0, 25, 50, 75, 100, 125, 150, 175, 200)


@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e9), st.integers(3, 10))
def test_marks_are_inside_even_and_about_as_many_as_wanted(low, size, wanted):
    high = low + size
    found = marks(low, high, wanted)
    assert wanted // 3 <= len(found) <= wanted + 1
    assert all(low - 1e-6 * size <= one <= high + 1e-6 * size for one in found)
    assert all(math.isclose(b - a, found[1] - found[0], rel_tol=1e-6, abs_tol=1e-6) for a, b in pairwise(found))


@given(st.lists(st.floats(-1e12, 1e12), max_size=5))
def test_a_scale_has_room_for_all(numbers_):
    scale = scale_of(numbers_, 100.0, 0.0)
    assert scale.low < scale.high
    assert all(0 < scale(number) < 100 for number in numbers_)


def test_a_chart_has_its_points_in_their_places_and_leaves_out_what_is_undefined():
    dots = Dots([(0.0, 1.0, "a"), (10.0, 3.0, "b"), (5.0, math.nan, "c"), (math.inf, 2.0, "d")])
    segments = Segments([((0.0, 1.0), (10.0, 3.0)), ((0.0, 1.0), (5.0, math.nan))])
    chart = parse_page(draw_chart("it", [segments, Line([(0.0, 1.0), (10.0, 3.0)]), dots], x="across", y="up"))
    first, second = chart.all("circle")
    assert (first.attributes["data-key"], second.attributes["data-key"]) == ("a", "b")
    assert float(first.attributes["cx"]) < float(second.attributes["cx"])
    assert float(first.attributes["cy"]) > float(second.attributes["cy"])
    ends = f"M{first.attributes['cx']} {first.attributes['cy']}L{second.attributes['cx']} {second.attributes['cy']}"
    assert [one.attributes["d"] for one in chart.all("path") if one.attributes["class"] in {"faint", "strong"}] == [
        ends,
        ends,
    ]
    assert [one.text for one in chart.all("text", class_="tick")][:3] == ["1", "1.5", "2"]


@pytest.mark.parametrize("style", ["strong", "plain"])
def test_a_line_of_one_point_is_a_dot_and_steps_are_whole(style):
    chart = parse_page(draw_chart("it", [Line([(2.0, 0.5)], style)], x="step", y="loss"))
    group = chart.one("g", class_=style)
    assert {"cx", "cy"} <= group.one("circle").attributes.keys()
    assert [one.text for one in chart.all("text", class_="tick")][-1] == "2"
    chart = parse_page(draw_chart("it", [Line([(5, 1.0), (6, 0.5)])], x="step", y="loss"))
    across = [one.text for one in chart.all("text", **{"text-anchor": "middle"})]
    assert across == ["5", "6"]


def test_the_cells_that_name_rows_are_headings():
    shown_table = parse_page(table((*numbers("times"), Column("reason")), [Row(("2", "why"))], named_by=1))
    assert [one.text for one in shown_table.all("th", scope="row")] == ["why"]
    assert shown_table.one("td").attributes == {"class": "n"}
    first = parse_page(table((*numbers("id"), Column("code")), [Row(("2", "b@8_1"))])).one("th", scope="row")
    assert (first.text, first.attributes["class"]) == ("2", "n")


def contrast(*colours):
    """WCAG 2.1's contrast ratio of two colours, such as ``#ffffff``."""

    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    darker, lighter = sorted(map(luminance, colours))
    return (lighter + 0.05) / (darker + 0.05)


def test_texts_and_marks_have_the_contrast_that_they_need():
    styles = page().one("style").text
    themes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r"\{[^{}]*--paper:[^}]*\}", styles)
    ]
    light, *darks = themes
    assert darks == [darks[0]] * 2
    assert light["paper"] == "#ffffff"
    for theme in (light, darks[0]):
        for text in ("ink", "soft", "accent"):
            assert min(contrast(theme[text], theme[ground]) for ground in ("paper", "wash")) >= 4.5
        assert contrast(theme["faint"], theme["paper"]) >= 3
        assert min(contrast(theme["dot"], theme[ground]) for ground in ("paper", "wash")) >= 3


def test_notes_stand_beside_the_plot_and_never_on_one_another():
    notes = [Note((1.0, value), str(value)) for value in (0.0, 0.001, 0.002, 1.0)]
    chart = parse_page(draw_chart("it", [Line([(0.0, 0.0), (1.0, 1.0)]), *notes], x="x", y="y"))
    written = {one.text: one.attributes for one in chart.all("text", class_="note")}
    places = sorted(float(one["y"]) for one in written.values())
    assert all(after - before >= 28 for before, after in pairwise(places))
    assert [float(written[text]["y"]) for text in ("1.0", "0.002", "0.001", "0.0")] == places
    ends = [float(one.attributes["d"].rpartition("L")[2].split()[0]) for one in chart.all("path", class_="grid")]
    assert all(float(one["x"]) > max(ends) for one in written.values())
    assert places[-1] < 440 - 50


def test_a_chart_without_points_is_empty():
    assert not list(parse_page(draw_chart("it", [], x="x", y="y")).all("circle"))


def test_pictures_in_cells():
    assert parse_page(bar(0.25)).one("rect").attributes["width"] == "30"
    assert parse_page(bar(7.0)).one("rect").attributes["width"] == "120"
    drawn = parse_page(interval(0.5, 0.25, 0.0, 1.0))
    assert drawn.one("svg").attributes["aria-label"] == "+0.500 ± 0.250"
    assert drawn.one("circle").attributes["cx"] == "110"
    assert drawn.one("path", class_="error").attributes["d"] == "M58 8L162 8"
    assert not list(parse_page(interval(0.5, None, 0.4, 1.0)).all("path"))
