"""Epochs that children with inherited weights need to reach what they reach from scratch.

Children are random compositions of two or three mixed morphisms with at least one swap. Each is trained from scratch by
the full schedule, and from its parent's weights by ever longer schedules of their own (1, 2, 3, … epochs) until the
validation AP50 of the scratch run is reached. All trainings run on generated shapes with the default settings.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from spnas_core import Architecture, Rewrite, SearchSpace, backbone_cost
from spnas_core.morphisms import identity, morphisms
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_search.executors import ExecutorSettings, evaluate_all
from spnas_search.executors.processes import ProcessExecutor
from spnas_search.strategies.mutation import draw_rewrite

TITLE = "Inherited against from-scratch training"
START = "b@8_11-21-21-21"
SCRATCH_EPOCHS = 14
SCHEDULES = (1, 2, 3, 4, 5, 6, 8, 10, 14)
METRIC = "AP50"
WORKERS = 2


def draw_children(count: int) -> list[Rewrite]:
    """Draw different children of two or three morphisms, not all of one kind, with a swap among them."""
    parent = Architecture.parse(START)
    limit = int(1.5 * backbone_cost(parent, 128, 128).multiply_adds)
    space = SearchSpace(min_stages=4, min_blocks=4, image_size=(128, 128), max_multiply_adds=limit)
    odds = dict.fromkeys(morphisms().values(), 1.0)
    rng = np.random.default_rng(0)
    found: dict[Architecture, Rewrite] = {}
    while len(found) < count:
        rewrite = draw_rewrite(parent, odds, 3, rng)
        names = [step.morphism for step in rewrite.steps]
        mixed = len(names) >= 2 and "swap" in names and len(set(names)) >= 2
        if mixed and rewrite.child != parent and rewrite.child in space:
            found.setdefault(rewrite.child, rewrite)
    return list(found.values())


def run(arguments: argparse.Namespace) -> str:
    """Train everything and return the table."""
    task = DetectionTask(DetectionSettings())
    with tempfile.TemporaryDirectory() as folder:
        task.prepare(Path(folder), lambda *_: None)
        parent_weights = Path(folder) / "parent.safetensors"
        start = identity(Architecture.parse(START))
        request = EvaluationRequest(0, start, None, None, Fidelity(SCRATCH_EPOCHS), seed=1)
        with ProcessExecutor(ExecutorSettings(), task, WORKERS, lambda _: None) as executor:
            train = Trainer(executor)
            parent = train.scores([replace(request, weights=parent_weights, threads=WORKERS)])[0]
            children = draw_children(arguments.children)
            fresh = [replace(request, candidate=i, rewrite=identity(r.child)) for i, r in enumerate(children)]
            targets = train.scores(fresh)
            heirs = [
                replace(request, candidate=i, rewrite=rewrite, parent_weights=parent_weights)
                for i, rewrite in enumerate(children)
            ]
            needed = train.epochs_to_reach(heirs, targets)
    rows = [
        f"| `{rewrite.child}` | {cell(rewrite)} | {target:.3f} | "
        f"{epochs if np.isfinite(epochs) else f'more than {SCHEDULES[-1]}'} |"
        for rewrite, target, epochs in zip(children, targets, needed, strict=True)
    ]
    return "\n".join(
        [
            f"Parent `{START}`: {METRIC} {parent:.3f} after {SCRATCH_EPOCHS} epochs; each child from scratch as many.",
            "",
            f"| child | morphisms | {METRIC} from scratch | epochs to reach it with inherited weights |",
            "|---|---|---|---|",
            *rows,
            "",
            verdict(median(needed), len(children)),
        ]
    )


def cell(rewrite: Rewrite) -> str:
    """Write the morphisms of a child into a table's cell."""
    return "; ".join(map(str, rewrite.steps)).replace("|", "\\|")


def verdict(epochs: float, children: int) -> str:
    """Say what the median child needs, without the parent's epochs and with them."""
    shared = epochs + SCRATCH_EPOCHS / children
    return (
        f"Median over {children} children: **{epochs:g} epochs of their own** "
        f"({SCRATCH_EPOCHS / epochs:.1f}× fewer than from scratch); {epochs + SCRATCH_EPOCHS:g} if each is charged the "
        f"parent's {SCRATCH_EPOCHS}; {shared:.1f} if all share these ({SCRATCH_EPOCHS / shared:.1f}× fewer)."
    )


class Trainer:
    """Runs requests side by side and returns what the benchmark needs of them."""

    def __init__(self, executor: ProcessExecutor) -> None:
        self._executor = executor

    def scores(self, requests: list[EvaluationRequest]) -> list[float]:
        """Validation scores in the order of the requests."""
        found: dict[int, float] = {}
        for outcome in evaluate_all(self._executor, requests):
            if outcome.evaluation is None:
                raise RuntimeError(outcome.trace or outcome.reason)
            found[outcome.request.candidate] = outcome.evaluation.metrics[METRIC]
        return [found[request.candidate] for request in requests]

    def epochs_to_reach(self, heirs: list[EvaluationRequest], targets: list[float]) -> list[float]:
        """Shortest schedule by which each heir reaches its target; infinite where none does."""
        needed = dict.fromkeys(range(len(heirs)), float("inf"))
        for epochs in SCHEDULES:
            open_ones = [i for i, reached in needed.items() if not np.isfinite(reached)]
            scores = self.scores([replace(heirs[i], fidelity=Fidelity(epochs)) for i in open_ones])
            for i, score in zip(open_ones, scores, strict=True):
                if score >= targets[i]:
                    needed[i] = epochs
            print(f"   {epochs} epochs: {sum(map(np.isfinite, needed.values()))} of {len(heirs)} there", flush=True)
        return [needed[i] for i in range(len(heirs))]
