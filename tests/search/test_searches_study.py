"""`spnas study searches`: several strategies at equal budgets, judged by trainings from scratch."""

import importlib
import json

import pytest
from commands import done, invoke, refused

from spnas_core.configuration import read_toml
from spnas_search.cli.studies.searches import _Lines
from spnas_search.studies.searches.study import read_searches_results

PNG = b"\x89PNG\r\n\x1a\n"
NULL = ("--set", "task.name=null", "--set", "executor.name=inline", "--set", "warm_start_epochs=3")
SMALL = (*NULL, "--set", "budget.candidates=3", "--set", "space.max_blocks=12", "--searches", "2", "--ranked", "3")


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

    def test_what_changes_no_score_reaches_searches_that_have_begun_and_those_to_come(self, tmp_path):
        out = tmp_path / "s"
        done("study", "searches", "random", *SMALL, "--out", out)
        changes = ("--set", "executor.name=processes", "--set", "executor.workers=1", "--set", "alike_failures=7")
        (out / "searches" / "random" / "0" / "found.json").unlink()
        done("study", "searches", "--out", out, "--resume", "--searches", "3", *changes)
        for number in (0, 2):
            values = read_toml(out / "searches" / "random" / str(number) / "run.toml")
            assert (values["executor"]["name"], values["executor"]["workers"], values["alike_failures"]) == (
                "processes",
                1,
                7,
            )

    def test_without_a_warm_start_the_epochs_are_to_be_said(self, tmp_path):
        said = refused("study", "searches", "serial", *SMALL, "--set", "warm_start_epochs=0", "--out", tmp_path / "s")
        assert "say it by --epochs" in said

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
        done(*again, "--set", "executor.cores=1")
        done(*again)  # what all searches share is no arm's own
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

    def test_a_search_that_is_lost_takes_no_other_with_it(self, tmp_path):
        out = tmp_path / "s"
        done("study", "searches", "serial", *SMALL, "--out", out)
        lost = out / "searches" / "random" / "0"
        (lost / "archive.db").write_bytes(b"none")
        (lost / "found.json").unlink()
        told = refused("study", "searches", "--out", out, "--resume", "--searches", "3")
        assert f"search 0 of random: {lost / 'archive.db'} is no spnas archive" in told
        ended = {(path.parent.parent.name, path.parent.name) for path in out.rglob("found.json")}
        assert ended == {(arm, number) for arm in ("random", "serial") for number in "012"} - {("random", "0")}
        results = read_searches_results(out)
        assert {arm: len(judged) for arm, judged in results.plan.judged.items()} == {"serial": 3, "random": 2}
        assert results.done == len(results.plan.jobs), "what the others have found is judged all the same"

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

    def test_a_way_that_cannot_search_is_refused_when_a_study_goes_on_and_locks_nobody_out(self, tmp_path):
        out, bad = tmp_path / "s", tmp_path / "bad.toml"
        bad.write_text('asynchronous = true\n[strategy]\nname = "hill-climb"\n')
        done("study", "searches", "random", *SMALL, "--out", out)
        before = (out / "study.toml").read_text()
        assert refused("study", "searches", bad, "--out", out, "--resume").startswith("error: bad: ")
        assert (out / "study.toml").read_text() == before
        assert not (out / "searches" / "bad").exists()
        done("study", "searches", "hill-climb", "--out", out, "--resume")
        assert [arm.arm for arm in read_searches_results(out).arms] == ["random", "hill-climb"]

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


@pytest.mark.parametrize(
    "final", [("final.from_scratch=true", "final.seeds=4"), ("final.train_fresh=true", "final.train_epochs=5")]
)
def test_searches_of_a_study_have_no_verdict_whatever_the_settings_say_of_it(tmp_path, final):
    settings = [word for assignment in final for word in ("--set", assignment)]
    done("study", "searches", "random", *SMALL, *settings, "--ranked", "0", "--out", tmp_path / "s")


@pytest.mark.parametrize(
    ("key", "value"), [("winner", 7), ("evaluations", "9"), ("arm", "x"), ("number", 1), ("sampled", "b_x")]
)
def test_what_a_search_has_found_is_that_searchs_or_damaged(tmp_path, key, value):
    out = tmp_path / "s"
    done("study", "searches", "random", *SMALL, "--out", out)
    file = out / "searches" / "random" / "0" / "found.json"
    known = json.loads(file.read_text())
    file.write_text(json.dumps({**known, key: value}))
    assert f"{file} is damaged: remove it" in refused("study", "searches", "--out", out, "--report")


def test_a_way_to_search_that_is_taken_back_costs_none_of_its_searches(tmp_path):
    """An older study.toml was restored, from before that way was added; its first search is damaged."""
    out = tmp_path / "s"
    done("study", "searches", "random", *SMALL, "--out", out)
    before = (out / "study.toml").read_text()
    done("study", "searches", "hill-climb", "--resume", "--out", out)
    (out / "study.toml").write_text(before)
    (out / "searches" / "hill-climb" / "0" / "archive.db").write_text("x")
    refused("study", "searches", "hill-climb", "--resume", "--out", out)
    assert (out / "searches" / "hill-climb" / "1" / "archive.db").exists()


@pytest.mark.parametrize("name", ["..toml", "...toml"])
def test_a_way_to_search_has_a_name_that_a_folder_can_have(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text('[strategy]\nname = "random"\n')
    assert "give the file another one" in refused("study", "searches", name, *SMALL, "--out", "s")
