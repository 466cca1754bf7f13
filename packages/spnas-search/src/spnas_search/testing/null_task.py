"""A task that trains nothing: for trying out strategies, executors and search loops in milliseconds."""

import hashlib
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file, save_file

from spnas_core.configuration import Extent, Seed, Table
from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.errors import DataError, EvaluationError
from spnas_core.relaxation import Decisions, Logits
from spnas_core.tasks import Evaluation, EvaluationRequest, MetricSpec, Progress, Report
from spnas_search.testing.landscapes import LANDSCAPES, Landscape

Behaviour = Literal["raise", "diverge", "nan", "kill", "hang", "user-error"]
Side = Annotated[Extent, Field(ge=1)]


class NullSettings(Table):
    """The ``[task]`` table of the null task; see ``NullTask``.

    Attributes:
        name: the task's name.
        noise: standard deviation of the score over seeds.
        differences: factor of the differences in quality; 0 makes all architectures equally good.
        half_life: epochs after which half of the quality shows.
        duration: seconds that each evaluation sleeps.
        image_size: (width, height) in pixels, for the cost.
        behaviour: what goes wrong, by candidate number.
        landscape: what quality is made of.
        landscape_seed: of the hidden values of a landscape.
    """

    name: Literal["null"] = "null"
    noise: float = Field(0.0, ge=0)
    differences: float = Field(1.0, ge=0)
    half_life: float = Field(4.0, gt=0)
    duration: float = Field(0.0, ge=0)
    image_size: tuple[Side, Side] = (64, 64)
    behaviour: dict[int, Behaviour] = Field(default_factory=dict)
    landscape: Landscape = "none"
    landscape_seed: Seed = 0

    def build(self) -> "NullTask":
        """Make the task."""
        return NullTask(**self.model_dump(exclude={"name"}))


@dataclass(frozen=True)
class NullTask:
    """Scores that look like training, computed from the code and the epochs; nothing is built or trained.

    ``score`` is ``quality · (1 - 2^(-age / half_life)) + noise · N(0, 1)``, where age counts the epochs along
    the chain of weights files; pretraining changes nothing. Quality, in [0, 1], grows with depth and differs from code
    to code, so that a strategy has something to climb; or it is that of a landscape (``testing.landscapes``), of which
    the structure is known: ``bits``, the share of a hidden code's positions; ``order``, monotone in the partial order
    of codes; ``additive``, a sum of hidden values per stage and digit. ``loss`` is ``1 - score``: a metric where lower
    is better. Costs are the backbone's real ones.

    Attributes:
        noise: standard deviation of the score over seeds.
        half_life: epochs after which half of the quality shows.
        duration: seconds that each evaluation sleeps.
        image_size: (width, height) in pixels, for the cost.
        behaviour: by candidate number, what goes wrong with it. ``raise``: a mistake in the task's code;
            ``diverge``: an EvaluationError; ``nan``: undefined metrics; ``kill``: its process is killed by
            SIGKILL; ``hang``: it never comes back; ``user-error``: a DataError.
        differences: factor of the differences in quality; 0 makes all architectures equally good.
        landscape: what quality is made of.
        landscape_seed: of the hidden values of a landscape.
    """

    noise: float = 0.0
    half_life: float = 4.0
    duration: float = 0.0
    image_size: tuple[int, int] = (64, 64)
    behaviour: Mapping[int, Behaviour] = field(default_factory=dict, hash=False)
    differences: float = 1.0
    landscape: Landscape = "none"
    landscape_seed: int = 0
    pretrains = True

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """``score`` and ``loss``."""
        return MetricSpec("score"), MetricSpec("loss", higher_is_better=False)

    def check_sharing(self, start: Architecture) -> None:
        """Weights can be shared by anything: there are none."""

    def prepare(self, cache: Path, report: Callable[[str, int, int], None]) -> tuple[str, ...]:
        """There is no data: nothing to do."""
        del cache
        report("null task", 1, 1)
        return ()

    def evaluate(self, request: EvaluationRequest, report: Report) -> Evaluation:
        """Compute the metrics, report each epoch, and write a weights file of a few bytes.

        Raises:
            EvaluationError: the candidate is told to diverge.
            DataError: the candidate is told to meet a user's mistake.
        """
        began = time.monotonic()
        report(Progress(request.candidate, 0, request.epochs, "null"))
        behaviour = self.behaviour.get(request.candidate)
        _misbehave(behaviour)
        time.sleep(self.duration)
        for epoch in range(1, request.epochs + 1):
            report(Progress(request.candidate, epoch, request.epochs, "null"))
        inherited = 0 if request.parent_weights is None else _epochs_of(request.parent_weights)
        age = inherited + request.epochs
        if request.pretraining is not None:
            report(Progress(request.candidate, request.pretraining.epochs, request.pretraining.epochs, "pretraining"))
        score = self.score(str(request.rewrite.child), age, request.seed)
        if behaviour == "nan":
            score = float("nan")
        if request.weights is not None:
            save_file({"epochs": np.array([age])}, request.weights)
        return Evaluation(
            metrics={"score": score, "loss": 1 - score},
            cost=backbone_cost(request.rewrite.child, *self.image_size).as_dict(),
            receipt={
                "inherited_percent": 0.0 if request.parent_weights is None else 100.0,
                **_made_up(request),
            },
            seconds=time.monotonic() - began,
        )

    def score(self, code: str, age: int, seed: int = 0) -> float:
        """The score of a code after that many epochs."""
        quality = 0.5 + self.differences * (self._quality(code) - 0.5)
        trained = 1 - 2 ** (-age / self.half_life)
        return quality * trained + self.noise * random.Random(seed).gauss(0, 1)  # noqa: S311 - no secrets here

    def _quality(self, code: str) -> float:
        if self.landscape != "none":
            return LANDSCAPES[self.landscape](Architecture.parse(code), self.landscape_seed)
        serial = code.split("_")[1]
        depth = sum(digit in "12" for digit in serial)
        # Python's own hash differs from process to process.
        chance = int.from_bytes(hashlib.blake2b(code.encode(), digest_size=4).digest()) / 2**32
        return 0.8 * depth / (depth + 8) + 0.2 * chance


def _made_up(request: EvaluationRequest) -> dict[str, object]:
    """Decisions about parts, where they were to be trained: as likely as chance has it."""
    if request.sharing is None or request.sharing.relaxation is None:
        return {}
    decisions = Decisions(request.rewrite.child, request.sharing.relaxation.mixes)
    return {"relaxation": Logits.drawn(decisions, np.random.default_rng(request.seed), scale=1.0).plain()}


def _misbehave(behaviour: Behaviour | None) -> None:
    match behaviour:
        case "raise":
            raise RuntimeError("the null task was told to raise")
        case "diverge":
            raise EvaluationError("the loss is NaN after epoch 1")
        case "user-error":
            raise DataError("the null task was told to find no images: give it some")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            while True:
                time.sleep(3600)
        case _:
            pass


def _epochs_of(weights: Path) -> int:
    """Epochs that a weights file has been trained for; those from outside have none of this task's."""
    return int(load_file(weights).get("epochs", [0])[0])
