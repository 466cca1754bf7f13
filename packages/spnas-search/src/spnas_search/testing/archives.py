"""Archives for contract suites: searches whose scores are the null task's."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spnas_core.encoding import Architecture
from spnas_core.morphisms import Rewrite, identity
from spnas_core.tasks import Evaluation, EvaluationRequest, Fidelity, MetricSpec, SharedTraining
from spnas_search.archive import Archive, Proposal
from spnas_search.testing.null_task import NullTask

START = "b@8_11-21-21-21"


def start() -> Rewrite:
    """The rewrite that a search begins with."""
    return identity(Architecture.parse(START))


@contextmanager
def new_archive() -> Iterator[Archive]:
    """An empty archive in a folder that is gone afterwards, ranked as searches are by default."""
    with tempfile.TemporaryDirectory() as folder:
        objective = MetricSpec("score")
        with Archive.create(Path(folder) / "archive.db", objective=objective, run_seed=0, ranking="traits") as archive:
            yield archive


def enter(archive: Archive, proposals: list[Proposal], task: NullTask, sharing: SharedTraining | None = None) -> None:
    """Have the null task evaluate proposals, and enter its scores."""
    for candidate in archive.commit_round(proposals, threads=1):
        request = EvaluationRequest(
            candidate.id,
            identity(candidate.architecture),
            None,
            None,
            Fidelity(candidate.age),
            candidate.seed,
            sharing=sharing,
        )
        scored: Evaluation = task.evaluate(request, lambda _: None)
        archive.finish(candidate.id, scored, None)
