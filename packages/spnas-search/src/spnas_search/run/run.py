"""A run: a folder with the resolved configuration, the archive, the weights and the cache."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError, suggestion
from spnas_core.interchange.initial_weights import read_initial_weights
from spnas_core.morphisms import Rewrite, identity
from spnas_core.supernets import PartOf
from spnas_core.tasks import (
    MetricSpec,
    Report,
    SharedTraining,
    Task,
    bounds_of,
    check_pretraining,
    check_sharing,
    check_start,
    data_fingerprint,
    make_task,
    objective_of,
    prepare_task,
    pretraining_fingerprint,
    pretrains,
)
from spnas_core.tasks import test_images as images_of_tests
from spnas_search.archive import HEIRLESS, TEST_IMAGES, Archive, RunLock, Tradeoff, WeightStore
from spnas_search.executors import Executor, make_executor
from spnas_search.executors.resources import share_cores
from spnas_search.installed import installed_code, installed_versions
from spnas_search.run.final_settings import check_final, check_trained
from spnas_search.run.folder import Prepare, RunFolder
from spnas_search.run.identity import Identity, check_init
from spnas_search.run.initial_weights import import_weights, initial_rewrite
from spnas_search.run.known_trainings import check_trainings
from spnas_search.run.latency import LATENCY, idle_device, latency_bound, latency_meter
from spnas_search.run.parts import check_parts, start_space, why_outside
from spnas_search.run.strategy_building import build_strategy
from spnas_search.run.strategy_settings import check_phases, check_strategy
from spnas_search.settings import ResolvedSettings

COSTS = ("parameters", "multiply_adds", "activation_bytes", LATENCY)
"""What can be weighed against the objective, beside metrics."""

ENOUGH_REPLICATES = 4
"""Replicates from which on the noise of a score is known well enough: with 2 it may be off by a factor of ten."""


class Run:
    """A search that can go on, or that is over. Use ``start_run`` or ``resume_run``; read one with ``read_archive``.

    Attributes:
        files: its folder's.
        settings: the resolved configuration.
        archive: all candidates.
        weights: their weights files.
        task: prepared.
        strategy: proposes children; whatever it proposes is checked.
        space: bounds of the search.
        meter: measures latency; None where it is neither bounded nor weighed.
        latency: the bound on measured latency; None where there is none.
        sharing: how the start's weights are trained that its parts share; None where they are its own.
        notes: what the data set had to say.
        remarks: what else a user should know of how the run was opened.
    """

    def __init__(
        self, files: RunFolder, settings: ResolvedSettings, lock: RunLock, prepare: Prepare, cache: Path | None
    ) -> None:
        self.files = files
        self.settings = settings
        self.remarks: list[str] = []
        self._lock = lock
        self.task: Task = make_task(settings.task)
        start = Architecture.parse(settings.run.start)
        parts = (PartOf(start),) if settings.run.inherit == "supernet" else ()
        counted = settings.run.space.build(start, self.task.image_size)
        quick = replace(counted, bounds=(*bounds_of(self.task), *parts))
        (start_space(quick, start) if parts else quick).check(start)
        self.meter = latency_meter(settings.run, self.task.image_size)
        self.latency = latency_bound(settings.run, self.meter)
        latency = () if self.latency is None else (self.latency,)
        self.space = replace(quick, bounds=(*quick.bounds, *latency))
        self.strategy = build_strategy(settings, self.space, quick, latency)
        self.sharing = SharedTraining(counted, self.strategy.relaxation) if parts else None
        of_pretraining = self._check_settings()
        self.remarks += self._too_few()
        self._resources = share_cores(settings.executor, self.side_by_side)
        if self._resources.remark:
            self.remarks.append(self._resources.remark)
        self.objective = objective_of(self.task, settings.run.objective)
        self.tradeoffs = _tradeoffs(self.task, self.objective, settings.run.pareto)
        self.notes = (*prepare_task(self.task, cache or files.cache, prepare), *of_pretraining)
        self._start_rewrite: Rewrite | None = None
        self.archive: Archive
        self.weights: WeightStore

    @property
    def folder(self) -> Path:
        """Where everything is."""
        return self.files.path

    def identity(self) -> Identity:
        """Return what the run is computed from, as things are now."""
        return Identity(
            self.settings.as_dict(),
            data_fingerprint(self.task),
            pretraining_fingerprint(self.task),
            self.files.init_checksum(),
            installed_versions(),
            installed_code(),
        )

    def open_stores(self) -> None:
        """Open archive and weights, making them where there are none.

        Raises:
            ArchiveError: the archive is damaged or of another version.
            WeightsError: the weights to start from do not fit.
        """
        path = self.files.archive
        if not path.exists():
            if self.settings.run.init is not None and not self.files.init.exists():
                import_weights(self.settings.run.init, Architecture.parse(self.settings.run.start), self.files.init)
            settings = self.settings.run
            Archive.create(
                path,
                objective=self.objective,
                run_seed=settings.seed,
                ranking=settings.ranking,
                inherit=settings.inherit,
                tradeoffs=self.tradeoffs,
                facts={**self.identity().facts(), TEST_IMAGES: images_of_tests(self.task)},
            ).close()
        self.archive = Archive.open(path)
        try:
            if self.meter is not None:  # only now, so that a resumed run takes what it has measured before
                self.meter.store = self.archive
                self.check_measured()
            if self.sharing is not None and not len(self.archive):
                self._keep_start_out()
            if self.settings.run.init is not None and (steps := self.start_rewrite().steps):
                self.remarks.append(f"init is of {self.start_rewrite().parent}: {'; '.join(map(str, steps))}")
            self.weights = WeightStore(self.files.weights)
            self.weights.clean()
        except BaseException:
            self.archive.close()
            raise

    def make_executor(self, report: Report) -> Executor:
        """Make the executor that the settings ask for; it is held to its contract, see ``CheckedExecutor``."""
        return make_executor(self.settings.executor, self.task, self._resources.workers, report)

    def threads(self, executor: Executor) -> int:
        """CPU threads of each evaluation: the cores, shared evenly among those that run side by side."""
        return max(1, self._resources.cores // executor.workers)

    def start_weights(self) -> Path | None:
        """Return the file of the weights that the start inherits; None for a fresh start.

        Raises:
            ArchiveError: it is missing, or not the file that the run was given.
        """
        check_init(self.archive, self.files.init)
        return self.files.init if self.files.init.exists() else None

    def start_rewrite(self) -> Rewrite:
        """How the start and fresh warm starts inherit the weights that the run was given.

        Those may be of an architecture near it; see ``align``.
        """
        if self._start_rewrite is None:
            weights, start = self.start_weights(), Architecture.parse(self.settings.run.start)
            self._start_rewrite = identity(start) if weights is None else initial_rewrite(weights, start)
        return self._start_rewrite

    @property
    def round_size(self) -> int:
        """Children per round."""
        return self.strategy.round_size

    @property
    def side_by_side(self) -> int | None:
        """How many evaluations of the search there are at a time; None where there are as many as workers."""
        return None if self.settings.run.asynchronous else self.round_size

    @property
    def control_epochs(self) -> int:
        """Epochs of the controls that measure the noise."""
        return self.strategy.control_epochs

    def out_of_time(self) -> bool:
        """Whether the budget's hours are used up; once said, it stays so."""
        hours = self.settings.run.budget.hours
        return hours is not None and self.spent_seconds >= hours * 3600

    @property
    def spent_seconds(self) -> float:
        """Wall-clock seconds of evaluation whose results are in the archive, earlier processes included."""
        return self.archive.elapsed

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

    def _check_settings(self) -> tuple[str, ...]:
        """Refuse weights that nobody would inherit or that do not fit, and a budget that ends before a first child.

        Returns:
            What is to be known of reignitions.
        """
        settings = self.settings.run
        if settings.rungs.epochs and settings.ranking in {"gains", "lead"}:
            raise ConfigError(
                f"rungs.epochs are {list(settings.rungs.epochs)}, and the ranking rule {settings.ranking!r} compares "
                "children with controls of one age: choose 'prediction' or 'traits', or leave the rungs out"
            )
        if settings.inherit == "none" and settings.init is not None:
            raise ConfigError(
                "init names weights, and inherit = 'none' trains everything from fresh ones: leave one of them out"
            )
        if self.sharing is None and self.strategy.relaxation is not None:
            raise ConfigError(
                f"the strategy {self.strategy.name!r} reads what the start has learnt of its parts, and inherit is "
                f"{settings.inherit!r}: set inherit = 'supernet', as presets darts, snas, proxyless-gradient and "
                "auto-deeplab do"
            )
        self._check_budget()
        if self.sharing is not None and not self.files.archive.exists():
            check_parts(self.space.quick, Architecture.parse(settings.start), self.sharing.relaxation)
        self.remarks += check_strategy(self.strategy, settings, self.space, measures_latency=self.meter is not None)
        wanted = settings.training_epochs(wanted=self.strategy.trains_winner)
        check_trainings(self.task, settings, self.strategy, wanted)
        check_final(settings, wanted)
        if self.sharing is not None:
            check_sharing(self.task, settings.task.get("name", "detection"), Architecture.parse(settings.start))
        if settings.asynchronous and self.strategy.by_rounds:
            raise ConfigError(
                f"the strategy {self.strategy.name!r} compares whole rounds, and asynchronous = true (--asynchronous) "
                "has none: leave that out, or choose another strategy"
            )
        if not self.files.archive.exists():
            check_trained(self.task, settings, self.strategy)
            start = Architecture.parse(settings.start)
            weights = None if settings.init is None else read_initial_weights(settings.init, start)
            self.remarks += check_start(self.task, start, weights)
            self.remarks += idle_device(settings)
        return self._check_reignition() if self.strategy.reignites else ()

    def check_measured(self) -> None:
        """Refuse a start outside the measured bounds; where its parts are searched, these alone are held to them.

        Raises:
            SpaceError: it says how far outside.
        """
        if self.sharing is None:
            self.space.check(Architecture.parse(self.settings.run.start))

    def _keep_start_out(self) -> None:
        """See to it that a start which its parts alone can bring inside the bounds does not win."""
        start = Architecture.parse(self.settings.run.start)
        if outside := why_outside(self.space, start, self.latency):
            self.archive.keep_start_out()
            self.remarks.append(f"the start lies outside the search space, and so only its parts may win: {outside}")

    def _check_budget(self) -> None:
        """Refuse a budget of epochs that ends nothing, or that ends before a first child."""
        settings, epochs = self.settings.run, self.settings.run.budget.epochs
        if epochs is None:
            return
        if self.strategy.has_free_children and settings.budget.candidates is None and settings.budget.hours is None:
            raise ConfigError(
                f"budget.epochs is {epochs}, and children of the strategy {self.strategy.name!r} are trained for 0 "
                "epochs, of which there may be any number: bound them by budget.candidates or budget.hours"
            )
        least = settings.least_epochs(self.control_epochs)
        if epochs < least:
            raise ConfigError(
                f"budget.epochs is {epochs}, and the warm start, {settings.noise_seeds} noise_seeds, a first child and "
                f"the re-scoring of {settings.final.finalists} finalists take {least}: raise it to more than that, or "
                "lower warm_start_epochs, noise_seeds or final.finalists"
            )

    def _too_few(self) -> Iterator[str]:
        """Warn of numbers that are too small for what they are there for."""
        settings = self.settings.run
        children, enough = settings.budget.children, self.strategy.meaningful_from
        if children is not None and children < enough:
            name = self.strategy.name
            yield (
                f"warning: the budget has {children} candidates, and with these settings the strategy {name!r} is more "
                f"than a random search from {enough} on: raise budget.candidates, or settle for less by its settings"
            )
        yield from check_phases(self.strategy, settings)
        if settings.noise_seeds < ENOUGH_REPLICATES:
            yield (
                f"warning: noise_seeds = {settings.noise_seeds} tells the noise of a score vaguely: set it to "
                f"{ENOUGH_REPLICATES} or more"
            )
        if settings.final.seeds and settings.final.epochs is not None and settings.inherit in HEIRLESS:
            yield (
                f"warning: final.epochs = {settings.final.epochs} is of trainings from fresh warm starts, of which "
                f"there are none by inherit = {settings.inherit!r}: set final.scratch_epochs instead"
            )
        is_from_scratch = settings.final.from_scratch or settings.inherit in HEIRLESS
        if settings.final.seeds and settings.final.scratch_epochs is not None and not is_from_scratch:
            yield (
                f"warning: final.scratch_epochs = {settings.final.scratch_epochs} is of trainings from scratch, of "
                "which there are none: add final.from_scratch = true (--from-scratch), or set final.epochs instead"
            )
        if settings.final.seeds == 1:
            yield (
                "warning: final.seeds = 1 compares winner and start once, and the verdict cannot say whether their "
                "difference is more than chance: set it to 2 or more"
            )

    def _check_reignition(self) -> tuple[str, ...]:
        """Refuse reignitions that cannot happen."""
        if self.settings.run.inherit in HEIRLESS:
            raise ConfigError(
                f"inherit = {self.settings.run.inherit!r} lets no child begin with the weights of a reignition: "
                "choose another way to inherit, or set strategy.reignition.most (strategy.serial.reignition.most) to 0"
            )
        if self.settings.run.ranking == "gains" and self.settings.run.inherit == "warm-start":
            raise ConfigError(
                "ranking = 'gains' compares at equal age, and by inherit = 'warm-start' a reignition is older than its "
                "control: choose ranking = 'traits', or inherit = 'parent'"
            )
        if not pretrains(self.task):
            name = self.settings.run.task.get("name", "detection")
            raise ConfigError(
                f"the task {name!r} cannot pretrain a backbone: set strategy.reignition.most (or "
                "strategy.serial.reignition.most) to 0"
            )
        return check_pretraining(self.task)


def _tradeoffs(task: Task, objective: MetricSpec, names: Sequence[str]) -> tuple[Tradeoff, ...]:
    """Say of each name what it is.

    Raises:
        ConfigError: neither a cost nor a further metric of the task, or a name twice.
    """
    metrics = {metric.name: metric for metric in task.metrics if metric.name != objective.name}
    found = []
    for name in names:
        if name in COSTS:
            found.append(Tradeoff(name))
        elif name in metrics:
            found.append(Tradeoff(name, is_metric=True, higher_is_better=metrics[name].higher_is_better))
        else:
            hint = suggestion(name, [*COSTS, *metrics])
            raise ConfigError(f"pareto names {name!r}, which is neither a cost nor another metric of the task{hint}")
    if len(set(names)) < len(names):
        raise ConfigError(f"pareto names something twice: {', '.join(names)}")
    return tuple(found)
