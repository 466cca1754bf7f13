"""Does a run's winner still score what it scored? Its weights, data, packages and code, and the score itself."""

import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spnas_core.checksums import file_checksum
from spnas_core.errors import ArchiveError, SpnasError
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Task, data_fingerprint, known_epochs, make_task, prepare_task
from spnas_search.archive import Archive, Candidate
from spnas_search.executors.evaluation import evaluate
from spnas_search.installed import installed_code, installed_versions, other_versions
from spnas_search.run.folder import Prepare, RunFolder
from spnas_search.run.identity import altered, computed_with, differences
from spnas_search.run.opening import read_archive, read_values
from spnas_search.settings import moved, of_begun, resolve

WITHIN = 2.0
"""Standard deviations of the run's noise by which a score that is measured again may differ."""

EXACT = 1e-6
"""By which it may differ in any case: roundings of another processor."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        part: what.
        found: what was found, in one line.
        holds: whether it is what it was; None where nothing tells.
    """

    part: str
    found: str
    holds: bool | None


def verify_run(
    folder: Path, candidate: int | None, prepare: Prepare, *, data: str | None = None, cache: Path | None = None
) -> Iterator[Finding]:
    """Look whether a run's winner can be trusted to be what its archive says.

    Nothing is written into the folder. The data is read anew, whatever the run has cached of it: a cache knows files by
    names, sizes and times, and an altered one may keep all three.

    Args:
        folder: of the run.
        candidate: to look at; None for the winner.
        prepare: told how far reading the data is.
        data: where the data lies now.
        cache: folder of cached data to take in place of the data's own files; None takes none.

    Yields:
        What was looked at, in order: packages, code, weights, data, score. The score is measured wherever it can be.
        Where the winner was trained for use, that file is looked at, too, as ``trained weights`` and ``trained score``.

    Raises:
        ArchiveError: there is no run, or no such candidate, or it has no score.
        ConfigError: its settings cannot be read.
    """
    files = RunFolder(folder)
    with read_archive(folder) as archive:
        weighed = _trained(archive, folder, candidate)
        then = computed_with(archive, weighed.id)
        yield _same("packages", then["versions"], installed_versions(), "versions", other_versions)
        yield _same("code", then["code"], installed_code(), "digests", differences)
        path = files.weights / f"{weighed.id}.safetensors"
        weights = _weights(path, weighed)
        yield weights
        trained = archive.trained_winner if candidate is None else None
        beside = files.weights / f"{trained.id}.safetensors" if trained is not None else None
        if trained is not None and beside is not None:
            yield replace(_weights(beside, trained), part="trained weights")
        values = read_values(files) if data is None else moved(read_values(files), data)
        stored = archive.recall("settings")
        for said in altered(json.loads(stored), values) if stored else ():
            yield Finding("settings", f"{files.config} {said}", holds=False)
            return
        task = make_task(resolve(of_begun(values if cache is not None else _uncached(values))).task)
        with tempfile.TemporaryDirectory() as elsewhere:
            try:
                prepare_task(task, Path(elsewhere) if cache is None else cache, prepare)
            except SpnasError as error:
                yield Finding("data", str(error), holds=False)
                return
            yield _data(archive, task, cache)
            if path.exists():
                yield _score(archive, weighed, task, path)
            if trained is not None and beside is not None and beside.exists():
                yield replace(_score(archive, trained, task, beside), part="trained score")


def _uncached(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's settings with images that are read where they lie: nobody reads them often enough for a copy."""
    task = values.get("task", {})
    return {**values, "task": {**task, "cache": "none"} if task.get("name", "detection") == "detection" else task}


def _trained(archive: Archive, folder: Path, number: int | None) -> Candidate:
    """Return the evaluation whose weights and score are looked at."""
    if number is not None and number >= len(archive):
        raise ArchiveError(f"{folder} has {len(archive)} candidates: there is no candidate {number}")
    chosen = archive.winner if number is None else archive[number]
    if chosen is None:
        raise ArchiveError(f"{folder} has no scored candidate yet: there is nothing to verify")
    weighed = archive.trained(chosen)
    if weighed.status != "done" or not weighed.checksum:
        raise ArchiveError(f"candidate {weighed.id} of {folder} has no weights to verify: name another one")
    return weighed


def _same(
    part: str,
    stored: Mapping[str, str] | None,
    now: Mapping[str, str],
    what: str,
    differing: Callable[[Mapping[str, str], Mapping[str, str]], Iterable[tuple[str, Any, Any]]],
) -> Finding:
    if stored is None:
        return Finding(part, f"the archive has no {what}: it is of an earlier spnas-search", holds=None)
    changed = [f"{name} {_short(then)} then, {_short(today)} now" for name, then, today in differing(stored, now)]
    return Finding(part, "; ".join(changed) or "as they were", holds=not changed)


def _short(value: Any) -> str:
    return "none" if value is None else str(value)[:12]


def _weights(path: Path, candidate: Candidate) -> Finding:
    try:
        found = file_checksum(path)
    except OSError as error:
        return Finding("weights", f"{path}: {error.strerror}", holds=False)
    if found != candidate.checksum:
        return Finding("weights", f"{path} is not the file that was scored", holds=False)
    return Finding("weights", f"{path.name} is the file that was scored", holds=True)


def _data(archive: Archive, task: Task, cache: Path | None) -> Finding:
    """Compare the content of the data, or of what a folder has cached of it."""
    stored, found = archive.recall("data"), data_fingerprint(task)
    if not stored or not found:
        return Finding("data", "nothing tells whether it is the same", holds=None)
    if stored == found:
        cached = "" if cache is None else f", as {cache} knows it by the names, sizes and times of its files"
        return Finding("data", f"has the content that was scored{cached}", holds=True)
    return Finding("data", "has another content than was scored", holds=False)


def _score(archive: Archive, candidate: Candidate, task: Task, path: Path) -> Finding:
    """Score the weights as they are, on the images that gave the archived score."""
    objective = archive.objective.name
    if known_epochs(task) is not None:
        return Finding("score", "the task answers from trainings done before, and scores no weights", holds=None)
    fidelity = replace(candidate.fidelity, epochs=0)
    request = EvaluationRequest(
        candidate.id,
        identity(candidate.architecture),
        path,
        None,
        fidelity,
        candidate.seed,
        candidate.threads,
        candidate.split,
    )
    try:
        outcome = evaluate(task, request, lambda _: None)
    except SpnasError as error:
        return Finding("score", f"{objective} cannot be measured: {error}", holds=False)
    if outcome.evaluation is None:
        return Finding("score", f"{objective} cannot be measured: {outcome.reason}", holds=False)
    before, now = candidate.metrics.get(objective, math.nan), outcome.evaluation.metrics.get(objective, math.nan)
    allowed = max(EXACT, WITHIN * (archive.noise() or 0.0))
    same = abs(now - before) <= allowed or (math.isnan(now) and math.isnan(before))
    found = f"{objective} {before:.4f} then, {now:.4f} now; by {allowed:.4f} it may differ"
    return Finding("score", found, holds=same)
