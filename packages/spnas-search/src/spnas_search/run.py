"""A run: a folder with the resolved configuration, the archive, the weights and the cache."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spnas_core.encoding import Architecture
from spnas_core.errors import ArchiveError, ConfigError, suggestion
from spnas_core.plugins import registry
from spnas_core.space import SearchSpace
from spnas_core.tasks import MetricSpec, Task
from spnas_search.archive import Archive, Candidate, RunLock, WeightStore
from spnas_search.executors import executor_factory
from spnas_search.initial_weights import import_weights
from spnas_search.settings import ResolvedSettings, read_toml, resolve, write_toml
from spnas_search.strategies import Strategy, strategy_plugin

CONFIG, ARCHIVE, WEIGHTS, CACHE, INIT = "run.toml", "archive.db", "weights", "cache", "init.safetensors"

Prepare = Callable[[str, int, int], None]


class Run:
    """A search that can go on, or that is over. Use ``start_run`` or ``resume_run``; read one with ``read_archive``.

    Attributes:
        folder: where everything is.
        settings: the resolved configuration.
        archive: all candidates.
        weights: their weights files.
        task: prepared.
        strategy: proposes children.
        space: bounds of the search.
        notes: what the data set had to say.
    """

    def __init__(self, folder: Path, settings: ResolvedSettings, lock: RunLock, prepare: Prepare) -> None:
        self.folder = folder
        self.settings = settings
        self._lock = lock
        executor_factory(settings.run.executor.name)  # an unknown one is refused here, before anything is written
        plugin = registry("tasks").get(settings.task.model_dump()["name"])
        self.task: Task = plugin.build(settings.task)
        start = Architecture.parse(settings.run.start)
        self.space: SearchSpace = settings.run.space.build(start, self.task.image_size)
        self.space.check(start)
        self.strategy: Strategy = strategy_plugin(settings.strategy.model_dump()["name"]).build(
            settings.strategy, self.space
        )
        self.objective = _objective(self.task, settings.run.objective)
        self.notes = self.task.prepare(folder / CACHE, prepare)
        self.archive: Archive
        self.weights: WeightStore

    def open_stores(self) -> None:
        """Open archive and weights, making them where there are none.

        Raises:
            ArchiveError: the archive is damaged or of another version.
        """
        path = self.folder / ARCHIVE
        if not path.exists():
            Archive.create(path, objective=self.objective, run_seed=self.settings.run.seed).close()
        self.archive = Archive.open(path)
        self.weights = WeightStore(self.folder / WEIGHTS)
        self.weights.clean()

    @property
    def init_weights(self) -> Path | None:
        """File of the weights that the start inherits; None for a fresh start."""
        path = self.folder / INIT
        return path if path.exists() else None

    @property
    def round_size(self) -> int:
        """Children per round."""
        return int(self.settings.strategy.model_dump().get("round", 1))

    @property
    def control_epochs(self) -> int:
        """Epochs of the controls that measure the noise."""
        return int(self.settings.strategy.model_dump().get("epochs", 1))

    def needed_weights(self) -> frozenset[int]:
        """Candidates whose weights something may still ask for."""
        archive = self.archive
        if not len(archive):
            return frozenset()
        kept = {archive.start.id, *self.strategy.may_use(archive)}
        kept.update(candidate.id for candidate in archive.best(1))
        kept.update(candidate.id for candidate in archive.pareto())
        kept.update(candidate.parent for candidate in archive.pending() if candidate.parent is not None)
        # The start is brought to the winner's age through these.
        kept.update(control.id for control in archive.of_kind("control") if self._ages_start(control))
        return frozenset(kept)

    def _ages_start(self, control: Candidate) -> bool:
        return control.architecture == self.archive.start.architecture

    def out_of_time(self) -> bool:
        """Whether the budget's hours are used up; once said, it stays so."""
        hours = self.settings.run.budget.hours
        return hours is not None and self.spent_seconds >= hours * 3600

    @property
    def spent_seconds(self) -> float:
        """Wall-clock seconds of evaluation in this run, earlier processes included."""
        return float(self.archive.recall("seconds") or 0.0)

    def spend(self, seconds: float) -> None:
        """Add to the spent time; it is stored, so that a resumed run decides as an undisturbed one."""
        self.archive.remember("seconds", repr(self.spent_seconds + seconds))

    def close(self) -> None:
        """Close the archive and let others in."""
        if hasattr(self, "archive"):
            self.archive.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start_run(folder: Path, values: Mapping[str, Any], prepare: Prepare) -> Run:
    """Make a new run.

    Everything is checked before the configuration is written: a run that cannot start leaves no run behind.

    Args:
        folder: new, empty, or holding nothing of a run.
        values: the configuration.
        prepare: told how far reading the data is.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    settings = resolve(values)
    if (folder / CONFIG).exists():
        raise ConfigError(f"{folder} holds a run already: continue it with --resume, or choose another --out")
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = RunLock(folder)
    lock.acquire()
    try:
        run = Run(folder, settings, lock, prepare)
        if settings.run.init is not None:
            import_weights(settings.run.init, Architecture.parse(settings.run.start), folder / INIT)
        write_toml(settings.as_dict(), folder / CONFIG)
        run.open_stores()
    except BaseException:
        lock.release()
        _remove_traces(folder, whole=not existed)
        raise
    return run


def resume_run(folder: Path, prepare: Prepare) -> Run:
    """Go on with a run.

    Raises:
        ArchiveError: there is no run in the folder, or another process holds it.
    """
    settings = read_run_settings(folder)
    lock = RunLock(folder)
    lock.acquire()
    try:
        run = Run(folder, settings, lock, prepare)
        run.open_stores()
    except BaseException:
        lock.release()
        raise
    return run


def read_run_settings(folder: Path) -> ResolvedSettings:
    """Read the configuration of a run.

    Raises:
        ArchiveError: there is no run in the folder.
        ConfigError: the configuration was made unreadable.
    """
    path = folder / CONFIG
    if not path.exists():
        raise ArchiveError(f"{folder} holds no run: there is no {CONFIG} in it")
    return resolve(read_toml(path))


def read_archive(folder: Path) -> Archive:
    """Open the archive of a run for looking at; a search may be going on in it.

    Raises:
        ArchiveError: there is no run in the folder, or its archive is damaged.
    """
    if not (folder / CONFIG).exists():
        raise ArchiveError(f"{folder} holds no run: there is no {CONFIG} in it")
    return Archive.open(folder / ARCHIVE)


def _objective(task: Task, name: str | None) -> MetricSpec:
    metrics = {metric.name: metric for metric in task.metrics}
    if name is None:
        return task.metrics[0]
    if name not in metrics:
        raise ConfigError(f"objective {name!r} is no metric of the task{suggestion(name, metrics)}")
    return metrics[name]


def _remove_traces(folder: Path, *, whole: bool) -> None:
    """Remove what a run that could not start has left."""
    import shutil

    if whole:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for name in (CONFIG, INIT, "lock"):
        (folder / name).unlink(missing_ok=True)
