"""Jobs of a study and their order: what is missing, what can be done now, and whose weights that takes."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

from spnas_core.errors import ConfigError
from spnas_core.morphisms import Rewrite
from spnas_core.tasks import Fidelity
from spnas_core.tasks.protocols import Split
from spnas_search.studies.keys import TrainingKey


@dataclass(frozen=True)
class Job:
    """A training that a study wants.

    Attributes:
        key: its name.
        rewrite: the architecture, and where its blocks come from; the identity for fresh weights.
        fidelity: how long it is trained, at which image size, on which share of the images.
        parent: key of the job whose weights it inherits; None for fresh weights.
        split: images to score on.
    """

    key: TrainingKey
    rewrite: Rewrite
    fidelity: Fidelity
    parent: TrainingKey | None = None
    split: Split = "validation"

    @cached_property
    def digest(self) -> str:
        """What the training computes apart from its seed, in 16 hexadecimal digits; it stands with the result."""
        rewrite = self.rewrite
        origin = str(rewrite.parent), str(rewrite.child), rewrite.block_map
        parent = None if self.parent is None else self.parent.number
        text = json.dumps([origin, asdict(self.fidelity), parent, self.split])
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Batch:
    """Jobs that can be done side by side.

    Attributes:
        jobs: in the order in which they should be handed out.
        writing: keys of those among them that must leave their weights.
        again: keys of those that are done already, and are evaluated again for their weights alone.
    """

    jobs: tuple[Job, ...]
    writing: frozenset[TrainingKey]
    again: frozenset[TrainingKey] = field(default_factory=frozenset)


class Schedule:
    """The wanted jobs of a study in order of descent; a pure value.

    Args:
        jobs: wanted; the same job may be named more than once. Every parent must be among them.

    Raises:
        ConfigError: two different jobs of one key, a parent that is not among the jobs, or a circle of parents.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.jobs: dict[TrainingKey, Job] = {}
        for job in jobs:
            if self.jobs.setdefault(job.key, job).digest != job.digest:
                raise ConfigError(f"two different trainings are called {job.key}: tell them apart by an extra field")
        self._depth: dict[TrainingKey, int] = {}
        for key in self.jobs:
            self._find_depth(key)

    def _find_depth(self, key: TrainingKey) -> None:
        """Count the ancestors of a job, and of all of its ancestors."""
        line = [key]
        while (parent := self._job(line[-1]).parent) is not None and parent not in self._depth:
            if parent in line:
                raise ConfigError(f"the training {parent} would inherit its own weights")
            line.append(parent)
        for one in reversed(line):
            above = self.jobs[one].parent
            self._depth[one] = 0 if above is None else self._depth[above] + 1

    def _job(self, key: TrainingKey) -> Job:
        try:
            return self.jobs[key]
        except KeyError:
            raise ConfigError(f"a training inherits from {key}, which is not among the wanted ones: add it") from None

    def ancestors(self, key: TrainingKey) -> Iterator[Job]:
        """Yield the job itself, the one that it inherits from, and so on."""
        found: TrainingKey | None = key
        while found is not None:
            yield self.jobs[found]
            found = self.jobs[found].parent

    def missing(self, done: Collection[TrainingKey], failed: Collection[TrainingKey]) -> list[Job]:
        """Return what is to be done, in the order of the jobs: neither done nor failed, nor heir to what has failed."""
        lost: set[TrainingKey] = set()
        for key in sorted(self.jobs, key=self._depth.__getitem__):
            if key in failed or (key not in done and self.jobs[key].parent in lost):
                lost.add(key)
        return [job for key, job in self.jobs.items() if key not in done and key not in lost]

    def heirs_of_failed(self, done: Collection[TrainingKey], failed: Collection[TrainingKey]) -> int:
        """Count the jobs that cannot be done, since one that they inherit from has failed."""
        return len(self.jobs) - len(self.missing(done, failed)) - sum(key in done or key in failed for key in self.jobs)

    def needed(self, missing: Sequence[Job], weights: Collection[TrainingKey]) -> set[TrainingKey]:
        """Return the jobs whose weights missing ones inherit; of a file that is gone its own parent's, too.

        Args:
            missing: jobs to be done.
            weights: keys of the jobs whose weights files are there.
        """
        found: set[TrainingKey] = set()
        undone = {job.key for job in missing}
        for job in missing:
            parent = job.parent
            while parent is not None and parent not in found:
                found.add(parent)
                if parent in weights or parent in undone:
                    break
                parent = self.jobs[parent].parent
        return found

    def next_batch(
        self,
        done: Collection[TrainingKey],
        failed: Collection[TrainingKey],
        weights: Collection[TrainingKey],
        most: int,
    ) -> Batch:
        """Say what to do next: of what can be done, first what stands farthest from fresh weights.

        So lines of descent come to their end one after the other, and few weights files lie around at a time. Within a
        batch the longest jobs stand in front.

        Args:
            done: keys with a result.
            failed: keys that are not tried again.
            weights: keys whose weights files are there.
            most: jobs in the batch.

        Returns:
            An empty batch where nothing is left to do.
        """
        missing = self.missing(done, failed)
        needed = self.needed(missing, weights)
        undone = {job.key for job in missing}
        again = {key for key in needed if key not in undone and key not in weights}
        ready = [
            job
            for job in (*missing, *(self.jobs[key] for key in self.jobs if key in again))
            if job.parent is None or job.parent in weights
        ]
        ready.sort(key=lambda job: -self._depth[job.key])  # stable: otherwise in the order of the jobs
        # The longest first: at the end of a batch workers wait for the last job, which should be a short one.
        jobs = tuple(sorted(ready[:most], key=lambda job: -job.fidelity.epochs))
        keys = frozenset(job.key for job in jobs)
        return Batch(jobs, keys & needed, keys & again)
