"""Which weights a search keeps."""

from spnas_search.run import Run
from spnas_search.search.verdict_rounds import needed_for_end, oldest_start


def needed_weights(run: Run) -> frozenset[int]:
    """Candidates whose weights something may still ask for, or somebody would like to have."""
    archive = run.archive
    if not len(archive):
        return frozenset()
    kept = {archive.start.id, *run.strategy.may_use(archive), *needed_for_end(archive, run.settings.run)}
    kept.update(candidate.id for candidate in archive.best(1))
    kept.update(candidate.id for candidate in archive.pareto())
    kept.update(candidate.source for candidate in archive.pending() if candidate.source is not None)
    kept.add(oldest_start(archive).id)
    return frozenset(kept)
