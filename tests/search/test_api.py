"""The search as one call, and the events that plugins hear."""

import pytest
import torch
import torchvision
from safetensors.torch import load_file

import spnas_core
import spnas_search
from spnas_core.errors import ConfigError
from spnas_core.plugins import plugin_manager
from spnas_search.driver.weights import needed_weights
from spnas_search.run import start_run
from spnas_search.run.initial_weights import import_weights
from spnas_search.series import resume_series, start_series

NULL = {"task": {"name": "null"}, "executor": {"name": "inline"}, "noise_seeds": 2}


@pytest.fixture
def events():
    """Everything that the event hooks are told."""
    heard = []

    class Listener:
        @spnas_core.hookimpl
        def spnas_run_started(self, run):
            heard.append(("started", len(run.archive)))

        @spnas_core.hookimpl
        def spnas_candidate_finished(self, run, candidate):
            assert run.archive[candidate.id] == candidate
            heard.append((candidate.kind, candidate.id))

        @spnas_core.hookimpl
        def spnas_run_finished(self, run):
            heard.append(("finished", len(run.archive)))

    listener = Listener()
    plugin_manager().register(listener)
    yield heard
    plugin_manager().unregister(listener)


def test_search_returns_the_finished_run(tmp_path):
    with spnas_search.search(**NULL, budget=4, out=tmp_path / "run", seed=1) as run:
        assert run.archive.children == 4
        assert not run.archive.pending()
        winner = run.archive.winner
        assert run.weights.path(winner.id).exists()
    with spnas_search.read_archive(tmp_path / "run") as archive:
        assert archive.winner == winner
        settings = run.settings.run
        assert isinstance(spnas_search.outcome(archive, settings), spnas_search.Verdict)


def test_event_hooks_hear_every_candidate_between_start_and_finish(tmp_path, events):
    with spnas_search.search(**NULL, budget=2, out=tmp_path / "run") as run:
        count = len(run.archive)
    assert events[0] == ("started", 0)
    assert events[-1] == ("finished", count)
    assert [number for _, number in events[1:-1]] == list(range(count))
    assert [kind for kind, _ in events[1:4]] == ["start", "control", "control"]


def test_only_weights_that_may_be_asked_for_are_kept(tmp_path):
    strategy = {"name": "serial", "pool": 2}
    with spnas_search.search(**NULL, strategy=strategy, budget=40, out=tmp_path / "run") as run:
        kept = {int(path.stem) for path in run.weights.folder.glob("[0-9]*.safetensors")}
        # What was let go may rank higher later: then it is made again where the search itself needs it.
        assert kept <= needed_weights(run)
        assert {candidate.id for candidate in run.archive.likely(16)} <= needed_weights(run)
        assert {run.archive.start.id, run.archive.winner.id} <= kept
        assert {candidate.id for candidate in run.archive.pareto()} <= kept
        assert len(kept) < len(run.archive)


def test_resume_of_a_complete_run_evaluates_nothing(tmp_path, events):
    spnas_search.search(**NULL, budget=2, out=tmp_path / "run").close()
    events.clear()
    spnas_search.search(out=tmp_path / "run", resume=True).close()
    assert [name for name, _ in events] == ["started", "finished"]


def test_an_hour_budget_ends_the_search_and_stays_spent(tmp_path):
    budget = {"candidates": 1000, "hours": 0.02 / 3600}
    task = {"name": "null", "duration": 0.01}  # three evaluations before the first child take longer, on any machine
    with spnas_search.search(**{**NULL, "task": task}, budget=budget, out=tmp_path / "run") as run:
        assert run.archive.children == 0
        assert run.out_of_time()
    with spnas_search.search(out=tmp_path / "run", resume=True) as run:
        assert run.archive.children == 0


def test_a_start_without_a_defined_score_stops_the_search(tmp_path):
    task = {"name": "null", "behaviour": {0: "nan"}}
    with pytest.raises(ValueError, match="the start's score is undefined"):
        spnas_search.search(**{**NULL, "task": task}, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 2.5}, "budget.candidates is 2.5: input should be a valid integer"),
        ({"budget": True}, "budget.candidates is True: input should be a number"),
        ({"budget": [5]}, r"budget.candidates is \[5\]: input should be a valid integer"),
        ({"budget": 5, "strategy": 5}, "strategy.name is 5: it must be the name of a registered strategy"),
        ({"budget": 5, "task": ["null"]}, r"task.name is \['null'\]: it must be the name of a registered task"),
    ],
)
def test_arguments_of_another_kind_are_refused_in_one_line(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        spnas_search.search(out=tmp_path / "run", **{"task": "null", **settings})


def test_a_series_whose_first_search_cannot_start_leaves_nothing_behind(tmp_path):
    values = {"task": {"name": "null"}, "executor": {"name": "inline"}, "budget": {"epochs": 10}}
    series = start_series(tmp_path / "series", values, 2)
    with pytest.raises(ConfigError, match=r"budget.epochs is 10"):
        next(series.open(lambda *_: None))
    assert not (tmp_path / "series").exists()


def test_a_series_that_was_made_earlier_stays_where_it_cannot_start(tmp_path):
    values = {"task": {"name": "null"}, "executor": {"name": "inline"}, "budget": {"epochs": 10}}
    start_series(tmp_path / "series", values, 2)
    with pytest.raises(ConfigError, match=r"budget.epochs is 10"):
        next(resume_series(tmp_path / "series").open(lambda *_: None))
    assert resume_series(tmp_path / "series").count == 2


def test_an_unknown_setting_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no setting 'budgets'"):
        spnas_search.search(**NULL, budgets=3, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_torchvision_weights_arrive_in_a_candidates_names(tmp_path):
    theirs = torchvision.models.resnet18().state_dict()
    torch.save(theirs, tmp_path / "resnet18.pth")
    architecture = spnas_core.Architecture.parse("b_11-21-21-21")
    import_weights(f"torchvision:{tmp_path / 'resnet18.pth'}", architecture, tmp_path / "init.safetensors")
    ours = load_file(tmp_path / "init.safetensors")
    assert torch.equal(ours["backbone.blocks.2.projection.conv.weight"], theirs["layer2.0.downsample.0.weight"])


def test_a_pickle_with_code_in_it_is_not_executed(tmp_path):
    class Surprise:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save({"weight": Surprise()}, tmp_path / "bad.pth")
    architecture = spnas_core.Architecture.parse("b_11-21-21-21")
    with pytest.raises(ValueError, match="loads without executing code"):
        import_weights(f"torchvision:{tmp_path / 'bad.pth'}", architecture, tmp_path / "init.safetensors")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"init": "weights.safetensors", "inherit": "none"},
            "inherit = 'none' trains everything from fresh",
        ),
        (
            {"budget": {"epochs": 49}},
            "budget.epochs is 49, and the warm start, 2 noise_seeds, .* take 50",
        ),
        (
            {"budget": {"epochs": 500}, "strategy": {"name": "random", "epochs": 0}},
            "budget.epochs is 500, and children of the strategy 'random' are trained for 0 epochs",
        ),
        (
            {"final": {"seeds": 0, "from_scratch": True}},
            "final.seeds = 0 leaves the verdict out",
        ),
    ],
)
def test_settings_under_which_nothing_could_be_compared_are_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        spnas_search.search(**NULL, **settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_least_budget_has_a_first_child(tmp_path):
    # 14 epochs of warm start, 2 x 4 of noise, 4 of a child, 3 x 2 x 4 of the finalists.
    with spnas_search.search(**NULL, budget={"epochs": 50}, out=tmp_path / "run") as run:
        assert run.archive.children == 1
        assert run.archive.epochs <= 50


def test_numbers_too_small_for_what_they_are_for_are_warned_of_at_the_start(tmp_path):
    values = {"task": {"name": "null"}, "executor": {"name": "inline"}, "noise_seeds": 3, "final": {"seeds": 1}}
    with start_run(tmp_path / "few", values, lambda *_: None) as run:
        assert [remark for remark in run.remarks if "noise_seeds = 3" in remark]
        assert [remark for remark in run.remarks if "final.seeds = 1 compares winner and start once" in remark]
    with start_run(tmp_path / "enough", {**values, "noise_seeds": 4, "final": {"seeds": 2}}, lambda *_: None) as run:
        assert not [remark for remark in run.remarks if "seeds" in remark]


@pytest.mark.parametrize(("inherit", "warned"), [("none", True), ("parent", False)])
def test_epochs_that_nothing_is_trained_for_are_told(tmp_path, inherit, warned):
    with spnas_search.search(**NULL, budget=1, inherit=inherit, final={"epochs": 3, "seeds": 2}, out=tmp_path) as run:
        assert any("final.epochs = 3 is of trainings from fresh warm starts" in one for one in run.remarks) == warned
