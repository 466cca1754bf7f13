"""Why some trainings of one architecture end far below the others: units of the box head that a short warm-up kills."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev

import torch
from torch import Tensor

from spnas_core import Architecture
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.data import finish, open_cache
from spnas_detect.detectors.loading import load_detector
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_search.executors import ExecutorSettings, evaluate_all
from spnas_search.executors.processes import ProcessExecutor

TITLE = "Trainings that fall into two groups"
CODE = "b@8_11-21-21-21"
IMAGES, EPOCHS, SEEDS = 1024, 10, 6
WARMUPS = (20, 250)
PROBED = 64
WORKERS = 2


def run(_: argparse.Namespace) -> str:
    """Train with each warm-up and return the table."""
    rows = [
        "| warm-up | AP, per training | mean | standard deviation | silent units of the box head, per training |",
        "|---|---|---|---|---|",
    ]
    for steps in WARMUPS:
        found = sorted(_trainings(steps))
        scores = [score for score, _ in found]
        rows.append(
            f"| {steps} steps | {' '.join(f'{score:.3f}' for score in scores)} | {fmean(scores):.3f} | "
            f"{stdev(scores):.3f} | {' '.join(f'{silent:.0%}' for _, silent in found)} |"
        )
    head = (
        f"`{CODE}` from fresh weights, {IMAGES} generated images, {EPOCHS} epochs, {SEEDS} seeds, test images; AdamW "
        "at a peak of 0.003. A unit of the second hidden layer is silent where it is zero for every proposal of "
        f"{PROBED} validation images."
    )
    return "\n".join([head, "", *rows])


def _trainings(warmup: int) -> Iterator[tuple[float, float]]:
    """Yield AP and the share of silent units of each training."""
    settings = DetectionSettings(data_options={"train": IMAGES}, training={"warmup_steps": warmup})
    task = DetectionTask(settings)
    same = identity(Architecture.parse(CODE))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task.prepare(folder, lambda *_: None)
        requests = [
            EvaluationRequest(seed, same, None, folder / f"{seed}.safetensors", Fidelity(EPOCHS), seed, split="test")
            for seed in range(SEEDS)
        ]
        with ProcessExecutor(ExecutorSettings(), task, WORKERS, lambda _: None) as executor:
            outcomes = list(evaluate_all(executor, requests))
        for outcome in outcomes:
            if outcome.evaluation is None or outcome.request.weights is None:
                raise RuntimeError(outcome.trace or outcome.reason)
            yield outcome.evaluation.metrics["AP"], _silent(outcome.request.weights, next(folder.glob("shapes-*")))


def _silent(weights: Path, cache: Path) -> float:
    """Return the share of units of the box head's second layer that no proposal excites."""
    detector, _ = load_detector(weights, torch.device("cpu"))
    layer = next(module for name, module in detector.named_modules() if name.endswith("fc7"))
    active: list[Tensor] = []
    layer.register_forward_hook(lambda _module, _input, output: active.append((output > 0).any(0)))
    split = open_cache(cache).split("validation")
    images = finish(split.images(range(PROBED)))
    sizes = torch.tensor([split.resized(i)[::-1] for i in range(PROBED)], dtype=torch.float32)
    with torch.no_grad():
        detector.eval().detect(images, sizes)
    return 1 - torch.stack(active).any(0).float().mean().item()
