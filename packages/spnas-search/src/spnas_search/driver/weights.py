"""Which weights a search keeps."""

from spnas_search.archive import Archive
from spnas_search.driver.ageing import begin_of, oldest_start
from spnas_search.driver.rungs import rung_sources
from spnas_search.driver.verdict_rounds import needed_for_end
from spnas_search.run import Run

LIKELY = 16
"""Candidates that are kept since they may yet turn out to be among the best."""


def needed_weights(run: Run) -> frozenset[int]:
    """Candidates whose weights something may still ask for, or somebody would like to have."""
    archive = run.archive
    if not len(archive):
        return frozenset()
    parents = run.strategy.may_use(archive)
    kept = {archive.start.id, *parents, *needed_for_end(archive, run.settings.run)}
    # The start, too, goes on from where it was as old as a parent is, to be compared with the children.
    kept.update(begin_of(archive, archive.trained(archive[parent]).age).id for parent in parents)
    kept.update(source for parent in parents if (source := archive.source_of_child(parent)) is not None)
    kept.update(candidate.id for candidate in archive.best(1))
    kept.update(candidate.id for candidate in archive.nearest_to_front(len(archive.pareto()) + LIKELY))
    kept.update(candidate.source for candidate in archive.pending() if candidate.source is not None)
    kept.update(_not_yet_judged(archive))
    sources = rung_sources(archive, run.settings.run.rungs)
    kept.update(sources)
    kept.update(begin_of(archive, archive[one].age).id for one in sources)  # for the start's score at a rung's age
    kept.add(oldest_start(archive).id)
    if (trained := archive.trained_winner) is not None:
        kept.add(trained.id)
    kept.update(candidate.id for candidate in archive.likely(LIKELY))
    return frozenset({*kept, *(archive.trained(archive[number]).id for number in kept)})


def _not_yet_judged(archive: Archive) -> frozenset[int]:
    """Children that have ended before the controls which say how good they are: those of an asynchronous search."""
    groups = {(one.parent, one.fidelity) for one in archive.pending() if one.kind == "control"}
    offspring = (*archive.of_kind("child"), *archive.of_kind("reignition")) if groups else ()
    return frozenset(one.id for one in offspring if (one.parent, one.fidelity) in groups)
