"""Screens that look at codes: the entropy of untrained features, and the partial order."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from filled import START, WIDE, Filled

from spnas_core import Architecture, SearchSpace, backbone_cost
from spnas_core.morphisms import Expand, align
from spnas_core.tasks import Fidelity
from spnas_core.testing import random_architecture
from spnas_search.archive import Proposal
from spnas_search.screens import screen_plugin
from spnas_search.screens.entropy import EntropyScreen, EntropyScreenSettings, entropy_score, stage_entropies
from spnas_search.screens.partial_order import PartialOrderScreen, PartialOrderScreenSettings, precedes

ENTROPIES = {
    "b_11-21-21-21": (484.6169, (19.3663, 33.8114, 49.6428, 66.8604)),
    "r_111-2111-211111-211": (1174.2983, (31.4375, 68.0633, 129.0670, 162.8613)),
    "x32x4d_111-2111-211111-211": (1053.6907, (28.3183, 60.7852, 115.5506, 146.2258)),
    "b@8_11-21-21-21": (347.3737, (13.1280, 23.4142, 35.0867, 48.1455)),
    "b@8_111-2-1212-11": (421.4566, (17.4047, 22.7210, 46.0660, 58.7782)),
}
"""Computed by the analytic form of MAE-DET on the layers of each code."""


def parse(text):
    return Architecture.parse(text)


def proposal(child, parent=START):
    return Proposal("child", 0, align(parent, child), Fidelity(1))


# Entropy


@pytest.mark.parametrize("code", ENTROPIES)
def test_entropies_are_those_of_the_published_form(code):
    score, stages = ENTROPIES[code]
    assert entropy_score(parse(code)) == pytest.approx(score, abs=1e-4)
    assert stage_entropies(parse(code)) == pytest.approx(stages, abs=1e-4)


def test_an_entropy_by_hand():
    """Stem 7×7 on 3 channels, then 3×3 and 3×3 on 4; the projection of a later stage does not count."""
    first = math.log(3 * 49) / 2 + 2 * math.log(4 * 9) / 2
    second = first + math.log(4 * 9) / 2 + math.log(8 * 9) / 2
    assert stage_entropies(parse("b@4_1-2")) == pytest.approx([first + math.log(4), second + math.log(8)])
    assert entropy_score(parse("b@4_1-2")) == pytest.approx(6 * (second + math.log(8)))


def test_deeper_children_are_preferred(tmp_path):
    filled = Filled(tmp_path)
    children = [option.child for option in Expand().options(START)]
    deep = Expand().options(children[0])[0].child
    with filled.archive as archive:
        screen = EntropyScreen(EntropyScreenSettings(), WIDE)
        found = screen.preferences(archive, [proposal(START), proposal(children[0]), proposal(deep)])
    assert found[0] < found[1] < found[2]


# The partial order


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("b_1-2-2", "b_11-2-21", True),
        ("b_1-2-2", "b_1-2-2", True),
        ("b_11-2-2", "b_1-2-2", False),
        ("b_1-2-2", "b_1-21-1", False),
        ("b_1-21-1", "b_1-2-2", False),
        ("b_1-11-1", "b_1-21-1", True),
        ("b_12-1", "b_21-1", True),
        ("b_21-1", "b_12-1", False),
        ("b_1-2", "b_1-2-1", False),
        ("b@32_1-2", "b_1-2", True),
        ("b_1-2", "r_1-2", False),
        ("b_1-2", "b+deep_1-2", False),
        ("b_1-2", "b_1-2_0-1", False),
    ],
)
def test_what_precedes_what(one, other, expected):
    assert precedes(parse(one), parse(other)) is expected


def test_the_order_implies_the_order_of_all_costs_and_is_transitive():
    rng = np.random.default_rng(0)
    codes = [random_architecture(rng) for _ in range(300)]
    codes = [code for code in codes if not code.rows]
    codes += [option.child for code in codes[:60] for option in Expand().options(code)[:2]]
    ordered = [(one, other) for one in codes for other in codes if one != other and precedes(one, other)]
    assert len(ordered) > 100
    for one, other in ordered:
        small, large = (backbone_cost(code, 64, 64).as_dict() for code in (one, other))
        assert all(small[name] <= large[name] for name in small), (str(one), str(other))
    above = {}
    for one, other in ordered:
        above.setdefault(one, set()).add(other)
    assert all(above.get(other, set()) <= {*above[one], one} for one, other in ordered)


def ruled_out(archive, *codes, **settings):
    screen = PartialOrderScreen(PartialOrderScreenSettings(**settings), SearchSpace(image_size=(64, 64)))
    return [value == 0 for value in screen.preferences(archive, [proposal(parse(code)) for code in codes])]


@pytest.fixture
def archive(tmp_path):
    """A deep network is no better than a cheap one; the scores of equal networks differ by 0.01."""
    filled = Filled(tmp_path, parse("b@8_11-21-21"), score=0.5, ranking="prediction")
    for score in (0.49, 0.51, 0.5, 0.5):
        filled.control(0, score)
    for code, score in (("b@8_111111-2111-211", 0.5), ("b@8_11-2-2111", 0.9)):
        filled.add("child", 0, align(parse("b@8_11-21-21"), parse(code)), score)
    with filled.archive as archive:
        yield archive


def test_what_lies_below_a_worse_and_above_a_cheaper_network_is_left_out(archive):
    below, beside = "b@8_11111-2111-211", "b@8_11-2-21111"
    assert precedes(parse(below), archive[5].architecture)
    assert not precedes(parse(beside), archive[5].architecture)
    assert (
        backbone_cost(archive[6].architecture, 64, 64).multiply_adds < backbone_cost(parse(below), 64, 64).multiply_adds
    )
    assert ruled_out(archive, below, beside) == [True, False]


def test_what_is_cheaper_than_everything_better_stays(archive):
    assert ruled_out(archive, "b@8_1-2-2") == [False]


def test_within_the_error_nothing_is_ruled_out(archive):
    assert ruled_out(archive, "b@8_11111-2111-211", margin=1000.0) == [False]


def test_the_best_is_never_ruled_out_where_the_order_holds(tmp_path):
    """Quality grows with every block: of all children those that are deepest for their cost stay."""
    filled = Filled(tmp_path, parse("b@8_1-2-2"), score=0.1, ranking="prediction")
    rng = np.random.default_rng(1)
    quality = lambda code: 0.05 * sum(len(stage) ** 0.5 * (place + 1) for place, stage in enumerate(code.stages))  # noqa: E731
    for _ in range(4):
        filled.control(0, 0.1 + 0.001 * rng.normal())
    archive = filled.archive
    for _ in range(30):
        parents = [archive.start, *archive.of_kind("child")]
        parent = parents[int(rng.integers(len(parents)))]
        options = [one for one in Expand().options(parent.architecture) if not archive.contains(one.child)]
        if options:
            option = options[int(rng.integers(len(options)))]
            filled.add("child", parent.id, option, quality(option.child))
    front = archive.pareto()
    for candidate in front:
        others = SimpleNamespace(
            best=lambda count, gone=candidate: tuple(one for one in archive.best(count) if one is not gone),
            lead=archive.lead,
            difference_error=archive.difference_error,
            __len__=lambda: len(archive),
        )
        screen = PartialOrderScreen(PartialOrderScreenSettings(), SearchSpace(image_size=(64, 64)))
        trained = others.best(len(archive))
        costs = {one.id: screen._cost(one.architecture) for one in trained}
        assert not screen._ruled_out(others, candidate.architecture, trained, costs)
    archive.close()


def test_both_are_registered_and_off_by_default():
    from spnas_search.settings import resolve

    assert {"entropy", "partial-order"} == {name for name in ("entropy", "partial-order") if screen_plugin(name)}
    assert resolve({}).screen is None
