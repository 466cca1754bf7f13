"""A whole search by made-up scores, for tests: a serial phase with reignitions, then rows."""

import spnas_search

NULL = {"name": "null", "noise": 0.02}
FULL = {
    "name": "full",
    "serial": {"n_stuck": 3, "reignition": {"most": 2, "pretrain_epochs": 5, "n_after": 2}},
    "serial_candidates": 14,
    "parallel": {"epochs": 3},
    "parallel_candidates": 5,
}
SPACE = {"max_multiply_adds": "4x"}


def searched(folder, **values):
    settings = {"seed": 3, "strategy": FULL, "task": NULL, "executor": {"name": "inline"}, "space": SPACE}
    settings |= {"budget": {"candidates": 40}, "final": {"seeds": 2}, "out": folder / "run"}
    return spnas_search.search(**{**settings, **values})
