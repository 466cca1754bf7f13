"""What gives out first with 500 workers: the real driver, with an executor whose workers exist on a clock only."""

import argparse
import heapq
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np

from spnas_core.checksums import file_checksum
from spnas_core.tasks import EvaluationRequest, Report, Task
from spnas_search.archive import Archive, Candidate, WeightStore
from spnas_search.driver import loop
from spnas_search.executors import Outcome
from spnas_search.executors.evaluation import evaluate
from spnas_search.monitors import Silent
from spnas_search.run import start_run

TITLE = "500 workers: what gives out first"
PAGE = "scaling.md"
WORKERS, CHILDREN = 500, 1500
MINUTES, USUAL = (1, 10, 60), 10
SPREAD = 0.25
WEIGHTS_MB, FILES = 100, 5
PLAIN = "`serial`, single mutations of the best"
WIDE = "`serial`, `pool` 250 and `max_mutations` 4"
ASYNCHRONOUS = f"{WIDE}, `--asynchronous`"
POOL: dict[str, object] = {"pool": 250, "max_mutations": 4}
SEARCHES: dict[str, tuple[dict[str, object], bool]] = {
    PLAIN: ({}, False),
    WIDE: (POOL, False),
    f"{PLAIN}, `--asynchronous`": ({}, True),
    ASYNCHRONOUS: (POOL, True),
}


class Simulated:
    """Workers on a made-up clock, which runs on while the driver works: what the driver takes, they wait for.

    An evaluation is the null task's, computed in no time; its duration is drawn, log-normal around ``seconds``.
    """

    workers = WORKERS

    def __init__(self, task: Task, report: Report, seconds: float) -> None:
        self._task, self._report, self._seconds = task, report, seconds
        self._rng = np.random.default_rng(0)
        self._running: list[tuple[float, int, EvaluationRequest]] = []
        self._waiting: list[EvaluationRequest] = []
        self.now = 0.0
        self.busy = 0.0
        self.driver = 0.0
        self._since = time.perf_counter()

    def submit(self, request: EvaluationRequest) -> None:
        """Start it, or let it wait for a worker."""
        self._waiting.append(request)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what ends next on the clock."""
        while self._waiting or self._running:
            self._tick()
            while self._waiting and len(self._running) < WORKERS:
                request = self._waiting.pop(0)
                takes = self._seconds * float(np.exp(SPREAD * self._rng.standard_normal()))
                self.busy += takes
                heapq.heappush(self._running, (self.now + takes, request.candidate, request))
            ends, _, request = heapq.heappop(self._running)
            self.now = max(self.now, ends)
            outcome = evaluate(self._task, request, self._report)
            self._since = time.perf_counter()  # the evaluation is not the driver's
            yield outcome

    def _tick(self) -> None:
        spent = time.perf_counter() - self._since
        self.driver += spent
        self.now += spent
        self._since = time.perf_counter()

    def cancel(self, candidate: int) -> bool:
        """Nothing is cancelled here."""
        return False

    def __enter__(self) -> Self:
        self._since = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._tick()


class Children(Silent):
    """Notes where the executor stands when the first round of children begins: before, few workers have work."""

    def __init__(self) -> None:
        self.executor: Simulated | None = None
        self.before: tuple[float, float] | None = None
        self.rounds = 0

    def round_started(self, phase: str, candidates: Sequence[Candidate]) -> None:
        """Note it once, and count the rounds."""
        self.rounds += phase == "search"
        if phase == "search" and self.before is None and self.executor is not None:
            self.before = self.executor.now, self.executor.busy

    def share(self) -> float:
        """Return the share of the time in which a worker computes, of the rounds of children."""
        assert self.executor is not None
        assert self.before is not None
        now, busy = self.before
        return (self.executor.busy - busy) / (WORKERS * (self.executor.now - now))


def _timed(spent: Counter[str], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            spent[name] += time.perf_counter() - began  # type: ignore[assignment]

    return timed


PARTS = (
    (loop, "next_round", "deciding a round: ranking and proposals"),
    (loop, "next_beside", "the same, for whoever is free"),
    (Archive, "commit_round", "committing a round"),
    (WeightStore, "commit", "naming a weights file of a few bytes"),
    (Archive, "finish", "committing a result"),
    (loop, "needed_weights", "finding the weights that are needed"),
    (WeightStore, "keep_only", "removing the others"),
)


def _search(
    folder: Path, strategy: dict[str, object], *, asynchronous: bool
) -> tuple[Children, Counter[str], int, int]:
    """Search with 500 made-up workers."""
    values: dict[str, object] = {
        "task": {"name": "null", "noise": 0.01},
        "inherit": "warm-start",
        "asynchronous": asynchronous,
        "budget": {"candidates": CHILDREN},
        "final": {"seeds": 0, "rescores": 0},
        "space": {"max_blocks": 60, "max_multiply_adds": "20x", "max_stages": 9},
        "executor": {"name": "inline"},
        "ranking": "prediction",
        "screen": "none",
        "strategy": {
            "name": "serial",
            "round": WORKERS,
            "n_stuck": 10 * CHILDREN,
            "max_mutations": 1,
            "explore": 0.0,
            **strategy,
        },
    }
    spent: Counter[str] = Counter()
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in PARTS]
    children = Children()
    with start_run(folder, values, lambda *_: None) as run:

        def make_executor(report: Report) -> Simulated:
            children.executor = Simulated(run.task, report, 60.0 * USUAL)
            return children.executor

        run.make_executor = make_executor  # type: ignore[method-assign, assignment]
        for owner, name, part in PARTS:
            setattr(owner, name, _timed(spent, part, getattr(owner, name)))
        try:
            loop.run_search(run, children)
        finally:
            for owner, name, call in before:
                setattr(owner, name, call)
        return children, spent, len(run.archive), children.rounds


def _seconds_of_a_file(folder: Path) -> tuple[float, float]:
    """Return what it takes to hash a weights file of usual size, and to write it until it outlives a power cut."""
    store, content = WeightStore(folder), np.random.default_rng(0).bytes(WEIGHTS_MB * 10**6)
    hashing, all_of_it = [], []
    for number in range(FILES):
        began = time.perf_counter()
        path = store.temporary(number)
        path.write_bytes(content)
        written = time.perf_counter()
        file_checksum(path)
        hashing.append(time.perf_counter() - written)
        began += hashing[-1]
        store.commit(path, number)
        all_of_it.append(time.perf_counter() - began)
    return median(hashing), median(all_of_it) - median(hashing)


def run(_: argparse.Namespace) -> str:
    """Search, and return the driver's account."""
    with tempfile.TemporaryDirectory() as name:
        hashing, writing = _seconds_of_a_file(Path(name) / "files")
        found = {
            what: _search(Path(name) / str(number), strategy, asynchronous=asynchronous)
            for number, (what, (strategy, asynchronous)) in enumerate(SEARCHES.items())
        }
    files = {
        f"hashing {WEIGHTS_MB} MB of weights": 1000 * hashing,
        f"writing {WEIGHTS_MB} MB of weights to the disk": 1000 * writing,
    }
    accounts = {what: {**_account(*found[what][:3]), **files} for what in (WIDE, ASYNCHRONOUS)}
    lines = ["| the driver, milliseconds per candidate | by rounds | `--asynchronous` |", "|---|---|---|"]
    lines += [
        f"| {part} | {' | '.join(f'{account[part]:.1f}' for account in accounts.values())} |" for part in accounts[WIDE]
    ]
    together = [sum(account.values()) for account in accounts.values()]
    lines += [f"| together, one after the other | {' | '.join(f'**{each:.0f}**' for each in together)} |", ""]
    lines += ["| an evaluation takes | workers that keep the driver busy | without weights |", "|---|---|---|"]
    each, alone = together[0], together[0] - sum(files.values())
    lines += [
        f"| {minutes} min | {60_000 * minutes / each:,.0f} | {60_000 * minutes / alone:,.0f} |" for minutes in MINUTES
    ]
    lines += ["", f"| {WORKERS} workers, evaluations of {USUAL} min | children in a round | workers compute for |"]
    lines.append("|---|---|---|")
    for what, (children, _, _, rounds) in found.items():
        size = "–" if SEARCHES[what][1] else f"{CHILDREN / rounds:.0f}"
        lines.append(f"| {what} | {size} | {100 * children.share():.0f} % of the time |")
    what = (
        f"Searches of {CHILDREN:,} children in rounds of {WORKERS} or without rounds, by the real driver with workers "
        f"that exist on a clock only; its archive is on this machine's disk. Durations are log-normal, σ = {SPREAD:g}. "
        f"The first table is of searches with {WIDE}; workers that keep the driver busy are those of a search by "
        "rounds. Workers that have no child, or wait for the slowest of a round or for the last children of a search, "
        "do not compute."
    )
    return "\n".join([what, "", *lines])


def _account(children: Children, spent: Counter[str], count: int) -> dict[str, float]:
    """Return the driver's milliseconds per candidate, part by part."""
    assert children.executor is not None
    parts = {part: 1000 * spent[part] / count for _, _, part in PARTS}
    return {**parts, "everything else": 1000 * children.executor.driver / count - sum(parts.values())}
