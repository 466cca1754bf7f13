"""docs/concepts.md draws networks as they are, and promises what morphisms promise."""

import re

import pytest
from documents import ROOT, read

from spnas_core import Architecture
from spnas_core.drawing import draw_network
from spnas_core.morphisms import morphism, morphisms

PAGE = read("docs/concepts.md")
START = Architecture.parse("b@8_11-21-21-21")
DRAWN = re.findall(r"^(start|[a-z-]+) {2,}([□■ ]+?) {2,}(b@8\S+)", PAGE, re.MULTILINE)


def test_all_morphisms_are_drawn():
    assert {name for name, _, _ in DRAWN} == {"start", *morphisms()} - {"rewire"}  # whose blocks are the parent's


@pytest.mark.parametrize(("name", "drawing", "code"), DRAWN)
def test_a_drawing_is_of_the_code_beside_it_which_the_morphism_can_make(name, drawing, code):
    drawn = drawing.replace("□", "1").replace("■", "2").split()
    assert tuple(drawn) == Architecture.parse(code).stages
    if name != "start":
        assert code in {str(rewrite.child) for rewrite in morphism(name).options(START)}


def test_promises_are_those_of_the_morphisms():
    for name, words in (("expand", "1e-5"), ("add-row", "1e-5"), ("widen", "1e-4"), ("add-stage", "not change at all")):
        (line,) = [line for line in PAGE.splitlines() if line.startswith("| ") and name in line.split("|")[1]]
        promise = morphism(name).options(START)[0].promise
        assert words in line
        assert promise == (0.0 if name == "add-stage" else float(words))
    for name in ("swap", "narrow", "halve", "remove"):
        assert all(one.promise is None for one in morphism(name).options(START))


@pytest.mark.parametrize(("code", "file"), re.findall(r"^\$ spnas show (\S+) --svg (\S+)$", PAGE, re.MULTILINE))
def test_a_figure_is_what_the_command_draws(code, file):
    figure = (ROOT / "docs" / "images" / file).read_text(encoding="utf-8")
    assert figure == draw_network(Architecture.parse(code), (224, 224))
    assert f"(images/{file})" in PAGE
