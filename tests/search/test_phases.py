"""Strategies that follow one another, and reignition: a whole search, by made-up scores."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from reported import shown
from whole_search import FULL, NULL, searched

from spnas_core.errors import ConfigError, PluginError
from spnas_core.morphisms import identity
from spnas_core.relaxation import Decisions, Logits, best_codes
from spnas_core.tasks import Fidelity, Pretraining
from spnas_search.archive import Proposal
from spnas_search.driver import Verdict, outcome
from spnas_search.driver.verdict_rounds import milestones
from spnas_search.reports import candidate_json, verdict_tables
from spnas_search.reports.verdicts import verdict_rows
from spnas_search.run import read_archive
from spnas_search.strategies import (
    CheckedStrategy,
    Parallel,
    Phases,
    Reignition,
    ReignitionSettings,
    phase_names,
    strategy_plugin,
)
from spnas_search.strategies.phases import Phase
from spnas_search.testing import NullTask


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that passes through everything."""
    with searched(tmp_path_factory.mktemp("whole")) as run:
        yield run


def test_the_serial_phase_is_followed_by_the_parallel_one(whole):
    children = whole.archive.of_kind("child")
    numbers = [child.strategy for child in children]
    assert numbers == sorted(numbers)
    assert numbers.count(2) == 5
    assert 3 <= numbers.count(0) <= 14
    for child in children:
        assert bool(child.architecture.rows) == (child.strategy == 2)
        assert {step.morphism for step in child.rewrite.steps} <= (
            {"add-row"} if child.strategy else {"swap", "expand", "add-stage"}
        )
        assert child.epochs == (3 if child.strategy else 4)


def test_a_stuck_search_is_reignited_and_its_next_children_descend_from_that(whole):
    archive = whole.archive
    reignitions = archive.of_kind("reignition")
    assert len(reignitions) == 2
    for reignition in reignitions:
        assert reignition.pretraining == Pretraining(5)
        assert reignition.architecture == archive[reignition.parent].architecture
        assert [step.morphism for step in reignition.rewrite.steps] == ["reignite"]
        assert reignition.source == reignition.parent
        assert reignition.age == archive[reignition.parent].age + reignition.epochs  # pretraining does not count
        before = [child for child in archive.of_kind("child") if child.id < reignition.id]
        assert len(before) >= 3
        after = [child for child in archive.of_kind("child") if child.id > reignition.id][:2]
        assert [child.parent for child in after] == [reignition.id] * 2
    assert archive.pretraining_epochs == 10
    assert archive.epochs == sum(one.epochs for one in archive if one.phase not in {"verdict", "training"})


def test_pretraining_is_asked_of_the_reignition_and_its_finals_alone(whole):
    archive = whole.archive
    for one in archive:
        of_reignition = archive[one.subject].kind == "reignition"
        assert (one.pretraining is not None) == (of_reignition and one.kind in {"reignition", "final", "replicate"})


def test_the_verdict_compares_what_was_found_step_by_step(whole):
    found = outcome(whole.archive, whole.settings.run)
    assert isinstance(found, Verdict)
    sides = milestones(whole.archive, found.winner)
    kinds = sorted((side.strategy, side.kind) for side in sides)
    assert kinds == [(0, "child"), (0, "reignition"), (0, "start"), (2, "child")]
    (column,) = found.columns
    assert [side.candidate.id for side in column.between] == [side.id for side in sides[1:-1]]
    assert len({len(scores) for scores in (column.start, column.winner, *(one.scores for one in column.between))}) == 1
    finals = [one for one in whole.archive.of_kind("final") if whole.archive[one.parent].kind == "warm"]
    assert len({one.age for one in finals}) == 1  # all at one age
    assert len(finals) == 2 * len(sides)
    text = shown(*verdict_tables(found, "score", phase_names(FULL)))
    places = [text.index(f"│ {name}") for name in ("start", "serial", "reignited", "parallel")]
    assert places == sorted(places)
    assert text.count("(winner)") == 1


def test_a_strategy_that_the_settings_do_not_name_is_told_by_its_number(whole):
    found = outcome(whole.archive, whole.settings.run)
    (table,) = verdict_rows(found, "score", ("serial", "reignite"))
    assert [name.partition(" (")[0] for name, *_ in table.rows] == ["start", "serial", "reignited", "strategy 2"]
    astray = replace(found.winner, kind="child", strategy=-3)
    (table,) = verdict_rows(replace(found, winner=astray), "score", ("serial", "reignite"))
    assert table.rows[1][0] == "strategy -3 (winner)"


def test_strategies_are_counted_from_0_and_no_further_than_there_are(whole):
    parent = whole.archive.best(1)[0]
    again = Proposal("reignition", parent.id, identity(parent.architecture), Fidelity(2), pretraining=Pretraining(3))

    def checked(strategy, number):
        strategy.propose = lambda archive, rng: [replace(again, strategy=number)]
        return CheckedStrategy("serial", strategy, whole.space).propose(whole.archive, np.random.default_rng(0))

    single, several = SimpleNamespace(), SimpleNamespace(room=lambda archive, number: 1)
    phases = Phases([Phase("serial", single, None)] * 3, SimpleNamespace())
    for strategy, last in ((single, 0), (phases, 2), (several, 7)):
        assert checked(strategy, last)[0].strategy == last
        with pytest.raises(PluginError, match=r"is of strategy -1: .* are counted from 0"):
            checked(strategy, -1)
    with pytest.raises(PluginError, match=r"is of strategy 1: .* counted from 0, and there is 1$"):
        checked(single, 1)
    with pytest.raises(PluginError, match=r"is of strategy 3: .* counted from 0, and there are 3$"):
        checked(phases, 3)


def test_a_reopened_run_decides_the_same(whole):
    with read_archive(whole.folder) as again:
        assert [*again] == [*whole.archive]
        assert again.strategy == whole.archive.strategy == 2
        assert again.recent_children == whole.archive.recent_children
        assert {child.strategy for child in again.recent_children} == {2}


def test_a_search_without_reignitions_ends_its_first_phase_when_it_is_stuck(tmp_path):
    table = FULL | {"serial": {"n_stuck": 3, "reignition": {"most": 0}}}
    task = {"name": "null", "differences": 0.0, "noise": 0.02}
    with searched(tmp_path, strategy=table, task=task) as run:
        numbers = [child.strategy for child in run.archive.of_kind("child")]
        assert not run.archive.of_kind("reignition")
        assert numbers.count(0) < 14
        assert numbers.count(1) == 5


def test_a_first_phase_that_was_never_stuck_is_reignited_once_before_rows_are_added(tmp_path):
    table = FULL | {"serial": {"n_stuck": 99, "reignition": {"most": 1, "pretrain_epochs": 5}}, "serial_candidates": 6}
    with searched(tmp_path, strategy=table) as run:
        archive = run.archive
        (reignition,) = archive.of_kind("reignition")
        serial, parallel = archive.children_of(0), archive.children_of(2)
        assert (len(serial), len(parallel)) == (6, 5)
        assert serial[-1].id < reignition.id < parallel[0].id
        assert (reignition.strategy, reignition.epochs, reignition.pretraining) == (1, 4, Pretraining(5))
        assert archive[reignition.parent].strategy == 0
        found = outcome(archive, run.settings.run)
        assert any(side.candidate.kind == "reignition" for side in found.columns[0].between)


@pytest.mark.parametrize("inherit", ["parent", "warm-start"])
@pytest.mark.parametrize("n_after", [3, 5])
def test_the_first_rows_are_added_to_what_was_reignited(tmp_path, n_after, inherit):
    """A round has two, so that the first heirs have results before the last ones are proposed."""
    reignition = {"most": 1, "pretrain_epochs": 1, "n_after": n_after}
    table = FULL | {"serial": {"n_stuck": 99, "reignition": reignition}, "serial_candidates": 6}
    with searched(tmp_path, strategy=table, inherit=inherit) as run:
        (reignition,) = run.archive.of_kind("reignition")
        parents = [child.parent for child in run.archive.children_of(2)]
        assert len(parents) == 5
        assert parents[:n_after] == [reignition.id] * n_after


def test_a_reignition_just_before_the_first_phase_ends_has_its_children_among_the_rows(tmp_path):
    """Stuck after three children, reignited, and over one child later: of the nine heirs eight are rows."""
    flat = {"name": "null", "differences": 0.0, "noise": 0.02}
    serial = {"n_stuck": 3, "round": 1, "reignition": {"most": 1, "pretrain_epochs": 1, "n_after": 9}}
    table = FULL | {"serial": serial, "serial_candidates": 4, "parallel": {"n_stuck": 99}, "parallel_candidates": 9}
    with searched(tmp_path, strategy=table, task=flat) as run:
        (reignition,) = run.archive.of_kind("reignition")
        assert [child.id > reignition.id for child in run.archive.children_of(0)] == [False] * 3 + [True]
        assert run.archive.children_of(0)[-1].parent == reignition.id
        assert [child.parent for child in run.archive.children_of(2)][:8] == [reignition.id] * 8


def test_rows_are_added_to_others_where_none_fits_beside_what_was_reignited(tmp_path):
    table = FULL | {"serial": {"n_stuck": 99, "reignition": {"most": 1, "n_after": 4}}, "serial_candidates": 6}
    with searched(tmp_path, strategy=table) as run:
        (reignition,) = run.archive.of_kind("reignition")
        strategy, archive = run.strategy.wrapped.phases[-1].strategy, run.archive
        space = replace(run.space, max_blocks=len(reignition.architecture.digits) - 1)
        narrow = Parallel(strategy.settings, space, Reignition(ReignitionSettings(n_after=99), 4, of_earlier=True))
        proposed = narrow.propose(archive, np.random.default_rng(0))
        assert all(one.parent != reignition.id for one in proposed)
        assert reignition.id in narrow.may_use(archive)


def test_any_strategies_may_follow_one_another(tmp_path):
    phases = [
        {"name": "random", "candidates": 3, "round": 3, "epochs": 2},
        {"name": "hill-climb", "candidates": 4, "round": 2, "epochs": 2},
        {"name": "parallel", "epochs": 2},
    ]
    budget = {"candidates": 10}
    with searched(tmp_path, strategy={"name": "phases", "phases": phases}, budget=budget) as run:
        numbers = [child.strategy for child in run.archive.of_kind("child")]
        assert numbers == [0] * 3 + [1] * 4 + [2] * 3
    assert phase_names({"name": "phases", "phases": phases}) == ("random", "hill-climb", "parallel")


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"strategy": {"name": "phases", "phases": []}}, ConfigError, "phases"),
        ({"strategy": {"name": "phases", "phases": [{"epochs": 2}]}}, ConfigError, "strategy.phases.0.name is None"),
        ({"strategy": {"name": "phases", "phases": [{"name": "seriel"}]}}, PluginError, "did you mean 'serial'"),
        (
            {"strategy": {"name": "phases", "phases": [{"name": "serial"}, {"name": "serial", "pools": 3}]}},
            ConfigError,
            "strategy.phases.1.pools",
        ),
        (
            {"strategy": {"name": "phases", "phases": [{"name": "serial", "candidates": 0}]}},
            ConfigError,
            "strategy.phases.0.candidates is 0",
        ),
        (
            {"strategy": {"name": "phases", "phases": [{"name": "serial", "candidates": True}]}},
            ConfigError,
            "strategy.phases.0.candidates is True: it must be a whole number",
        ),
        (
            {"strategy": {"name": "phases", "phases": [{"name": "random", "candidates": 2}, {"name": "full"}]}},
            ConfigError,
            "^strategy.phases.1.name is 'full', which consists of phases itself: list its phases$",
        ),
        (
            {"strategy": {"name": "phases", "phases": [{"name": "phases", "phases": [{"name": "random"}]}]}},
            ConfigError,
            "^strategy.phases.0.name is 'phases', which consists of phases itself: list its phases$",
        ),
        (
            {"strategy": {"name": "phases", "phases": [{"name": "random", "candidates": 2}, {"name": "gradient"}]}},
            ConfigError,
            "the strategy 'phases' reads what the start has learnt of its parts, and inherit is 'parent'",
        ),
        (
            {"strategy": {"name": "phases", "phases": [{"name": "gradient"}, {"name": "gradient", "cost": 0.1}]}},
            ConfigError,
            "strategy.phases.1 has another relaxation than strategy.phases.0",
        ),
        ({"inherit": "none"}, ConfigError, "lets no child begin with the weights of a reignition"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_begins(tmp_path, values, error, message):
    with pytest.raises(error, match=message):
        searched(tmp_path, **values)
    assert not (tmp_path / "run" / "archive.db").exists()


@pytest.mark.parametrize("place", [0, 1])
def test_a_gradient_phase_proposes_what_the_start_has_learnt_of_its_parts(tmp_path, place):
    phases = [{"name": "random", "candidates": 2, "epochs": 0}]
    phases.insert(place, {"name": "gradient", "candidates": 2, "relaxation": "gumbel"})
    values = {"inherit": "supernet", "start": "b@8_111-211-211-21", "budget": {"candidates": 9}, "final": {"seeds": 0}}
    with searched(tmp_path, strategy={"name": "phases", "phases": phases}, **values) as run:
        assert run.sharing.relaxation.kind == "gumbel"
        archive = run.archive
        assert [child.strategy for child in archive.of_kind("child")] == [0, 0, 1, 1]
        alone = strategy_plugin("gradient").build(run.strategy.wrapped.phases[place].strategy.settings, run.space)
        likely = best_codes(
            Decisions(archive.start.architecture, alone.relaxation.mixes),
            Logits.from_plain(archive.start.receipt["relaxation"]),
            run.space,
            len(archive),
        )
        proposed = [child.architecture for child in archive.children_of(place)]
        others = {archive.start.architecture, *(child.architecture for child in archive.children_of(1 - place))}
        assert proposed == [code for code in likely if place == 0 or code not in others][:2]


def test_a_task_that_cannot_pretrain_is_refused_before_anything_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(NullTask, "pretrains", False)
    with pytest.raises(ConfigError, match=r"the task 'null' cannot pretrain a backbone"):
        searched(tmp_path)
    assert not (tmp_path / "run" / "archive.db").exists()


@pytest.mark.parametrize("inherit", ["parent", "warm-start"])
def test_children_of_a_reignition_inherit_from_it_in_every_way(tmp_path, inherit):
    with searched(tmp_path, inherit=inherit) as run:
        archive = run.archive
        last = archive.of_kind("reignition")[-1]
        assert last.source == last.parent  # its own weights, not those of the warm start
        after = [child for child in archive.of_kind("child") if child.parent == last.id]
        assert after
        assert {child.source for child in after} == {last.id}
        below = [child for child in archive.of_kind("child") if child.parent in {one.id for one in after}]
        expected = last.id if inherit == "warm-start" else None
        assert all(child.source == (expected or child.parent) for child in below)


def test_a_strategy_proposes_reignitions_with_pretraining_only(whole):
    archive = whole.archive
    best = archive.best(1)[0]
    again = Proposal("reignition", best.id, identity(best.architecture), Fidelity(2), pretraining=Pretraining(3))

    class Wrong:
        settings = strategy_plugin("serial").settings()

        def __init__(self, proposal):
            self.proposal = proposal

        def propose(self, archive, rng):
            return [self.proposal]

    def checked(proposal):
        strategy = CheckedStrategy("serial", Wrong(proposal), whole.space)
        return strategy.propose(archive, np.random.default_rng(0))

    assert checked(again) == [again]
    with pytest.raises(PluginError, match="a reignition has one, and nothing else"):
        checked(replace(again, pretraining=None))
    with pytest.raises(PluginError, match="is of kind 'control'"):
        checked(replace(again, kind="control", pretraining=None))


def test_a_failed_reignition_counts_and_an_earlier_one_is_no_parent_again(tmp_path, whole):
    """The second one fails: its children come from the pool, and not from the first one once more."""
    second = whole.archive.of_kind("reignition")[1].id
    with searched(tmp_path, task=NULL | {"behaviour": {second: "diverge"}}) as run:
        archive = run.archive
        assert [one.status for one in archive.of_kind("reignition")] == ["done", "failed"]
        after = [child for child in archive.of_kind("child") if child.id > second and child.strategy == 0]
        first = archive.of_kind("reignition")[0].id
        assert after
        assert {child.parent for child in after} != {first}


def test_another_strategy_does_not_go_on_from_an_earlier_ones_reignition(tmp_path):
    """Its second round is its own matter, however few children it has by then."""
    first = {"name": "serial", "n_stuck": 3, "candidates": 8, "reignition": {"most": 1, "n_after": 2}}
    second = {"name": "serial", "n_stuck": 30, "candidates": 6, "pool": 1, "reignition": {"n_after": 9}}
    plain = {"max_mutations": 1, "explore": 0.0}
    strategy = {"name": "phases", "phases": [first | plain, second | plain]}
    with searched(tmp_path, strategy=strategy) as run:
        archive = run.archive
        (reignition,) = archive.of_kind("reignition")
        later = archive.children_of(1)
        assert len(later) == 6
        assert any(child.parent != reignition.id for child in later)


def test_what_a_candidate_was_pretrained_on_is_listed(whole):
    listed = [candidate_json(whole.archive, one) for one in whole.archive]
    assert {one["strategy"] for one in listed} == {0, 2}
    shown = [one["pretraining"] for one in listed if one["kind"] == "reignition"]
    assert shown == [{"epochs": 5, "fresh": False}] * 2
