"""A progressive search: one block more each time, the most promising expansions of the best."""

from collections import Counter
from itertools import combinations, count, product

import numpy as np
import pytest
from filled import START, WIDE, Filled

import spnas_search
from spnas_core import Architecture, SearchSpace
from spnas_core.errors import ConfigError, PluginError
from spnas_core.morphisms import AddStage, Expand, Swap, align
from spnas_search.reports import summary
from spnas_search.settings import resolve
from spnas_search.strategies import CheckedStrategy, Progressive, ProgressiveSettings, strategy_plugin
from spnas_search.testing import NullTask

TASK = NullTask(landscape="additive", landscape_seed=4)
SMALL = SearchSpace(min_blocks=1, max_blocks=10, min_stages=1, max_stages=3, image_size=(64, 64))


def made(space=WIDE, **settings):
    return CheckedStrategy("progressive", Progressive(ProgressiveSettings(**settings), space), space)


def searched(folder, strategy, score=lambda code: TASK.score(code, 4), most=40):
    """Rounds until nothing is proposed; all scores are of one age."""
    filled = Filled(folder, START, score(str(START)), ranking="lead")
    rounds = []
    for _ in range(most):
        proposals = strategy.propose(filled.archive, np.random.default_rng(0))
        assert (strategy.stuck(filled.archive) is None) == bool(proposals)
        if not proposals:
            break
        rounds.append(proposals)
        filled.enter(proposals, [score(str(one.rewrite.child)) for one in proposals])
    return filled.archive, rounds


def whole_space(blocks):
    """Codes of up to so many blocks that expansions and swaps reach from the start: its doublings in order."""
    for number in range(len(START.digits), blocks + 1):
        inserted = number - len(START.digits)
        for shares in product(range(inserted + 1), repeat=3):
            if sum(shares) == inserted:
                digits = "11" + "1" * shares[0] + "21" + "1" * shares[1] + "21" + "1" * shares[2]
                for borders in combinations(range(1, number), 2):
                    yield Architecture.from_borders(START, digits, borders)


def test_the_search_ends_at_the_optimum_of_an_additive_landscape(tmp_path):
    archive, _ = searched(tmp_path, made(SMALL, beam=8, round=8))
    best = archive.best(1)[0].architecture
    optimum = max(whole_space(10), key=lambda code: TASK.score(str(code), 4))
    assert len(optimum.digits) == 10
    assert TASK.score(str(best), 4) == pytest.approx(TASK.score(str(optimum), 4))
    assert archive.children == 4 * 8 < len(list(whole_space(10))) / 10
    last = [child for child in archive.of_kind("child") if len(child.architecture.digits) == 10]
    scores = [archive.score(child) for child in last]
    assert scores == sorted(scores, reverse=True), "by now the predictor ranks without an error"
    reached = sorted((TASK.score(str(code), 4) for code in whole_space(10)), reverse=True)
    assert scores[0] == pytest.approx(reached[0])


def test_complexity_grows_by_one_and_no_code_comes_twice(tmp_path):
    archive, rounds = searched(tmp_path, made(SMALL, beam=6, round=6))
    assert [{len(one.rewrite.child.digits) for one in proposals} for proposals in rounds] == [{7}, {8}, {9}, {10}]
    assert [len(proposals) for proposals in rounds] == [6] * 4
    codes = [child.architecture for child in archive.of_kind("child")]
    assert len({*codes, START}) == len(codes) + 1
    for one in archive.of_kind("child"):
        assert len(one.architecture.digits) == len(archive[one.parent].architecture.digits) + 1


def test_parents_are_the_best_of_the_complexity_before(tmp_path):
    archive, rounds = searched(tmp_path, made(beam=3, round=3), most=3)
    first = [child for child in archive.of_kind("child") if len(child.architecture.digits) == 7]
    assert len(first) == 3
    assert {one.parent for one in rounds[1]} <= {child.id for child in first}
    worse = made(beam=1, round=9).wrapped
    assert worse.beam(archive, 7) == [max(first, key=archive.score)]


def test_a_complexity_may_take_several_rounds_and_has_no_more_than_the_beam(tmp_path):
    archive, rounds = searched(tmp_path, made(SMALL, beam=5, round=2))
    sizes = Counter(len(child.architecture.digits) for child in archive.of_kind("child"))
    assert sizes == {7: 5, 8: 5, 9: 5, 10: 5}
    assert [len(proposals) for proposals in rounds] == [2, 2, 1] * 4


def test_failed_children_count_and_have_no_expansions(tmp_path):
    def score(code):
        return None if code == "b@8_111-21-21" else 0.5 + 0.01 * code.count("1")

    archive, _ = searched(tmp_path, made(SMALL, beam=2, round=2), score)
    failed = [child for child in archive.of_kind("child") if child.status == "failed"]
    assert [str(child.architecture) for child in failed] == ["b@8_111-21-21"]
    assert not [child for child in archive.of_kind("child") if child.parent == failed[0].id]
    assert Counter(len(child.architecture.digits) for child in archive.of_kind("child"))[7] == 2


def test_where_all_of_a_complexity_have_failed_the_search_is_stuck(tmp_path):
    """All that the beam before can be expanded to, and not only so many as the beam has."""
    strategy = made(beam=2, round=2, then=())
    archive, _ = searched(tmp_path, strategy, lambda code: 0.5 if code == str(START) else None)
    expansions = {option.child for option in Expand().options(START)}
    assert {child.architecture for child in archive.of_kind("child")} == expansions
    assert len(expansions) > 2
    assert strategy.stuck(archive) == "no code of 7 blocks has a score"


def test_where_all_of_a_beam_have_failed_others_of_that_complexity_come_first(tmp_path):
    """Wherever that happens: at seven blocks, and at eight."""
    failing, entered = {0, 1, 4, 5}, count()

    def score(code):
        return None if code != str(START) and next(entered) in failing else 0.5

    strategy = made(beam=2, round=2)
    archive, _ = searched(tmp_path, strategy, score, most=5)
    children = archive.of_kind("child")
    assert [len(child.architecture.digits) for child in children] == [7, 7, 7, 7, 8, 8, 8, 8, 9, 9]
    assert [child.status == "failed" for child in children].count(True) == 4
    assert {child.parent for child in children[6:8]} <= {child.id for child in children[2:4]}
    assert strategy.stuck(archive) is None


def test_a_large_code_of_another_strategy_that_failed_is_no_complexity(tmp_path):
    strategy = made(beam=2, round=2)
    filled = Filled(tmp_path, START)
    with filled.archive as archive:
        filled.control(0, 0.5)
        deep = Architecture.parse("b@8_111111-21-21")
        filled.add("child", 0, align(START, deep), None)
        proposed = strategy.propose(archive, np.random.default_rng(0))
        assert {len(one.rewrite.child.digits) for one in proposed} == {7}
        assert strategy.stuck(archive) is None


def test_the_search_is_stuck_when_no_complexity_is_left(tmp_path):
    strategy = made(SMALL, beam=2, round=2)
    archive, _ = searched(tmp_path, strategy)
    assert strategy.stuck(archive) == "no code of 11 blocks is new and inside the search space"


def test_without_a_preference_codes_come_in_breadth_first_order(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "spnas_search.strategies.progressive.predicted_leads", lambda archive, codes, size: np.zeros(len(codes))
    )
    _, rounds = searched(tmp_path, made(beam=4, round=4, then=()), lambda code: 0.5, most=2)
    codes = [[str(one.rewrite.child).removeprefix("b@8_") for one in proposals] for proposals in rounds]
    assert codes[0] == ["111-21-21", "11-211-21", "11-21-211"]
    assert codes[1] == ["1111-21-21", "111-211-21", "111-21-211", "11-2111-21"]


def test_a_swap_may_follow_and_insertions_alone_come_first(tmp_path):
    _, rounds = searched(tmp_path, made(beam=40, round=40), lambda code: 0.5, most=1)
    steps = [[step.morphism for step in one.rewrite.steps] for one in rounds[0]]
    assert steps[:3] == [["expand"]] * 3
    assert len(steps) > 10
    assert all(one == ["expand", "swap"] for one in steps[3:])


def test_doublings_can_be_inserted_and_moved_and_stages_added(tmp_path):
    strategy = made(beam=200, round=200, grow=("expand", "add-stage"), then=("widen", "narrow"))
    _, rounds = searched(tmp_path, strategy, lambda code: 0.5, most=1)
    codes = [str(one.rewrite.child).removeprefix("b@8_") for one in rounds[0]]
    assert {"11-21-21-1", "112-21-21", "11-121-21", "11-2112-1"} & {*codes} >= {"11-21-21-1", "112-21-21", "11-121-21"}
    assert {code.count("2") for code in codes} == {2, 3}
    assert {len(code.replace("-", "")) for code in codes} == {7}


def test_what_would_add_two_blocks_is_no_expansion(tmp_path):
    strategy = made(beam=200, round=200)
    strategy.wrapped._grow = (Expand(), Swap())  # as a plugin's that adds a block here and moves a border there
    strategy.wrapped._then = (Expand(), AddStage(), Swap())
    _, rounds = searched(tmp_path, strategy, lambda code: 0.5, most=1)
    assert {len(one.rewrite.child.digits) for one in rounds[0]} == {7}
    assert {one.rewrite.steps[0].morphism for one in rounds[0]} == {"expand"}


def test_the_same_archive_gives_the_same_children_whatever_is_drawn(tmp_path):
    strategy = made()
    archive, _ = searched(tmp_path, strategy, most=2)
    once, again = (strategy.propose(archive, np.random.default_rng(seed)) for seed in (1, 2))
    assert once == again
    assert made().propose(archive, np.random.default_rng(3)) == once


def test_what_a_beam_may_yet_hold_is_kept(tmp_path):
    strategy = made(beam=3, round=2)
    archive, _ = searched(tmp_path, strategy, most=3)  # 2 and 1 of 7 blocks, 2 of 8
    sevens = {child.id for child in archive.of_kind("child") if len(child.architecture.digits) >= 7}
    assert strategy.may_use(archive) == sevens
    assert len(sevens) == 5


def test_a_search_says_how_well_its_predictor_ranked(tmp_path):
    settings = {"task": {"name": "null", "landscape": "additive"}, "executor": {"name": "inline"}, "noise_seeds": 2}
    settings |= {"final": {"seeds": 0, "finalists": 0}, "strategy": {"name": "progressive", "beam": 4, "round": 4}}
    with spnas_search.search(**settings, budget=12, out=tmp_path / "run") as run:
        text = " ".join(part for part in summary(run) if isinstance(part, str))
    assert "What was said of 12 children before their training" in text


def test_settings_are_checked():
    assert resolve({"strategy": {"name": "progressive", "beam": 3}}).strategy == ProgressiveSettings(beam=3)
    assert strategy_plugin("progressive").build is Progressive
    assert made(beam=5).meaningful_from == 10
    assert made().by_rounds
    with pytest.raises(PluginError, match="'expnd' is not among the registered morphisms"):
        made(grow=("expnd",))


GROWING, KEEPING = {"expand", "add-stage"}, {"swap", "widen", "narrow", "halve", "add-row"}


@pytest.mark.parametrize("name", sorted({*GROWING, *KEEPING, "remove"}))
def test_morphisms_that_could_never_count_are_refused(name):
    if name in GROWING:
        assert made(grow=(name,))
    else:
        with pytest.raises(ConfigError, match=f"^strategy.grow names '{name}', which never adds just one block: "):
            made(grow=("expand", name))
    if name in KEEPING:
        assert made(then=(name,))
    else:
        with pytest.raises(ConfigError, match=f"^strategy.then names '{name}', which always changes the number of b"):
            made(then=("swap", name))


def test_a_morphism_that_does_not_apply_to_the_example_is_taken():
    """Such as one of necks: what it does to other codes is not known."""
    assert made(then=("swap", "rewire"))
