"""What does a swap child need to recover? Every single swap of a trained parent, beside the parent trained on alike."""

import argparse
import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from inheritance import cell
from spnas_core import Architecture, Rewrite
from spnas_core.morphisms import Swap, identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.data import open_cache
from spnas_detect.data.loader import finish
from spnas_detect.detectors.assembly import pyramid
from spnas_detect.detectors.loading import load_detector
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_search.executors import ExecutorSettings, evaluate_all
from spnas_search.executors.processes import ProcessExecutor

TITLE = "What a swap child needs to recover"
START = "b@8_11-21-21-21"
PARENT_EPOCHS = 14
EPOCHS = (1, 2, 4)
SEEDS = 2
RECALIBRATED_ON = 128
METRIC = "AP"
WORKERS = 2


def run(_: argparse.Namespace) -> str:
    """Train the parent, its swap children and its controls, and return the table."""
    rewrites = Swap(max_step=1).options(Architecture.parse(START))
    with tempfile.TemporaryDirectory() as name:
        trainer = _Trainer(Path(name))
        parent = trainer.folder / "parent.safetensors"
        trainer.scores(
            [EvaluationRequest(0, identity(Architecture.parse(START)), None, parent, Fidelity(PARENT_EPOCHS), 1)]
        )
        plain = trainer.branches(parent, rewrites, calibrate=False)
        passing = trainer.branches(parent, rewrites, calibrate=True)
        recalibrated = trainer.recalibrated(parent, rewrites)
    control = passing[-1]
    columns = ["0 epochs", "norms recalibrated", *(f"{epochs} epoch{'s' * (epochs > 1)}" for epochs in EPOCHS)]
    rows = [
        _row(f"{cell(rewrite)}, {how}", gaps)
        for number, rewrite in enumerate(rewrites)
        for how, gaps in (
            ("γ = 1, β = 0", _gaps(plain[number], control, None)),
            ("calibrated", _gaps(passing[number], control, recalibrated[number])),
        )
    ]
    means = [
        _row(f"**mean, {how}**", [fmean(gap) for gap in zip(*found, strict=True)])
        for how, found in (
            ("γ = 1, β = 0", [_gaps(one, control, score) for one, score in zip(plain, recalibrated, strict=False)]),
            ("calibrated", [_gaps(one, control, score) for one, score in zip(passing, recalibrated, strict=False)]),
        )
    ]
    head = (
        f"{METRIC} of swap children of `{START}` ({PARENT_EPOCHS} epochs) minus that of the parent trained on for as "
        f"many epochs, mean of {SEEDS} seeds; validation images. *Norms recalibrated*: statistics of all norms taken "
        f"anew from {RECALIBRATED_ON} training images, 0 epochs. Controls: "
        f"{', '.join(f'{score:.3f}' for score in control)}."
    )
    return "\n".join([head, "", f"| child | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", *rows, *means])


def _gaps(scores: list[float], control: list[float], recalibrated: float | None) -> list[float]:
    first, *others = (score - other for score, other in zip(scores, control, strict=True))
    return [first, float("nan") if recalibrated is None else recalibrated - control[0], *others]


def _row(name: str, gaps: list[float]) -> str:
    return f"| {name} | {' | '.join('' if math.isnan(gap) else f'{gap:+.3f}' for gap in gaps)} |"


class _Trainer:
    """Runs requests side by side on generated images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tasks = {calibrate: DetectionTask(DetectionSettings(calibrate=calibrate)) for calibrate in (True, False)}
        for task in self._tasks.values():
            task.prepare(folder, lambda *_: None)

    def scores(self, requests: list[EvaluationRequest], *, calibrate: bool = True) -> list[float]:
        """Scores in the order of the requests."""
        found: dict[int, float] = {}
        with ProcessExecutor(ExecutorSettings(), self._tasks[calibrate], WORKERS, lambda _: None) as executor:
            for outcome in evaluate_all(executor, requests):
                if outcome.evaluation is None:
                    raise RuntimeError(outcome.trace or outcome.reason)
                found[outcome.request.candidate] = outcome.evaluation.metrics[METRIC]
        return [found[request.candidate] for request in requests]

    def branches(self, parent: Path, rewrites: list[Rewrite], *, calibrate: bool) -> list[list[float]]:
        """Mean scores after 0 and ``EPOCHS`` epochs, of each rewrite and of the parent itself, which comes last."""
        everything = [*rewrites, identity(Architecture.parse(START))]
        asked = list(self._asked(len(everything)))
        requests = [
            EvaluationRequest(number, everything[which], parent, None, Fidelity(epochs), seed)
            for number, (which, epochs, seed) in enumerate(asked)
        ]
        found = dict(zip(asked, self.scores(requests, calibrate=calibrate), strict=True))
        return [
            [
                found[which, 0, 1],
                *(fmean(found[which, epochs, seed] for seed in range(1, SEEDS + 1)) for epochs in EPOCHS),
            ]
            for which in range(len(everything))
        ]

    @staticmethod
    def _asked(count: int) -> Iterator[tuple[int, int, int]]:
        yield from ((which, 0, 1) for which in range(count))
        yield from product(range(count), reversed(EPOCHS), range(1, SEEDS + 1))

    def recalibrated(self, parent: Path, rewrites: list[Rewrite]) -> list[float]:
        """Scores without training, with the statistics of all norms of the backbone taken anew."""
        files = [self.folder / f"child-{number}.safetensors" for number in range(len(rewrites))]
        asked = [
            EvaluationRequest(number, rewrite, parent, file, Fidelity(0), 1)
            for number, (rewrite, file) in enumerate(zip(rewrites, files, strict=True))
        ]
        self.scores(asked)
        for file in files:
            self._recalibrate(file)
        again = [
            replace(one, rewrite=identity(one.rewrite.child), parent_weights=one.weights, weights=None) for one in asked
        ]
        return self.scores(again)

    def _recalibrate(self, file: Path) -> None:
        detector, _ = load_detector(file, torch.device("cpu"))
        split = open_cache(next(self.folder.glob("shapes-*"))).split("train")
        norms = [module for module in detector.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        detector.train()
        with torch.no_grad():
            for start in range(0, RECALIBRATED_ON, 32):
                pyramid(detector.backbone, detector.neck, finish(split.images(range(start, start + 32))))
        tensors, kept = load_file(file), detector.state_dict()
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata()
        statistics = {name for name in tensors if "running_" in name}
        save_file({name: kept[name] if name in statistics else tensors[name] for name in tensors}, file, metadata)
