"""Which weights file a user means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spnas_core.commands.wording import quoted
from spnas_core.errors import WeightsError
from spnas_core.tasks import resolve_candidate

if TYPE_CHECKING:
    from spnas_detect.detectors import DetectorDescription


@dataclass(frozen=True)
class WeightsSource:
    """A weights file, and what it was trained by.

    Attributes:
        path: of the file.
        settings: of the run or the training that it was found by, as plain values; empty where the file itself was
            named, or the run trained no detectors.
    """

    path: Path
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def precision(self, description: "DetectorDescription") -> str:
        """Return the training's precision: as its file remembers it, else as its settings have it."""
        if description.trained_on is not None:
            return description.trained_on.precision
        return str(self.settings.get("training", {}).get("precision", "auto"))


def find_weights(reference: Path | str) -> WeightsSource:
    """Find the weights of ``FILE``, of ``TRAINING`` (a folder of ``spnas train``), ``RUN`` (its best), or ``RUN:ID``.

    Raises:
        WeightsError: there is no such file, folder or run, the training has not ended, the run has not kept these
            weights, they were altered since, or its task trains nothing.
        ArchiveError: the run has no such candidate.
        ConfigError: the training's settings cannot be read.
    """
    path = Path(reference)
    if path.is_file():
        return WeightsSource(path)
    if (training := _training_in(path)) is not None:
        return training
    candidate = resolve_candidate(str(reference))
    if candidate is None:
        if path.is_dir():
            raise WeightsError(
                f"folder {path} holds no run and no training: name the folder of one of them, or a weights file"
            )
        raise WeightsError(
            f"{path} does not exist: name a weights file, the folder of a training, or a run as RUN or RUN:ID"
        )
    task = candidate.settings.get("name")
    if task not in {None, "detection"} and (candidate.weights is None or not candidate.weights.stat().st_size):
        raise WeightsError(
            f"{reference} is of a search with the task {task!r}, which has left no weights: name a run that trains "
            "detectors, or a weights file"
        )
    weights = candidate.intact_weights()
    if weights is None:
        raise WeightsError(
            f"the weights of {reference} were not kept: choose a candidate that spnas candidates lists with --pareto"
        )
    return WeightsSource(weights, candidate.settings if task == "detection" else {})


def _training_in(path: Path) -> WeightsSource | None:
    """Return what a folder of ``spnas train`` holds; None for anything else."""
    from spnas_detect.jobs.folder import TrainFolder

    folder = TrainFolder(path)
    if not folder.config.is_file():
        return None
    if not folder.weights.is_file():
        raise WeightsError(
            f"the training in {path} has no weights yet: go on with spnas train --out {quoted(path)} --resume, or wait"
        )
    return WeightsSource(folder.weights, folder.read_settings().as_dict())
