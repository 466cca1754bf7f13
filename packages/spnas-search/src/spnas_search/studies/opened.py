"""A study that can go on, whatever it asks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from spnas_search.studies.filling import Listener, fill
from spnas_search.studies.forecast import seconds_left
from spnas_search.studies.jobs import Job
from spnas_search.studies.study import Study


@dataclass(frozen=True)
class OpenedStudy(ABC):
    """A study whose folder this process holds; a context manager.

    Attributes:
        study: its folder.
    """

    study: Study

    @property
    @abstractmethod
    def jobs(self) -> Sequence[Job]:
        """Everything that is to be trained, as far as that is known."""

    @property
    def missing_jobs(self) -> list[Job]:
        """What of it is not done yet."""
        return self._missing(self.jobs)

    def fill(self, listener: Listener, *, retry_failed: bool = False) -> None:
        """Train whatever is missing; see ``spnas_search.studies.filling.fill``."""
        fill(self.study, self.jobs, listener, retry_failed=retry_failed)

    def seconds_left(self, jobs: Sequence[Job] | None = None) -> float | None:
        """Estimate the time that is left; None before a few trainings are in.

        Args:
            jobs: everything that is to be trained, from who asks often: planning it anew each time may take long.
        """
        known, workers = self.study.results.trainings, self.study.resources.workers
        return seconds_left(known.values(), self._missing(self.jobs if jobs is None else jobs), workers)

    def _missing(self, jobs: Sequence[Job]) -> list[Job]:
        known = self.study.results.trainings
        return [job for job in jobs if job.key not in known]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.study.close()
