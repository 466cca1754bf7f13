"""Random search draws from the whole space, whatever was found."""

import numpy as np
import pytest
from filled import START, WIDE, Filled, proposals

from spnas_core import Architecture, SearchSpace, build_backbone, materialise
from spnas_core.errors import ConfigError
from spnas_core.tasks import Fidelity
from spnas_search.settings import resolve
from spnas_search.strategies import RandomSearch, RandomSettings

DEMO = Architecture.parse("b@8_11-21-21-21")


def searched(folder, scores, ranking="gains"):
    """The same four children of the start in every archive, with scores of one's own."""
    folder.mkdir()
    filled = Filled(folder, ranking=ranking)
    filled.control(0, 0.5)
    filled.round(scores)
    return filled.archive


def test_proposals_do_not_depend_on_scores(tmp_path):
    strategy = RandomSearch(RandomSettings(round=3), WIDE)
    scores = {"a": [0.1, 0.2, 0.3, 0.4], "b": [0.9, None, 0.1, 0.2], "c": [None] * 4, "d": [float("nan")] * 4}
    archives = [searched(tmp_path / name, found) for name, found in scores.items()]
    archives.append(searched(tmp_path / "other rule", scores["a"], "lead"))
    proposed = [proposals(strategy, archive, range(10)) for archive in archives]
    assert len(proposed[0]) == 30
    assert all(found == proposed[0] for found in proposed)
    for archive in archives:
        archive.close()


def test_every_child_is_a_rewrite_of_the_start(tmp_path):
    strategy = RandomSearch(RandomSettings(round=4, epochs=7), WIDE)
    with searched(tmp_path / "run", [0.9, 0.8, 0.7, 0.6]) as archive:
        assert strategy.may_use(archive) == {0}
        assert strategy.stuck(archive) is None
        for proposal in proposals(strategy, archive, range(10)):
            assert (proposal.parent, proposal.rewrite.parent) == (0, START)
            assert proposal.fidelity == Fidelity(7)


def test_children_come_from_all_over_the_space_at_once(tmp_path):
    space = SearchSpace(min_blocks=6, max_blocks=25, min_stages=3, max_stages=6)
    filled = Filled(tmp_path)
    with filled.archive as archive:
        drawn = [p.rewrite.child for p in proposals(RandomSearch(RandomSettings(round=1), space), archive, range(200))]
    blocks = [len(code.digits) for code in drawn]
    assert {len(code.stages) for code in drawn} == {3, 4, 5, 6}
    assert min(blocks) <= 7
    assert max(blocks) >= 24
    assert 14 < np.mean(blocks) < 18


def test_steps_lead_from_the_start_to_the_child_and_its_weights_are_the_starts(tmp_path):
    filled = Filled(tmp_path)
    weights = build_backbone(START).state_dict()
    with filled.archive as archive:
        for proposal in proposals(RandomSearch(RandomSettings(round=1), WIDE), archive, range(8)):
            rewrite = proposal.rewrite
            assert {step.morphism for step in rewrite.steps} <= {"swap", "expand", "add-stage"}
            assert sum(step.morphism != "swap" for step in rewrite.steps) == rewrite.block_map.count(None)
            child, receipt = materialise(rewrite, weights)
            assert child.architecture == rewrite.child
            assert receipt.copied > 0


def test_any_code_inside_the_bounds_is_drawn_where_the_space_says_so(tmp_path):
    space = SearchSpace(min_blocks=3, max_blocks=6, min_stages=2, max_stages=4, sampling="any")
    filled = Filled(tmp_path)
    weights = build_backbone(START).state_dict()
    with filled.archive as archive:
        proposed = proposals(RandomSearch(RandomSettings(round=1), space), archive, range(200))
    codes = [one.rewrite.child for one in proposed]
    assert {len(code.digits) for code in codes} == {3, 4, 5, 6}
    assert {len(code.stages) for code in codes} == {2, 3, 4}
    assert {code.digits.count("2") for code in codes} == {0, 1, 2, 3, 4}
    assert all(code in space for code in codes)
    for proposal in proposed[:8]:
        assert {step.morphism for step in proposal.rewrite.steps} == {"align"}
        child, receipt = materialise(proposal.rewrite, weights)
        assert child.architecture == proposal.rewrite.child
        assert receipt.copied + receipt.expanded + receipt.new == sum(p.numel() for p in child.parameters())


def test_a_small_space_is_searched_to_its_end(tmp_path):
    space = SearchSpace(min_blocks=8, max_blocks=9, min_stages=4, max_stages=4)
    strategy = RandomSearch(RandomSettings(round=40, max_redraws=4000), space)
    filled = Filled(tmp_path, DEMO)
    with filled.archive as archive:
        for seed in range(20):
            proposed = strategy.propose(archive, np.random.default_rng(seed))
            if not proposed:
                break
            filled.enter(proposed, [0.1] * len(proposed))
        assert archive.children == 258  # and the start
        assert all(candidate.architecture in space for candidate in archive)


def test_a_start_without_a_score_is_a_start_all_the_same(tmp_path):
    filled = Filled(tmp_path, score=float("nan"))
    with filled.archive as archive:
        assert len(RandomSearch(RandomSettings(round=2), WIDE).propose(archive, np.random.default_rng(0))) == 2


def test_it_has_no_mutations_to_set():
    with pytest.raises(ConfigError, match=r"no setting 'strategy\.max_mutations'"):
        resolve({"strategy": {"name": "random", "max_mutations": 2}, "task": {"name": "null"}})
