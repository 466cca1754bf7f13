"""Starting a search where another one ended."""

from pathlib import Path
from typing import Any

from spnas_core.errors import ArchiveError
from spnas_search.run import WEIGHTS, read_archive


def starting_point(origin: str) -> dict[str, Any]:
    """Return the settings ``start`` and ``init`` of a candidate of another run.

    Args:
        origin: ``RUN`` for its best candidate, ``RUN:ID`` for a certain one.

    Raises:
        ArchiveError: no such run, no such candidate, or its weights are gone.
    """
    path, colon, text = origin.rpartition(":")
    if not (colon and text.isdigit()):
        path, text = origin, ""
    folder = Path(path)
    with read_archive(folder) as archive:
        if text:
            if int(text) >= len(archive):
                raise ArchiveError(f"{folder} has {len(archive)} candidates: there is no candidate {text}")
            candidate = archive[int(text)]
        else:
            best = archive.best(1)
            if not best:
                raise ArchiveError(f"{folder} has no scored candidate yet: name one as {folder}:ID")
            candidate = best[0]
    weights = folder / WEIGHTS / f"{candidate.id}.safetensors"
    if not weights.exists():
        raise ArchiveError(
            f"the weights of candidate {candidate.id} of {folder} were not kept: "
            f"choose one that 'spnas candidates {folder} --pareto' lists"
        )
    return {"start": str(candidate.architecture), "init": str(weights)}
