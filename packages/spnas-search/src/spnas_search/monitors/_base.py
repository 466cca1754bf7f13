"""The contract of a monitor, and the one that says nothing."""

from collections.abc import Sequence
from typing import Protocol

from spnas_core.tasks import Progress
from spnas_search.archive import Candidate


class Monitor(Protocol):
    """Is told what a search does, in the process of the loop."""

    def message(self, text: str) -> None:
        """Something that people should know."""

    def round_started(self, phase: str, candidates: Sequence[Candidate]) -> None:
        """A round was committed; ``phase`` is one of ``spnas_search.archive.Phase``."""

    def progress(self, progress: Progress) -> None:
        """An evaluation got further."""

    def candidate_finished(self, candidate: Candidate) -> None:
        """An evaluation is in the archive."""


class Silent:
    """Says nothing; for programs."""

    def message(self, text: str) -> None:
        """Ignore it."""

    def round_started(self, phase: str, candidates: Sequence[Candidate]) -> None:
        """Ignore it."""

    def progress(self, progress: Progress) -> None:
        """Ignore it."""

    def candidate_finished(self, candidate: Candidate) -> None:
        """Ignore it."""
