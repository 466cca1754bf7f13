"""The signal study: its codes, its plan, and what it says of trainings whose truth is known."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from signals import EIGHT, FOUR, LOSS, SCORE, START, planned, trained, way

from spnas_core import Architecture, SearchSpace, backbone_cost
from spnas_core.commands.console import make_console
from spnas_core.errors import ConfigError, SpaceError
from spnas_core.morphisms import Expand, align
from spnas_search.statistics import expected_rank_correlation, heritability, heritability_in_blocks
from spnas_search.studies import Arm, measure
from spnas_search.studies.jobs import Schedule
from spnas_search.studies.paths import composed, draw_paths, plain_path, read_path
from spnas_search.studies.signal import PARTS
from spnas_search.studies.signal_plot import draw_signal
from spnas_search.studies.signal_report import signal_markdown, signal_parts

SPACE = SearchSpace(min_blocks=4, min_stages=4, image_size=(128, 128), max_multiply_adds=5_000_000 * 4)
PNG = b"\x89PNG\r\n\x1a\n"


def ends(paths) -> list[Architecture]:
    return [path[-1].child if path else START for path in paths]


class TestPaths:
    @pytest.mark.parametrize("seed", range(4))
    def test_codes_are_different_inside_the_space_and_spread_over_costs(self, seed):
        space = replace(SPACE, max_multiply_adds=int(1.5 * backbone_cost(START, 128, 128).multiply_adds))
        paths = draw_paths(START, space, 12, seed=seed)
        codes = ends(paths)
        assert len(set(codes)) == 12
        assert codes[0] == START
        assert paths[0] == ()
        for path in paths:
            assert len(path) <= 6
            for parent, step in zip([START, *(one.child for one in path)], path, strict=False):
                assert step.parent == parent
                assert step.child in space
                assert len(step.steps) == 1
        costs = sorted(backbone_cost(code, 128, 128).multiply_adds for code in codes)
        start = backbone_cost(START, 128, 128).multiply_adds
        assert costs[0] < 0.88 * start
        assert costs[-1] > 1.38 * start
        assert max(b - a for a, b in pairwise(costs)) < 0.25 * start

    @pytest.mark.parametrize("seed", range(3))
    def test_in_a_space_of_any_codes_they_are_drawn_as_a_search_draws_them(self, seed):
        bound = int(1.5 * backbone_cost(START, 128, 128).multiply_adds)
        space = replace(SPACE, sampling="any", max_stages=5, max_multiply_adds=bound)
        paths = draw_paths(START, space, 12, seed=seed)
        codes = ends(paths)
        assert paths[0] == ()
        assert len(set(codes)) == 12
        for path in paths[1:]:
            assert path == (align(START, path[0].child),)
        assert all(code in space for code in codes)
        costs = sorted(backbone_cost(code, 128, 128).multiply_adds for code in codes)
        assert costs[0] < bound / 2
        assert costs[-1] > 0.9 * bound
        assert len({code.digits.count("2") for code in codes}) >= 3
        assert draw_paths(START, space, 14, seed=9, known=paths)[:12] == paths

    def test_a_space_of_any_codes_without_so_many_is_refused(self):
        space = replace(SPACE, sampling="any", min_blocks=4, max_blocks=4, max_stages=4)
        start = Architecture.parse("b@8_1-2-2-2")
        assert len(set(draw_paths(start, space, 16, seed=0))) == 16  # all there are
        with pytest.raises(SpaceError, match="only 16 codes inside the space were reached"):
            draw_paths(start, space, 17, seed=0)

    def test_the_seed_decides_and_known_ways_stay(self):
        paths = draw_paths(START, SPACE, 6, seed=3)
        assert paths == draw_paths(START, SPACE, 6, seed=3) != draw_paths(START, SPACE, 6, seed=4)
        more = draw_paths(START, SPACE, 10, seed=5, known=paths)
        assert more[:6] == paths
        assert len(set(ends(more))) == 10
        assert draw_paths(START, SPACE, 4, seed=3, known=paths) == paths[:4]

    def test_further_codes_go_where_few_are(self):
        known = draw_paths(START, SPACE, 8, seed=0)
        cost = {code: backbone_cost(code, 128, 128).multiply_adds for code in ends(known)}
        cheap = tuple(sorted(known, key=lambda path: cost[ends([path])[0]])[:4])
        cheap = ((), *(path for path in cheap if path))
        added = draw_paths(START, SPACE, 8, seed=1, known=cheap)[len(cheap) :]
        dearest = max(cost[code] for code in ends(cheap))
        assert all(backbone_cost(code, 128, 128).multiply_adds > dearest for code in ends(added)[-3:])

    def test_ways_are_read_as_they_were_written(self):
        for path in draw_paths(START, SPACE, 8, seed=1):
            assert read_path(plain_path(path)) == path
        for damaged in (
            ["{}"],
            ["not json"],
            [3],
            ['{"parent": "b_1", "child": "b_1", "block_map": [0], "steps": [[]]}'],
        ):
            with pytest.raises(ConfigError, match="damaged"):
                read_path(damaged)

    def test_a_composed_way_has_its_steps(self):
        path = draw_paths(START, SPACE, 6, seed=1)[-1]
        rewrite = composed(START, path)
        assert (rewrite.parent, rewrite.child) == (START, path[-1].child)
        assert rewrite.steps == tuple(step for one in path for step in one.steps)

    def test_a_space_without_so_many_codes_is_refused(self):
        small = replace(SPACE, max_blocks=8, max_stages=4)
        assert len(set(ends(draw_paths(START, small, 20, seed=0)))) == 20
        with pytest.raises(
            SpaceError, match=r"only \d+ codes inside the space were reached from b@8_11-21-21-21, and 300"
        ):
            draw_paths(START, small, 300, seed=0)
        with pytest.raises(SpaceError, match="lies outside the search space"):
            draw_paths(START, replace(SPACE, min_stages=5), 4, seed=0)


class TestThePlan:
    def test_every_way_scores_every_code_as_often(self):
        plan = planned(trainings=3)
        assert set(plan.scored) == {
            *(Arm("scratch", epochs) for epochs in (8, 16)),
            *(Arm(how, epochs) for how in ("none", "warm-start", "parent") for epochs in (1, 3)),
            Arm("inherited", 8),
        }
        jobs = Schedule(plan.jobs).jobs
        for arm, keys in plan.scored.items():
            assert [[key.repetition for key in code] for code in keys] == [[0, 1, 2]] * 4
            for code, by_code in zip(plan.codes, keys, strict=True):
                assert all(str(jobs[key].rewrite.child) == key.code == code for key in by_code)
                assert all(jobs[key].fidelity.epochs == key.epochs == arm.epochs for key in by_code)
        scored = {key for keys in plan.scored.values() for code in keys for key in code}
        assert len(scored) == 9 * 4 * 3  # no training scores two things

    def test_what_each_way_begins_with(self):
        plan, schedule = planned(), Schedule(planned().jobs)

        def line(arm: Arm, code: int) -> list[tuple[str, int, str, int]]:
            found = [*schedule.ancestors(plan.scored[arm][code][1])][::-1]
            return [(job.key.how, job.fidelity.epochs, str(job.rewrite.child), len(job.rewrite.steps)) for job in found]

        start, one, two, three = str(START), *(str(step.child) for step in FOUR[2])
        warm = ("warm", 6, start, 0)
        assert line(Arm("scratch", 8), 2) == [("scratch", 8, three, 0)]
        assert line(Arm("scratch", 16), 2) == [("scratch", 16, three, 0)]
        assert line(Arm("none", 3), 2) == [("none", 3, three, 0)]
        assert line(Arm("warm-start", 3), 2) == [warm, ("warm-start", 3, three, 3)]
        assert line(Arm("inherited", 8), 2) == [warm, ("inherited", 8, three, 3)]
        aged = [warm, *[("parent", 3, start, 0)] * 3]
        assert line(Arm("parent", 3), 2) == [*aged, *(("parent", 3, code, 1) for code in (one, two, three))]
        assert line(Arm("parent", 3), 0) == [*aged, *aged[1:]]
        warm_jobs = [job for job in plan.jobs if job.key.how == "warm"]
        assert [job.key.repetition for job in warm_jobs] == [0, 1]
        assert {job.split for job in plan.jobs} == {"validation"}
        assert {job.split for job in planned(split="test").jobs} == {"test"}

    def test_what_a_score_costs(self):
        plan = planned()
        costs = {arm: plan.epochs_per_evaluation(arm) for arm in plan.scored}
        assert costs[Arm("scratch", 8)] == 8
        assert costs[Arm("none", 3)] == 3
        assert costs[Arm("warm-start", 3)] == 3 + 6 / 4
        assert costs[Arm("inherited", 8)] == 8 + 6 / 4
        # Links: six of the start, of which the others' chains have the first few, too; 1, 3 and 2 of their own.
        assert costs[Arm("parent", 3)] == (3 * (6 + 1 + 3 + 2) + 6) / 4

    def test_more_of_anything_keeps_what_there_is(self):
        few = {job.key: job.digest for job in planned().jobs}
        for more in (
            planned((*FOUR, way(6))),
            planned(trainings=5),
            planned(child_epochs=(1, 2, 3, 4)),
        ):
            found = {job.key: job.digest for job in more.jobs}
            assert few.items() < found.items()
        assert {job.key for job in planned(leave_out=("double", "parent")).jobs} < few.keys()

    def test_ways_of_different_origin_to_one_code_are_different_trainings(self):
        first, second = Expand().options(START)[0], Expand().options(START)[1]
        assert first.child == second.child
        assert first.block_map != second.block_map
        one, other = (planned(((), (step,), way(10))) for step in (first, second))
        arm = Arm("warm-start", 3)
        assert one.scored[arm][1] != other.scored[arm][1]
        assert one.scored[Arm("none", 3)] == other.scored[Arm("none", 3)]

    @pytest.mark.parametrize("part", PARTS)
    def test_parts_can_be_left_out(self, part):
        plan = planned(leave_out=(part,))
        gone = set(planned().scored) - set(plan.scored)
        assert gone == ({Arm("scratch", 16)} if part == "double" else {arm for arm in gone if arm.how == part})
        assert gone

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"codes": 5}, "4 different codes were given for a study of 5"),
            ({"paths": (*FOUR[:3], FOUR[2])}, "3 different codes were given for a study of 4"),
            ({"paths": (*FOUR[:3], way(0, 3)[1:])}, "is not connected, or does not begin at b@8_11-21-21-21"),
            ({"links": 2}, "has 3 rewrites, and links is 2: raise that"),
            ({"child_epochs": (1, 9)}, "child epochs are 9: they must be 1 or more, and at most the truth's 8"),
            ({"child_epochs": (0,)}, "child epochs are 0"),
            ({"child_epochs": (2, 2)}, "child epochs 2, 2 name one number twice"),
            ({"warm_epochs": 0}, "warm_start_epochs is 0, and nothing can inherit"),
        ],
    )
    def test_refusals(self, values, message):
        with pytest.raises(ConfigError, match=message):
            planned(**values)

    def test_no_warm_start_is_needed_where_nobody_inherits(self):
        plan = planned(warm_epochs=0, leave_out=("warm-start", "parent", "inherited"))
        assert {job.key.how for job in plan.jobs} == {"scratch", "none"}


class TestResults:
    @pytest.fixture
    def plan(self):
        return planned(EIGHT, trainings=3)

    @pytest.fixture
    def scores(self, plan):
        """Scores that a table of chance holds: quality, luck of a warm start for each code, luck of a training."""
        rng = np.random.default_rng(0)
        quality, warm = rng.normal(size=8), rng.normal(size=(3, 8))
        table = {arm: rng.normal(size=(8, 3)) for arm in plan.scored}

        def score(arm, code, repetition):
            shared = warm[repetition, code] if arm.how in {"warm-start", "parent", "inherited"} else 0.0
            return float(quality[code] + shared + 0.5 * table[arm][code, repetition])

        return score

    def matrix(self, scores, arm):
        return np.array([[scores(arm, code, repetition) for repetition in range(3)] for code in range(8)])

    def test_numbers_are_those_of_scipy_done_by_hand(self, plan, scores):
        results = measure(plan, trained(plan, scores), SCORE)
        truth, second = self.matrix(scores, plan.truth), self.matrix(scores, plan.inherited)
        for arm in plan.scored:
            found, own = results.of(arm), self.matrix(scores, arm)
            analyse = heritability_in_blocks if arm.how in {"warm-start", "parent", "inherited"} else heritability
            assert found.heritability == analyse(own.tolist())
            others = {r: [o for o in range(3) if o != r] for r in range(3)}
            with_truth = [stats.spearmanr(own[:, r], truth[:, others[r]].mean(1)).statistic for r in range(3)]
            with_second = [stats.spearmanr(own[:, r], second[:, others[r]].mean(1)).statistic for r in range(3)]
            assert found.with_truth.value == pytest.approx(np.mean(with_truth))
            assert found.with_inherited.value == pytest.approx(np.mean(with_second))
            assert found.mean == pytest.approx(own.mean())
            assert found.count == 24
        doubled = self.matrix(scores, plan.doubled)
        assert results.doubling.value == pytest.approx(stats.kendalltau(truth.mean(1), doubled.mean(1)).statistic)
        shares = [heritability(one.tolist()).of_mean(3) for one in (truth, doubled)]
        assert results.doubling_by_luck == pytest.approx(
            expected_rank_correlation(math.sqrt(math.prod(shares)), 8, "kendall")
        )
        share = heritability(truth.tolist()).of_mean(2)  # of the two trainings that a third is compared with
        assert results.ceiling == pytest.approx(expected_rank_correlation(math.sqrt(share), 8))

    def test_all_ways_meet_a_truth_of_the_same_error(self, plan):
        """A way as good as the truth correlates with it as the truth does with itself."""
        rng, found = np.random.default_rng(2), {"scratch": [], "none": []}
        for _ in range(60):
            results = measure(plan, trained(plan, lambda arm, code, r: code / 4 + rng.normal()), SCORE)
            found["scratch"].append(results.of(plan.truth).with_truth.value)
            found["none"].append(results.of(Arm("none", 1)).with_truth.value)
        differences = np.subtract(found["none"], found["scratch"])
        assert abs(differences.mean()) < 2.5 * differences.std() / math.sqrt(60)

    def test_codes_that_differ_by_less_than_luck_have_no_exact_interval(self, plan):
        flat = [0.0, 1.0, 2.0]  # all codes alike: F is 0
        page = signal_markdown(measure(plan, trained(plan, lambda arm, code, r: flat[r]), SCORE), plot="p")
        assert "0.00 (codes differ by less than luck makes them)" in page
        assert "0.00 (0.00…0.00)" not in page

    def test_shared_luck_is_no_agreement(self, plan):
        """Codes are alike; what differs is the luck of each warm start, which all heirs of a repetition share."""
        rng = np.random.default_rng(1)
        warm = rng.normal(size=(3, 8))
        heirs = {"warm-start", "parent", "inherited"}
        results = measure(
            plan, trained(plan, lambda arm, c, r: warm[r, c] if arm.how in heirs else rng.normal()), SCORE
        )
        for epochs in (1, 3):
            # Against all means, their own among them, it would be near 0.6.
            assert results.of(Arm("warm-start", epochs)).with_inherited.value < 0.35

    def test_a_metric_where_lower_is_better_says_the_same(self, plan, scores):
        one, other = (measure(plan, trained(plan, scores), objective) for objective in (SCORE, LOSS))
        for first, second in zip(one.arms, other.arms, strict=True):
            assert second.with_truth.value == pytest.approx(first.with_truth.value)
            assert second.heritability.share == pytest.approx(first.heritability.share)
            assert second.mean == pytest.approx(-first.mean)
        lines = [
            [
                line.split(" |")[0]
                for line in signal_markdown(results, plot="p").splitlines()
                if line.startswith("| b@8")
            ]
            for results in (one, other)
        ]
        assert lines[0] == lines[1]
        best = max(range(8), key=lambda code: self.matrix(scores, plan.truth)[code].mean())
        assert plan.codes[best] in lines[0][0]

    def test_what_is_missing_is_left_out_of_what_needs_it(self, plan, scores):
        lost = {(Arm("none", 1), 2, 0), (plan.truth, 4, 1)}
        whole = trained(plan, scores)
        some = trained(plan, lambda arm, c, r: None if (arm, c, r) in lost else scores(arm, c, r))
        results = measure(plan, some, SCORE)
        assert results.of(Arm("none", 1)).with_truth.codes == 6
        assert results.of(Arm("none", 3)).with_truth.codes == 7
        assert (
            results.of(Arm("none", 3)).with_inherited == measure(plan, whole, SCORE).of(Arm("none", 3)).with_inherited
        )
        assert results.of(plan.truth).heritability.per_code < 3
        assert {one.key for one in results.failed} == {key for key, one in some.items() if one.has_failed}
        text = signal_markdown(results, plot="p")
        assert "Trainings that failed and count nowhere: 2; the first is" in text

    def test_a_part_of_the_trainings_gives_a_part_of_the_numbers(self, plan, scores):
        whole = trained(plan, scores)
        first = {key: one for key, one in whole.items() if key.repetition == 0}
        results = measure(plan, first, SCORE)
        assert results.of(plan.truth).with_truth is None
        assert results.of(plan.truth).heritability is None
        assert results.of(Arm("none", 1)).with_truth is None  # no other repetition
        two = {key: one for key, one in whole.items() if key.repetition < 2 or key.code in plan.codes[:3]}
        results = measure(plan, two, SCORE)
        assert results.of(Arm("parent", 1)).heritability.codes == 3
        assert results.of(Arm("none", 1)).heritability.codes == 8
        for known in ({}, first, two):
            results = measure(plan, known, SCORE)
            assert f"{len(known)} of {len(plan.jobs)} trainings are in" in signal_markdown(results, plot="p")

    def test_nothing_is_enough_for_a_page_and_a_plot(self, plan, tmp_path):
        results = measure(plan, {}, SCORE)
        draw_signal(results, tmp_path / "p.png")
        assert (tmp_path / "p.png").read_bytes().startswith(PNG)
        for part in signal_parts(results):
            make_console().show(part)

    @pytest.mark.parametrize("objective", [SCORE, LOSS])
    def test_a_plot_of_everything(self, plan, scores, tmp_path, objective):
        draw_signal(measure(plan, trained(plan, scores), objective), tmp_path / "p.png")
        assert len((tmp_path / "p.png").read_bytes()) > 20_000
        assert [path.name for path in tmp_path.iterdir()] == ["p.png"]

    def test_equal_scores_tell_nothing(self, plan, tmp_path):
        results = measure(plan, trained(plan, lambda *_: 0.5), SCORE)
        assert "there is nothing to tell codes apart by" in signal_markdown(results, plot="p")
        draw_signal(results, tmp_path / "p.png")
