"""A search's events for machines."""

from collections.abc import Sequence
from dataclasses import asdict

from spnas_core.commands.log_json import JsonLog
from spnas_core.tasks import Progress
from spnas_search.archive import Archive, Candidate
from spnas_search.driver import NoVerdict, Verdict
from spnas_search.monitors._base import Monitor
from spnas_search.reports import candidate_json


class JsonLines:
    """Writes every event to a log: ``message``, ``round_started``, ``progress`` and ``candidate_finished``.

    Args:
        log: to write to.
        archive: of the search.
    """

    def __init__(self, log: JsonLog, archive: Archive) -> None:
        self._log = log
        self._archive = archive

    def message(self, text: str) -> None:
        """Write it."""
        self._log.event("message", text=text)

    def round_started(self, phase: str, candidates: Sequence[Candidate]) -> None:
        """Write what is evaluated next."""
        rows = [{"id": one.id, "kind": one.kind, "architecture": str(one.architecture)} for one in candidates]
        self._log.event("round_started", phase=phase, candidates=rows)

    def progress(self, progress: Progress) -> None:
        """Write how far an evaluation is."""
        self._log.event("progress", **asdict(progress))

    def candidate_finished(self, candidate: Candidate) -> None:
        """Write everything that the archive knows of it."""
        self._log.event("candidate_finished", **candidate_json(self._archive, candidate))


class Both:
    """Two monitors in one.

    Args:
        first: is told first.
        second: is told then.
    """

    def __init__(self, first: Monitor, second: Monitor) -> None:
        self._monitors = first, second

    def message(self, text: str) -> None:
        """Tell both."""
        for monitor in self._monitors:
            monitor.message(text)

    def round_started(self, phase: str, candidates: Sequence[Candidate]) -> None:
        """Tell both."""
        for monitor in self._monitors:
            monitor.round_started(phase, candidates)

    def progress(self, progress: Progress) -> None:
        """Tell both."""
        for monitor in self._monitors:
            monitor.progress(progress)

    def candidate_finished(self, candidate: Candidate) -> None:
        """Tell both."""
        for monitor in self._monitors:
            monitor.candidate_finished(candidate)


def verdict_json(found: Verdict | NoVerdict) -> dict[str, object]:
    """Return how a search has ended, for ``to_json``; where there is no verdict, ``reason`` says why."""
    if isinstance(found, NoVerdict):
        return {"verdict": None, "reason": found.reason, "start_won": found.start_won}
    columns = [
        {
            "name": column.name,
            "epochs": column.epochs,
            "start": column.start,
            "winner": column.winner,
            "paired": column.paired,
            "gain": asdict(column.gain),
            "excludes_zero": column.gain.excludes_zero,
        }
        for column in found.columns
    ]
    verdict = {
        "start": {"id": found.start.id, "architecture": str(found.start.architecture)},
        "winner": {"id": found.winner.id, "architecture": str(found.winner.architecture)},
        "columns": columns,
        "searched": found.searched,
        "missing": found.missing,
        "tested_on": found.tested_on,
    }
    return {"verdict": verdict, "reason": "", "start_won": False}
