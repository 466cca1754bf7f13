"""Throughput of a search on a Ray cluster: eight workers against one, with a task that sleeps."""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import ray

from spnas_search.archive import Candidate
from spnas_search.driver import run_search
from spnas_search.monitors import Silent
from spnas_search.run import start_run

TITLE = "A Ray cluster: eight workers against one"
PAGE = "scaling.md"
SECONDS, WORKERS, ROUNDS, UNCOUNTED = 5.0, 8, 3, 3


class Stopwatch(Silent):
    """Times the rounds of children."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.ended = 0.0
        self._searching = False

    def round_started(self, phase: str, candidates: Sequence[Candidate]) -> None:
        """Note when a round of children begins."""
        self._searching = phase == "search"
        if self._searching:
            self.began.append(time.perf_counter())

    def candidate_finished(self, candidate: Candidate) -> None:
        """Note when the last child of all has ended."""
        if self._searching:
            self.ended = time.perf_counter()


def _rate(folder: Path, workers: int, size: int) -> float:
    """Search in rounds of a size, and return children per second; in the first rounds workers are still starting."""
    rounds, uncounted = (ROUNDS, UNCOUNTED) if workers > 1 else (1, 1)
    values: dict[str, object] = {
        "task": {"name": "null", "duration": SECONDS},
        "inherit": "warm-start",  # nothing but children in a round
        "noise_seeds": 2,
        "budget": {"candidates": (rounds + uncounted) * size},
        "final": {"seeds": 0, "rescores": 0},
        "strategy": {"name": "random", "round": size},
        "space": {"max_blocks": 60, "max_multiply_adds": "20x"},
        "executor": {"name": "ray", "workers": workers, "cores": WORKERS},
    }
    stopwatch = Stopwatch()
    with start_run(folder, values, lambda *_: None) as run:
        run_search(run, stopwatch)
    return rounds * size / (stopwatch.ended - stopwatch.began[uncounted])


def run(_: argparse.Namespace) -> str:
    """Measure both in one cluster of this machine, whose workers do nothing but sleep."""
    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        with tempfile.TemporaryDirectory() as name:
            many = _rate(Path(name) / "many", WORKERS, WORKERS)
            one = _rate(Path(name) / "one", 1, WORKERS // 2)
    finally:
        ray.shutdown()
    lost = WORKERS / many - SECONDS
    rows = [
        "| workers | children per minute | ratio |",
        "|---|---|---|",
        f"| 1 | {60 * one:.1f} | 1 |",
        f"| {WORKERS} | {60 * many:.1f} | **{many / one:.2f}** |",
    ]
    what = (
        f"The executor `ray`, a task that sleeps for {SECONDS:g} s, rounds of {WORKERS} children by {WORKERS} "
        f"workers; the first {UNCOUNTED}, in which they start, are not counted. Of a round of {SECONDS:g} s, "
        f"proposing, sending, committing and waiting for the slowest take {lost:.2f} s more."
    )
    return "\n".join([what, "", *rows])
