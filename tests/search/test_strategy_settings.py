"""Settings under which a strategy would find nothing are refused before anything is evaluated."""

import pytest

from spnas_core.errors import ConfigError
from spnas_search.run import start_run

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
