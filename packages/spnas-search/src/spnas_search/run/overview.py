"""All runs below a folder: what each is, how far it is, and what it has found."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spnas_core.errors import ConfigError, SpnasError
from spnas_core.lock import is_held
from spnas_search.archive import Archive
from spnas_search.run.folder import RunFolder
from spnas_search.run.identity import COMPLETE, ENDED
from spnas_search.run.opening import read_archive
from spnas_search.settings import BudgetSettings

State = Literal["running", "stopped", "ended", "unreadable"]

INSIDE = frozenset({"weights", "cache"})
"""Folders of a run in which no other run is looked for."""


@dataclass(frozen=True)
class Overview:
    """A run at a glance.

    Attributes:
        folder: of the run.
        state: whether a process holds it, somebody has stopped it, it has come to its end, or it cannot be read.
        strategy: of the search.
        data: that it searches on; empty where its task has none.
        children: that have a result.
        budget: children after which it ends; None for another kind of bound.
        hours: of evaluation.
        objective: its metric.
        best: id of the best candidate so far; None without any.
        architecture: of the best one; empty without any.
        merit: of the best one, in the objective's own direction; None without any.
        note: why it ended or cannot be read; empty otherwise.
    """

    folder: Path
    state: State
    strategy: str = ""
    data: str = ""
    children: int = 0
    budget: int | None = None
    hours: float = 0.0
    objective: str = ""
    best: int | None = None
    architecture: str = ""
    merit: float | None = None
    note: str = ""


def find_runs(root: Path) -> Iterator[Overview]:
    """Look at every run in a folder and below it, in alphabetical order; nothing is changed.

    Raises:
        ConfigError: there is no such folder.
    """
    if not root.is_dir():
        raise ConfigError(f"{root} is no folder: name one that has runs in it")
    for place, folders, _ in os.walk(root):
        if RunFolder(Path(place)).is_there:
            folders[:] = [name for name in folders if name not in INSIDE]
            yield look_at(Path(place))
        folders.sort()


def look_at(folder: Path) -> Overview:
    """Look at one run."""
    try:
        with read_archive(folder) as archive:
            return _overview(folder, archive)
    except SpnasError as error:
        return Overview(folder, "unreadable", note=str(error))


def _overview(folder: Path, archive: Archive) -> Overview:
    settings = json.loads(archive.recall("settings") or "{}")
    winner, ended = archive.winner, archive.recall(ENDED)
    merit = None if winner is None else archive.merit(winner)
    return Overview(
        folder,
        state_of(folder, archive),
        str(settings.get("strategy", {}).get("name", "")),
        str(settings.get("task", {}).get("data", "")),
        sum(child.status != "proposed" for child in archive.of_kind("child")),
        BudgetSettings(**settings.get("budget", {})).children,
        archive.elapsed / 3600,
        archive.objective.name,
        None if winner is None else winner.id,
        "" if winner is None else str(winner.architecture),
        merit if merit is None or archive.objective.higher_is_better else -merit,
        ended or "",
    )


def state_of(folder: Path, archive: Archive) -> State:
    """Say whether a run goes on, was stopped, or has come to its end."""
    if is_held(folder):
        return "running"
    is_over = archive.recall(ENDED) is not None and archive.recall(COMPLETE) != "no"
    return "ended" if is_over and not archive.pending() else "stopped"
