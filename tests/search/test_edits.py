"""Rewriting step by step: drawing and its inverse."""

from collections import Counter

import numpy as np
import pytest
from filled import Filled
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spnas_core import Architecture, SearchSpace
from spnas_core.morphisms import AddRow, Step, Swap, align, identity, morphisms
from spnas_core.testing import serial_architectures
from spnas_search.archive import Archive
from spnas_search.strategies.learned.edits import EditGrammar
from spnas_search.strategies.mutation import draw_rewrite, weighted_morphisms

SPACE = SearchSpace(min_blocks=1, max_blocks=40, min_stages=1, max_stages=9)
ALL = weighted_morphisms({"swap": 1.0, "expand": 0.4, "add-stage": 0.1, "widen": 0.3, "narrow": 0.2, "add-row": 0.2}, 3)
START = Architecture.parse("b@8_11-211-21")


def grammar(odds=ALL, most=4, least=1):
    return EditGrammar.of(odds, most, SPACE, least)


@given(serial_architectures(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_replay_inverts_drawing(architecture, seed):
    rewrite = draw_rewrite(architecture, ALL, 4, np.random.default_rng(seed))
    choices = grammar().replay(architecture, rewrite.steps)
    assert choices is not None
    assert len(choices) == len(rewrite.steps)
    again = identity(architecture)
    for choice in choices:
        assert choice.architecture == again.child
        again = again.then(choice.options.rewrites[choice.index])
    assert again == rewrite


@given(serial_architectures())
@settings(max_examples=30, deadline=None)
def test_no_two_options_read_alike(architecture):
    options = grammar().options(architecture)
    assert len({one.steps for one in options.rewrites}) == len(options)
    assert np.exp(options.log_odds).sum() == pytest.approx(1)
    assert options.features.shape == (len(options), grammar().feature_count)


def test_replay_inverts_its_own_drawing_through_the_archive(tmp_path):
    """Steps come back from the file as they were drawn."""
    filled = Filled(tmp_path, START)
    rng = np.random.default_rng(3)
    drawn = []
    with filled.archive as archive:
        for _ in range(20):
            indices = []

            def choose(options, indices=indices):
                indices.append(int(rng.integers(len(options))))
                return indices[-1]

            rewrite = grammar().draw(START, choose, rng)
            if not archive.contains(rewrite.child):
                drawn.append(indices)
                filled.add("child", 0, rewrite, 0.5)
        path = archive.path
    with Archive.read(path) as reopened:
        read = [grammar().replay(START, one.rewrite.steps) for one in reopened.of_kind("child")]
    assert [[choice.index for choice in choices] for choices in read] == drawn
    assert max(map(len, drawn)) > 1


def test_what_cannot_have_been_drawn_is_not_replayed():
    swaps = EditGrammar.of({Swap(max_step=1): 1.0, AddRow(): 0.0}, 2, SPACE)
    assert swaps.replay(START, Swap(max_step=1).options(START)[0].steps) is not None
    assert swaps.replay(START, Swap(max_step=2).move(START, 0, 2).steps) is None
    assert swaps.replay(START, AddRow().options(START)[0].steps) is None
    assert swaps.replay(START, align(START, Architecture.parse("b@8_1-2")).steps) is None
    assert swaps.replay(START, (Step("swap", "border 1|2 moved left by 1", 0.0),)) is None, "another promise"


def test_an_untrained_choice_has_the_odds_of_draw_rewrite():
    """Options by their odds, against as many draws of ``draw_rewrite``."""
    options = grammar(most=1).options(START)
    rng = np.random.default_rng(0)
    counts = Counter(draw_rewrite(START, ALL, 1, rng).steps for _ in range(20_000))
    observed = np.array([counts[one.steps] for one in options.rewrites])
    assert observed.sum() == 20_000
    assert stats.chisquare(observed, np.exp(options.log_odds) * 20_000).pvalue > 1e-3


def test_so_many_steps_are_drawn_and_less_is_no_rewrite():
    """As ``draw_rewrite`` does it: their number is uniform, and a walk that ends earlier is the identity."""
    rng = np.random.default_rng(0)

    def choose(options):
        return int(rng.integers(len(options)))

    lengths = Counter(len(grammar(most=5, least=3).draw(START, choose, rng).steps) for _ in range(300))
    assert set(lengths) == {3, 4, 5}
    assert stats.chisquare(list(lengths.values())).pvalue > 1e-3
    two = Architecture.parse("b@8_12")  # narrows no further, and halves once
    once = weighted_morphisms({"halve": 1.0}, 1)
    assert len(grammar(once, most=2, least=1).draw(two, choose, rng).steps) == 1
    assert grammar(once, most=2, least=2).draw(two, choose, rng) == identity(two)


def test_features_say_morphism_stage_position_and_depth():
    options = grammar().options(START)
    names = [one.steps[0].morphism for one in options.rewrites]
    width = 3 + SPACE.max_stages
    order = [morphism.name for morphism, _ in grammar().odds]
    for name, rewrite, features in zip(names, options.rewrites, options.features, strict=True):
        rows = features.reshape(-1, width)
        assert np.flatnonzero(rows.any(1)).tolist() == [order.index(name)]
        own = rows[order.index(name)]
        assert own[0] == 1
        assert own[1 : 1 + SPACE.max_stages].sum() == 1
        assert own[-1] == len(rewrite.child.digits) / SPACE.max_blocks
    told = {
        (one.steps[0].detail): row.reshape(-1, width)[order.index(one.steps[0].morphism)]
        for one, row in zip(options.rewrites, options.features, strict=True)
    }
    inserted = told["block 3 of stage 2 inserted"]
    assert np.flatnonzero(inserted[1:-2]).tolist() == [1]
    assert inserted[-2] == 4 / 8
    appended = told["stage 4 appended"]
    assert (np.flatnonzero(appended[1:-2]).tolist(), appended[-2]) == ([3], 7 / 8)
    row = told["row 1 beside stage 3"]
    assert (np.flatnonzero(row[1:-2]).tolist(), row[-2]) == ([2], 0)
    moved = told["border 1|2 moved left by 1"]
    assert (np.flatnonzero(moved[1:-2]).tolist(), moved[-2]) == ([1], 1 / 7)


def test_every_registered_morphism_can_be_replayed():
    for name, morphism in morphisms().items():
        for rewrite in morphism.options(START):
            odds = weighted_morphisms({name: 1.0}, 2)
            choices = EditGrammar.of(odds, 1, SPACE).replay(START, rewrite.steps)
            assert choices is not None, (name, rewrite.steps)
