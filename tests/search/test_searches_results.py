"""What a study of searches plans and concludes: which trainings judge, and what their scores say."""

import math
from dataclasses import asdict
from statistics import fmean

import numpy as np
import pytest
from commands import done
from scipy import stats

import spnas_search
from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.space import SearchSpace
from spnas_core.tasks import MetricSpec
from spnas_search.strategies import Sampler
from spnas_search.strategies.sampling import drawer
from spnas_search.studies import Training
from spnas_search.studies.searches.arms import random_beside, read_arms
from spnas_search.studies.searches.found import ALIKE, Found, look_at, sample_alike
from spnas_search.studies.searches.layout import STEM, shares_by_reduction
from spnas_search.studies.searches.plan import SearchesSettings, plan_trainings
from spnas_search.studies.searches.report import searches_markdown, searches_sentences
from spnas_search.studies.searches.results import measure_searches, share_better

NULL = ("--set", "task.name=null", "--set", "executor.name=inline", "--set", "warm_start_epochs=3")
SMALL = (*NULL, "--set", "budget.candidates=3", "--set", "space.max_blocks=12", "--searches", "2", "--ranked", "3")
START = "b@8_11-21-21-21"
BESIDE = {"random": (), "serial": ("random",), "again": ("random",)}


def found(arm, number, winner, sampled=START, ranked=()):
    return Found(arm, number, winner, 5, 10, tuple(ranked), sampled)


def answer(plan, score):
    """Train every job of a plan: the score is a function of code and repetition."""
    return {
        job.key: Training(
            job.key, job.digest, 0, 1, 1.0, 1, {"score": (s := score(job.key.code, job.key.repetition)), "loss": 1 - s},
            {"multiply_adds": 1.0},
        )
        for job in plan.jobs
    }  # fmt: skip


class TestThePlan:
    def test_a_study_that_numbers_trainings_as_before_goes_on(self):
        old = SearchesSettings(searches=3, trainings=2, epochs=4, ranked=0)
        plan = plan_trainings(
            START, ["random"], [found("random", number, "b@8_111-21-21-21") for number in (0, 2)], old
        )
        assert [key.repetition for one in plan.judged["random"] for key in one.winner] == [0, 1, 4, 5]

    def test_one_code_is_trained_once_for_searches_of_one_number(self):
        settings = SearchesSettings(searches=2, trainings=3, epochs=4, ranked=0)
        code = "b@8_111-21-21-21"
        outcomes = [found(arm, number, code, code) for arm in ("random", "serial") for number in (0, 1)]
        plan = plan_trainings(START, ("random", "serial"), outcomes, settings)
        repetitions = sorted((job.key.code, job.key.repetition) for job in plan.jobs)
        assert repetitions == sorted((one, number) for one in (START, code) for number in range(6))
        assert plan.judged["random"][1].winner == plan.judged["serial"][1].sampled
        assert not set(plan.judged["random"][0].winner) & set(plan.judged["random"][1].winner)

    @pytest.mark.parametrize(("sampled", "count"), [(None, 3), (1, 1), (0, 0)])
    def test_sampled_codes_are_trained_as_often_as_the_winner_or_as_is_said(self, sampled, count):
        settings = SearchesSettings(searches=2, trainings=3, sampled=sampled, epochs=4, ranked=0)
        outcomes = [found("random", number, "b@8_111-21-21-21", "b@8_11-21-21-211") for number in (0, 1)]
        plan = plan_trainings(START, ("random",), outcomes, settings)
        assert [len(one.sampled) for one in plan.judged["random"]] == [count, count]
        assert [len(one.winner) for one in plan.judged["random"]] == [3, 3]
        assert len(plan.jobs) == 2 * (3 + 3 + count)
        results = measure_searches(plan, answer(plan, lambda code, _: 0.5), MetricSpec("score"), BESIDE)
        assert (results.arms[0].over_sampled is None) == (count == 0)


class TestTheResults:
    settings = SearchesSettings(searches=3, trainings=1, epochs=4, ranked=0)
    codes = ("b@8_111-21-21-21", "b@8_11-211-21-21", "b@8_11-21-211-21")

    def test_differences_are_positive_where_a_way_is_better_whatever_the_metric(self):
        outcomes = [found("random", number, START) for number in range(3)]
        outcomes += [found("serial", number, code) for number, code in enumerate(self.codes)]
        plan = plan_trainings(START, ("random", "serial"), outcomes, self.settings)
        trainings = answer(plan, lambda code, number: 0.5 + 0.1 * (code != START) + 0.01 * number)
        for objective in (MetricSpec("score"), MetricSpec("loss", higher_is_better=False)):
            results = measure_searches(plan, trainings, objective, BESIDE)
            serial = results.arms[1]
            assert serial.over_sampled.mean == pytest.approx(0.1)
            assert serial.over_random.mean == pytest.approx(0.1)
            assert serial.over_start.mean == pytest.approx(0.1)
            assert serial.better_than_sampled.value == 1
            assert results.arms[0].better_than_sampled.value == 0.5  # ties
            assert results.arms[0].over_random is None
            alike = "serial is not shown to find better"  # all differ by 0.1, but for rounding: that rests on no chance
            assert any(line.startswith(alike) for line in searches_sentences(results))

    def test_what_never_varies_has_no_interval(self):
        """As where one training is read off a table three times."""
        outcomes = [found("random", number, code) for number, code in enumerate(self.codes)]
        plan = plan_trainings(START, ("random",), outcomes, self.settings)
        worth = dict(zip(self.codes, (0.9, 0.8, 0.7), strict=True))
        results = measure_searches(
            plan, answer(plan, lambda code, _: worth.get(code, 0.5)), MetricSpec("score"), BESIDE
        )
        assert results.arms[0].over_start.mean == pytest.approx(0.3)
        assert not results.arms[0].over_start.is_known
        page = searches_markdown(results, plot="plot.png")
        assert "| \\(start\\) |" in page or "| (start) |" in page
        (start,) = (line for line in page.splitlines() if line.startswith("| (start)") and "0.500" in line)
        assert "±" not in start
        assert "+0.300 |" in page

    def test_the_share_has_wilsons_interval(self):
        for better in range(11):
            ours = share_better([1.0] * better + [-1.0] * (10 - better))
            theirs = stats.binomtest(better, 10).proportion_ci(method="wilson")
            assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))

    def test_what_is_not_in_counts_nowhere(self):
        outcomes = [found("random", number, code) for number, code in enumerate(self.codes)]
        plan = plan_trainings(START, ("random",), outcomes, self.settings)
        trainings = answer(plan, lambda code, number: 0.5)
        del trainings[plan.judged["random"][0].winner[0]]
        results = measure_searches(plan, trainings, MetricSpec("score"), BESIDE)
        assert math.isnan(results.arms[0].scores[0])
        assert results.arms[0].mean.count == 2
        assert results.arms[0].over_sampled.count == 2

    def test_orders_are_compared_search_by_search(self):
        ranked = [(code, lead) for code, lead in zip(self.codes, (0.3, 0.2, 0.1), strict=True)]
        outcomes = [found("random", 0, self.codes[0], ranked=ranked)]
        outcomes += [found("random", 1, self.codes[0], ranked=[(code, -lead) for code, lead in ranked])]
        plan = plan_trainings(START, ("random",), outcomes, self.settings.model_copy(update={"ranked": 3}))
        worth = dict(zip(self.codes, (0.9, 0.8, 0.7), strict=True))
        trainings = answer(plan, lambda code, _: worth.get(code, 0.5))
        results = measure_searches(plan, trainings, MetricSpec("score"), BESIDE)
        assert results.arms[0].agreement.tau.mean == pytest.approx(0)  # one agrees, the other one is reversed
        assert results.arms[0].agreement.codes == 6

    def test_of_two_alike_ways_the_interval_holds_no_difference(self):
        """In 200 studies of two ways that both take the best of five random codes, by a noisy score."""
        rng = np.random.default_rng(0)
        sampler = Sampler(Architecture.parse(START), SearchSpace(max_blocks=14))
        codes = sorted({str(sampler.draw(rng).child) for _ in range(80)})
        quality = dict(zip(codes, rng.normal(0.5, 0.03, len(codes)), strict=True)) | {START: 0.5}
        settings = SearchesSettings(searches=8, trainings=1, epochs=4, ranked=0)

        def winner():
            drawn = rng.choice(codes, 5)
            return str(max(drawn, key=lambda code: quality[code] + rng.normal(0, 0.03)))

        inside = []
        for _ in range(200):
            outcomes = [found(arm, number, winner()) for arm in ("random", "again") for number in range(8)]
            plan = plan_trainings(START, ("random", "again"), outcomes, settings)
            trainings = answer(plan, lambda code, _: quality[code] + rng.normal(0, 0.03))
            above = measure_searches(plan, trainings, MetricSpec("score"), BESIDE).arms[1].over_random
            inside.append(above.low <= 0 <= above.high)
        assert 0.9 <= fmean(inside) <= 0.99


class TestRandomSearch:
    def test_each_way_is_measured_by_those_that_inherit_alike(self, tmp_path):
        files = {
            "sampled": 'strategy = { name = "random" }',
            "fresh": 'inherit = "none"\nstrategy = { name = "random" }',
            "serial-fresh": 'inherit = "none"',
            "serial-warm": 'inherit = "warm-start"',
        }
        for name, text in files.items():
            (tmp_path / f"{name}.toml").write_text(text + "\n")
        arms = read_arms([str(tmp_path / f"{name}.toml") for name in files], {"task": {"name": "null"}})
        assert random_beside(arms) == {
            "sampled": (),
            "fresh": (),
            "serial-fresh": ("fresh",),
            "serial-warm": ("sampled", "fresh"),
        }
        assert random_beside(read_arms(["serial"], {"task": {"name": "null"}})) == {"random": (), "serial": ("random",)}

    def test_several_count_together(self):
        settings = SearchesSettings(searches=2, trainings=1, epochs=4, ranked=0)
        outcomes = [found("one", number, START) for number in range(2)]
        outcomes += [found("two", number, "b@8_111-21-21-21") for number in range(2)]
        outcomes += [found("serial", number, "b@8_11-21-21-211") for number in range(2)]
        plan = plan_trainings(START, ("one", "two", "serial"), outcomes, settings)
        worth = {START: 0.1, "b@8_111-21-21-21": 0.3, "b@8_11-21-21-211": 0.4}
        trainings = answer(plan, lambda code, _: worth[code])
        beside = {"one": (), "two": (), "serial": ("one", "two")}
        results = measure_searches(plan, trainings, MetricSpec("score"), beside)
        assert results.arms[2].over_random.mean == pytest.approx(0.2)
        assert results.arms[0].over_random is results.arms[1].over_random is None


class TestWhereWinnersCompute:
    def test_shares_are_those_of_stages_and_add_up(self):
        shares = shares_by_reduction([START])
        cost = backbone_cost(Architecture.parse(START), 256, 256)
        assert list(shares) == [STEM, 4, 8, 16, 32]
        exact = [stage.multiply_adds / cost.multiply_adds for stage in cost.stages]
        assert list(shares.values()) == pytest.approx(exact)
        deeper = shares_by_reduction([START, "b@8_11111-2-2-2-1"])
        assert list(deeper) == [STEM, 4, 8, 16, 32, 64]
        assert sum(deeper.values()) == pytest.approx(1)
        assert deeper[4] > shares[4]
        assert deeper[64] == pytest.approx(shares_by_reduction(["b@8_11111-2-2-2-1"])[64] / 2)

    def test_the_report_has_a_row_for_the_start_and_each_way(self, tmp_path):
        out = tmp_path / "s"
        text = done("study", "searches", "serial", *SMALL, "--out", out)
        assert "Where winners compute: shares of multiply-adds by resolution" in text
        page = (out / "searches.md").read_text()
        head, _, *rows = page.split("| winners of |")[1].splitlines()[:5]
        assert head.startswith(" stem | 1/4 | 1/8 | 1/16 | 1/32 |")
        assert [row.split("|")[1].strip() for row in rows] == ["(start)", "random", "serial"]


class TestSampledCodes:
    def test_they_cost_what_the_winner_costs(self):
        space = SearchSpace(image_size=(64, 64))
        draw = drawer(Architecture.parse(START), space, of_parts=False)
        winner = Architecture.parse("b@8_111-2111-21-21")
        wanted = backbone_cost(winner, 64, 64).multiply_adds
        drawn = [sample_alike(winner, draw, space, np.random.default_rng(seed)) for seed in range(30)]
        for code in drawn:
            assert 1 / ALIKE <= backbone_cost(code, 64, 64).multiply_adds / wanted <= ALIKE
            assert code in space
        assert len(set(drawn)) > 20
        assert drawn[3] == sample_alike(winner, draw, space, np.random.default_rng(3))

    def test_they_are_not_those_that_the_search_itself_has_drawn(self, tmp_path):
        """Rounds are decided with 5, 6, … candidates in the archive, numbers that searches have, too."""
        settings = {"task": {"name": "null", "noise": 0.02}, "strategy": {"name": "random"}, "inherit": "none"}
        settings |= {"executor": {"name": "inline"}, "final": {"seeds": 0, "finalists": 0}, "budget": {"candidates": 8}}
        met = 0
        for seed in range(10):
            with spnas_search.search(**settings, seed=seed, out=tmp_path / str(seed)) as run:
                known = {str(one.architecture) for one in run.archive}
                found = [look_at(run.archive, "random", number, 0, run.space, seed) for number in range(5, 9)]
            met += sum(one.sampled in known for one in found)
        assert met <= 2

    def test_a_winner_is_never_its_own_sample(self):
        winner, space = Architecture.parse(START), SearchSpace(min_stages=4)
        two = iter([winner, Architecture.parse(self.near)])
        assert str(sample_alike(winner, lambda _: next(two), space, np.random.default_rng(0))) == self.near
        assert sample_alike(winner, lambda _: winner, space, np.random.default_rng(0)) is None

    near = "b@8_11-211-21-21"

    def test_where_nothing_else_was_drawn_there_is_no_pair_nor_was_there_one(self):
        settings = SearchesSettings(searches=3, trainings=2, epochs=4, ranked=0)
        stored = [
            asdict(found("random", number, START, sampled)) for number, sampled in enumerate((None, START, self.near))
        ]
        plan = plan_trainings(START, ("random",), [Found.read(one) for one in stored], settings)
        assert [len(one.sampled) for one in plan.judged["random"]] == [0, 0, 2]
        results = measure_searches(plan, answer(plan, lambda code, _: 0.5), MetricSpec("score"), BESIDE)
        assert results.arms[0].better_than_sampled.pairs == 1
        assert results.arms[0].over_sampled is None
        assert [math.isnan(score) for score in results.sampled] == [True, True, False]

    def test_where_none_is_alike_it_is_the_nearest(self):
        space = SearchSpace(image_size=(64, 64), max_blocks=9, min_blocks=9, min_stages=4, max_stages=4)
        draw = drawer(Architecture.parse(START), space, of_parts=False)
        far = Architecture.parse("b@64_111-21-21-21")
        costs = {backbone_cost(draw(np.random.default_rng(n)), 64, 64).multiply_adds for n in range(300)}
        found_code = sample_alike(far, draw, space, np.random.default_rng(0))
        assert backbone_cost(found_code, 64, 64).multiply_adds >= max(costs)


class TestOneTrainingReadAgain:
    """A table has one hidden training of a code, which every comparison reads."""

    SAMPLED = ("b@8_11-21-21-211", "b@8_11-21-211-21", "b@8_11-211-21-21")
    CODE = "b@8_111-21-21-21"

    def results(self, outcomes, score):
        settings = SearchesSettings(searches=3, trainings=2, epochs=4, ranked=0)
        plan = plan_trainings(START, tuple(BESIDE), outcomes, settings)
        return measure_searches(plan, answer(plan, score), MetricSpec("score"), BESIDE)

    def test_there_is_no_interval_over_samples_where_winners_never_vary(self):
        outcomes = [found("serial", number, self.CODE, self.SAMPLED[number]) for number in range(3)]
        scores = {self.CODE: 0.62} | dict(zip(self.SAMPLED, (0.58, 0.60, 0.59), strict=True))
        (serial,) = [
            one for one in self.results(outcomes, lambda code, _: scores.get(code, 0.5)).arms if one.arm == "serial"
        ]
        assert serial.over_sampled.mean == pytest.approx(0.03)
        assert not serial.over_sampled.is_known

    def test_random_searches_that_share_a_winners_trainings_count_once(self):
        beside = {"random": (), "other": (), "serial": ("random", "other")}
        settings = SearchesSettings(searches=3, trainings=2, sampled=0, epochs=4, ranked=0)
        outcomes = [found(arm, number, self.SAMPLED[number]) for arm in ("random", "other") for number in range(3)]
        outcomes += [found("serial", number, self.CODE) for number in range(3)]
        plan = plan_trainings(START, tuple(beside), outcomes, settings)
        trainings = answer(plan, lambda code, repetition: (len(code) + repetition) / 40)
        (serial,) = [
            one for one in measure_searches(plan, trainings, MetricSpec("score"), beside).arms if one.arm == "serial"
        ]
        alone = measure_searches(plan, trainings, MetricSpec("score"), beside | {"serial": ("random",)})
        assert serial.over_random == next(one for one in alone.arms if one.arm == "serial").over_random
