"""What the loop itself costs per candidate: the whole way from proposal to archive with a task that does nothing."""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from spnas_search.driver import run_search
from spnas_search.monitors import Silent
from spnas_search.run import start_run

TITLE = "Overhead of the loop per candidate"
CHILDREN = 200


class Stopwatch(Silent):
    """Notes when each candidate was finished."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def candidate_finished(self, candidate: object) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def run(_: argparse.Namespace) -> str:
    """Search with the null task, inline and in worker processes."""
    lines = ["| executor | median | spread (10–90 %) |", "|---|---|---|"]
    for executor, workers in (("inline", 1), ("processes", 2)):
        with tempfile.TemporaryDirectory() as folder:
            values: dict[str, object] = {
                "task": {"name": "null"},
                "budget": {"candidates": CHILDREN},
                "final": {"seeds": 0},
                "executor": {"name": executor, "workers": workers},
                "space": {"max_blocks": 60, "max_multiply_adds": "20x"},
                "ranking": "prediction",
                "screen": "none",
                "strategy": {"name": "serial", "n_stuck": 10 * CHILDREN, "max_mutations": 1, "explore": 0.0},
            }
            stopwatch = Stopwatch()
            with start_run(Path(folder) / "run", values, lambda *_: None) as run_:
                run_search(run_, stopwatch)
            gaps = np.diff(stopwatch.times)[10:] * 1e3
            low, high = np.quantile(gaps, [0.1, 0.9])
            lines.append(
                f"| {executor} | **{np.median(gaps):.1f} ms** (mean {gaps.mean():.1f}) | {low:.1f}–{high:.1f} ms |"
            )
    return "\n".join(lines)
