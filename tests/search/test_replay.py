"""A search over trainings that were done before: what it sees, what is hidden from it, and what it is refused."""

import statistics

import pytest
from replaying import CODES, asked, made_table, rows

import spnas_search
from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError, SpnasError, suggestion
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_search.planning import plan_search
from spnas_search.replay import ReplayTask, read_table
from spnas_search.replay.table import write_table
from spnas_search.reports.closing import sentence
from spnas_search.reports.seeds import SeedsSummary
from spnas_search.run import resume_run, start_run
from spnas_search.run.verification import verify_run
from spnas_search.studies import start_signal_study
from spnas_search.studies.searches.study import resume_searches_study, start_searches_study
from spnas_search.studies.spaces.study import start_spaces_study


@pytest.fixture
def table(tmp_path):
    return made_table(tmp_path)


def test_one_repetition_is_hidden_and_is_the_test_score(table):
    task = ReplayTask(table, "small", view=3)
    for number, code in enumerate(CODES):
        seen = {asked(task, code, seed=seed).metrics["AP"] for seed in range(20)}
        hidden = asked(task, code, split="test").metrics["AP"]
        assert len(seen) == 2
        assert hidden not in seen
        assert hidden == pytest.approx(task.truth(code, 4))
        everything = [0.1 * number + 0.01 * repetition + 0.004 for repetition in range(3)]
        assert sorted([*seen, hidden]) == pytest.approx(everything)
    assert asked(task, CODES[1]).cost["multiply_adds"] == 1001


def test_too_few_repetitions_to_see_noise_are_said(table, tmp_path):
    assert read_table(table, "small").fewest == 3
    assert not any(
        "some were trained" in note for note in ReplayTask(table, "small").prepare(tmp_path, lambda *_: None)
    )
    task = ReplayTask(table, "large")
    assert {asked(task, CODES[0], seed=seed).metrics["AP"] for seed in range(20)} == {
        asked(task, CODES[0]).metrics["AP"]
    }
    notes = task.prepare(tmp_path, lambda *_: None)
    assert "some were trained 2 times: with fewer than 3 repetitions of each" in notes[-1]


def test_the_hidden_repetition_depends_on_the_view_and_the_code_alone(table):
    places = []
    for view in range(60):
        task = ReplayTask(table, "small", view=view)
        places += [round((task.truth(code, 4) - 0.1 * n - 0.004) / 0.01) for n, code in enumerate(CODES)]
        assert task.truth(CODES[0], 4) == ReplayTask(table, "small", view=view).truth(CODES[0], 4)
    shares = [places.count(place) / len(places) for place in range(3)]
    assert statistics.stdev(shares) < 0.1


def test_what_some_trainings_were_not_scored_at_is_no_age_and_no_repetition_to_answer_with(tmp_path):
    path = tmp_path / "partial.csv.gz"
    kept = [row for row in rows(repetitions=4, epochs=(2, 4)) if (row["code"], row["repetition"]) != (CODES[1], 0)]
    write_table(path, [*kept, *rows(repetitions=1, epochs=(3,))[:4]], ["AP", "AP50"])
    table = read_table(path, "small")
    assert table.ages == (2, 4)
    assert table.fewest == 3
    assert table.repetitions_of(CODES[0]) == (0, 1, 2, 3)
    assert table.repetitions_of(CODES[1]) == (1, 2, 3)


def test_the_hidden_training_is_the_same_one_at_every_age(tmp_path):
    path = tmp_path / "uneven.csv.gz"
    uneven = [row for row in rows(repetitions=5, epochs=(2, 4)) if row["epochs"] == 4 or row["repetition"] != 1]
    write_table(path, uneven, ["AP", "AP50"])
    for view in range(20):
        task = ReplayTask(path, "small", view=view)
        for code in CODES:
            assert task.truth(code, 4) - task.truth(code, 2) == pytest.approx(0.002)
            assert asked(task, code, seed=view).metrics["AP"] != pytest.approx(task.truth(code, 4))


def test_a_replayed_search_goes_on_from_another_folder(table, tmp_path, monkeypatch):
    monkeypatch.chdir(table.parent)
    settings = {**SEARCH, "task": {"name": "replay", "table": table.name}, "final": {"seeds": 0}}
    with start_run(tmp_path / "run", {**settings, "budget": {"candidates": 2}}, lambda *_: None):
        pass
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with resume_run(tmp_path / "run", lambda *_: None) as run:
        assert run.task.path == table


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"code": "b@8_11-11"}, "b@8_11-11 is not among the 11 architectures of the replay table 'small'"),
        ({"code": CODES[0], "epochs": 3}, "has b@8_1-121 after 4 epochs, not after 3"),
        ({"code": CODES[0], "parent": "weights"}, "set inherit = 'none'"),
    ],
)
def test_what_the_table_does_not_have_is_refused_in_one_line(table, question, message):
    with pytest.raises(ConfigError, match=message) as caught:
        asked(ReplayTask(table, "small"), **question)
    assert "\n" not in str(caught.value)


SEARCH = {
    "strategy": {"name": "serial", "epochs": 4, "odds": {"swap": 1.0, "expand": 1.0}},
    "start": CODES[0],
    "inherit": "none",
    "space": {"min_blocks": 4, "max_blocks": 5, "min_stages": 2, "max_stages": 2, "max_multiply_adds": "none"},
    "executor": {"name": "inline"},
}


def test_a_verdict_on_one_hidden_training_says_nothing_of_chance(table, tmp_path):
    settings = {**SEARCH, "task": {"name": "replay", "table": str(table)}, "final": {"finalists": 2, "seeds": 3}}
    with spnas_search.search(**settings, budget=6, out=tmp_path / "run") as run:
        found = spnas_search.outcome(run.archive, run.settings.run)
        assert found.gain.is_point
        assert "in all of 3 seeds alike: what never varies says nothing of chance" in sentence(found.columns[0], "AP")


def test_less_is_better_where_the_task_is_told_so(tmp_path):
    path = tmp_path / "rates.csv.gz"
    write_table(path, [{**row, "rate": 1 - row["AP"]} for row in rows()], ["AP", "AP50", "rate"])
    table = {"name": "replay", "table": str(path), "objective": "rate", "minimised": ["rate"]}
    with spnas_search.search(**SEARCH, task=table, final={"seeds": 2}, budget=6, out=tmp_path / "run") as run:
        assert (run.objective.name, run.objective.higher_is_better) == ("rate", False)
        assert run.archive.winner.metrics["rate"] < run.archive.start.metrics["rate"]
        assert any("lower rate is better" in note for note in run.notes)
    known = {spec.name: spec.higher_is_better for spec in ReplayTask(path, "small", minimised=("rate",)).metrics}
    assert known == {"AP": True, "AP50": True, "rate": False}
    with pytest.raises(ConfigError, match="has no metric 'rates': AP, AP50, rate"):
        _ = ReplayTask(path, "small", minimised=("rates",)).metrics


def test_a_table_of_single_trainings_is_refused(tmp_path):
    path = tmp_path / "once.csv.gz"
    write_table(path, rows(repetitions=1), ["AP", "AP50"])
    with pytest.raises(
        ConfigError,
        match=rf"architectures of 'small' that were trained once, such as {CODES[0]}: .* so 2 of each are needed",
    ):
        start_run(tmp_path / "run", {**SEARCH, "task": {"name": "replay", "table": str(path)}}, lambda *_: None)
    assert not (tmp_path / "run").exists()


def test_a_table_without_an_age_that_all_codes_have_is_told_from_a_wrong_age(tmp_path):
    path = tmp_path / "ages.csv.gz"
    mixed = [row for row in rows(epochs=(2, 4)) if (row["epochs"] == 2) == (row["code"] == CODES[0])]
    write_table(path, mixed, ["AP", "AP50"])
    with pytest.raises(ConfigError, match="the task 'replay' knows no age at which all of its codes were scored"):
        start_run(tmp_path / "run", {**SEARCH, "task": {"name": "replay", "table": str(path)}}, lambda *_: None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": "b@8_11-11"}, "not in the table table.csv.gz"),
        ({"inherit": "parent"}, "the task 'replay' knows trainings from fresh weights only: set inherit = 'none'"),
        ({"strategy": {"name": "serial", "epochs": 5}}, "strategy.epochs is 5, and .* trainings of 4 epochs: choose"),
        (
            {"strategy": {"name": "serial", "epochs": 4, "swap_epochs": 2}},
            "strategy.swap_epochs is 2, and the task 'replay' knows trainings of 4",
        ),
        ({"final": {"scratch_epochs": 12}}, "final.scratch_epochs is 12, and the task 'replay' knows trainings of 4"),
        ({"final": {"train_epochs": 4}}, r"final.train_epochs is 4, .* leave it out, or add final.train_fresh = true"),
        ({"final": {"train_epochs": 6, "train_fresh": True}}, "final.train_epochs is 6, and .* trainings of 4 epochs"),
        ({"rungs": {"epochs": [2]}, "ranking": "prediction"}, r"rungs.epochs are \[2\], .*: leave the rungs out"),
    ],
)
def test_what_the_table_cannot_answer_is_refused_before_the_search(table, tmp_path, settings, message):
    values = {**SEARCH, "task": {"name": "replay", "table": str(table)}, **settings}
    with pytest.raises(SpnasError, match=message) as caught:
        start_run(tmp_path / "run", values, lambda *_: None)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fidelity", [Fidelity(4, share=0.5), Fidelity(4, (64, 64))])
def test_another_fidelity_than_that_of_the_table_is_refused(table, fidelity):
    request = EvaluationRequest(0, identity(Architecture.parse(CODES[0])), None, None, fidelity, 0)
    with pytest.raises(ConfigError, match="holds trainings on all images at 128x128"):
        ReplayTask(table, "small").evaluate(request, lambda progress: None)


def test_a_replayed_search_can_be_planned_and_verified(table, tmp_path):
    values = {
        **SEARCH,
        "task": {"name": "replay", "table": str(table)},
        "final": {"seeds": 0},
        "budget": {"candidates": 3},
    }
    foreseen = plan_search(values, lambda *_: None)
    assert {phase.name: phase.evaluations for phase in foreseen.phases}["start"] == 1
    assert foreseen.seconds == 0
    spnas_search.search(**values, out=tmp_path / "run").close()
    found = {finding.part: finding for finding in verify_run(tmp_path / "run", None, lambda *_: None)}
    assert (found["score"].holds, found["weights"].holds) == (None, True)
    assert "scores no weights" in found["score"].found


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            {"epochs": 3, "trainings": 1},
            "--epochs is 3, and the task 'replay' knows trainings of 4 epochs",
        ),
        (
            {"epochs": 4, "trainings": 2},
            "trains each code 2 times, and the task 'replay' gives the same trainings again",
        ),
    ],
)
def test_what_a_table_cannot_tell_a_study_is_refused_before_anything_is_evaluated(table, tmp_path, chosen, message):
    values = {**SEARCH, "task": {"name": "replay", "table": str(table)}}
    none, out = (lambda *_: None), tmp_path / "study"
    with pytest.raises(ConfigError, match=message):
        start_spaces_study(out, values, [CODES[0], CODES[1]], none, chosen={"codes": 5, **chosen})
    with pytest.raises(ConfigError, match=message):
        start_searches_study(out, values, ["random"], none, chosen={"searches": 2, **chosen})
    with pytest.raises(ConfigError, match="a study of the signal needs a task that trains"):
        start_signal_study(out, values, none, chosen={"codes": 3, **chosen})
    assert not out.exists()
    chosen = {"searches": 2, "epochs": 4, "trainings": 1, "ranked": 0}
    values["budget"] = {"candidates": 2}
    with start_searches_study(out, values, ["random"], none, chosen=chosen) as study:
        assert "do not tell chance" in study.study.remarks[0]
    with pytest.raises(ConfigError, match="gives the same trainings again"):
        resume_searches_study(out, [], none, chosen={"trainings": 2})


def test_a_run_does_not_go_on_with_other_trainings_of_the_same_table(table, tmp_path):
    settings = {**SEARCH, "task": {"name": "replay", "table": str(table)}, "budget": {"candidates": 2}}
    with spnas_search.search(**settings, out=tmp_path / "run"):
        pass
    with pytest.raises(ConfigError, match=r"the data of .* has changed"):
        resume_run(tmp_path / "run", lambda *_: None, data="large")


def test_costs_at_another_image_size_than_the_networks_are_told(tmp_path):
    path = tmp_path / "true.csv.gz"
    true = [
        {**row, "multiply_adds": backbone_cost(Architecture.parse(row["code"]), 64, 48).multiply_adds} for row in rows()
    ]
    write_table(path, true, ["AP", "AP50"])
    said = ReplayTask(path, "small", image_size=(64, 48)).prepare(tmp_path, lambda *_: None)
    assert len(said) == 1
    said = ReplayTask(path, "small", image_size=(128, 128)).prepare(tmp_path, lambda *_: None)
    assert "set task.image_size to what the table was made at" in said[1]


def test_studies_stay_in_the_table(table, tmp_path):
    space = {**SEARCH["space"], "max_blocks": 9, "max_stages": 4}
    values = {**SEARCH, "task": {"name": "replay", "table": str(table)}, "space": space}
    chosen = {"codes": 5, "epochs": 4, "trainings": 1}
    texts = [CODES[0], CODES[1]]
    with start_spaces_study(tmp_path / "spaces", values, texts, lambda *_: None, chosen=chosen) as spaces:
        assert {job.key.code for job in spaces.jobs} <= set(CODES)


def test_a_message_does_not_list_hundreds_of_names():
    assert suggestion("x", [f"name{number}" for number in range(300)]) == (
        "; known are 300, such as name0, name1, name10"
    )


def test_a_search_replays_and_stays_in_the_table(table, tmp_path):
    settings = {
        "task": {"name": "replay", "table": str(table)},
        "strategy": {"name": "serial", "epochs": 4, "odds": {"swap": 1.0, "expand": 1.0}},
        "start": CODES[0],
        "inherit": "none",
        "space": {"min_blocks": 4, "max_blocks": 5, "min_stages": 2, "max_stages": 2, "max_multiply_adds": "none"},
        "executor": {"name": "inline"},
        "final": {"finalists": 2, "rescores": 1, "seeds": 2},
    }
    with spnas_search.search(**settings, budget=6, out=tmp_path / "run") as run:
        assert run.archive.children == 6
        assert str(run.archive.winner.architecture) in CODES[6:]
        found = spnas_search.outcome(run.archive, run.settings.run)
        assert found.columns[0].name == "from scratch"


@pytest.mark.parametrize("name", ["random", "q-learning", "policy"])
def test_no_strategy_leaves_the_table_although_the_bounds_let_it(table, tmp_path, name):
    own = {"children": 6, "replays": 2} if name == "q-learning" else {"units": 4} if name == "policy" else {}
    settings = {
        "task": {"name": "replay", "table": str(table)},
        "strategy": {"name": name, "epochs": 4, "round": 2, **own},
        "start": CODES[0],
        "inherit": "none",
        "space": {"min_blocks": 3, "max_blocks": 6, "min_stages": 1, "max_stages": 3, "max_multiply_adds": "none"},
        "executor": {"name": "inline"},
        "final": {"finalists": 0, "seeds": 0},
    }
    with spnas_search.search(**settings, budget=6, out=tmp_path / "run") as run:
        assert [child.status for child in run.archive.of_kind("child")] == ["done"] * 6
        assert {str(one.architecture) for one in run.archive} <= set(CODES)


@pytest.mark.parametrize(
    ("strategy", "key"),
    [
        (
            {"name": "phases", "phases": [{"name": "random", "epochs": 8, "candidates": 2}, {"name": "random"}]},
            "phases.1",
        ),
        ({"name": "full", "serial": {"epochs": 8, "reignition": {"most": 0}}}, "parallel"),
    ],
)
def test_epochs_that_a_later_phase_has_by_default_are_refused_before_the_search(tmp_path, strategy, key):
    path = tmp_path / "table.csv.gz"
    write_table(path, rows(epochs=(8,)), ["AP", "AP50"])
    values = {**SEARCH, "strategy": strategy, "task": {"name": "replay", "table": str(path)}}
    message = rf"strategy\.{key}\.epochs is 4, and the task 'replay' knows trainings of 8 epochs"
    with pytest.raises(ConfigError, match=message):
        spnas_search.search(**values, budget=6, final={"seeds": 0, "train_epochs": 0}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_searches_judged_by_one_hidden_training_say_nothing_of_chance(tmp_path):
    path = tmp_path / "table.csv.gz"
    write_table(path, rows(), ["AP", "AP50"])
    found = []
    for seed in range(3):
        values = {**SEARCH, "seed": seed, "task": {"name": "replay", "table": str(path)}}
        with spnas_search.search(**values, budget=6, final={"seeds": 2}, out=tmp_path / str(seed)) as run:
            found.append(spnas_search.outcome(run.archive, run.settings.run))
    summary = SeedsSummary(found)
    assert len(summary.gains) == 3
    *_, last = summary.parts()
    assert "what never varies says nothing of chance" in last
    assert "better architectures" not in last
