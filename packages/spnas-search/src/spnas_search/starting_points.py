"""Candidates of other runs: where a search starts, and what commands take weights from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spnas_core.commands.wording import quoted
from spnas_core.encoding import Architecture
from spnas_core.encoding.grammar import MOST_DIGITS
from spnas_core.errors import ArchiveError, CodeError
from spnas_core.paths import is_there
from spnas_core.tasks import ResolvedCandidate
from spnas_search.archive import Candidate
from spnas_search.run import RunFolder, read_archive, read_values


def starting_point(origin: str, *, with_weights: bool = True) -> dict[str, Any]:
    """Return the settings ``start`` and ``init`` of a candidate of another run, or ``start`` of a code.

    Args:
        origin: ``RUN`` for its best candidate, ``RUN:ID`` for a certain one, or the code of an architecture.
        with_weights: whether a candidate's weights are wanted; otherwise its code alone is returned.

    Raises:
        ArchiveError: neither a run nor a code, no such candidate, one that has failed, or one whose weights are gone.
        WeightsError: the candidate's weights file is not what the run has written.
    """
    if not names_run(origin):
        return {"start": str(_code(origin))}
    folder, candidate, trained = _find(origin)
    if candidate.status != "done":
        why = f"failed: {candidate.reason}" if candidate.status == "failed" else "is not evaluated yet"
        raise ArchiveError(f"candidate {candidate.id} of {folder} {why}; start from another one, or from its code")
    code = {"start": str(candidate.architecture)}
    if not with_weights:
        return code
    weights = _resolved(folder, candidate, trained).intact_weights()
    if weights is None:
        raise ArchiveError(
            f"the weights of candidate {candidate.id} of {folder} were not kept: "
            f"choose one that spnas candidates {quoted(folder)} --pareto lists"
        )
    return {**code, "init": str(weights)}


def task_of(origin: str) -> dict[str, Any]:
    """Return the table ``[task]`` of the run that ``RUN`` or ``RUN:ID`` names, complete; empty for a code.

    Raises:
        ArchiveError: the run's archive is too old to know.
        ConfigError: the run's configuration was made unreadable.
    """
    return dict(read_values(RunFolder(split_reference(origin)[0])).get("task", {})) if names_run(origin) else {}


def names_run(reference: str) -> bool:
    """Whether ``RUN`` or ``RUN:ID`` names a folder with an archive."""
    return is_there(RunFolder(split_reference(reference)[0]).archive)


def resolve_candidate(reference: str) -> ResolvedCandidate | None:
    """Return what ``RUN`` (its best candidate) or ``RUN:ID`` stands for; None where it names no run.

    Raises:
        ArchiveError: the run has no such candidate, or its archive is damaged.
        ConfigError: the run's configuration was made unreadable.
    """
    if not names_run(reference):
        return None
    folder, candidate, trained = _find(reference)
    # As the run has written it, defaults included: no plugin of the run's strategy is needed to read its task.
    settings = read_values(RunFolder(folder)).get("task", {})
    return _resolved(folder, candidate, trained, settings)


def _code(text: str) -> Architecture:
    try:
        return Architecture.parse(text)
    except CodeError as error:
        raise ArchiveError(
            f"{text!r} is neither the folder of a run, as RUN or RUN:ID, nor the code of an architecture: {error}"
        ) from None


def split_reference(reference: str) -> tuple[Path, int | None]:
    """Return folder and candidate of ``RUN:ID``; None for the candidate of ``RUN``.

    Raises:
        ArchiveError: behind a run stands something else than a number.
    """
    path, colon, text = reference.rpartition(":")
    if colon and text.isdecimal() and len(text) <= MOST_DIGITS:
        return Path(path), int(text)
    if path and not is_there(reference) and is_there(path) and RunFolder(Path(path)).is_there:
        raise ArchiveError(f"{reference!r} names no candidate of {path}: put its number behind the colon, as {path}:0")
    return Path(reference), None


def _find(reference: str) -> tuple[Path, Candidate, Candidate]:
    """Return the run's folder, the candidate, and whose weights stand for it: the longest trained ones."""
    folder, number = split_reference(reference)
    with read_archive(folder) as archive:
        if number is not None:
            if number >= len(archive):
                raise ArchiveError(f"{folder} has {len(archive)} candidates: there is no candidate {number}")
            return folder, archive[number], archive.trained(archive[number])
        winner = archive.winner
        if winner is None:
            raise ArchiveError(f"{folder} has no scored candidate yet: name one as {folder}:ID")
        return folder, winner, archive.trained_winner or archive.trained(winner)


def _resolved(
    folder: Path, candidate: Candidate, trained: Candidate, settings: Mapping[str, Any] | None = None
) -> ResolvedCandidate:
    path = RunFolder(folder).weights / f"{trained.id}.safetensors"
    weights = path if path.exists() else None
    return ResolvedCandidate(str(candidate.architecture), weights, settings or {}, trained.checksum or "")
