"""What comes next, driven by hand: made-up scores, scripted children, and whole searches over the null task."""

import math
from collections.abc import Callable
from itertools import groupby

import pytest

from spnas_core import Architecture, SearchSpace
from spnas_core.morphisms import Expand, Swap, identity
from spnas_core.tasks import Evaluation, EvaluationRequest, MetricSpec
from spnas_search.archive import Archive, Candidate, Proposal
from spnas_search.search import compare, next_round
from spnas_search.search.rounds import aged_start_of, phase_of, why_ended
from spnas_search.settings import RunSettings
from spnas_search.strategies import RandomSettings, RandomWalk, Serial, SerialSettings
from spnas_search.testing import NullTask

START = Architecture.parse("b@8_11-21-21")
SCORE, LOSS = MetricSpec("score"), MetricSpec("loss", higher_is_better=False)
SPACE = SearchSpace(min_blocks=1, max_blocks=40, min_stages=1, max_stages=9)
NEVER = 10**6


def run_settings(**values) -> RunSettings:
    """Start 4 epochs, 2 noise controls, finals of 3 epochs by 2 seeds."""
    values = {"candidates": 4, "seeds": 2} | values
    return RunSettings(
        seed=values.get("seed", 0),
        start=str(START),
        warm_start_epochs=4,
        noise_seeds=2,
        budget={"candidates": values["candidates"], "hours": values.get("hours")},
        final={"epochs": 3, "seeds": values["seeds"]},
    )


class Scripted:
    """Proposes given children, ``(parent, epochs)`` each, as many rounds as there are; follows from the archive.

    Args:
        rounds: what to propose; the round is found by counting the children so far.
        stuck_after: children after which it says that it is stuck.
    """

    def __init__(self, *rounds: list[tuple[int, int]], stuck_after: int = NEVER) -> None:
        self.rounds = rounds
        self.stuck_after = stuck_after

    def propose(self, archive: Archive, rng) -> list[Proposal]:
        done = 0
        for children in self.rounds:
            if done == archive.children:
                return self._children(archive, children)
            done += len(children)
        return []

    def _children(self, archive: Archive, children: list[tuple[int, int]]) -> list[Proposal]:
        taken: set[Architecture] = set()
        found = []
        for parent, epochs in children:
            architecture = archive[parent].architecture
            options = [*Expand().options(architecture), *Swap().options(architecture)]
            rewrite = next(o for o in options if o.child not in taken and not archive.contains(o.child))
            taken.add(rewrite.child)
            found.append(Proposal("child", parent, rewrite, epochs))
        return found

    def stuck(self, archive: Archive) -> str | None:
        return "told to" if archive.children >= self.stuck_after else None

    def may_use(self, archive: Archive) -> frozenset[int]:
        return frozenset(candidate.id for candidate in archive)


class Drive:
    """Goes from round to round as the search loop does.

    Args:
        archive: to fill.
        settings: of the run.
        strategy: proposes.
        evaluate: gives metrics, or None for a failure.
    """

    def __init__(self, archive, settings, strategy, evaluate: Callable[[Candidate], dict | None]) -> None:
        self.archive, self.settings, self.strategy, self.evaluate = archive, settings, strategy, evaluate
        archive._connection.execute("PRAGMA synchronous = OFF")  # what is tested here is not the disk
        self.phases: list[str] = []

    def round(self, **options) -> list[Candidate] | None:
        decided = next_round(self.archive, self.settings, self.strategy, **({"control_epochs": 2} | options))
        again = next_round(self.archive, self.settings, self.strategy, **({"control_epochs": 2} | options))
        assert decided == again, "deciding must change nothing"
        if decided is None:
            return None
        assert decided.proposals
        self.phases.append(decided.phase)
        entered = self.archive.commit_round(decided.proposals, threads=1)
        for candidate in entered:
            metrics = self.evaluate(candidate)
            if metrics is None:
                self.archive.fail(candidate.id, "told to")
            else:
                cost = {"multiply_adds": float(len(candidate.architecture.digits))}
                self.archive.finish(candidate.id, Evaluation(metrics, cost), None)
        return [self.archive[candidate.id] for candidate in entered]

    def to_the_end(self, **options) -> list[list[tuple]]:
        rounds = []
        while (entered := self.round(**options)) is not None:
            rounds.append([(c.kind, c.parent, c.epochs) for c in entered])
            assert len(rounds) < 60
        return rounds


@pytest.fixture
def drive(tmp_path):
    opened = []

    def drive(settings, strategy, evaluate, objective=SCORE) -> Drive:
        archive = Archive.create(tmp_path / f"{len(opened)}.db", objective=objective, run_seed=settings.seed)
        opened.append(archive)
        return Drive(archive, settings, strategy, evaluate)

    yield drive
    for archive in opened:
        archive.close()


def scores(**by_kind) -> Callable[[Candidate], dict]:
    """Made-up scores by kind; a number for all, or a dict by candidate with ``None`` for the others."""

    def evaluate(candidate: Candidate) -> dict | None:
        value = by_kind.get(candidate.kind, 0.5)
        if isinstance(value, dict):
            value = value.get(candidate.id, 0.5)
        return None if value is None else {"score": value}

    return evaluate


SCRIPT = Scripted([(0, 2), (0, 3)], [(3, 2), (3, 2)])
"""Two children of the start, the second with other epochs than the noise controls; two children of the first."""

BETTER = scores(child={3: 0.6, 5: 0.5, 7: 0.7})


def test_a_whole_run_round_by_round(drive):
    run = drive(run_settings(), SCRIPT, BETTER)
    assert run.to_the_end() == [
        [("start", None, 4)],
        [("control", 0, 2), ("control", 0, 2)],
        [("child", 0, 2), ("control", 0, 3), ("child", 0, 3)],
        [("control", 3, 2), ("child", 3, 2), ("child", 3, 2)],
        [("control", 1, 2)],
        [("final", 9, 3), ("final", 7, 3), ("final", 9, 3), ("final", 7, 3)],
    ]
    assert run.phases == ["start", "noise", "search", "search", "final", "final"]
    assert run.archive[0].architecture == START
    assert run.archive.best(1)[0].id == 7
    assert run.archive[9].age == run.archive[7].age == 8
    assert {final.age for final in run.archive.of_kind("final")} == {11}


def test_only_finals_see_test_images(drive):
    run = drive(run_settings(seeds=3), SCRIPT, BETTER)
    run.to_the_end()
    assert {candidate.split for candidate in run.archive if candidate.kind != "final"} == {"validation"}
    finals = run.archive.of_kind("final")
    assert {final.split for final in finals} == {"test"}
    assert len(finals) == 3 * 2
    assert all(final.rewrite == identity(final.architecture) for final in finals)
    assert len({final.seed for final in finals}) == 6


def control_precedes_each_child(archive: Archive) -> bool:
    """Each child finds a control of its parent by its epochs, in its round before it or in an earlier round."""
    return all(
        any(control.id < child.id for control in archive.controls(child.parent, child.epochs))
        for child in archive.of_kind("child")
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["serial", "random"])
def test_searches_over_the_null_task_keep_the_order_and_the_budget(drive, tmp_path, seed, name):
    task = NullTask(noise=0.03)
    strategy = (
        Serial(SerialSettings(round=3, epochs=2, swap_epochs=5), SPACE)
        if name == "serial"
        else RandomWalk(RandomSettings(round=3, epochs=2), SPACE)
    )

    def weights(number):
        return None if number is None else tmp_path / f"{number}.safetensors"

    def evaluate(candidate: Candidate) -> dict:
        request = EvaluationRequest(
            candidate.id,
            candidate.rewrite,
            weights(candidate.parent),
            weights(candidate.id),
            candidate.epochs,
            candidate.seed,
            split=candidate.split,
        )
        return dict(task.evaluate(request, lambda progress: None).metrics)

    run = drive(run_settings(candidates=8, seed=seed), strategy, evaluate, task.metrics[0])
    run.to_the_end()
    archive = run.archive
    assert [phase for phase, _ in groupby(run.phases)] == ["start", "noise", "search", "final"]
    assert archive.children == 8
    assert control_precedes_each_child(archive)
    assert all(archive.gain(child) is not None for child in archive.of_kind("child"))
    groups = [(c.parent, c.epochs) for c in archive.of_kind("control") if c.round > 1]
    assert len(groups) == len(set(groups)), "one control serves all children of equal parent and epochs"
    winner = archive.best(1)[0]
    assert aged_start_of(archive, winner)[1] is None
    finals = archive.of_kind("final")
    compared = {winner.id, aged_start_of(archive, winner)[0].id}
    assert {final.parent for final in finals} == compared
    assert len(finals) == 2 * len(compared)
    assert {archive[number].age for number in compared} == {winner.age}
    assert (compare(archive) is None) == (winner.id == 0)


@pytest.mark.parametrize("candidates", [0, 1, 3, 4, 5])
def test_the_budget_is_met_exactly_where_the_strategy_gives_more(drive, candidates):
    run = drive(run_settings(candidates=candidates), Scripted([(0, 2)] * 3, [(0, 2)] * 3), scores())
    run.to_the_end()
    assert run.archive.children == candidates
    assert why_ended(run.archive, run.settings, run.strategy, out_of_time=False) == (
        f"all {candidates} candidates of the budget are evaluated"
    )


def test_failed_children_count_against_the_budget(drive):
    run = drive(run_settings(candidates=3), Scripted([(0, 2)] * 2, [(0, 2)] * 2), scores(child=None))
    run.to_the_end()
    assert run.archive.children == 3
    assert {child.status for child in run.archive.of_kind("child")} == {"failed"}
    assert compare(run.archive) is None


def test_without_budget_and_finals_only_the_start_is_trained(drive):
    run = drive(run_settings(candidates=0, seeds=0), SCRIPT, scores())
    assert run.to_the_end() == [[("start", None, 4)]]
    again = drive(run_settings(candidates=2, seeds=0), SCRIPT, BETTER)
    assert [phase for phase, _ in groupby(again.to_the_end() and again.phases)] == ["start", "noise", "search"]


def test_the_start_passes_through_the_winners_portions_of_epochs(drive):
    # start → 3 (2 epochs) → 5 (6 epochs) → 7 (3 epochs), each better than the last.
    script = Scripted([(0, 2)], [(3, 6)], [(5, 3)])
    run = drive(run_settings(candidates=3), script, scores(child=0.9))
    rounds = run.to_the_end()
    winner = run.archive.best(1)[0]
    lineage = [candidate.epochs for candidate in run.archive.lineage(winner)]
    assert lineage == [4, 2, 6, 3]
    aged, missing = aged_start_of(run.archive, winner)
    assert missing is None
    assert [candidate.epochs for candidate in run.archive.lineage(aged)] == lineage
    assert {candidate.architecture for candidate in run.archive.lineage(aged)} == {START}
    assert rounds[-3:] == [
        [("control", 5, 3), ("child", 5, 3), ("control", 1, 6)],  # the start ages beside the round
        [("control", 8, 3)],
        [("final", 9, 3), ("final", winner.id, 3)] * 2,
    ]


def test_when_no_child_beats_the_start_only_the_start_is_tested(drive):
    run = drive(run_settings(), SCRIPT, scores(child=0.1))
    assert run.to_the_end()[-1] == [("final", 0, 3), ("final", 0, 3)]
    assert run.archive.best(1)[0].id == 0
    assert compare(run.archive) is None


@pytest.mark.parametrize("undefined", [None, math.nan], ids=["failed", "undefined"])
def test_a_failed_control_is_proposed_again(drive, undefined):
    script = Scripted([(0, 3)], [(0, 3), (0, 3)], [(0, 3)])
    run = drive(run_settings(), script, scores(control={3: undefined}))
    assert run.to_the_end()[2:5] == [
        [("control", 0, 3), ("child", 0, 3)],
        [("control", 0, 3), ("child", 0, 3), ("child", 0, 3)],
        [("child", 0, 3)],
    ]
    assert all(run.archive.gain(child) is not None for child in run.archive.of_kind("child"))


def test_a_failed_step_of_the_starts_ageing_is_proposed_again(drive):
    run = drive(run_settings(), SCRIPT, scores(child={7: 0.9}, control={9: None}))
    rounds = run.to_the_end()
    assert rounds[-3:-1] == [[("control", 1, 2)], [("control", 1, 2)]]
    assert {final.parent for final in run.archive.of_kind("final")} == {10, 7}
    assert compare(run.archive) is not None


def test_noise_is_measured_again_where_a_replicate_has_failed(drive):
    run = drive(run_settings(), Scripted([(0, 2)]), scores(control={2: None}))
    assert run.to_the_end()[:3] == [[("start", None, 4)], [("control", 0, 2)] * 2, [("control", 0, 2)]]
    assert run.phases[:4] == ["start", "noise", "noise", "search"]
    assert run.archive.noise(2) == 0.0


def test_a_control_that_is_owed_is_proposed_again_before_the_final(drive):
    run = drive(run_settings(candidates=1), Scripted([(0, 3)]), scores(child=0.9, control={3: None}))
    assert run.to_the_end()[2:5] == [
        [("control", 0, 3), ("child", 0, 3)],
        [("control", 0, 3)],
        [("final", 5, 3), ("final", 4, 3)] * 2,
    ]
    assert compare(run.archive) is not None


def test_the_phase_of_a_round_follows_from_the_archive(drive):
    run = drive(run_settings(), SCRIPT, BETTER)
    assert phase_of(run.archive) == "start"
    while run.round() is not None:
        assert phase_of(run.archive) == run.phases[-1]


@pytest.mark.parametrize("rounds", [2, 3])
def test_out_of_time_goes_to_the_final_at_once(drive, rounds):
    run = drive(run_settings(hours=2.0), SCRIPT, BETTER)
    for _ in range(rounds):
        run.round()
    children = run.archive.children
    assert run.round(out_of_time=True) is not None
    assert run.phases[-1] == "final"
    run.to_the_end(out_of_time=True)
    assert run.archive.children == children
    assert len(run.archive.of_kind("final")) == (2 if rounds == 2 else 4)
    assert why_ended(run.archive, run.settings, run.strategy, out_of_time=True) == ("the budget of 2 hours is used up")


def test_start_and_noise_are_evaluated_even_out_of_time(drive):
    run = drive(run_settings(), SCRIPT, BETTER)
    run.to_the_end(out_of_time=True)
    assert run.phases == ["start", "noise", "final"]


def test_a_stuck_strategy_goes_to_the_final(drive):
    run = drive(run_settings(candidates=9), Scripted([(0, 2)], [(0, 2)], stuck_after=1), scores())
    run.to_the_end()
    assert run.archive.children == 1
    assert why_ended(run.archive, run.settings, run.strategy, out_of_time=False) == "told to"


def test_an_exhausted_strategy_goes_to_the_final(drive):
    run = drive(run_settings(candidates=9), Scripted([(0, 2)]), scores())
    run.to_the_end()
    assert run.phases == ["start", "noise", "search", "final"]
    ended = why_ended(run.archive, run.settings, run.strategy, out_of_time=False)
    assert ended == "the strategy found no new architecture inside the search space"


class Moody(Scripted):
    """Finds nothing new at first and something when asked again later, as random redraws may."""

    def propose(self, archive: Archive, rng) -> list[Proposal]:
        if archive.children < 2:
            return super().propose(archive, rng)
        return [] if len(archive) == 6 else self._children(archive, [(0, 3)])


def test_the_search_does_not_begin_again_once_the_final_has_begun(drive):
    run = drive(run_settings(candidates=3), Moody([(0, 2)], [(3, 2)]), scores(child=0.9))
    run.to_the_end()
    assert run.phases == ["start", "noise", "search", "search", "final", "final"]


# The comparison


def compared(drive, objective, start_scores, winner_scores):
    """A run whose child 3 beats the start, and whose finals score as given."""
    finals = {}
    for seed, pair in enumerate(zip(start_scores, winner_scores, strict=True)):
        finals.update({4 + 2 * seed: pair[0], 5 + 2 * seed: pair[1]})
    better = 0.9 if objective.higher_is_better else 0.1

    def evaluate(candidate: Candidate) -> dict | None:
        value = finals[candidate.id] if candidate.kind == "final" else better if candidate.kind == "child" else 0.5
        return None if value is None else {objective.name: value, "other": -1.0}

    run = drive(run_settings(candidates=1, seeds=len(start_scores)), Scripted([(0, 2)]), evaluate, objective)
    run.to_the_end()
    return compare(run.archive)


def test_gain_and_noise_equal_what_one_computes_by_hand(drive):
    comparison = compared(drive, SCORE, [0.40, 0.50, 0.60], [0.70, 0.72, 0.74])
    assert (comparison.start.architecture, comparison.start.age) == (START, 9)
    assert (comparison.winner.parent, comparison.winner.age, comparison.age) == (3, 9, 9)
    assert comparison.start_scores == (0.40, 0.50, 0.60)
    assert comparison.winner_scores == (0.70, 0.72, 0.74)
    assert comparison.gain == pytest.approx(0.22)
    # Variances 0.01 and 0.0004 with two degrees of freedom each.
    assert comparison.noise == pytest.approx(math.sqrt((2 * 0.01 + 2 * 0.0004) / 4))
    assert comparison.exceeds_noise


def test_lower_losses_are_a_gain_and_scores_keep_their_direction(drive):
    comparison = compared(drive, LOSS, [2.0, 2.2], [1.5, 1.7])
    assert comparison.start_scores == (2.0, 2.2)
    assert comparison.winner_scores == (1.5, 1.7)
    assert comparison.gain == pytest.approx(0.5)
    assert comparison.noise == pytest.approx(math.sqrt(0.02))
    assert comparison.exceeds_noise
    worse = compared(drive, LOSS, [1.0, 1.2], [1.5, 1.7])
    assert worse.gain == pytest.approx(-0.5)
    assert not worse.exceeds_noise


def test_one_seed_has_a_gain_and_no_noise(drive):
    comparison = compared(drive, SCORE, [0.4], [0.5])
    assert comparison.gain == pytest.approx(0.1)
    assert comparison.noise is None
    assert not comparison.exceeds_noise


def test_a_failed_final_is_repeated_with_another_seed(drive):
    finals = {4: 0.4, 5: 0.6, 6: 0.5, 7: None, 8: 0.6, 9: 0.8, 10: 0.7}

    def evaluate(candidate: Candidate) -> dict | None:
        value = finals[candidate.id] if candidate.kind == "final" else 0.9 if candidate.kind == "child" else 0.5
        return None if value is None else {"score": value}

    run = drive(run_settings(candidates=1, seeds=3), Scripted([(0, 2)]), evaluate)
    assert run.to_the_end()[-1] == [("final", 3, 3)]
    comparison = compare(run.archive)
    assert comparison.start_scores == (0.4, 0.5, 0.6)
    assert comparison.winner_scores == (0.6, 0.8, 0.7)


def test_there_is_no_comparison_before_the_finals(drive):
    run = drive(run_settings(), SCRIPT, BETTER)
    assert compare(run.archive) is None
    for _ in range(5):
        run.round()
        assert compare(run.archive) is None
    run.round()
    assert compare(run.archive) is not None
