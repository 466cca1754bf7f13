"""`spnas study searches`: several strategies at equal budgets, judged by trainings from scratch."""

import importlib
import json
import math
from statistics import fmean

import numpy as np
import pytest
from commands import done, invoke, refused
from scipy import stats

from spnas_core.configuration import read_toml
from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.space import SearchSpace
from spnas_core.tasks import MetricSpec
from spnas_search.cli.studies.searches import _Lines
from spnas_search.strategies import Sampler
from spnas_search.strategies.sampling import drawer
from spnas_search.studies import Training
from spnas_search.studies.searches.arms import random_beside, read_arms
from spnas_search.studies.searches.found import ALIKE, Found, sample_alike
from spnas_search.studies.searches.layout import STEM, shares_by_reduction
from spnas_search.studies.searches.plan import SearchesSettings, plan_trainings
from spnas_search.studies.searches.report import searches_sentences
from spnas_search.studies.searches.results import measure_searches, share_better
from spnas_search.studies.searches.study import read_searches_results

PNG = b"\x89PNG\r\n\x1a\n"
NULL = ("--set", "task.name=null", "--set", "executor.name=inline", "--set", "warm_start_epochs=3")
SMALL = (*NULL, "--set", "budget.candidates=3", "--set", "space.max_blocks=12", "--searches", "2", "--ranked", "3")
START = "b@8_11-21-21-21"
BESIDE = {"random": (), "serial": ("random",), "again": ("random",)}


class TestTheCommand:
    def test_random_search_is_always_among_them(self, tmp_path):
        out = tmp_path / "s"
        text = done("study", "searches", "serial", *SMALL, "--out", out)
        results = read_searches_results(out)
        assert [arm.arm for arm in results.arms] == ["random", "serial"]
        assert "4 searches, 4 of them to be done; behind them at most 18 trainings" in text
        for arm in results.arms:
            assert arm.searches == 2
            assert arm.agreement.tau.mean == pytest.approx(1)  # nothing is noisy: the search knows the order
            assert arm.over_start.mean >= 0
        assert results.done == len(results.plan.jobs)
        assert (out / "searches.png").read_bytes().startswith(PNG)
        page = (out / "searches.md").read_text()
        assert "| random | 2 |" in page
        assert (
            done("study", "searches", "--out", out, "--report").splitlines()[:5]
            == [line for line in text.splitlines() if line in set(page_start(text))][:5]
        )

    def test_a_study_is_extended_and_what_is_there_stays(self, tmp_path):
        out, fresh = tmp_path / "s", tmp_path / "fresh"
        done("study", "searches", "random", *SMALL, "--out", out)
        before = (out / "trainings.jsonl").read_text()
        done("study", "searches", "hill-climb", "--out", out, "--resume", "--searches", "3")
        after = (out / "trainings.jsonl").read_text()
        assert after.startswith(before)
        done("study", "searches", "hill-climb", *SMALL, "--searches", "3", "--out", fresh)
        ours, theirs = read_searches_results(out), read_searches_results(fresh)
        assert ours.arms == theirs.arms
        assert ours.start == theirs.start

    def test_more_trainings_keep_those_that_there_are(self, tmp_path):
        out = tmp_path / "s"
        done("study", "searches", "random", *SMALL, "--searches", "3", "--out", out)
        before = set(read_searches_results(out).plan.jobs)
        done("study", "searches", "--out", out, "--resume", "--trainings", "2")
        assert before < set(read_searches_results(out).plan.jobs)

    def test_a_study_that_numbers_trainings_as_before_goes_on(self, tmp_path):
        old = SearchesSettings(searches=3, trainings=2, epochs=4, ranked=0)
        plan = plan_trainings(
            START, ["random"], [found("random", number, "b@8_111-21-21-21") for number in (0, 2)], old
        )
        assert [key.repetition for one in plan.judged["random"] for key in one.winner] == [0, 1, 4, 5]

    def test_a_folder_of_other_searches_is_left_alone(self, tmp_path):
        other = tmp_path / "searches" / "random" / "0" / "found.json"
        other.parent.mkdir(parents=True)
        other.write_text("{}")
        assert "is there already, where this study would search" in refused(
            "study", "searches", "serial", *SMALL, "--out", tmp_path
        )
        assert other.read_text() == "{}"
        assert not (tmp_path / "study.toml").exists()

    def test_random_search_under_another_name_is_enough_when_a_study_goes_on(self, tmp_path):
        own = tmp_path / "sampling.toml"
        own.write_text('strategy = { name = "random" }\n')
        done("study", "searches", own, *SMALL, "--out", tmp_path / "s")
        again = ("study", "searches", own, "hill-climb", "--out", tmp_path / "s", "--resume")
        done(*again)
        assert [arm.arm for arm in read_searches_results(tmp_path / "s").arms] == ["sampling", "hill-climb"]
        own.write_text('strategy = { name = "random", round = 7 }\n')
        assert "searches 'sampling' have strategy.round = 2, not 7: leave the name out" in refused(*again)

    def test_sampled_codes_can_be_left_out(self, tmp_path):
        out = tmp_path / "s"
        text = done("study", "searches", *SMALL, "--sampled", "0", "--trainings", "2", "--out", out)
        assert "from scratch twice (a sampled code never) for 6 epochs" in text
        assert read_searches_results(out).arms[0].over_sampled is None
        assert "over 2 searches" not in text
        more = done("study", "searches", "--out", out, "--resume", "--sampled", "1")
        assert "a sampled code once" in more
        assert read_searches_results(out).arms[0].over_sampled.count == 2

    def test_an_interrupted_study_goes_on_as_an_undisturbed_one(self, tmp_path, monkeypatch):
        out, fresh = tmp_path / "s", tmp_path / "fresh"

        def interrupt(self, *_):
            raise KeyboardInterrupt

        monkeypatch.setattr(_Lines, "search_ended", interrupt)
        result = invoke("study", "searches", "serial", *SMALL, "--out", out)
        assert result.exit_code == 130
        assert f"go on with: spnas study searches --out {out} --resume" in result.output
        monkeypatch.undo()
        done("study", "searches", "--out", out, "--resume")
        done("study", "searches", "serial", *SMALL, "--out", fresh)
        assert read_searches_results(out).arms == read_searches_results(fresh).arms

    def test_later_searches_are_as_the_first_whatever_is_said_anew(self, tmp_path, monkeypatch):
        out = tmp_path / "s"
        done("study", "searches", "serial", *SMALL, "--out", out)
        again = ("study", "searches", "--out", out, "--resume", "--searches", "3")
        done(*again, "--set", "objective=score", "--set", "executor.cores=1")
        first, last = (read_toml(out / "searches" / "serial" / number / "run.toml") for number in "02")
        assert "objective" not in last
        assert last["executor"]["cores"] == 1
        assert {**last, "seed": 0, "executor": 0} == {**first, "seed": 0, "executor": 0}

    def test_a_search_under_way_goes_on_with_other_versions_where_they_are_accepted(self, tmp_path, monkeypatch):
        out = tmp_path / "s"

        def interrupt(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr("spnas_search.studies.searches.study.look_at", interrupt)
            invoke("study", "searches", "random", *SMALL, "--out", out)
        for name in ("spnas_search.run.opening", "spnas_search.run.run", "spnas_search.studies.study"):
            module = importlib.import_module(name)
            versions = {**module.installed_versions(), "spnas-core": "9.9"}
            monkeypatch.setattr(module, "installed_versions", lambda versions=versions: versions)
        assert "--accept-versions" in refused("study", "searches", "--out", out, "--resume")
        done("study", "searches", "--out", out, "--resume", "--accept-versions")
        assert read_searches_results(out).arms[0].searches == 2

    def test_files_are_ways_to_search_of_their_own(self, tmp_path):
        own = tmp_path / "greedy.toml"
        own.write_text('ranking = "lead"\n[strategy]\nname = "serial"\npool = 1\n')
        done("study", "searches", "serial", own, *SMALL, "--set", "strategy.round=3", "--out", tmp_path / "s")
        greedy, plain = ((tmp_path / "s" / "searches" / name / "0" / "run.toml") for name in ("greedy", "serial"))
        assert "pool = 1" in greedy.read_text()
        assert 'ranking = "lead"' in greedy.read_text()
        assert "pool = 4" in plain.read_text()
        for file in (greedy, plain, tmp_path / "s" / "searches" / "random" / "0" / "run.toml"):
            assert "round = 3" in file.read_text()

    def test_failures_are_told_and_tried_again(self, tmp_path):
        out = tmp_path / "s"
        done("study", "searches", "serial", *SMALL, "--out", out)
        lines = [json.loads(line) for line in (out / "trainings.jsonl").read_text().splitlines()]
        failed = {**lines[0], "reason": "diverged", "metrics": {}}
        (out / "trainings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [failed, *lines[1:]]))
        text = done("study", "searches", "--out", out, "--resume")
        assert "Trainings that failed and count nowhere: 1; the first is " in text
        text = done("study", "searches", "--out", out, "--resume", "--retry-failed")
        assert "count nowhere" not in text

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["serail"], "did you mean 'serial'?"),
            (["serial", "serial"], "two ways to search are called 'serial'"),
            (["serial", "--searches", "1"], "study of searches: searches is 1"),
            (["serial", "--ranked", "2"], "an order needs 3 codes or more; 0 leaves it out"),
            (["serial", "--sampled", "2"], "sampled is 2, above trainings = 1: raise the latter"),
            (["serial", "--epochs", "0"], "study of searches: epochs is 0"),
            (["nowhere.toml"], "cannot read the configuration nowhere.toml"),
            (["serial", "--set", "init=x.safetensors"], "this study trains from fresh weights"),
            (["serial", "--set", "budget.epochs=1"], "random: budget.epochs is 1, and the warm start"),
            (["serial", "--retry-failed"], "--retry-failed goes with --resume"),
            (["serial", "--report"], "--report shows what is there"),
        ],
    )
    def test_refusals_are_one_line_and_leave_nothing(self, tmp_path, given, message):
        out = tmp_path / "s"
        assert message in refused("study", "searches", *given, *NULL, "--out", out)
        assert not (out / "study.toml").exists()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("seed = 3", "sets 'seed', which all searches of a study share"),
            ("[budget]\ncandidates = 9", "sets 'budget', which all searches of a study share"),
            ("[strategy]\nname = 'serial'\npol = 3", "own: there is no setting 'strategy.pol'"),
        ],
    )
    def test_refusals_of_files(self, tmp_path, text, message):
        own = tmp_path / "own.toml"
        own.write_text(text)
        assert message in refused("study", "searches", own, *NULL, "--out", tmp_path / "s")

    @pytest.mark.parametrize(
        ("text", "key"),
        [
            ('strategy = "serial"', "strategy"),
            ("screen = 3", "screen"),
            ("ranking = 1", "ranking"),
            ("strategy = { pool = 0 }", "strategy.pool"),
            ("strategy = { name = 3 }", "strategy.name"),
            ("strategy = { name = [] }", "strategy.name"),
            ("screen = { name = 3 }", "screen.name"),
        ],
    )
    def test_wrong_settings_are_refused_wherever_they_stand(self, tmp_path, text, key):
        file = tmp_path / "own.toml"
        file.write_text(text)
        for given in (["serial", file], ["serial", "--config", file]):
            assert f"{key} is " in refused("study", "searches", *given, *NULL, "--out", tmp_path / "s")
            assert not (tmp_path / "s").exists()

    def test_refusals_of_going_on(self, tmp_path):
        out = tmp_path / "s"
        assert "holds no study" in refused("study", "searches", "--out", out, "--resume")
        done("study", "searches", "random", *SMALL, "--out", out)
        again = ("study", "searches", "--out", out, "--resume")
        assert "would leave some out" not in done(*again)
        assert "split = 'test', not 'validation'" in refused(*again, "--split", "validation")
        assert "was made with budget.candidates = 3, not 4" in refused(*again, "--set", "budget.candidates=4")
        assert "holds a study of the kind 'searches', not 'signal'" in refused(
            "study", "signal", "--out", out, "--resume"
        )


def page_start(text):
    lines = text.splitlines()
    return lines[lines.index(next(line for line in lines if line.startswith("Ways to search"))) :]


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

    def test_where_none_is_alike_it_is_the_nearest(self):
        space = SearchSpace(image_size=(64, 64), max_blocks=9, min_blocks=9, min_stages=4, max_stages=4)
        draw = drawer(Architecture.parse(START), space, of_parts=False)
        far = Architecture.parse("b@64_111-21-21-21")
        costs = {backbone_cost(draw(np.random.default_rng(n)), 64, 64).multiply_adds for n in range(300)}
        found_code = sample_alike(far, draw, space, np.random.default_rng(0))
        assert backbone_cost(found_code, 64, 64).multiply_adds >= max(costs)
