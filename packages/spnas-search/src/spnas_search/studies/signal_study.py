"""A signal study in its folder: start it, go on with it, read it, and write its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spnas_core.commands.wording import duration
from spnas_core.durable import write_durably
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.tasks import Task
from spnas_search.run.folder import Prepare
from spnas_search.settings import ResolvedSettings, resolve, suit
from spnas_search.studies.description import Description
from spnas_search.studies.forecast import total_epochs
from spnas_search.studies.jobs import Job
from spnas_search.studies.known_trainings import check_independent
from spnas_search.studies.opened import OpenedStudy
from spnas_search.studies.paths import Path as CodePath
from spnas_search.studies.paths import draw_paths, plain_path, read_path
from spnas_search.studies.signal import SignalPlan, SignalSettings, plan_signal
from spnas_search.studies.signal_plot import draw_signal
from spnas_search.studies.signal_report import signal_markdown
from spnas_search.studies.signal_results import SignalResults, measure
from spnas_search.studies.study import (
    build_space,
    build_task,
    check_new,
    read_study,
    resume_study,
    start_study,
    truth_epochs,
)

KIND = "signal"
REPORT, PLOT = "signal.md", "signal.png"
_PATHS = "paths"


@dataclass(frozen=True)
class SignalStudy(OpenedStudy):
    """A signal study that can go on.

    Attributes:
        plan: what is trained.
    """

    plan: SignalPlan

    @property
    def jobs(self) -> Sequence[Job]:
        """The trainings in all ways."""
        return self.plan.jobs

    @property
    def results(self) -> SignalResults:
        """What the trainings say that are in."""
        return measure(self.plan, self.study.results.trainings, self.study.description.objective)

    @property
    def compute(self) -> str:
        """Say what the study computes, how much of it is in, and how long the rest will take, where that is known."""
        jobs, missing, settings = self.jobs, self.missing_jobs, self.plan.settings
        again = sum(not job.fidelity.epochs for job in jobs)
        twice = f" ({again:,} of them scored on both kinds of images)" if again else ""
        text = (
            f"{settings.codes} codes × {settings.trainings} trainings in each way: {len(jobs) - again:,} trainings"
            f"{twice} with {total_epochs(jobs):,} epochs in all"
        )
        if not missing:
            return f"{text}; all are in"
        if len(missing) < len(jobs):
            text += f", of which {len(missing):,} with {total_epochs(missing):,} epochs are to be done"
        return text + (f"; about {duration(left)} left" if (left := self.seconds_left()) is not None else "")


def start_signal_study(
    folder: Path, values: Mapping[str, Any], prepare: Prepare, *, chosen: Mapping[str, Any], cache: Path | None = None
) -> SignalStudy:
    """Make a new signal study; nothing is trained yet.

    Args:
        folder: new, or without any trace of a run or study.
        values: the configuration, as of a run; ``seed``, ``start``, ``warm_start_epochs``, ``space``, ``objective``,
            ``executor``, ``alike_failures`` and ``task`` are heeded.
        prepare: told how far reading the data is.
        chosen: fields of ``SignalSettings``; without ``epochs`` the truth takes twice the warm start's.
        cache: folder of cached data, where others share it; inside ``folder`` by default.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    _check_fresh(values)
    check_new(folder)
    resolve(values)  # before the data is read for what they leave open
    values, remarks = suit(values)
    settings = resolve(values)
    task = build_task(settings)
    check_independent(task, settings.run)
    signal = SignalSettings.read({**chosen, "epochs": truth_epochs(settings.run, chosen.get("epochs"))})
    paths = _paths(settings, task, signal)
    plan = _plan(settings, paths, signal)
    own = _own(signal, paths)
    start = Architecture.parse(settings.run.start)
    study = start_study(folder, KIND, settings, task, prepare, own=own, starts=(start,), cache=cache)
    study.remarks[:0] = remarks
    return SignalStudy(study, plan)


def resume_signal_study(
    folder: Path,
    prepare: Prepare,
    *,
    chosen: Mapping[str, Any],
    changes: Mapping[str, Any] | None = None,
    accept_versions: bool = False,
    cache: Path | None = None,
) -> SignalStudy:
    """Go on with a signal study, or extend it; what is trained already stays as it is.

    Args:
        folder: of the study.
        prepare: told how far reading the data is.
        chosen: fields of ``SignalSettings`` that are new, such as more codes; others stay. The split must stay.
        changes: settings that are given anew; see ``resume_study``.
        accept_versions: whether other versions of the packages are taken.
        cache: folder of cached data, where others share it; inside ``folder`` by default.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    _check_fresh(changes or {})
    before = Description.read(folder, KIND)
    known, stored = _read_own(before.study)
    signal = stored.changed(chosen, folder)
    settings = resolve(before.settings)
    paths = known if len(known) >= signal.codes else _paths(settings, build_task(settings), signal, known)
    plan = _plan(settings, paths, signal)
    own = _own(signal, paths)
    study = resume_study(folder, KIND, prepare, own=own, changes=changes, accept_versions=accept_versions, cache=cache)
    return SignalStudy(study, plan)


def read_signal_results(folder: Path) -> SignalResults:
    """Read what a study has found so far; another process may be at it.

    Raises:
        ArchiveError: there is no such study in the folder, or it is damaged.
    """
    description, lines = read_study(folder, KIND)
    paths, signal = _read_own(description.study)
    start, warm_epochs = description.settings["start"], description.settings["warm_start_epochs"]
    plan = plan_signal(Architecture.parse(start), paths[: signal.codes], signal, warm_epochs=warm_epochs)
    return measure(plan, lines.trainings, description.objective)


def write_signal_report(results: SignalResults, folder: Path) -> tuple[Path, Path]:
    """Write ``signal.md`` and ``signal.png`` into a folder, each complete or as it was; return their paths."""
    page, plot = folder / REPORT, folder / PLOT
    draw_signal(results, plot)
    write_durably(page, signal_markdown(results, plot=PLOT))
    return page, plot


def _check_fresh(values: Mapping[str, Any]) -> None:
    if values.get("init") is not None:
        raise ConfigError(f"init is {values['init']!r}, and a signal study trains from fresh weights: leave it out")


def _paths(
    settings: ResolvedSettings, task: Task, signal: SignalSettings, known: tuple[CodePath, ...] = ()
) -> tuple[CodePath, ...]:
    start = Architecture.parse(settings.run.start)
    return draw_paths(
        start,
        build_space(settings.run, task),
        signal.codes,
        seed=settings.run.seed,
        known=known,
        most_steps=signal.links,
    )


def _plan(settings: ResolvedSettings, paths: tuple[CodePath, ...], signal: SignalSettings) -> SignalPlan:
    start = Architecture.parse(settings.run.start)
    return plan_signal(start, paths[: signal.codes], signal, warm_epochs=settings.run.warm_start_epochs)


def _own(signal: SignalSettings, paths: tuple[CodePath, ...]) -> dict[str, Any]:
    return {**signal.model_dump(mode="json"), _PATHS: [plain_path(path) for path in paths]}


def _read_own(values: Mapping[str, Any]) -> tuple[tuple[CodePath, ...], SignalSettings]:
    own = dict(values)
    paths = own.pop(_PATHS, ())
    if not isinstance(paths, list | tuple):
        raise ConfigError("the ways to the codes of the study are damaged: restore a copy of study.toml")
    return tuple(map(read_path, paths)), SignalSettings.read(own)
