"""What strategies propose, from archives with made-up scores."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from spnas_core import Architecture, SearchSpace, backbone_cost
from spnas_core.errors import PluginError
from spnas_core.morphisms import AddStage, Expand, Swap, identity
from spnas_core.tasks import Evaluation, MetricSpec
from spnas_search.archive import Archive, Proposal
from spnas_search.strategies import (
    RandomSettings,
    RandomWalk,
    Serial,
    SerialSettings,
    parent_odds,
    strategy_plugin,
)

START = Architecture.parse("b@8_11-21-21")
WIDE = SearchSpace(min_blocks=1, max_blocks=40, min_stages=1, max_stages=9)
TIGHT = SearchSpace(min_blocks=5, max_blocks=8, min_stages=3, max_stages=4, image_size=(64, 64), max_parameters=60_000)
SEEDS = st.integers(0, 2**31)
STRATEGIES = {
    "serial": lambda space, **values: Serial(SerialSettings(**values), space),
    "random": lambda space, **values: RandomWalk(RandomSettings(**values), space),
}


class Filled:
    """An archive that is filled by hand; every evaluation costs what the network costs."""

    def __init__(self, folder, start=START, score=0.5):
        self.archive = Archive.create(folder / "archive.db", objective=MetricSpec("score"), run_seed=0)
        self.archive._connection.execute("PRAGMA synchronous = OFF")  # what is tested here is not the disk
        self.add("start", None, identity(start), score)

    def add(self, kind, parent, rewrite, score, epochs=1):
        """Enter a result; a score of None is a failure."""
        (candidate,) = self.archive.commit_round([Proposal(kind, parent, rewrite, epochs)], threads=1)
        cost = backbone_cost(rewrite.child, 64, 64).as_dict()
        if score is None:
            self.archive.fail(candidate.id, "told to")
        else:
            self.archive.finish(candidate.id, Evaluation({"score": score}, cost), None)
        return candidate.id

    def control(self, parent, score, epochs=1):
        return self.add("control", parent, identity(self.archive[parent].architecture), score, epochs)

    def child(self, score, parent=0, epochs=1):
        """The first expansion of the parent that is new."""
        options = Expand().options(self.archive[parent].architecture)
        rewrite = next((option for option in options if not self.archive.contains(option.child)), options[0])
        return self.add("child", parent, rewrite, score, epochs)


@pytest.fixture
def filled(tmp_path):
    made = Filled(tmp_path)
    with made.archive:
        yield made


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    """A start and children of merits 0.5 … 0.9, 0.1, one without merit and one failed."""
    made = Filled(tmp_path_factory.mktemp("population"))
    made.control(0, 0.5)
    for score in (0.6, 0.9, 0.7, 0.1):
        made.child(score)
    made.child(0.95, epochs=2)  # without a control
    made.child(None)
    with made.archive:
        yield made.archive


def proposals(strategy, archive, seeds):
    return [p for seed in seeds for p in strategy.propose(archive, np.random.default_rng(seed))]


# The contract of every strategy


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 6), st.integers(1, 4), st.sampled_from(sorted(STRATEGIES)), st.sampled_from([WIDE, TIGHT]))
def test_proposals_are_new_different_and_inside_the_space(population, seed, size, max_mutations, name, space):
    strategy = STRATEGIES[name](space, round=size, max_mutations=max_mutations, epochs=3)
    before = list(population)
    proposed = strategy.propose(population, np.random.default_rng(seed))
    assert 1 <= len(proposed) <= size
    children = [proposal.rewrite.child for proposal in proposed]
    assert len(set(children)) == len(children)
    usable = strategy.may_use(population)
    for proposal in proposed:
        assert proposal.kind == "child"
        assert proposal.epochs == 3
        assert proposal.split == "validation"
        assert proposal.parent in usable
        assert proposal.rewrite.parent == population[proposal.parent].architecture
        assert proposal.rewrite.child in space
        assert not population.contains(proposal.rewrite.child)
        assert 1 <= len(proposal.rewrite.steps) <= max_mutations
    assert list(population) == before
    assert strategy.propose(population, np.random.default_rng(seed)) == proposed
    # A strategy keeps no state: a second instance decides alike.
    again = STRATEGIES[name](space, round=size, max_mutations=max_mutations, epochs=3)
    assert again.propose(population, np.random.default_rng(seed)) == proposed


@pytest.mark.parametrize("name", STRATEGIES)
def test_another_rng_gives_other_proposals(population, name):
    strategy = STRATEGIES[name](WIDE, round=3)
    assert len({tuple(strategy.propose(population, np.random.default_rng(seed))) for seed in range(20)}) > 15


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_full_round_comes_where_there_is_room(population, name):
    assert len(STRATEGIES[name](WIDE, round=12).propose(population, np.random.default_rng(0))) == 12


@pytest.mark.parametrize("name", STRATEGIES)
def test_an_exhausted_space_gives_fewer_proposals_then_none(tmp_path, name):
    start = Architecture.parse("b@8_1-1")
    space = SearchSpace(min_blocks=1, max_blocks=3, min_stages=2, max_stages=2)
    strategy = STRATEGIES[name](space, round=5, max_redraws=200)
    made = Filled(tmp_path, start)
    with made.archive as archive:
        proposed = strategy.propose(archive, np.random.default_rng(0))
        assert {str(proposal.rewrite.child) for proposal in proposed} == {"b@8_11-1", "b@8_1-11"}
        made.control(0, 0.5)
        for proposal in proposed:
            made.add("child", 0, proposal.rewrite, 0.6)
        assert strategy.propose(archive, np.random.default_rng(1)) == []


@pytest.mark.parametrize("name", STRATEGIES)
def test_without_a_merit_nothing_is_proposed(tmp_path, name):
    made = Filled(tmp_path, score=None)
    with made.archive as archive:
        strategy = STRATEGIES[name](WIDE)
        assert strategy.propose(archive, np.random.default_rng(0)) == []
        assert strategy.may_use(archive) == frozenset()
        assert strategy.stuck(archive) is None


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_number_and_kind_of_mutation_is_reached(population, name):
    strategy = STRATEGIES[name](WIDE, round=1, max_mutations=3)
    counts, kinds = Counter(), Counter()
    for proposal in proposals(strategy, population, range(200)):
        counts[len(proposal.rewrite.steps)] += 1
        kinds.update(step.morphism for step in proposal.rewrite.steps)
    assert counts.keys() == {1, 2, 3}
    assert kinds.keys() == {"swap", "expand", "add-stage"}
    # The number is uniform; redrawing what is known costs a little of the single steps.
    assert all(30 <= count <= 100 for count in counts.values())


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_registered_strategy_is_built_from_its_settings(name):
    plugin = strategy_plugin(name)
    built = plugin.build(plugin.settings(round=7), WIDE)
    assert isinstance(built, {"serial": Serial, "random": RandomWalk}[name])
    assert (built.settings.name, built.settings.round, built.space) == (name, 7, WIDE)


# Parents


def test_parent_odds_equal_the_documented_example():
    assert parent_odds([0.5, 0.4], [20, 10], 1, 0.5) == pytest.approx([0.586, 0.414], abs=5e-4)
    assert parent_odds([0.3, 0.3, 0.1], [5, 5, 5], 1, 1) == pytest.approx([3 / 7, 3 / 7, 1 / 7])
    assert parent_odds([0.7], [3], 1, 1) == pytest.approx([1])


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9),
    st.floats(0, 4),
    st.floats(0, 4),
)
def test_parent_odds_sum_to_one_and_fall_with_merit_and_cost_ranks(members, merit_power, cost_power):
    merits, costs = zip(*members, strict=True)
    odds = parent_odds(merits, costs, merit_power, cost_power)
    assert odds.sum() == pytest.approx(1)
    assert (odds > 0).all()
    for i, j in itertools.permutations(range(len(members)), 2):
        if merits[i] >= merits[j] and costs[i] <= costs[j]:
            assert odds[i] >= odds[j] * (1 - 1e-12)
        if merits[i] > merits[j] and costs[i] <= costs[j] and merit_power > 0.01:
            assert odds[i] > odds[j]
        if merits[i] >= merits[j] and costs[i] < costs[j] and cost_power > 0.01:
            assert odds[i] > odds[j]
    assert parent_odds(merits, costs, 0, 0) == pytest.approx([1 / len(members)] * len(members))


def test_serial_draws_parents_from_the_pool_by_their_odds(population):
    pool = [candidate.id for candidate in population.best(3)]
    strategy = Serial(SerialSettings(round=1, pool=3, max_mutations=3), WIDE)
    assert strategy.may_use(population) == frozenset(pool)
    drawn = Counter(proposal.parent for proposal in proposals(strategy, population, range(600)))
    assert drawn.keys() == set(pool)
    merits = [population.merit(population[number]) for number in pool]
    costs = [population[number].cost["multiply_adds"] for number in pool]
    expected = parent_odds(merits, costs, 1.0, 0.5)
    for number, share in zip(pool, expected, strict=True):
        assert drawn[number] / 600 == pytest.approx(share, abs=0.08)


def test_serials_powers_choose_the_best_or_the_cheapest(population):
    best = Serial(SerialSettings(round=1, merit_power=60), WIDE)
    assert {p.parent for p in proposals(best, population, range(30))} == {population.best(1)[0].id}
    cheapest = Serial(SerialSettings(round=1, pool=9, merit_power=0, cost_power=60), WIDE)
    costs = {candidate.id: candidate.cost["multiply_adds"] for candidate in population.best(9)}
    assert {p.parent for p in proposals(cheapest, population, range(30))} == {min(costs, key=costs.get)}


def test_random_draws_every_candidate_with_a_merit_alike(population):
    strategy = RandomWalk(RandomSettings(round=1), WIDE)
    ranked = {candidate.id for candidate in population.best(99)}
    assert len(ranked) == 5
    assert strategy.may_use(population) == ranked
    drawn = Counter(proposal.parent for proposal in proposals(strategy, population, range(400)))
    assert drawn.keys() == ranked
    assert all(40 <= count <= 130 for count in drawn.values())
    assert strategy.stuck(population) is None


# Serial's own settings


def test_swap_epochs_are_for_children_with_a_swap(population):
    strategy = Serial(SerialSettings(round=2, epochs=2, swap_epochs=7, max_mutations=3), WIDE)
    found = set()
    for proposal in proposals(strategy, population, range(40)):
        swaps = "swap" in {step.morphism for step in proposal.rewrite.steps}
        assert proposal.epochs == (7 if swaps else 2)
        found.add(swaps)
    assert found == {True, False}
    same = Serial(SerialSettings(round=2, epochs=2), WIDE)
    assert {proposal.epochs for proposal in proposals(same, population, range(20))} == {2}


@pytest.mark.parametrize("morphism", [Swap().name, Expand().name, AddStage().name])
def test_what_the_odds_do_not_name_is_never_drawn(population, morphism):
    strategy = Serial(SerialSettings(round=1, odds={morphism: 0.2, "expand": float(morphism == "expand")}), WIDE)
    steps = {s.morphism for p in proposals(strategy, population, range(25)) for s in p.rewrite.steps}
    assert steps == {morphism}


@pytest.mark.parametrize("max_step", [1, 2])
def test_borders_move_by_at_most_max_step(population, max_step):
    strategy = Serial(SerialSettings(round=1, max_mutations=1, max_step=max_step, odds={"swap": 1.0}), WIDE)
    details = {s.detail for p in proposals(strategy, population, range(60)) for s in p.rewrite.steps}
    assert {int(detail.rpartition(" ")[2]) for detail in details} == set(range(1, max_step + 1))


def test_unknown_morphisms_are_refused_with_a_suggestion():
    with pytest.raises(PluginError, match="'swp' is not among the registered morphisms; did you mean 'swap'"):
        Serial(SerialSettings(odds={"swp": 1.0}), WIDE)
    with pytest.raises(ValidationError):
        SerialSettings(odds={})


def with_noise(filled) -> None:
    """Controls of mean 0.5 and standard deviation 0.1."""
    for score in (0.4, 0.5, 0.6):
        filled.control(0, score)


def test_serial_is_stuck_after_n_children_without_a_gain_above_the_noise_and_not_before(filled):
    strategy = Serial(SerialSettings(n_stuck=3), WIDE)
    with_noise(filled)
    assert filled.archive.noise() == pytest.approx(0.1)
    for score in (0.59, 0.1):
        filled.child(score)
        assert strategy.stuck(filled.archive) is None
    filled.control(0, 0.5, epochs=4)  # only children count
    assert strategy.stuck(filled.archive) is None
    filled.child(None)
    reason = strategy.stuck(filled.archive)
    assert reason == "no child exceeded its control by more than the noise (0.100) for 3 proposals"
    filled.child(0.61)
    assert strategy.stuck(filled.archive) is None
    for _ in range(2):
        filled.child(0.5)
        assert strategy.stuck(filled.archive) is None
    filled.child(0.5)
    assert strategy.stuck(filled.archive) is not None


def test_a_gain_of_exactly_the_noise_is_none(filled):
    strategy = Serial(SerialSettings(n_stuck=1), WIDE)
    assert strategy.stuck(filled.archive) is None
    filled.control(0, 0.5)
    assert filled.archive.noise() is None
    filled.child(0.5)
    assert strategy.stuck(filled.archive) is not None
    filled.child(0.500001)
    assert strategy.stuck(filled.archive) is None


def test_a_child_without_a_control_counts_as_no_gain(filled):
    strategy = Serial(SerialSettings(n_stuck=1), WIDE)
    filled.child(0.99)
    assert strategy.stuck(filled.archive) is not None
    filled.control(0, 0.5)
    assert strategy.stuck(filled.archive) is None
