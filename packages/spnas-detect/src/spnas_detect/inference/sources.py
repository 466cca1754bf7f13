"""Which weights file a user means."""

from dataclasses import dataclass
from pathlib import Path

from spnas_core.errors import WeightsError
from spnas_core.plugins import plugin_manager
from spnas_core.tasks import ResolvedCandidate


@dataclass(frozen=True)
class WeightsSource:
    """A weights file, and the run that it belongs to.

    Attributes:
        path: of the file.
        candidate: what it was found by; None where the file itself was named.
    """

    path: Path
    candidate: ResolvedCandidate | None = None


def find_weights(reference: Path | str) -> WeightsSource:
    """Find the weights of ``FILE``, of ``RUN`` (its best candidate), or of ``RUN:ID``.

    Raises:
        WeightsError: there is no such file or run, or the run has not kept these weights.
        ArchiveError: the run has no such candidate.
    """
    path = Path(reference)
    if path.is_file():
        return WeightsSource(path)
    candidate: ResolvedCandidate | None = plugin_manager().hook.spnas_resolve_candidate(reference=str(reference))
    if candidate is None:
        if path.is_dir():
            raise WeightsError(f"folder {path} holds no run: name the folder of a run, or a weights file")
        raise WeightsError(f"{path} does not exist: name a weights file, or a run as RUN or RUN:ID")
    if candidate.weights is None:
        raise WeightsError(
            f"the weights of {reference} were not kept: choose a candidate that spnas candidates lists with --pareto"
        )
    return WeightsSource(candidate.weights, candidate)
