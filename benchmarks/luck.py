"""Where trainings of one architecture get their luck from: the first values of weights, or what is drawn later."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spnas_core import Architecture
from spnas_core.morphisms import identity
from spnas_core.presets import find_preset
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_search.executors import ExecutorSettings, evaluate_all
from spnas_search.executors.processes import ProcessExecutor

TITLE = "First values, and the luck of a training"
CODE = "b@8_11-21-21-21"
VALUES, ORDERS, EPOCHS = 6, 3, 3
"""Draws of first values, and of all else: the order of images, flips, the boxes that losses see."""
WORKERS = 2

Scores = NDArray[np.float64]


def run(_: argparse.Namespace) -> str:
    """Train from each draw of first values with each draw of all else, and return the table."""
    scores = _scores()
    first, later, rest = _parts(scores)
    rows = [
        f"| first values | {' | '.join(f'draw {order}' for order in range(ORDERS))} | mean |",
        f"|{'---|' * (ORDERS + 2)}",
        *(
            f"| draw {number} | {' | '.join(f'{score:.3f}' for score in row)} | {row.mean():.3f} |"
            for number, row in enumerate(scores)
        ),
    ]
    head = (
        f"`{CODE}`, the demonstration's task, {EPOCHS} epochs, AP on test images. A row has one draw of first values, "
        "a column one draw of all else: the order of images, flips, the boxes that losses see."
    )
    foot = (
        f"Mean {scores.mean():.3f}. Standard deviations by an analysis of variance: {first} of first values, {later} "
        f"of all else, {rest} of both together; {scores.std(ddof=1):.3f} of all {scores.size} trainings."
    )
    return "\n".join([head, "", *rows, "", foot])


def _parts(scores: Scores) -> tuple[str, str, str]:
    """Return the standard deviations of rows, of columns and of the rest; "0" where the variance is not positive."""
    rows, columns = scores.shape
    by_row, by_column, mean = scores.mean(1), scores.mean(0), scores.mean()
    left = scores - by_row[:, None] - by_column + mean
    rest = float(np.square(left).sum()) / ((rows - 1) * (columns - 1))
    variances = by_row.var(ddof=1) - rest / columns, by_column.var(ddof=1) - rest / rows, rest
    first, later, both = (f"{variance**0.5:.3f}" if variance > 0 else "0" for variance in variances)
    return first, later, both


def _scores() -> Scores:
    """AP by first values and draw of all else."""
    table = find_preset("demo").table("task")
    training = {**table["training"], "finetune_learning_rate": table["training"]["learning_rate"]}
    settings = DetectionSettings(**{**table, "training": training})
    task, same = DetectionTask(settings), identity(Architecture.parse(CODE))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task.prepare(folder, lambda *_: None)
        files = [folder / f"{number}.safetensors" for number in range(VALUES)]
        begun = [EvaluationRequest(n, same, None, file, Fidelity(0), n) for n, file in enumerate(files)]
        trained = [
            EvaluationRequest(n, same, files[n // ORDERS], None, Fidelity(EPOCHS), 1000 + n % ORDERS, split="test")
            for n in range(VALUES * ORDERS)
        ]
        with ProcessExecutor(ExecutorSettings(), task, WORKERS, lambda _: None) as executor:
            for _ in _evaluated(executor, begun):
                pass
            found = dict(_evaluated(executor, trained))
    return np.array([found[number] for number in range(VALUES * ORDERS)]).reshape(VALUES, ORDERS)


def _evaluated(executor: ProcessExecutor, requests: list[EvaluationRequest]) -> Iterator[tuple[int, float]]:
    for outcome in evaluate_all(executor, requests):
        if outcome.evaluation is None:
            raise RuntimeError(outcome.trace or outcome.reason)
        yield outcome.request.candidate, outcome.evaluation.metrics["AP"]
