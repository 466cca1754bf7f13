"""A study's folder, held by this process: settings, task, results, weights."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spnas_core.encoding import Architecture
from spnas_core.errors import ArchiveError, ConfigError, DataError
from spnas_core.lock import FolderLock, is_held
from spnas_core.occupied import STUDY, check_not_taken
from spnas_core.presets import laid_over
from spnas_core.space import SearchSpace
from spnas_core.tasks import (
    MetricSpec,
    Report,
    Task,
    bounds_of,
    check_start,
    data_fingerprint,
    make_task,
    objective_of,
    prepare_task,
)
from spnas_search.archive import WeightStore
from spnas_search.executors import Executor, make_executor
from spnas_search.executors.resources import Resources, share_cores
from spnas_search.installed import installed_versions
from spnas_search.run import RunFolder
from spnas_search.run.folder import Prepare, begun
from spnas_search.run.latency import latency_bound, latency_meter
from spnas_search.settings import ResolvedSettings, RunSettings, of_begun, resolve
from spnas_search.studies.description import CONFIG, Description
from spnas_search.studies.trainings import TrainingFile, TrainingLines, read_trainings

TRAININGS = "trainings.jsonl"
HEEDED = ("seed", "start", "warm_start_epochs", "alike_failures", "space", "executor", "task")
"""Keys of ``run.toml`` that a study heeds unless it says otherwise; what else a configuration has is left out."""


class Study:
    """A folder of trainings that can be added to; a context manager. Use ``start_study`` or ``resume_study``.

    Attributes:
        folder: where everything is: ``study.toml``, ``trainings.jsonl``, ``weights/``, ``cache/``.
        settings: the resolved configuration.
        description: what the trainings are computed from.
        task: prepared.
        resources: what trainings compute with.
        notes: what the data set had to say.
        remarks: what else a user should know.
        results: all trainings so far, open for appending.
        weights: files that other trainings inherit, by the key's number.
    """

    def __init__(
        self,
        folder: Path,
        settings: ResolvedSettings,
        description: Description,
        task: Task,
        resources: Resources,
        notes: tuple[str, ...],
        lock: FolderLock,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.description = description
        self.task = task
        self.resources = resources
        self.notes = notes
        self.results = TrainingFile(folder / TRAININGS)
        self.remarks = [remark for remark in (resources.remark, self.results.note) if remark]
        self.weights = WeightStore(folder / "weights")
        self.weights.clean()
        self._lock = lock

    @property
    def seed(self) -> int:
        """Seed of the study."""
        return self.settings.run.seed

    def make_executor(self, report: Report) -> Executor:
        """Make the executor that the settings ask for; it is held to its contract, see ``CheckedExecutor``."""
        return make_executor(self.settings.executor, self.task, self.resources.workers, report)

    def close(self) -> None:
        """Close the results and let others in."""
        self.results.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def build_task(settings: ResolvedSettings) -> Task:
    """Make the task of a configuration; its data is not read yet."""
    return make_task(settings.task)


def truth_epochs(settings: RunSettings, chosen: object) -> object:
    """Return the epochs of a study's trainings from fresh weights: what was chosen, else twice the warm start's.

    Raises:
        ConfigError: nothing was chosen, and there is no warm start.
    """
    if chosen is not None:
        return chosen
    if not settings.warm_start_epochs:
        raise ConfigError(
            "warm_start_epochs is 0, and a study's trainings take twice as many epochs where nothing is said: say it "
            "by --epochs"
        )
    return 2 * settings.warm_start_epochs


def start_study(
    folder: Path,
    kind: str,
    settings: ResolvedSettings,
    task: Task,
    prepare: Prepare,
    *,
    own: Mapping[str, Any],
    starts: Sequence[Architecture] = (),
    heeded: Sequence[str] = HEEDED,
    cache: Path | None = None,
) -> Study:
    """Make a new study.

    Everything is checked before ``study.toml`` is written: a study that cannot start leaves nothing behind, and removes
    nothing that it has not made.

    Args:
        folder: new, or without any trace of a run or study.
        kind: of study.
        settings: the resolved configuration.
        task: made from it, not yet prepared.
        prepare: told how far reading the data is.
        own: the study's own settings, plain values that TOML can say.
        starts: architectures that everything descends from, whose fit the task is asked for as a search asks it.
        heeded: keys of ``run.toml`` that the study heeds; others are not stored.
        cache: folder of cached data, where others share it; inside ``folder`` by default.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    check_new(folder)
    remarks = tuple(dict.fromkeys(remark for start in starts for remark in check_start(task, start, None)))
    objective, resources = objective_of(task, settings.run.objective), share_cores(settings.executor)
    lock, files = FolderLock(folder, f"the study in {folder}"), RunFolder(folder)
    with begun(files, lock, lambda: check_new(folder), folder / CONFIG, folder / TRAININGS):
        notes = (*remarks, *prepare_task(task, cache or files.cache, prepare))
        description = _describe(kind, own, settings, heeded, objective, task)
        description.write(folder)
        return Study(folder, settings, description, task, resources, notes, lock)


def resume_study(
    folder: Path,
    kind: str,
    prepare: Prepare,
    *,
    own: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
    accept_versions: bool = False,
    cache: Path | None = None,
) -> Study:
    """Go on with a study.

    Args:
        folder: of the study.
        kind: that it must have.
        prepare: told how far reading the data is.
        own: its own settings from now on; None leaves them.
        changes: settings that are given anew, nested; what decides a score must be as it was, and so must the content
            of the data, wherever it lies now. Another objective is taken: all metrics are stored.
        accept_versions: whether other versions of the packages than those which it began with are taken.
        cache: folder of cached data, where others share it; inside ``folder`` by default.

    Raises:
        ArchiveError: there is no such study in the folder, or another process holds it.
        ConfigError: its settings, its data or the packages are not what they were; which, and the way out.
    """
    Description.read(folder, kind)  # no lock where there is no study
    lock = FolderLock(folder, f"the study in {folder}")
    lock.acquire()
    try:
        before = Description.read(folder, kind)
        begun = of_begun(before.settings)
        settings = resolve(laid_over(begun, changes or {}))
        task, resources = build_task(settings), share_cores(settings.executor)
        objective = objective_of(task, settings.run.objective or before.objective.name)
        try:
            notes = prepare_task(task, cache or RunFolder(folder).cache, prepare)
        except DataError as error:
            raise DataError(f"{error}; if the data has moved, say where it lies now by --resume --data") from error
        now = _describe(kind, before.study if own is None else own, settings, tuple(before.settings), objective, task)
        # A setting that there was not yet when the study began has its default.
        completed = replace(before, settings=_heeded(resolve(begun), tuple(before.settings)))
        completed.check(now, folder, accept_versions=accept_versions)
        if now != before:
            now.write(folder)
        return Study(folder, settings, now, task, resources, notes, lock)
    except BaseException:
        lock.release()
        raise


def build_space(run: RunSettings, task: Task) -> SearchSpace:
    """Make the space of a search with these settings, within what the task and a bound on latency allow."""
    latency = latency_bound(run, latency_meter(run, task.image_size))
    bounds = (*bounds_of(task), *(() if latency is None else (latency,)))
    return run.space.build(Architecture.parse(run.start), task.image_size, bounds)


def remove_study(folder: Path) -> None:
    """Remove a study that has trained nothing yet, and is closed; cached data and whatever else is there stay."""
    for name in (CONFIG, TRAININGS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "weights", ignore_errors=True)


def read_study(folder: Path, kind: str) -> tuple[Description, TrainingLines]:
    """Read a study's description and results, without the task and its data; another process may be at it.

    Raises:
        ArchiveError: there is no such study in the folder, or its results are missing or damaged.
    """
    description, trainings = Description.read(folder, kind), folder / TRAININGS
    if not trainings.exists() and not is_held(folder) and not trainings.exists():  # made when a study has begun
        raise ArchiveError(
            f"{trainings} is missing, and with it all results: restore a copy, or make them again with --resume"
        )
    return description, read_trainings(trainings)


def _describe(
    kind: str,
    own: Mapping[str, Any],
    settings: ResolvedSettings,
    heeded: Sequence[str],
    objective: MetricSpec,
    task: Task,
) -> Description:
    return Description(kind, own, _heeded(settings, heeded), objective, data_fingerprint(task), installed_versions())


def _heeded(settings: ResolvedSettings, names: Sequence[str]) -> dict[str, Any]:
    """Return the settings that a study heeds, defaults included."""
    values = settings.as_dict()
    return {name: values[name] for name in names if name in values}


def check_new(folder: Path) -> None:
    """Refuse a folder that holds something already.

    Raises:
        ConfigError: it says what, and what to do.
    """
    if (folder / CONFIG).exists():
        raise ConfigError(f"{folder} holds a study already: continue it with --resume, or choose another --out")
    if (folder / TRAININGS).exists():
        raise ConfigError(
            f"{folder} holds {TRAININGS} of an earlier study, without its {CONFIG}: restore that, or choose another "
            "--out"
        )
    check_not_taken(folder, {STUDY})
    RunFolder(folder).check_new()  # weights of a run that is gone
