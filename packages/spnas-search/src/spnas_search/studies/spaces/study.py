"""A study of spaces in its folder: start it, go on with it, read it, and write its report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spnas_core.durable import write_durably
from spnas_core.encoding import Architecture
from spnas_core.errors import MALFORMED, ConfigError
from spnas_core.presets import laid_over
from spnas_core.tasks import Task
from spnas_search.run.folder import Prepare
from spnas_search.settings import resolve, suit
from spnas_search.studies.description import Description
from spnas_search.studies.jobs import Job
from spnas_search.studies.known_trainings import check_known
from spnas_search.studies.opened import OpenedStudy
from spnas_search.studies.spaces.plan import (
    DrawnSpace,
    SpacesPlan,
    SpacesSettings,
    draw_codes,
    plan_spaces,
    read_spaces,
)
from spnas_search.studies.spaces.report import draw_spaces, spaces_markdown
from spnas_search.studies.spaces.results import SpacesResults, measure_spaces
from spnas_search.studies.study import (
    build_space,
    build_task,
    check_new,
    read_study,
    resume_study,
    start_study,
    truth_epochs,
)

KIND = "spaces"
REPORT, PLOT = "spaces.md", "spaces.png"
_SPACES = "spaces"
MOST_BLOCKS = 60
"""Of the codes in a space, where nothing is said of it: the paper's, and not a multiple of the start's as in a search,
since spaces of short starts would have hardly any cost in common."""


@dataclass(frozen=True)
class SpacesStudy(OpenedStudy):
    """A study of spaces that can go on.

    Attributes:
        plan: what is trained.
    """

    plan: SpacesPlan

    @property
    def jobs(self) -> Sequence[Job]:
        """The trainings of all codes."""
        return self.plan.jobs

    @property
    def results(self) -> SpacesResults:
        """What is in so far."""
        return measure_spaces(self.plan, self.study.results.trainings, self.study.description.objective)


def start_spaces_study(
    folder: Path,
    values: Mapping[str, Any],
    texts: Sequence[str],
    prepare: Prepare,
    *,
    chosen: Mapping[str, Any],
    cache: Path | None = None,
) -> SpacesStudy:
    """Make a new study of spaces; nothing is trained yet.

    Args:
        folder: new, or without any trace of a run or study.
        values: the configuration, as of a run; ``seed``, ``space``, ``objective``, ``executor``, ``alike_failures`` and
            ``task`` are heeded; without ``space.max_blocks`` it is ``MOST_BLOCKS``. What the task chooses to suit its
            data, it chooses for the first space's start.
        texts: the spaces; see ``read_spaces``.
        prepare: told how far reading the data is.
        chosen: fields of ``SpacesSettings``; without ``epochs`` trainings take twice the warm start's.
        cache: folder of cached data, where others share it; inside ``folder`` by default.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    if values.get("init") is not None:
        raise ConfigError(f"init is {values['init']!r}, and this study trains from fresh weights: leave it out")
    check_new(folder)
    values = laid_over({"space": {"max_blocks": MOST_BLOCKS}}, values)
    spaces = read_spaces(texts, values)
    values, remarks = suit({**values, "start": spaces[0][1]["start"]} if "start" in spaces[0][1] else values)
    settings = resolve(values)
    own = SpacesSettings.read({**chosen, "epochs": truth_epochs(settings.run, chosen.get("epochs"))})
    task = build_task(settings)
    remarks = (*remarks, *check_known(task, settings.run, own.epochs, own.trainings))
    drawn = [_draw(name, found, task, own.codes, settings.run.seed) for name, found in spaces]
    stored = _own(own, drawn, [found for _, found in spaces])
    starts = tuple(Architecture.parse(resolve(found).run.start) for _, found in spaces)
    study = start_study(folder, KIND, settings, task, prepare, own=stored, starts=starts, cache=cache)
    study.remarks[:0] = remarks
    return SpacesStudy(study, plan_spaces(drawn, own))


def resume_spaces_study(
    folder: Path,
    prepare: Prepare,
    *,
    chosen: Mapping[str, Any],
    changes: Mapping[str, Any] | None = None,
    accept_versions: bool = False,
    cache: Path | None = None,
) -> SpacesStudy:
    """Go on with a study of spaces, or extend it by more codes or trainings.

    Args:
        folder: of the study.
        prepare: told how far reading the data is.
        chosen: fields of ``SpacesSettings`` that are new; others stay. The split must stay.
        changes: settings that are given anew; see ``resume_study``.
        accept_versions: whether other versions of the packages are taken.
        cache: folder of cached data, where others share it; inside ``folder`` by default.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    before = Description.read(folder, KIND)
    drawn, given, stored = _read_own(before.study)
    began = before.settings.get("space", {})  # whatever the defaults are by now
    bounds = [{**found, "space": {**began, **found.get("space", {})}} for found in given]
    own = stored.changed(chosen, folder)
    settings = resolve(before.settings)
    task = build_task(settings)
    check_known(task, settings.run, own.epochs, own.trainings)
    if own.codes > stored.codes:
        seed = settings.run.seed
        drawn = [
            _draw(space.name, found, task, own.codes, seed, space.codes)
            for space, found in zip(drawn, bounds, strict=True)
        ]
    study = resume_study(
        folder,
        KIND,
        prepare,
        own=_own(own, drawn, bounds),
        changes=changes,
        accept_versions=accept_versions,
        cache=cache,
    )
    return SpacesStudy(study, plan_spaces(drawn, own))


def read_spaces_results(folder: Path) -> SpacesResults:
    """Read what a study has found so far; another process may be at it.

    Raises:
        ArchiveError: there is no such study in the folder, or it is damaged.
    """
    description, lines = read_study(folder, KIND)
    drawn, _, own = _read_own(description.study)
    return measure_spaces(plan_spaces(drawn, own), lines.trainings, description.objective)


def write_spaces_report(results: SpacesResults, folder: Path) -> tuple[Path, Path]:
    """Write ``spaces.md`` and ``spaces.png`` into a folder, each complete or as it was; return their paths."""
    page, plot = folder / REPORT, folder / PLOT
    draw_spaces(results, plot)
    write_durably(page, spaces_markdown(results, plot=PLOT))
    return page, plot


def _draw(
    name: str, values: Mapping[str, Any], task: Task, count: int, seed: int, known: Sequence[str] = ()
) -> DrawnSpace:
    run = resolve(values).run
    return draw_codes(name, Architecture.parse(run.start), build_space(run, task), count, seed, known)


def _own(settings: SpacesSettings, drawn: Sequence[DrawnSpace], bounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    texts = [
        json.dumps([space.name, {key: found[key] for key in ("start", "space") if key in found}, space.codes])
        for space, found in zip(drawn, bounds, strict=True)
    ]
    return {**settings.model_dump(mode="json"), _SPACES: texts}


def _read_own(values: Mapping[str, Any]) -> tuple[list[DrawnSpace], list[dict[str, Any]], SpacesSettings]:
    own = dict(values)
    drawn, bounds = [], []
    try:
        for text in own.pop(_SPACES, ()):
            name, found, codes = json.loads(text)
            drawn.append(DrawnSpace(str(name), tuple(codes)))
            bounds.append(dict(found))
        if not drawn:
            raise ValueError("there are none")
    except MALFORMED:
        raise ConfigError("the spaces of the study are damaged: restore a copy of study.toml") from None
    settings = SpacesSettings.read(own)
    for space in drawn:
        if len(space.codes) < settings.codes:
            raise ConfigError(
                f"study.toml has {len(space.codes)} codes of the space {space.name}, not codes = {settings.codes}: put "
                "that back, and ask for more by --resume --codes"
            )
    return drawn, bounds, settings
