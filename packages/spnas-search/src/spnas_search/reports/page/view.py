"""What the report of a run is made from: the archive as it is now, and what else lies in the folder."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from spnas_core.errors import ArchiveError, SpnasError
from spnas_core.tasks.protocols import SMALLEST_IMAGE
from spnas_search.archive import Archive, Candidate
from spnas_search.planning_file import Planned, read_plan
from spnas_search.run import RunFolder, read_archive
from spnas_search.run.overview import State, state_of
from spnas_search.run.verified import Verified, read_verified
from spnas_search.settings import RunSettings
from spnas_search.strategies import phase_names

T = TypeVar("T")
IMAGE_SIZE = (224, 224)
"""For costs where the task names no size."""


@dataclass(frozen=True)
class RunView:
    """A run to report on.

    Attributes:
        folder: of the run.
        archive: closed; it answers from memory.
        settings: the resolved configuration, as plain values.
        state: of the run.
        chosen: candidate whose descent is told; None for the winner's.
        planned: what ``spnas plan`` has foreseen; None where nobody has asked it.
        verified: what ``spnas verify`` has found; None where nobody has asked it.
        notes: what could not be read.
    """

    folder: Path
    archive: Archive
    settings: Mapping[str, Any]
    state: State
    chosen: Candidate | None = None
    planned: Planned | None = None
    verified: Verified | None = None
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def run_settings(self) -> RunSettings | None:
        """The search's own settings; None where this version does not know them."""
        try:
            return RunSettings(**self.settings)
        except (ValueError, TypeError):
            return None

    @cached_property
    def phases(self) -> tuple[str, ...]:
        """Names of the search's strategies."""
        try:
            return phase_names(self.settings.get("strategy", {}))
        except (ValueError, TypeError, KeyError):
            return ("search",)

    @cached_property
    def nodes(self) -> tuple[Candidate, ...]:
        """Start, children and reignitions, oldest first."""
        return tuple(one for one in self.archive if one.is_node)

    @cached_property
    def ranked(self) -> tuple[Candidate, ...]:
        """Those of them that have a merit, best first."""
        return self.archive.best(len(self.archive))

    @cached_property
    def front(self) -> frozenset[int]:
        """Numbers of those on the Pareto front."""
        return frozenset(one.id for one in self.archive.pareto()) if self.ranked else frozenset()

    @cached_property
    def told(self) -> Candidate | None:
        """Whose descent is told: the chosen one's, or the winner's."""
        return self.chosen or self.archive.winner

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the task's images, where it has a setting of that name."""
        found = self.settings.get("task", {}).get("image_size")
        if isinstance(found, (list, tuple)) and len(found) == 2 and all(isinstance(side, int) for side in found):
            width, height = found
            if min(width, height) >= SMALLEST_IMAGE:
                return width, height
        return IMAGE_SIZE

    @property
    def failed(self) -> tuple[Candidate, ...]:
        """What has failed, oldest first."""
        return tuple(one for one in self.archive if one.status == "failed")


def read_view(folder: Path, number: int | None) -> RunView:
    """Read a run; a search may be going on in it.

    Raises:
        ArchiveError: there is none, it is damaged, or it has no such candidate.
    """
    with read_archive(folder) as archive:
        if number is not None and number >= len(archive):
            raise ArchiveError(f"{folder} has {len(archive)} candidates: there is no candidate {number}")
        notes: list[str] = []

        def tried(read: Callable[[Path], T]) -> T | None:
            """Read what a report can do without."""
            try:
                return read(folder)
            except SpnasError as error:
                notes.append(str(error))
                return None

        return RunView(
            folder,
            archive,
            json.loads(archive.recall("settings") or "{}"),
            state_of(folder, archive),
            None if number is None else archive[number],
            tried(read_plan),
            tried(read_verified),
            tuple(notes),
        )


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, or has just been made for one."""
    return RunFolder(folder).is_there
