"""What strategies propose, from archives with made-up scores."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from driving import run_settings
from filled import TIGHT, WIDE, Filled, populated, proposals
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from spnas_core import Architecture, SearchSpace
from spnas_core.errors import ConfigError, PluginError
from spnas_core.morphisms import AddStage, Expand, Swap
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive
from spnas_search.strategies import (
    CheckedStrategy,
    HillClimb,
    Parallel,
    Phases,
    RandomSearch,
    RegularizedEvolution,
    Serial,
    strategy_plugin,
)
from spnas_search.strategies.phases import Phase

SEEDS = st.integers(0, 2**31)
BUILT = {
    "serial": Serial,
    "parallel": Parallel,
    "random": RandomSearch,
    "regularized-evolution": RegularizedEvolution,
    "hill-climb": HillClimb,
}
STRATEGIES = {
    **{name: (name, {}) for name in BUILT},
    "evolution after its first children": ("regularized-evolution", {"initial": 0}),
    "evolution between the two": ("regularized-evolution", {"initial": 7}),  # the population below has six children
}
MUTATING = [
    name
    for name in STRATEGIES
    if name not in {"random", "parallel", "regularized-evolution", "evolution between the two"}
]


def made(case, space, **values):
    """A strategy, by its case."""
    name, settings = STRATEGIES[case]
    plugin = strategy_plugin(name)
    return plugin.build(plugin.settings(**settings, **values), space)


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    with populated(tmp_path_factory.mktemp("population")) as archive:
        yield archive


# The contract of every strategy


@settings(max_examples=60)
@given(SEEDS, st.integers(1, 6), st.sampled_from(sorted(STRATEGIES)), st.sampled_from([WIDE, TIGHT]))
def test_proposals_are_new_different_and_inside_the_space(population, seed, size, name, space):
    strategy = made(name, space, round=size, epochs=3)
    before = list(population)
    proposed = strategy.propose(population, np.random.default_rng(seed))
    assert 1 <= len(proposed) <= size
    assert len({proposal.rewrite.child for proposal in proposed}) == len(proposed)
    usable = strategy.may_use(population)
    for proposal in proposed:
        assert proposal.kind == "child"
        assert proposal.epochs == 3
        assert proposal.split == "validation"
        assert proposal.parent in usable
        assert proposal.rewrite.parent == population[proposal.parent].architecture
        assert proposal.rewrite.child in space
        assert not population.contains(proposal.rewrite.child)
        assert proposal.rewrite.steps
    assert list(population) == before
    assert strategy.propose(population, np.random.default_rng(seed)) == proposed
    again = made(name, space, round=size, epochs=3)  # a strategy keeps no state
    assert again.propose(population, np.random.default_rng(seed)) == proposed


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_proposed_passes_the_check_of_the_search(population, name):
    checked = CheckedStrategy("serial", made(name, WIDE, round=5), WIDE)
    assert (checked.round_size, checked.control_epochs) == (5, 4)
    assert checked.control_fidelity == Fidelity(4)
    assert len(checked.propose(population, np.random.default_rng(0))) == 5
    assert checked.may_use(population)
    assert checked.stuck(population) is None


@pytest.mark.parametrize(
    ("said", "message"), [(3, "has fidelity = 3"), (Fidelity(2, rung=1), "it must be a Fidelity of rung 0")]
)
def test_a_strategy_says_at_which_fidelity_the_noise_is_measured(said, message):
    coarse = Fidelity(3, image_size=(64, 64), share=0.5)
    checked = CheckedStrategy("serial", SimpleNamespace(round=2, fidelity=coarse), WIDE)
    assert (checked.control_fidelity, checked.control_epochs) == (coarse, 3)
    phases = Phases([Phase("mine", checked.wrapped, None)], checked.wrapped)
    assert CheckedStrategy("phases", phases, WIDE).control_fidelity == coarse
    with pytest.raises(PluginError, match=message):
        _ = CheckedStrategy("serial", SimpleNamespace(round=2, fidelity=said), WIDE).control_fidelity


@pytest.mark.parametrize("said", ["no", 1, None, ()])
@pytest.mark.parametrize("claim", ["trains_winner", "reignites", "by_rounds"])
def test_what_a_strategy_claims_of_itself_is_true_or_false(claim, said):
    checked = CheckedStrategy("serial", SimpleNamespace(**{claim: said}), WIDE)
    with pytest.raises(PluginError, match=rf"^strategy 'serial' of .* has {claim} = .*: it must be True or False$"):
        getattr(checked, claim)
    for true in (True, False, np.bool_(True)):
        setattr(checked.wrapped, claim, true)
        assert getattr(checked, claim) is bool(true)
    delattr(checked.wrapped, claim)
    assert getattr(checked, claim) is False


@pytest.mark.parametrize("claim", ["reignites", "by_rounds"])
def test_one_of_several_strategies_is_named_that_claims_something_else(claim):
    phases = Phases([Phase("serial", SimpleNamespace(**{claim: "no"}), None)], SimpleNamespace())
    with pytest.raises(PluginError, match=rf"^strategy 'serial' of .* has {claim} = 'no': it must be True or False$"):
        getattr(phases, claim)


def test_whether_places_matter_is_asked_of_the_strategy_whose_turn_it_is():
    phases = Phases(
        [Phase("mine", SimpleNamespace(by_place=True), None), Phase("other", SimpleNamespace(), None)],
        SimpleNamespace(),
    )
    assert [CheckedStrategy("phases", phases, WIDE).by_place(number) for number in (0, 1)] == [True, False]
    assert [CheckedStrategy("mine", phase.strategy, WIDE).by_place(0) for phase in phases.phases] == [True, False]
    for wrapped in (phases, phases.phases[0].strategy):
        phases.phases[0].strategy.by_place = "no"
        with pytest.raises(PluginError, match=r"has by_place = 'no': it must be True or False$"):
            CheckedStrategy("mine", wrapped, WIDE).by_place(0)


@pytest.mark.parametrize("said", [False, True, 0, "", " ", [], ["stuck"]])
def test_a_strategy_says_in_words_that_it_is_stuck_also_among_several(population, said):
    silent = SimpleNamespace(stuck=lambda archive: said)
    phases = Phases([Phase("serial", silent, None)], SimpleNamespace())
    for strategy in (silent, phases):
        with pytest.raises(PluginError, match=r"returned .* from stuck: it must be why it is stuck, or None$"):
            CheckedStrategy("serial", strategy, WIDE).stuck(population)
    silent.stuck = lambda archive: "because\nof it"
    assert CheckedStrategy("serial", phases, WIDE).stuck(population) == "because of it"


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_reopened_archive_gives_the_same_proposals(tmp_path, name):
    filled = Filled(tmp_path)
    strategy = made(name, WIDE, round=3)
    for number in range(5):
        with Archive.read(filled.archive.path) as reopened:
            rng = [np.random.default_rng(number) for _ in range(2)]
            proposed = strategy.propose(filled.archive, rng[0])
            assert strategy.propose(reopened, rng[1]) == proposed
            assert strategy.may_use(reopened) == strategy.may_use(filled.archive)
        filled.enter(proposed, [0.4, None, 0.5 + 0.1 * number])
        for parent in {proposal.parent for proposal in proposed}:
            filled.control(parent, 0.45, epochs=4)
    filled.archive.close()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_search_with_it_comes_to_its_end(drive, name):
    checked = CheckedStrategy("serial", made(name, WIDE, round=3, epochs=1), WIDE)
    driven = drive(run_settings(candidates=11, seeds=0), checked, lambda one: {"score": 0.5 + one.id % 7 / 100})
    driven.to_the_end()
    assert driven.archive.children == 11


@pytest.mark.parametrize("name", STRATEGIES)
def test_another_rng_gives_other_proposals(population, name):
    strategy = made(name, WIDE, round=3)
    assert len({tuple(strategy.propose(population, np.random.default_rng(seed))) for seed in range(20)}) > 15


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_full_round_comes_where_there_is_room(population, name):
    size = 6 if name == "hill-climb" else 12  # one network has few neighbours
    assert len(made(name, WIDE, round=size).propose(population, np.random.default_rng(0))) == size


@pytest.mark.parametrize("name", STRATEGIES)
def test_an_exhausted_space_gives_fewer_proposals_then_none(tmp_path, name):
    start = Architecture.parse("b@8_1-1")
    space = SearchSpace(min_blocks=1, max_blocks=3, min_stages=2, max_stages=2, max_rows=1)
    rows = {"b@8_1-1_1-0", "b@8_1-1_0-1", "b@8_1-1_1-1"}
    strategy = made(name, space, round=5, max_redraws=200)
    filled = Filled(tmp_path, start)
    with filled.archive as archive:
        proposed = strategy.propose(archive, np.random.default_rng(0))
        found = {str(proposal.rewrite.child) for proposal in proposed}
        assert found == (rows if name == "parallel" else {"b@8_11-1", "b@8_1-11"})
        filled.control(0, 0.5)
        for proposal in proposed:
            filled.add("child", 0, proposal.rewrite, 0.6)
        assert strategy.propose(archive, np.random.default_rng(1)) == []


@pytest.mark.parametrize("name", STRATEGIES)
def test_without_a_start_to_inherit_from_nothing_is_proposed(tmp_path, name):
    filled = Filled(tmp_path, score=None)
    with filled.archive as archive:
        strategy = made(name, WIDE)
        assert strategy.propose(archive, np.random.default_rng(0)) == []
        assert strategy.may_use(archive) == frozenset()
        assert strategy.stuck(archive) is None


@pytest.mark.parametrize("name", MUTATING)
def test_every_number_and_kind_of_mutation_is_reached(population, name):
    strategy = made(name, WIDE, round=1, max_mutations=3, odds={"swap": 1, "expand": 1, "add-stage": 1})
    counts, kinds = Counter(), Counter()
    for proposal in proposals(strategy, population, range(200)):
        counts[len(proposal.rewrite.steps)] += 1
        kinds.update(step.morphism for step in proposal.rewrite.steps)
    assert counts.keys() == {1, 2, 3}
    assert kinds.keys() == {"swap", "expand", "add-stage"}
    # The number is uniform; redrawing what is known costs a little of the single steps.
    assert all(30 <= count <= 100 for count in counts.values())


@pytest.mark.parametrize("name", BUILT)
def test_the_registered_strategy_is_built_from_its_settings(name):
    plugin = strategy_plugin(name)
    built = plugin.build(plugin.settings(round=7), WIDE)
    assert isinstance(built, BUILT[name])
    assert (built.settings.name, built.settings.round, built.space) == (name, 7, WIDE)
    assert built.settings.epochs == 4  # so that comparisons train all children alike
    assert 0 < len(plugin.summary) < 80


# Mutations


@pytest.mark.parametrize("morphism", [Swap().name, Expand().name, AddStage().name])
@pytest.mark.parametrize("name", MUTATING)
def test_what_the_odds_do_not_name_is_never_drawn(population, name, morphism):
    strategy = made(name, WIDE, round=1, odds={morphism: 0.2, "expand": float(morphism == "expand")})
    steps = {s.morphism for p in proposals(strategy, population, range(25)) for s in p.rewrite.steps}
    assert steps == {morphism}


@pytest.mark.parametrize("max_step", [1, 2])
@pytest.mark.parametrize("name", MUTATING)
def test_borders_move_by_at_most_max_step(population, name, max_step):
    strategy = made(name, WIDE, round=1, max_mutations=1, max_step=max_step, odds={"swap": 1.0})
    details = {s.detail for p in proposals(strategy, population, range(60)) for s in p.rewrite.steps}
    assert {int(detail.rpartition(" ")[2]) for detail in details} == set(range(1, max_step + 1))


@pytest.mark.parametrize("name", MUTATING)
def test_unknown_morphisms_are_refused_with_a_suggestion(name):
    with pytest.raises(PluginError, match="'swp' is not among the registered morphisms; did you mean 'swap'"):
        made(name, WIDE, odds={"swp": 1.0})
    with pytest.raises(ConfigError, match="odds are all zero"):
        made(name, WIDE, odds={"swap": 0.0})
    with pytest.raises(ValidationError):
        made(name, WIDE, odds={})
