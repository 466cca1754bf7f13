"""Settings under which a strategy would find nothing are refused before anything is evaluated."""

from types import SimpleNamespace

import pytest

from spnas_core import Architecture
from spnas_core.errors import ConfigError, PluginError
from spnas_search.run import start_run
from spnas_search.strategies._base import reaches

BASE = {"task": {"name": "null"}, "executor": {"name": "inline"}, "final": {"seeds": 0}, "budget": {"candidates": 2}}
SHARED = {"inherit": "supernet", "start": "b@8_111-211-211-21"}
WEIGHED = {"reward": "merit", "shape": "power", "cost": "latency"}
FULL = {"name": "full", "serial": {"reignition": {"most": 0}}}


def begun(folder, **values) -> None:
    with start_run(folder / "run", {**BASE, **values}, lambda *_: None):
        pass


@pytest.mark.parametrize(
    ("strategy", "values", "message"),
    [
        (
            {"name": "parallel"},
            SHARED,
            "'parallel' adds rows, and inherit = 'supernet' allows parts of the start alone",
        ),
        ({"name": "progressive"}, SHARED, "'progressive' adds blocks, and inherit = 'supernet' allows parts of the st"),
        ({"name": "parallel"}, {"space": {"max_rows": 0}}, "'parallel' adds rows, and space.max_rows is 0: raise it"),
        ({"name": "policy", **WEIGHED}, {}, "'policy' has cost = 'latency', which this search does not measure: name"),
        ({"name": "q-learning", **WEIGHED}, {}, "'q-learning' has cost = 'latency', which this search does not meas"),
        (FULL, {"space": {"max_rows": 0}}, "'parallel' adds rows, and space.max_rows is 0"),
    ],
)
def test_a_strategy_that_would_find_nothing_is_refused(tmp_path, strategy, values, message):
    tables = [strategy]
    if strategy["name"] != "full":
        first = {"name": "random", "candidates": 1}
        tables.append({"name": "phases", "phases": [first, strategy]})
    for table in tables:
        with pytest.raises(ConfigError, match=f"^the strategy {message}") as caught:
            begun(tmp_path, strategy=table, **values)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("strategy", "values"),
    [
        ({"name": "serial"}, SHARED),
        ({"name": "serial"}, {"space": {"max_rows": 0}}),
        ({"name": "parallel"}, {"space": {"max_rows": 1}}),
        ({"name": "policy", **WEIGHED}, {"pareto": ["latency"]}),
        ({"name": "q-learning", **WEIGHED}, {"space": {"max_latency": "5x"}}),
        ({"name": "policy", **WEIGHED, "cost": "parameters"}, {}),
        ({"name": "policy", **WEIGHED, "shape": "tan"}, {}),
    ],
)
def test_what_goes_together_is_taken(tmp_path, strategy, values):
    begun(tmp_path, strategy=strategy, **values)
    assert (tmp_path / "run" / "archive.db").exists()


@pytest.mark.parametrize(
    ("values", "outside"),
    [
        (
            {"space": {"max_multiply_adds": "1x"}},
            "beside stage 2, makes 3,899,392 multiply_adds where max_multiply_adds = 3,366,912",
        ),
        ({"space": {"max_parameters": "1x"}}, "beside stage 1, makes 179,"),
        ({"space": {"max_activation_bytes": "1x"}}, "beside stage 4, makes "),
        (
            {"start": "b@8_11-21-21-21_2-2-2-2", "space": {"max_rows": 2}},
            "makes 3 rows beside stage 2 where max_rows = 2",
        ),
    ],
)
def test_rows_that_fit_nowhere_are_refused_before_the_start_is_trained(tmp_path, values, outside):
    for table in ({"name": "parallel"}, {"name": "phases", "phases": [{"name": "parallel"}]}):
        with pytest.raises(
            ConfigError, match=r"^the strategy 'parallel' adds rows, and none fits beside b@8_"
        ) as caught:
            begun(tmp_path, strategy=table, **values)
        assert outside in str(caught.value)
        assert not (tmp_path / "run").exists()


def remarks(folder, **values) -> list[str]:
    with start_run(folder / "run", {**BASE, "noise_seeds": 4, **values}, lambda *_: None) as run:
        return run.remarks


def test_a_later_phase_of_rows_that_fit_nowhere_yet_is_warned_of(tmp_path):
    first = {"name": "random", "candidates": 1}
    table = {"name": "phases", "phases": [first, {"name": "parallel"}]}
    (said,) = remarks(tmp_path, strategy=table, space={"max_multiply_adds": "1x"})
    assert said.startswith("warning: none fits beside b@8_11-21-21-21: what comes nearest, beside stage 2, makes 3,89")
    assert said.endswith("the parallel phase finds something only where those before it find what leaves room")


def test_a_serial_search_without_a_neighbour_inside_the_space_is_warned_of(tmp_path):
    table, space = {"name": "serial", "odds": {"expand": 1.0}}, {"max_multiply_adds": "1x"}
    (said,) = remarks(tmp_path, strategy=table, space=space)
    assert said.startswith(
        "warning: none of 500 children of b@8_11-21-21-21 that the strategy 'serial' has drawn lies "
    )
    assert remarks(tmp_path / "wider", strategy=table, space={"max_multiply_adds": "2x"}) == []
    (said,) = remarks(tmp_path / "explores", strategy=table | {"explore": 0.5}, space=space)
    assert "the strategy 'serial' has drawn" in said, "what grows by expand alone is sampled as little"
    anything = space | {"sampling": "any"}
    assert remarks(tmp_path / "any", strategy=table | {"explore": 0.5}, space=anything) == []


FULL_SPACE = {"max_blocks": "1x", "max_stages": 4, "max_multiply_adds": "none"}
GROWS = {"odds": {"expand": 1.0}}


@pytest.mark.parametrize(
    ("strategy", "drawn"),
    [
        ({"name": "hill-climb", **GROWS}, "500"),
        ({"name": "policy", "grammar": "edit", **GROWS, "max_redraws": 60}, "60"),
        ({"name": "serial", **GROWS}, "500"),
        ({"name": "progressive"}, "the"),
        ({"name": "phases", "phases": [{"name": "hill-climb", **GROWS}]}, "500"),
    ],
)
def test_a_strategy_whose_mutations_all_leave_the_space_is_warned_of(tmp_path, strategy, drawn):
    found = remarks(tmp_path, strategy=strategy, space=FULL_SPACE, budget={"candidates": 2000})
    (said,) = [one for one in found if "drawn" in one]
    name = strategy.get("phases", [strategy])[0]["name"]
    assert said == (
        f"warning: none of {drawn} children of b@8_11-21-21-21 that the strategy {name!r} has drawn lies inside the "
        "search space: widen its bounds, or the search may end without a child"
    )


ALONE = {"start": "b@8_1", "space": {"min_blocks": 1, "max_blocks": 1, "min_stages": 1, "max_stages": 1}}


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "random"},
        {"name": "evolution", **GROWS},
        {"name": "evolution", "survival": "all", "initial": 0, **GROWS},
        {"name": "regularized-evolution", **GROWS},
        {"name": "generations", **GROWS},
        {"name": "policy"},
        {"name": "q-learning"},
    ],
    ids=lambda table: table["name"],
)
def test_a_strategy_that_samples_a_space_of_the_start_alone_is_warned_of(tmp_path, strategy):
    strategy = {"max_redraws": 50, **strategy}
    space = ALONE["space"] | {"max_multiply_adds": "1x"}
    found = remarks(tmp_path, strategy=strategy, start="b@8_1", space=space, budget={"candidates": 4000})
    (said,) = [one for one in found if "drawn" in one]
    assert said.startswith(f"warning: none of 50 children of b@8_1 that the strategy {strategy['name']!r} has drawn")
    wider = remarks(tmp_path / "wider", strategy=strategy, budget={"candidates": 4000})
    assert [one for one in wider if "drawn" in one] == []


@pytest.mark.parametrize("said", ["no", 1, None])
def test_a_plugin_that_does_not_say_whether_it_finds_anything_is_named(said):
    with pytest.raises(PluginError, match=r"^mine returned .* from reaches: it must be True or False$"):
        reaches(SimpleNamespace(reaches=lambda start, inherit: said), Architecture.parse("b@8_1-1"), "none", "mine")
    assert reaches(SimpleNamespace(), Architecture.parse("b@8_1-1"), "none", "mine")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inherit": "none", "strategy": {"name": "random", "epochs": 0}}, "trains some for 0 epochs"),
        ({"inherit": "none", "final": {"seeds": 2, "scratch_epochs": 0}}, "final.scratch_epochs is 0"),
        ({"final": {"seeds": 2, "from_scratch": True, "scratch_epochs": 0}}, "final.scratch_epochs is 0"),
        (
            {**SHARED, "strategy": {"name": "random", "epochs": 0}, "warm_start_epochs": 0},
            "children of 0 epochs would share weights that nobody has trained",
        ),
    ],
)
def test_networks_that_nobody_has_trained_are_not_compared(tmp_path, values, message):
    with pytest.raises(ConfigError, match=message):
        start_run(
            tmp_path / "run", {"task": {"name": "null"}, "executor": {"name": "inline"}, **values}, lambda *_: None
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("more", "warned"), [({}, True), ({"from_scratch": True}, False)])
def test_epochs_of_trainings_that_there_are_not_are_warned_of(tmp_path, more, warned):
    values = {"task": {"name": "null"}, "executor": {"name": "inline"}}
    values["final"] = {"seeds": 2, "scratch_epochs": 30, **more}
    with start_run(tmp_path / "run", values, lambda *_: None) as run:
        assert any("final.scratch_epochs = 30 is of trainings" in remark for remark in run.remarks) == warned
