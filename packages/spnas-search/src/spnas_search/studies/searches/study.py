"""A study of searches in its folder: start it, go on with it, read it, and write its report."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from spnas_core.durable import write_durably
from spnas_core.encoding import Architecture
from spnas_core.errors import MALFORMED, ArchiveError, ConfigError, SpnasError
from spnas_core.presets import laid_over
from spnas_search.driver import SearchStoppedError, run_search
from spnas_search.monitors import Monitor
from spnas_search.run import Run, RunFolder, resume_run, start_run
from spnas_search.run.folder import Prepare
from spnas_search.settings import moved, of_begun, resolve, suit
from spnas_search.studies.description import Description
from spnas_search.studies.filling import Listener, StudyStoppedError
from spnas_search.studies.jobs import Job
from spnas_search.studies.known_trainings import check_known
from spnas_search.studies.opened import OpenedStudy
from spnas_search.studies.searches.arms import SearchArm, no_baselines, random_beside, read_arms
from spnas_search.studies.searches.found import Found, look_at
from spnas_search.studies.searches.plan import STRIDE, SearchesPlan, SearchesSettings, plan_trainings
from spnas_search.studies.searches.plot import draw_searches
from spnas_search.studies.searches.report import searches_markdown
from spnas_search.studies.searches.results import SearchesResults, measure_searches
from spnas_search.studies.study import (
    build_task,
    check_new,
    read_study,
    remove_study,
    resume_study,
    start_study,
    truth_epochs,
)

KIND = "searches"
REPORT, PLOT = "searches.md", "searches.png"
FOLDER, FOUND = "searches", "found.json"
_ARMS = "arms"


class SearchListener(Listener, Protocol):
    """Is told what a study of searches does."""

    def search_started(self, arm: str, number: int, run: Run) -> Monitor:
        """A search begins, or goes on; returns who is told what it does."""

    def search_ended(self, found: Found | None, arm: str, number: int) -> None:
        """A search has ended; None where nothing in it was scored."""


@dataclass(frozen=True)
class SearchesStudy(OpenedStudy):
    """A study of searches that can go on.

    Attributes:
        arms: the ways to search.
        settings: what it does.
        cache: folder of cached data.
        accept_versions: whether searches that have begun go on with other versions of the packages.
    """

    arms: tuple[SearchArm, ...]
    settings: SearchesSettings
    cache: Path
    accept_versions: bool = False

    def missing(self) -> tuple[tuple[SearchArm, int], ...]:
        """Return the searches that have not ended, number by number, so that all ways have as many at any time."""
        known = {(one.arm, one.number) for one in self.found()}
        return tuple(
            (arm, number)
            for number in range(self.settings.searches)
            for arm in self.arms
            if (arm.name, number) not in known
        )

    def found(self) -> tuple[Found, ...]:
        """Return what the searches have found that have ended."""
        return tuple(_read_found(self.study.folder, [arm.name for arm in self.arms], self.settings.searches))

    def begin(self, arms: Sequence[SearchArm], prepare: Prepare) -> None:
        """Open the first search of new arms, so that settings that no search takes are refused before any searches.

        Raises:
            SpnasError: whatever is wrong; no search of these arms is left then.
        """
        folders = [_folder(self.study.folder, arm.name, 0).parent for arm in arms]
        made = [folder for folder in folders if not folder.exists()]
        for arm in arms:
            try:
                self._open(arm, 0, prepare).close()
            except BaseException as error:
                for folder in made:
                    shutil.rmtree(folder, ignore_errors=True)
                if isinstance(error, ConfigError):
                    raise ConfigError(f"{arm.name}: {error}") from None
                raise

    def search(self, prepare: Prepare, listener: SearchListener) -> StudyStoppedError | None:
        """Run the searches that have not ended to their end; one that cannot go on is passed over.

        Returns:
            What to raise once what the others have found is judged: which searches cannot go on, and why the first;
            None where all have ended.

        Raises:
            SpnasError: an evaluation met a user's mistake.
        """
        lost: dict[str, SpnasError] = {}
        for arm, number in self.missing():
            try:
                self._search(arm, number, prepare, listener)
            except (ArchiveError, SearchStoppedError) as error:
                lost[f"search {number} of {arm.name}"] = error
                listener.message(f"search {number} of {arm.name} has no result: {error}")
        if not lost:
            return None
        which, first = next(iter(lost.items()))
        more = "" if len(lost) == 1 else f" ({len(lost) - 1} more are lost: {', '.join(list(lost)[1:])})"
        return StudyStoppedError(f"{which}: {first}{more}", getattr(first, "trace", ""))

    def _search(self, arm: SearchArm, number: int, prepare: Prepare, listener: SearchListener) -> None:
        """Run one search to its end, and keep what it has found."""
        with self._open(arm, number, prepare) as run:
            run_search(run, listener.search_started(arm.name, number, run))
            found = look_at(run.archive, arm.name, number, self.settings.ranked, run.space, self._seed(arm, number))
        if found is not None:
            path = _folder(self.study.folder, arm.name, number) / FOUND
            write_durably(path, json.dumps(asdict(found), indent=1) + "\n")
        listener.search_ended(found, arm.name, number)

    @property
    def jobs(self) -> Sequence[Job]:
        """The trainings that judge the searches which have ended."""
        return self.plan.jobs

    @property
    def plan(self) -> SearchesPlan:
        """The trainings that judge the searches which have ended."""
        return plan_trainings(self._start, [arm.name for arm in self.arms], self.found(), self.settings)

    @property
    def results(self) -> SearchesResults:
        """What is in so far."""
        trainings, objective = self.study.results.trainings, self.study.description.objective
        return measure_searches(self.plan, trainings, objective, random_beside(self.arms))

    @property
    def _start(self) -> str:
        return str(Architecture.parse(self.study.settings.run.start))

    def _seed(self, arm: SearchArm, number: int) -> int:
        """Return the seed of a search, 31 bit: it follows from the study's seed, the arm's name and the number."""
        text = json.dumps([self.study.seed, arm.name, number])
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) >> 1

    def _open(self, arm: SearchArm, number: int, prepare: Prepare) -> Run:
        """Open a search, on the data where the study has been told that it lies now."""
        folder = _folder(self.study.folder, arm.name, number)
        files, now = RunFolder(folder), self.study.settings.as_dict()
        data = now["task"].get("data")
        table = {key: now["task"][key] for key in ("cache", "cache_limit") if key in now["task"]}
        changes = {"executor": now["executor"], "alike_failures": now["alike_failures"], "task": table}
        if files.config.exists() or files.archive.exists():
            return resume_run(
                folder, prepare, data=data, changes=changes, accept_versions=self.accept_versions, cache=self.cache
            )
        values = laid_over({**arm.values, "seed": self._seed(arm, number)}, changes)
        return start_run(folder, values if data is None else moved(values, data), prepare, cache=self.cache)


def start_searches_study(
    folder: Path,
    values: Mapping[str, Any],
    names: Sequence[str],
    prepare: Prepare,
    *,
    chosen: Mapping[str, Any],
    cache: Path | None = None,
) -> SearchesStudy:
    """Make a new study of searches; nothing is searched yet.

    Args:
        folder: new, or without any trace of a run or study.
        values: the configuration of all searches, as of a run; the budget is each search's.
        names: of the ways to search; see ``read_arms``.
        prepare: told how far reading the data is.
        chosen: fields of ``SearchesSettings``; without ``epochs`` trainings take twice the warm start's.
        cache: folder of cached data, where others share it; inside ``folder`` by default.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    if values.get("init") is not None:
        raise ConfigError(f"init is {values['init']!r}, and this study trains from fresh weights: leave it out")
    if (folder / FOLDER).exists():
        raise ConfigError(f"{folder / FOLDER} is there already, where this study would search: choose another --out")
    check_new(folder)
    resolve(values)  # before the data is read for what they leave open
    read_arms(names, values)
    values, remarks = suit(values)
    settings = resolve(values)
    arms = read_arms(names, settings.as_dict())
    own = SearchesSettings.read(
        {"stride": STRIDE, **chosen, "epochs": truth_epochs(settings.run, chosen.get("epochs"))}
    )
    task = build_task(settings)
    remarks = (*remarks, *check_known(task, settings.run, own.epochs, own.trainings))
    stored, heeded = _own(own, arms), tuple(settings.as_dict())
    starts = (Architecture.parse(settings.run.start),)
    study = start_study(folder, KIND, settings, task, prepare, own=stored, starts=starts, heeded=heeded, cache=cache)
    study.remarks[:0] = (*remarks, *no_baselines(arms))
    opened = SearchesStudy(study, arms, own, cache or RunFolder(folder).cache)
    try:
        opened.begin(arms, prepare)
    except BaseException:
        study.close()
        remove_study(folder)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        raise
    return opened


def resume_searches_study(
    folder: Path,
    names: Sequence[str],
    prepare: Prepare,
    *,
    chosen: Mapping[str, Any],
    changes: Mapping[str, Any] | None = None,
    accept_versions: bool = False,
    cache: Path | None = None,
) -> SearchesStudy:
    """Go on with a study of searches, or extend it by more searches or other ways to search.

    Args:
        folder: of the study.
        names: of further ways to search.
        prepare: told how far reading the data is.
        chosen: fields of ``SearchesSettings`` that are new; others stay.
        changes: settings that are given anew; see ``resume_study``.
        accept_versions: whether other versions of the packages are taken.
        cache: folder of cached data, where others share it; inside ``folder`` by default.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    before = Description.read(folder, KIND)
    known, stored = _read_own(before.study)
    own = stored.changed(chosen, folder)
    if own.searches < stored.searches:
        raise ConfigError(f"{folder} has {stored.searches} searches of each kind: {own.searches} would leave some out")
    began = resolve(of_begun(before.settings))
    check_known(build_task(began), began.run, own.epochs, own.trainings)
    added = read_arms(names, of_begun(before.settings), known) if names else ()
    arms = (*known, *added)
    study = resume_study(
        folder, KIND, prepare, own=_own(own, arms), changes=changes, accept_versions=accept_versions, cache=cache
    )
    opened = SearchesStudy(study, arms, own, cache or RunFolder(folder).cache, accept_versions)
    try:
        opened.begin(added, prepare)
    except BaseException:
        before.write(folder)
        study.close()
        raise
    return opened


def read_searches_results(folder: Path) -> SearchesResults:
    """Read what a study has found so far; another process may be at it.

    Raises:
        ArchiveError: there is no such study in the folder, or it is damaged.
    """
    description, lines = read_study(folder, KIND)
    arms, own = _read_own(description.study)
    names = [arm.name for arm in arms]
    start = str(Architecture.parse(description.settings["start"]))
    plan = plan_trainings(start, names, tuple(_read_found(folder, names, own.searches)), own)
    return measure_searches(plan, lines.trainings, description.objective, random_beside(arms))


def write_searches_report(results: SearchesResults, folder: Path) -> tuple[Path, Path]:
    """Write ``searches.md`` and ``searches.png`` into a folder, each complete or as it was; return their paths."""
    page, plot = folder / REPORT, folder / PLOT
    draw_searches(results, plot)
    write_durably(page, searches_markdown(results, plot=PLOT))
    return page, plot


def _folder(folder: Path, arm: str, number: int) -> Path:
    return folder / FOLDER / arm / str(number)


def _read_found(folder: Path, arms: Sequence[str], searches: int) -> Iterator[Found]:
    for arm in arms:
        for number in range(searches):
            path = _folder(folder, arm, number) / FOUND
            if path.exists():
                try:
                    found = Found.read(json.loads(path.read_text(encoding="utf-8")))
                    if (found.arm, found.number) != (arm, number):
                        raise ValueError("it is of another search")
                    yield found
                except MALFORMED:
                    raise ArchiveError(
                        f"{path} is damaged: remove it, and 'spnas study searches --resume' reads the search anew"
                    ) from None


def _own(settings: SearchesSettings, arms: Sequence[SearchArm]) -> dict[str, Any]:
    return {
        **settings.model_dump(mode="json", exclude_none=True),
        _ARMS: [json.dumps([arm.name, arm.values]) for arm in arms],
    }


def _read_own(values: Mapping[str, Any]) -> tuple[tuple[SearchArm, ...], SearchesSettings]:
    own = dict(values)
    try:
        told = [json.loads(text) for text in own.pop(_ARMS, ())]
        arms = tuple(SearchArm(name, of_begun(arm)) for name, arm in told)
    except MALFORMED:
        raise ConfigError("the ways to search of the study are damaged: restore a copy of study.toml") from None
    return arms, SearchesSettings.read(own)
