"""How strategies that follow one another share a budget, and what is said where it does not suffice."""

import pytest

import spnas_search
from spnas_core.configuration import read_toml
from spnas_core.errors import ConfigError
from spnas_search.run import ENDED, resume_run, start_run
from spnas_search.settings import resolve
from spnas_search.strategies import FullSettings

SERIAL = {"n_stuck": 99, "reignition": {"pretrain_epochs": 1}}
FULL = {"name": "full", "serial": SERIAL, "parallel": {"n_stuck": 99}}
BASE = {
    "task": {"name": "null"},
    "executor": {"name": "inline"},
    "final": {"seeds": 0, "train_epochs": 0},
    "space": {"max_multiply_adds": "6x"},
    "strategy": FULL,
}
PHASES = [{"name": "random", "candidates": 4}, {"name": "serial", "candidates": 3}]


def begun(folder, **values) -> list[str]:
    """Begin a search, and return what it warns of."""
    with start_run(folder / "run", {**BASE, **values}, lambda *_: None) as run:
        return [remark for remark in run.remarks if "phase" in remark]


@pytest.mark.parametrize(
    ("budget", "children"),
    [
        ({"candidates": 2}, (1, 1)),
        ({"candidates": 6}, (4, 2)),
        ({"candidates": 10}, (6, 4)),
        ({"candidates": 40}, (25, 15)),
        ({}, (10, 6)),
        ({"candidates": 6, "hours": 9}, (4, 2)),
    ],
)
def test_a_whole_search_passes_through_its_phases_at_any_budget(tmp_path, budget, children):
    with spnas_search.search(**BASE, budget=budget, out=tmp_path / "run") as run:
        assert (len(run.archive.children_of(0)), len(run.archive.children_of(2))) == children
        assert len(run.archive.of_kind("reignition")) == 1
        assert not [remark for remark in run.remarks if "phase" in remark]
        ended = f"all {sum(children)} candidates of the budget are evaluated"
        assert run.archive.recall(ENDED) == ended


@pytest.mark.parametrize("ranking", ["traits", "gains"])
@pytest.mark.parametrize("epochs", [80, 120, 300])
def test_a_budget_of_epochs_leaves_room_for_rows(tmp_path, epochs, ranking):
    with spnas_search.search(**BASE, ranking=ranking, budget={"epochs": epochs}, out=tmp_path / "run") as run:
        assert run.archive.children_of(0)
        assert run.archive.of_kind("reignition")
        assert run.archive.children_of(2)


def test_what_the_first_phase_leaves_of_a_budget_is_the_second_ones(tmp_path):
    table = FULL | {"serial": SERIAL | {"n_stuck": 1, "reignition": {"most": 0}}}
    flat = {"name": "null", "differences": 0.0, "noise": 0.02}
    with spnas_search.search(**BASE | {"strategy": table, "task": flat}, budget=12, out=tmp_path / "run") as run:
        assert len(run.archive.children_of(0)) < 8
        assert run.archive.children == 12


def test_a_run_keeps_its_share_when_its_budget_is_raised(tmp_path):
    with start_run(tmp_path / "run", BASE | {"budget": {"candidates": 6}}, lambda *_: None) as run:
        assert run.settings.strategy.serial_candidates == 4
    stored = read_toml(run.files.config)
    assert stored["strategy"]["serial_candidates"] == 4
    assert "parallel_candidates" not in stored["strategy"]
    with resume_run(run.folder, lambda *_: None, changes={"budget": {"candidates": 16}}) as again:
        assert again.settings.run.budget.children == 16
        assert again.settings.strategy.serial_candidates == 4


def test_what_is_said_of_candidates_stays():
    said = FullSettings(serial_candidates=7, parallel_candidates=3)
    assert said.within(40) == said
    settings = resolve(BASE | {"strategy": FULL | {"serial_candidates": 7}, "budget": {"candidates": 40}}).settled()
    assert settings.strategy.serial_candidates == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"budget": {"candidates": 6}, "strategy": FULL | {"serial_candidates": 6}},
            (
                "the budget has room for 6 candidates, and the serial phase ends after up to 6, unless it is stuck "
                "before: the parallel phase may never begin; set budget.candidates higher, or "
                "strategy.serial_candidates lower"
            ),
        ),
        (
            {"budget": {"candidates": 40}, "strategy": FULL | {"serial_candidates": 10, "parallel_candidates": 6}},
            (
                "the budget has room for 40 candidates, and the phases together end after 16: set "
                "strategy.parallel_candidates higher"
            ),
        ),
        (
            {"budget": {"epochs": 90}, "strategy": FULL | {"serial_candidates": 20}},
            "the budget has room for about 6 candidates, and the serial phase ends after up to 20",
        ),
        ({"budget": {"hours": 1}}, "the budget has hours alone, and the serial phase ends after up to 10"),
        ({"budget": {"candidates": 1}}, "the budget has room for 1 candidate, and the serial phase ends after up to 1"),
        (
            {"budget": {"candidates": 4}, "strategy": {"name": "phases", "phases": PHASES}},
            (
                "the random phase ends after up to 4, unless it is stuck before: the serial phase may never begin; set "
                "budget.candidates higher, or strategy.phases.0.candidates lower"
            ),
        ),
        (
            {"budget": {"candidates": 9}, "strategy": {"name": "phases", "phases": PHASES}},
            "the phases together end after 7: set strategy.phases.1.candidates higher",
        ),
        (
            {"strategy": {"name": "phases", "phases": [{"name": "random"}, {"name": "serial"}]}},
            "the random phase ends after any number of",
        ),
    ],
)
def test_phases_that_a_budget_does_not_reach_are_said_before_anything_is_trained(tmp_path, values, message):
    (said,) = begun(tmp_path, **values)
    assert said.startswith("warning: ")
    assert message in said


@pytest.mark.parametrize(
    "values",
    [
        {"budget": {"candidates": 0}},
        {"budget": {"candidates": 7}, "strategy": {"name": "phases", "phases": PHASES}},
        {"strategy": {"name": "phases", "phases": PHASES}},
        {"budget": {"candidates": 3}, "strategy": "serial"},
    ],
)
def test_budgets_that_suffice_are_not_spoken_of(tmp_path, values):
    if isinstance(values.get("strategy"), str):
        values = values | {"strategy": {"name": values["strategy"]}}
    assert begun(tmp_path, **values) == []


def test_a_phase_that_found_nothing_is_named_in_the_end(tmp_path):
    """A swap moves a border and no weights, and a row has weights: none fits beside what swaps alone have found."""
    table = FULL | {"serial": SERIAL | {"odds": {"swap": 1.0}}}
    values = {"space": {"max_parameters": "1.005x"}, "strategy": table}
    with spnas_search.search(**BASE | values, budget=6, out=tmp_path / "run") as run:
        assert len(run.archive.children_of(0)) == 4
        assert run.archive.children_of(2) == ()
        assert run.archive.recall(ENDED).endswith("; the parallel phase has no candidate")
        (said,) = [remark for remark in run.remarks if "phase" in remark]
    assert "none fits beside b@8_11-21-21-21: what comes nearest, beside stage 1, makes " in said
    assert "parameters where max_parameters = " in said


FREE = [{"name": "random", "epochs": 4, "candidates": 3}, {"name": "random", "epochs": 0}]


def test_children_of_a_later_phase_that_take_no_epochs_are_bounded_by_something(tmp_path):
    table = {"name": "phases", "phases": FREE}
    with pytest.raises(ConfigError, match="trained for 0 epochs, of which there may be any number"):
        begun(tmp_path, strategy=table, budget={"epochs": 80})
    assert not (tmp_path / "run").exists()
    bounded = [FREE[0], {**FREE[1], "candidates": 5}]
    with pytest.raises(ConfigError, match="trains some for 0 epochs"):
        begun(tmp_path, strategy={"name": "phases", "phases": bounded}, inherit="none")
    values = {**BASE, "strategy": {"name": "phases", "phases": bounded}}
    with spnas_search.search(**values, budget={"epochs": 80}, out=tmp_path / "run") as run:
        assert run.archive.children == 8


def test_a_budget_is_used_up_by_the_children_of_the_phase_whose_turn_it_is(tmp_path):
    """After three children of 20 epochs those of one epoch still fit many times."""
    phases = [{"name": "random", "epochs": 20, "candidates": 3}, {"name": "random", "epochs": 1}]
    values = {**BASE, "strategy": {"name": "phases", "phases": phases}, "noise_seeds": 2, "warm_start_epochs": 4}
    values |= {"final": {"seeds": 0, "finalists": 0}}
    with spnas_search.search(**values, budget={"epochs": 160}, out=tmp_path / "run") as run:
        assert len(run.archive.children_of(0)) == 3
        assert 160 - run.archive.epochs <= 1
        assert len(run.archive.children_of(1)) > 3
