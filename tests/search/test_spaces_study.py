"""`spnas study spaces`: distributions of scores in search spaces."""

import tomllib
from dataclasses import replace

import pytest
import tomli_w
from commands import done, refused

from spnas_core.encoding import Architecture
from spnas_core.errors import SpaceError
from spnas_core.space import SearchSpace
from spnas_core.tasks import MetricSpec
from spnas_search.settings import resolve
from spnas_search.studies import Training
from spnas_search.studies.spaces import study
from spnas_search.studies.spaces.plan import DrawnSpace, SpacesSettings, draw_codes, plan_spaces
from spnas_search.studies.spaces.results import measure_spaces
from spnas_search.studies.spaces.study import read_spaces_results
from spnas_search.testing.null_task import NullTask

PNG = b"\x89PNG\r\n\x1a\n"
NULL = ("--set", "task.name=null", "--set", "executor.name=inline", "--set", "warm_start_epochs=3")
TWO = ("b@8_1-2-2", "r@8_1-2-2")
SMALL = (*NULL, "--set", "space.max_blocks=9", "--codes", "6")


def without_costs(evaluate):
    def evaluated(*given, **options):
        return replace(evaluate(*given, **options), cost={})

    return evaluated


class TestTheCommand:
    def test_spaces_are_compared_and_extended(self, tmp_path):
        out, fresh = tmp_path / "s", tmp_path / "fresh"
        text = done("study", "spaces", *TWO, *SMALL, "--out", out)
        assert "6 codes of each: 12 trainings with 6 epochs each, 12 of them to be done" in text
        before = (out / "trainings.jsonl").read_text()
        results = read_spaces_results(out)
        assert [space.name for space in results.spaces] == list(TWO)
        assert [len(space.scores) for space in results.spaces] == [6, 6]
        assert results.spaces[0].gap is None
        assert 0 <= results.spaces[1].gap.distance <= 1
        assert (out / "spaces.png").read_bytes().startswith(PNG)
        assert "| b@8_1-2-2 | 6 |" in (out / "spaces.md").read_text()
        done("study", "spaces", "--out", out, "--resume", "--codes", "9")
        assert (out / "trainings.jsonl").read_text().startswith(before)
        done("study", "spaces", *TWO, *SMALL, "--codes", "9", "--out", fresh)
        assert read_spaces_results(out).spaces == read_spaces_results(fresh).spaces
        assert "9 codes were drawn" in done("study", "spaces", "--out", out, "--report")

    def test_spaces_without_a_cost_in_common_are_compared_as_they_are(self, tmp_path):
        text = done("study", "spaces", *TWO, *NULL, *["--set", "space.max_blocks=6", "--codes", "5"], "--out", tmp_path)
        assert "at equal multiply-adds it has nothing in common with it to compare" in text
        assert (tmp_path / "spaces.png").read_bytes().startswith(PNG)

    def test_a_study_keeps_the_bounds_that_it_began_with(self, tmp_path, monkeypatch):
        """Whatever the defaults are when it is extended."""
        out = tmp_path / "s"
        done("study", "spaces", TWO[0], *NULL, "--set", "space.max_stages=4", "--codes", "6", "--out", out)
        before = read_spaces_results(out).plan.spaces[0].codes

        def otherwise(values):
            return resolve({**values, "space": {"max_blocks": 30, **values.get("space", {})}})

        monkeypatch.setattr(study, "resolve", otherwise)
        done("study", "spaces", "--out", out, "--resume", "--codes", "8")
        assert read_spaces_results(out).plan.spaces[0].codes[:6] == before

    def test_codes_that_were_never_drawn_are_refused(self, tmp_path):
        out = tmp_path / "s"
        done("study", "spaces", *TWO, *SMALL, "--out", out)
        file = out / "study.toml"
        file.write_text(file.read_text().replace("codes = 6", "codes = 20"))
        for how in ("--resume", "--report"):
            assert "has 6 codes of the space b@8_1-2-2, not codes = 20" in refused("study", "spaces", "--out", out, how)

    def test_a_task_that_does_not_say_what_a_network_costs_is_compared_as_it_is(self, tmp_path, monkeypatch):
        monkeypatch.setattr(NullTask, "evaluate", without_costs(NullTask.evaluate))
        text = done("study", "spaces", *TWO, *SMALL, "--out", tmp_path / "spaces")
        assert "of what the codes cost, nothing is known." in text
        given = ("serial", *NULL, "--set", "budget.candidates=3", "--searches", "2", "--ranked", "0")
        done("study", "searches", *given, "--out", tmp_path / "searches")

    def test_a_bound_on_latency_holds_as_in_a_search(self, tmp_path):
        given = (
            "study",
            "spaces",
            TWO[0],
            *SMALL,
            "--set",
            "space.max_latency=0.0001",
            "--set",
            "space.max_blocks=4",
            "--out",
            tmp_path / "s",
        )
        assert f"the space of {TWO[0]} does not hold its start {TWO[0]}: " in refused(*given)

    def test_a_file_is_a_space_with_bounds_of_its_own(self, tmp_path):
        file = tmp_path / "deep.toml"
        file.write_text('start = "b@8_1-2-2"\n[space]\nmin_blocks = 8\n')
        done("study", "spaces", "b@8_1-2-2", file, *SMALL, "--out", tmp_path / "s")
        shallow, deep = read_spaces_results(tmp_path / "s").plan.spaces
        assert deep.name == "deep"
        assert min(len(Architecture.parse(code).digits) for code in deep.codes) >= 8
        assert min(len(Architecture.parse(code).digits) for code in shallow.codes) < 8
        assert all(len(Architecture.parse(code).digits) <= 9 for code in deep.codes)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ([], "name one space or more"),
            (["b@8_1--2"], "stage 2 of"),
            ([*TWO, TWO[0]], "two spaces are called 'b@8_1-2-2'"),
            ([*TWO, "--codes", "4"], "study of spaces: codes is 4"),
            (
                [*TWO, "--codes", "90", "--set", "space.min_blocks=3", *["--set", "space.max_blocks=5"]],
                "different codes were drawn from the space of",
            ),
            ([*TWO, "--set", "init=x.safetensors"], "this study trains from fresh weights"),
        ],
    )
    def test_refusals_are_one_line_and_leave_nothing(self, tmp_path, given, message):
        out = tmp_path / "s"
        assert message in refused("study", "spaces", *given, *NULL, "--out", out)
        assert not (out / "study.toml").exists()

    def test_other_refusals(self, tmp_path):
        file = tmp_path / "own.toml"
        file.write_text("seed = 1")
        out = tmp_path / "s"
        assert "sets 'seed': a space has start and space" in refused("study", "spaces", file, *NULL, "--out", out)
        done("study", "spaces", *TWO, *SMALL, "--out", out)
        assert "has its spaces" in refused("study", "spaces", TWO[0], "--out", out, "--resume")
        assert "has split = 'validation', not 'test'" in refused(
            *("study", "spaces", "--out", out, "--resume", "--split", "test")
        )


class TestDrawing:
    def test_more_codes_begin_with_the_same_ones(self):
        start, space = Architecture.parse("b@8_1-2-2"), SearchSpace(max_blocks=10)
        few, many = (draw_codes("x", start, space, count, seed=3).codes for count in (5, 20))
        assert many[:5] == few
        assert len(set(many)) == 20
        old = draw_codes("y", start, space, 5, seed=3).codes
        assert draw_codes("x", start, space, 20, seed=3, known=old).codes == tuple(dict.fromkeys((*old, *many)))[:20]
        with pytest.raises(SpaceError, match=r"only . different codes"):
            draw_codes(
                "x",
                Architecture.parse("b@8_1-2"),
                SearchSpace(min_blocks=2, max_blocks=3, min_stages=2, max_stages=2),
                9,
                seed=0,
            )

    def test_spaces_that_overlap_are_drawn_from_independently(self):
        start = Architecture.parse("b@8_11-21-21-21")
        one, other = (draw_codes(name, start, SearchSpace(max_blocks=14), 50, seed=0).codes for name in "ab")
        assert len(set(one) & set(other)) < 10


class TestTheResults:
    def test_codes_without_all_trainings_count_nowhere(self):
        spaces = [DrawnSpace(name, (f"{name}@8_1-2", f"{name}@8_11-2", f"{name}@8_1-12")) for name in "br"]
        plan = plan_spaces(spaces, SpacesSettings(codes=5, trainings=2, epochs=3).model_copy(update={"codes": 3}))
        scores = {job.key: 0.1 * place for place, job in enumerate(plan.jobs)}
        trainings = {
            key: Training(key, "", 0, 1, 1.0, 1, {"score": score}, {"multiply_adds": 5.0})
            for key, score in scores.items()
        }
        gone = plan.keys("b@8_11-2")[1]
        del trainings[gone]
        results = measure_spaces(plan, trainings, MetricSpec("score"))
        assert [len(space.scores) for space in results.spaces] == [2, 3]
        first = plan.keys("b@8_1-2")
        assert results.spaces[0].scores[0] == pytest.approx((scores[first[0]] + scores[first[1]]) / 2)
        assert results.done == 11


def test_a_cost_of_nothing_is_compared_by_no_ratio(tmp_path):
    assert not results_at(0.0).knows_costs
    assert results_at(1.0).knows_costs


def results_at(cost):
    """Results of two spaces whose codes all cost so much."""
    plan = plan_spaces(
        [DrawnSpace(name, tuple(f"{name}{'1' * more}" for more in range(5))) for name in TWO],
        SpacesSettings(codes=5, epochs=4),
    )
    trainings = {
        job.key: Training(job.key, job.digest, 0, 1, 1.0, 1, {"score": 0.5}, {"multiply_adds": cost})
        for job in plan.jobs
    }
    return measure_spaces(plan, trainings, MetricSpec("score"))


def test_a_start_that_does_not_fit_is_refused_before_any_training(tmp_path):
    for kind, given in (("signal", ()), ("spaces", ("b@8_11-21-21-21",))):
        out = tmp_path / kind
        few = ("--codes", "5", "--set", "executor.name=inline", "--set", "task.detector.neck=fnp")
        said = refused("study", kind, *given, *few, "--out", out)
        assert "fnp" in said
        assert "fpn" in said
        assert not (out / "study.toml").exists()


def test_a_folder_that_is_taken_is_told_before_the_data_is_read(tmp_path, monkeypatch):
    out = tmp_path / "s"
    done("study", "spaces", *TWO, *NULL, *["--set", "space.max_blocks=6", "--codes", "5", "--out", out])
    monkeypatch.setattr(study, "suit", lambda _: pytest.fail("the data is read"))
    assert "holds a study already" in refused("study", "spaces", *TWO, *NULL, "--codes", "5", "--out", out)


@pytest.mark.parametrize(("key", "value"), [("seed", "2020-01-01"), ("spaces", "[]"), ("spaces", "7")])
def test_a_study_whose_file_was_altered_says_so_in_a_line(tmp_path, key, value):
    out = tmp_path / "s"
    done("study", "spaces", *TWO, *NULL, *["--set", "space.max_blocks=6", "--codes", "5", "--out", out])
    file = out / "study.toml"
    values = tomllib.loads(file.read_text())
    (values["study"] if key == "spaces" else values["settings"])[key] = tomllib.loads(f"x = {value}")["x"]
    file.write_text(tomli_w.dumps(values))
    said = refused("study", "spaces", "--out", out, "--report")
    assert "altered" in said or "damaged" in said
