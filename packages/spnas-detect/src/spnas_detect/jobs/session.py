"""A training from settings to scores: the one call behind ``spnas train``."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

from spnas_core.errors import DataError
from spnas_core.lock import FolderLock
from spnas_detect.data import CachedData
from spnas_detect.folders import explained_writing, make_folder, new_folder
from spnas_detect.jobs.checks import check_buildable, check_settings
from spnas_detect.jobs.folder import TrainFolder, read_scores, scored_split
from spnas_detect.jobs.monitor import Monitor, Silent
from spnas_detect.jobs.part import train_here
from spnas_detect.jobs.settings import TrainSettings
from spnas_detect.preparation import prepare_data
from spnas_detect.processes import launch, started_by_torchrun


@dataclass(frozen=True)
class TrainingResult:
    """What came of a training.

    Attributes:
        folder: that holds it.
        step: finished steps.
        steps: of the whole training.
        stopped_by: the signal that stopped it before its end; 0 where none did.
        scores: by name, NaN where undefined; empty where it was stopped.
        split: what the images are called that they are of: ``test``, ``validation``, or ``test = validation``.
    """

    folder: Path
    step: int
    steps: int
    stopped_by: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    split: str = ""

    @property
    def weights(self) -> Path:
        """File of the trained weights."""
        return TrainFolder(self.folder).weights


def train(
    settings: TrainSettings,
    out: Path | str,
    *,
    resume: bool = False,
    monitor: Monitor | None = None,
    cache: Path | None = None,
    data: CachedData | None = None,
) -> TrainingResult:
    """Train a detector, score it, and leave everything in a folder.

    With ``settings.devices`` above one, as many processes are started, except under torchrun, which has done so.

    Args:
        settings: of the training.
        out: its folder.
        resume: go on with the training in ``out``, from its last checkpoint.
        monitor: is told what happens; nobody by default.
        cache: folder of cached images, where several trainings share one; inside ``out`` by default.
        data: that of the settings, where it is prepared already.

    Returns:
        The result; under torchrun the scores are in the first process only.

    Raises:
        SpnasError: whatever is wrong with settings, data, weights or folder, in one line.
        EvaluationError: the loss diverged, memory ran out, or a process died.
    """
    folder = TrainFolder(Path(out))
    check_settings(settings)
    if resume:
        with explained_writing(folder.path):
            folder.check_resumable(settings)
        try:
            return _trained(settings, folder, resume=True, monitor=monitor or Silent(), cache=cache, data=data)
        except DataError as error:
            raise DataError(f"{error}; if the data has moved, say where it lies now by --resume --data") from error
    if started_by_torchrun():  # the first process checks, for others may come when it has begun
        return _trained(settings, folder, resume=False, monitor=monitor or Silent(), cache=cache, data=data)
    with new_folder(folder.path):
        folder.check_new()
        check_buildable(settings)
        return _trained(settings, folder, resume=False, monitor=monitor or Silent(), cache=cache, data=data)


def _trained(
    settings: TrainSettings,
    folder: TrainFolder,
    *,
    resume: bool,
    monitor: Monitor,
    cache: Path | None,
    data: CachedData | None,
) -> TrainingResult:
    """Train, in as many processes as are wanted, and say what came of it."""
    launches = settings.devices > 1 and not started_by_torchrun()
    with _held(folder):
        if launches and data is None:  # once for all processes, which get the monitor as it is before it is told
            data = prepare_data(settings, cache or folder.cache, deepcopy(monitor).reading)
        prepared = None if data is None else (data.folder, data.root)
        arguments = (settings, folder.path, resume, monitor, cache, prepared)
        if launches:
            values = [value for value in launch(train_here, arguments, settings.devices) if value is not None]
        else:
            values = [train_here(*arguments)]
    if not values:  # ended by a signal before the first step
        return TrainingResult(folder.path, 0, 0, signal.SIGTERM)
    step, steps, stopped_by, scored = values[0]
    if not scored:
        return TrainingResult(folder.path, step, steps, stopped_by)
    return TrainingResult(folder.path, step, steps, stopped_by, read_scores(folder.path), scored_split(folder.path))


@contextmanager
def _held(folder: TrainFolder) -> Iterator[None]:
    """Let no other process train in a folder; of those that torchrun has started, the first one sees to it.

    Raises:
        HeldError: another process does.
    """
    if started_by_torchrun() and os.environ.get("RANK", "0") != "0":
        yield
        return
    make_folder(folder.path)
    lock = FolderLock(folder.path, f"the training in {folder.path}")
    lock.acquire()
    try:
        yield
    finally:
        lock.release(remove=True)
