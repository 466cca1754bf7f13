"""Evolution: who fights, who leaves, and what a child of a generation is."""

from collections import Counter

import numpy as np
import pytest
from evolving import START, evolution, go_on
from filled import WIDE, Filled
from scipy import stats

import spnas_search
from spnas_core import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import Swap, align
from spnas_core.presets import find_preset
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Proposal
from spnas_search.run import start_run
from spnas_search.settings import resolve, search_values
from spnas_search.strategies import (
    Generations,
    GenerationsSettings,
    RandomSearch,
    RandomSettings,
    RegularizedEvolution,
    RegularizedEvolutionSettings,
    Sampler,
)
from spnas_search.strategies.crossover import cross


@pytest.fixture
def filled(tmp_path):
    made = Filled(tmp_path, START, score=0.5)
    with made.archive:
        yield made


def members(strategy, archive):
    return [one.id for one in strategy.population(archive)]


# Pairs


def test_the_loser_of_each_pair_leaves_and_the_population_stays_as_large(filled):
    strategy = evolution(population=6, initial=6, round=3)
    go_on(filled, strategy, 2)
    before = members(strategy, filled.archive)
    assert before == list(range(7))  # the start and six drawn from the space
    for number in range(10):
        alive = members(strategy, filled.archive)
        proposals = strategy.propose(filled.archive, np.random.default_rng(number))
        filled.enter(proposals, [0.3 + 0.01 * number] * len(proposals))
        after = members(strategy, filled.archive)
        assert len(after) == 7
        gone = set(alive) - set(after)
        assert len(gone) == 3
        for lost in gone:
            assert any(
                filled.archive.score(filled.archive[one.parent]) >= filled.archive.score(filled.archive[lost])
                for one in proposals
            )
        assert {one.parent for one in proposals} <= set(alive)


def test_who_is_alive_follows_from_the_archive_alone(filled):
    """The fights once more, by hand: each pair from the run's seed and the child's place, the worse one leaves."""
    strategy = evolution(population=5, initial=5, round=2)
    go_on(filled, strategy, 12)
    archive = filled.archive
    children = archive.of_kind("child")
    alive, place = [archive.start, *children[:2]], 2
    while place < len(children):
        born = [child for child in children if child.round == children[place].round]
        for number, child in enumerate(born, place):
            if number < 5:
                continue
            rng = np.random.default_rng([archive.run_seed, number])
            pair = [alive[one] for one in sorted(rng.choice(len(alive), 2, replace=False).tolist())]
            winner = max(pair, key=archive.score)
            assert child.parent == winner.id
            alive.remove(next(one for one in pair if one is not winner))  # six members, and five may be
        alive += born
        place += len(born)
    assert strategy.population(archive) == alive


def test_with_aging_the_best_may_go_and_with_pairs_it_stays(filled):
    for score in (0.9, 0.1, 0.2, 0.3, 0.4):
        filled.child(score)
    aging = RegularizedEvolution(RegularizedEvolutionSettings(population=3), WIDE)
    assert 1 not in members(aging, filled.archive)
    assert 1 in members(evolution(population=3), filled.archive)
    assert members(evolution(survival="all"), filled.archive) == list(range(6))


def test_a_failed_child_is_no_member_and_its_pair_has_lost_one(filled):
    strategy = evolution(population=4, initial=4, round=4)
    go_on(filled, strategy, 1)
    proposals = strategy.propose(filled.archive, np.random.default_rng(0))
    filled.enter(proposals, [None] * 4)
    assert len(members(strategy, filled.archive)) == 1
    assert strategy.propose(filled.archive, np.random.default_rng(1))


@pytest.mark.parametrize("survival", ["loser", "all"])
def test_failed_children_do_not_fill_the_population(filled, survival):
    """Whoever was drawn to fill it has fought nobody, and nobody has left for it."""
    strategy = evolution(population=5, initial=5, round=4, survival=survival)
    for scores in ([0.6, None, 0.7, None], [0.8, 0.9, 0.4, 0.3]):
        filled.enter(strategy.propose(filled.archive, np.random.default_rng(len(filled.archive))), scores)
    children = filled.archive.of_kind("child")
    assert {child.parent for child in children[:7]} == {0}
    assert members(strategy, filled.archive)[-4:] == [5, 6, 7, 8]
    if survival == "all":
        assert members(strategy, filled.archive) == [0, 1, 3, 5, 6, 7, 8]
    assert max(len(child.rewrite.steps) for child in children[4:7]) > 1
    assert len(children[7].rewrite.steps) == 1


def test_a_tournament_without_death_draws_a_share_and_two_at_least(filled):
    go_on(filled, evolution(survival="all", initial=39, round=39), 1)
    strategy = evolution(survival="all", share=0.05, odds={"swap": 1.0})
    drawn = Counter(
        one.parent for seed in range(400) for one in strategy.propose(filled.archive, np.random.default_rng(seed))
    )
    ranked = sorted(filled.archive, key=filled.archive.score)
    # Of 40 members, pairs without replacement: the best is in a pair with a probability of 1/20, the worst never wins.
    assert 8 <= drawn[ranked[-1].id] <= 36
    assert ranked[0].id not in drawn


def test_only_pairs_need_whole_rounds():
    assert evolution().by_rounds
    assert not evolution(survival="all").by_rounds


# Generations


def generations(**values):
    given = {"generation": 10, "mutants": 4, "crossings": 4, "best": 3, "round": 10} | values
    return Generations(GenerationsSettings(**given), WIDE)


def kinds(archive, children):
    """How each child came about: drawn from the start, a mutation, or a crossing."""
    found = []
    for child in children:
        steps = [step.morphism for step in child.rewrite.steps]
        found.append("crossing" if steps == ["align"] else "random" if child.parent == 0 else "mutant")
    return found


def test_a_generation_has_mutants_then_crossings_then_random_codes(filled):
    strategy = generations()
    go_on(filled, strategy, 3, lambda _: float(np.random.default_rng(len(filled.archive)).random()) + 0.6)
    children = filled.archive.of_kind("child")
    assert {child.parent for child in children[:10]} == {0}
    for generation in (1, 2):
        found = kinds(filled.archive, children[10 * generation : 10 * generation + 10])
        assert found[:4] == ["mutant"] * 4
        assert found[8:] == ["random"] * 2
        assert Counter(found)["crossing"] >= 2  # where none is new in ten tries, a random one takes its place


def test_parents_are_the_best_of_earlier_generations(filled):
    strategy = generations(generation=4, mutants=4, crossings=0, best=2, round=2)
    go_on(filled, strategy, 1, lambda _: 0.1)
    filled.enter(strategy.propose(filled.archive, np.random.default_rng(3)), [0.9, 0.8])
    assert [one.id for one in strategy.parents(filled.archive)] == [3, 4]
    filled.enter(strategy.propose(filled.archive, np.random.default_rng(4)), [0.99, 0.98])
    assert [one.id for one in strategy.parents(filled.archive)] == [3, 4], "the generation is not over"
    assert {3, 4, 5, 6} & strategy.may_use(filled.archive) == {3, 4, 5, 6}
    filled.enter(strategy.propose(filled.archive, np.random.default_rng(5)), [0.1, 0.1])
    assert [one.id for one in strategy.parents(filled.archive)] == [5, 6]


def test_a_round_does_not_reach_into_the_next_generation(filled):
    strategy = generations(generation=5, mutants=2, crossings=2, round=3)
    assert len(strategy.propose(filled.archive, np.random.default_rng(0))) == 3
    go_on(filled, strategy, 1)
    assert len(strategy.propose(filled.archive, np.random.default_rng(0))) == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mutants": 6, "crossings": 6}, "crossings is 6: with mutants = 6 that is more than a generation"),
        ({}, "crossings is 3: with mutants = 3 that is more than a generation of 4"),
        ({"mutants": 5, "crossings": 0}, "crossings is 0: with mutants = 5 that is more than"),
    ],
)
def test_a_generation_has_room_for_its_mutants_and_crossings(values, message):
    with pytest.raises(ConfigError, match=message):
        resolve({"strategy": {"name": "generations", "generation": 4, **values}})
    assert resolve({"strategy": {"name": "generations", "generation": 4, "mutants": 2, "crossings": 2}})


# Crossing


def test_the_documented_example():
    one, other = Architecture.parse("b_11-21-21"), Architecture.parse("b_1-2-11-21")
    found = {str(cross(one, other, np.random.default_rng(seed))) for seed in range(60)}
    assert {"b_11-2-11-21", "b_1-1-21-21"} <= found
    assert found <= {"b_11-2-11-21", "b_11-21-11-21", "b_1-1-21-21"}


def test_children_of_any_two_codes_are_codes_that_inherit():
    space = SearchSpace(min_blocks=3, max_blocks=30, min_stages=2, max_stages=8)
    rng = np.random.default_rng(0)
    sampler = Sampler(Architecture.parse("b@8_1-2-2"), space)
    for _ in range(200):
        one, other = sampler.draw(rng).child, sampler.draw(rng).child
        child = cross(one, other, rng)
        assert Architecture.parse(str(child)) == child
        assert len(child.digits) >= 2
        rewrite = align(one, child)
        assert rewrite.child == child


# Whole searches


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        ("regularized", {"population": 100, "sample": 25}),
        ("large-scale", {"population": 1000, "survival": "loser"}),
        ("hierarchical", {"population": 200, "share": 0.05, "survival": "all"}),
        ("detnas", {"generation": 50, "mutants": 20, "crossings": 20, "best": 10}),
    ],
)
def test_presets_have_the_published_numbers(preset, values):
    settings = resolve(search_values(find_preset(preset)))
    assert values.items() <= settings.strategy.model_dump().items()
    assert settings.run.budget.candidates >= 1000


@pytest.mark.parametrize(
    ("table", "enough"),
    [
        ({"name": "evolution", "population": 9}, 18),
        ({"name": "evolution", "population": 9, "initial": 0}, 0),
        ({"name": "regularized-evolution"}, 20),
        ({"name": "generations", "generation": 30}, 60),
        ({"name": "serial"}, 0),
    ],
)
def test_a_budget_that_is_too_small_for_it_is_warned_of(tmp_path, table, enough):
    values = {"task": {"name": "null"}, "executor": {"name": "inline"}, "strategy": table}
    for children in {max(1, enough - 1), max(1, enough)}:
        given = {**values, "budget": {"candidates": children}}
        with start_run(tmp_path / str(children), given, lambda *_: None) as run:
            said = [one for one in run.remarks if "more than a random search" in one]
            assert bool(said) == (children < enough)
            assert all(f"the budget has {children} candidates" in one and f"from {enough} on" in one for one in said)


HIDDEN = (4, 6, 5, 4)


def likeness(architecture):
    """How near the lengths of the stages are to hidden ones: something to climb, which chance rarely meets."""
    lengths = [len(stage) for stage in architecture.stages]
    lengths += [0] * (len(HIDDEN) - len(lengths))
    return 1 - sum(abs(one - other) for one, other in zip(lengths, HIDDEN, strict=False)) / 19 - 0.1 * len(lengths[4:])


@pytest.mark.parametrize("values", [{"population": 8}, {"share": 0.2, "survival": "all"}, {"generation": 10}])
def test_it_finds_more_than_chance_where_there_is_something_to_climb(tmp_path, values):
    """The best of 80 children, over eight seeds, against as many drawn from the space."""
    made = generations(round=2) if "generation" in values else evolution(**values, round=2)

    def best_of(strategy, name):
        (tmp_path / name).mkdir()
        filled = Filled(tmp_path / name, START, score=likeness(START))
        with filled.archive as archive:
            while archive.children < 80:
                proposals = strategy.propose(archive, np.random.default_rng([len(name), len(archive), ord(name[-1])]))
                filled.enter(proposals, [likeness(one.rewrite.child) for one in proposals])
            return max(archive.score(one) for one in archive.of_kind("child"))

    found = [best_of(made, f"made-{seed}") for seed in range(8)]
    chance = [best_of(RandomSearch(RandomSettings(), WIDE), f"random-{seed}") for seed in range(8)]
    assert stats.mannwhitneyu(found, chance, alternative="greater").pvalue < 0.01


@pytest.mark.parametrize(
    "values",
    [
        {"name": "evolution", "survival": "all", "population": 4, "initial": 4},
        {"name": "evolution", "survival": "loser", "population": 4, "initial": 4},
        {"name": "regularized-evolution", "population": 2, "initial": 4},
    ],
    ids=["all", "loser", "oldest"],
)
def test_a_small_space_is_searched_to_its_end(tmp_path, values):
    """A winner, or a whole population, without an untried child is no reason to end."""
    space = {"min_blocks": 8, "max_blocks": 8, "min_stages": 4, "max_stages": 4, "max_multiply_adds": "none"}
    settings = {"strategy": {**values, "round": 1, "odds": {"swap": 1.0}, "max_step": 1, "max_redraws": 300}}
    settings |= {"start": "b@8_11-21-21-21", "space": space, "inherit": "none", "task": {"name": "null"}}
    settings |= {"executor": {"name": "inline"}, "final": {"seeds": 0, "finalists": 0}, "budget": {"candidates": 50}}
    for seed in range(3):
        with spnas_search.search(**settings, seed=seed, out=tmp_path / str(seed)) as run:
            assert run.archive.children == 34  # and the start


@pytest.mark.parametrize(
    "values",
    [
        {"name": "evolution", "survival": "loser", "population": 40},
        {"name": "evolution", "survival": "all", "population": 40},
        {"name": "generations", "generation": 40, "mutants": 20, "crossings": 10},
    ],
    ids=["loser", "all", "generations"],
)
def test_where_samples_run_out_mutations_go_on(tmp_path, values):
    """What grows from the start is less than what narrow and widen reach."""
    space = {"min_blocks": 8, "max_blocks": 8, "min_stages": 4, "max_stages": 4, "max_multiply_adds": "none"}
    odds = {"swap": 1.0, "narrow": 1.0, "widen": 1.0}
    settings = {"strategy": {**values, "round": 2, "odds": odds, "max_redraws": 300}, "space": space}
    settings |= {"start": "b@8_11-21-21-21", "inherit": "none", "task": {"name": "null"}, "budget": {"candidates": 45}}
    settings |= {"executor": {"name": "inline"}, "final": {"seeds": 0, "finalists": 0}}
    with spnas_search.search(**settings, out=tmp_path / "run") as run:
        assert run.archive.children == 45


def test_a_winner_without_untried_children_cedes_to_the_next_best(tmp_path):
    """And not yet to a code from the whole space, which would begin with the start."""
    made = Filled(tmp_path, Architecture.parse("b@8_11-21-21"), score=0.1)
    strategy = evolution(survival="all", share=1.0, odds={"swap": 1.0})  # all take part, so that the best one wins
    with made.archive as archive:
        (best,) = made.round([0.9])
        parent = archive[best].architecture
        new = [option.child for option in Swap().options(parent) if not archive.contains(option.child)]
        for number, child in enumerate(new):
            made.enter([Proposal("child", best, align(parent, child), Fidelity(1))], [0.5 + number / 100])
        proposed = [strategy.propose(archive, np.random.default_rng(seed)) for seed in range(20)]
        assert {proposal.parent for (proposal,) in proposed} == {best + len(new)}
