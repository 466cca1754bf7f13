"""The end of a search: the best beside the start, the Pareto front, what is missing, and what to type next."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from statistics import fmean

from rich.console import RenderableType

from spnas_core.commands.wording import duration, number, quoted
from spnas_search.archive import Archive, Candidate
from spnas_search.driver.rounds import why_ended
from spnas_search.driver.verdict import Column, NoVerdict, Verdict, outcome
from spnas_search.driver.verdict_rounds import scratches
from spnas_search.reports.tables import pareto_table
from spnas_search.reports.verdicts import verdict_tables
from spnas_search.run import ENDED, Run
from spnas_search.strategies import phase_names

_FEWEST = 5
"""Children from which a rank correlation is told."""


def summary(run: Run) -> Iterator[RenderableType]:
    """Yield what is printed when a search has ended, the verdict last but for the hints."""
    archive, settings = run.archive, run.settings.run
    failed = sum(candidate.status == "failed" for candidate in archive)
    yield (
        f"Search over after {archive.children} children and {duration(run.spent_seconds)} of evaluation"
        f"{f', {failed} evaluations failed' if failed else ''}: "
        f"{archive.recall(ENDED) or why_ended(archive, settings, run.strategy, out_of_time=run.out_of_time())}."
    )
    if (spread := archive.spread()) is not None:
        yield (
            f"Scores that differ by their seed alone spread by {number(spread.deviation)} "
            f"(standard deviation, {spread.freedom} degrees of freedom)."
        )
    yield pareto_table(archive)
    if without := unranked(archive):
        yield without
    yield from screen_sentences(archive)
    yield from sharing_sentences(archive)
    yield from finalist_sentences(archive)
    found = outcome(archive, settings)
    if isinstance(found, Verdict):
        yield from verdict_tables(found, archive.objective.name, phase_names(settings.strategy))
    yield from verdict_sentences(archive, found)
    yield from winner_sentences(archive)
    winner = archive.winner or archive.start
    yield f"Everything is in {run.folder}: {', '.join(_files(run, archive.trained_winner or archive.trained(winner)))}."
    code, folder = quoted(winner.architecture), quoted(run.folder)
    yield f"Next: spnas show {code}   or   spnas candidates {folder} --pareto"


def _files(run: Run, trained: Candidate) -> Iterator[str]:
    """Name what a run has left; weights only where they are, and are some: not every task trains."""
    yield from (run.files.config.name, run.files.archive.name)
    weights = run.files.weights / f"{trained.id}.safetensors"
    if weights.is_file() and weights.stat().st_size:
        yield f"{weights.relative_to(run.folder)} (the winner's weights)"


def verdict_sentences(archive: Archive, found: Verdict | NoVerdict) -> Iterator[str]:
    """Say what the trainings of a verdict show, and what they lack; or why there is none."""
    if isinstance(found, NoVerdict):
        yield found.reason
        return
    for column in found.columns:
        yield sentence(column, archive.objective.name)
    if found.searched is not None:
        of_start, of_winner = map(number, found.searched)
        yield (
            f"The weights that the search has left, on {found.tested_on}: winner {of_winner}, start {of_start} "
            f"{archive.objective.name}; that is what the search saw of these weights, not the architectures' merit."
        )
    if found.missing:
        yield f"The verdict is incomplete: {'; '.join(found.missing)}."


def winner_sentences(archive: Archive) -> Iterator[str]:
    """Say how the winner was trained for use, where it was, and what its rows add."""
    trained = archive.trained_winner or archive.trained(archive.winner or archive.start)
    if trained.kind == "trained":
        whence = "from fresh weights" if trained.parent is None else "from the weights that the search has left"
        score = number(trained.metrics[archive.objective.name])
        yield (
            f"The winner was trained for use, {trained.epochs} epochs {whence}: "
            f"{score} {archive.objective.name} on {archive.test_images}."
        )
    yield from _fusions(trained)


def _fusions(winner: Candidate) -> Iterator[str]:
    """Say what training has made of a parallel winner's rows."""
    scales = winner.receipt.get("fusion_scales")
    if isinstance(scales, Mapping) and scales:
        shown = ", ".join(f"{unit} {number(scale)}" for unit, scale in scales.items())
        yield f"How much the winner's rows add (mean scale of their fusions' norms, 0 before training): {shown}."


def screen_sentences(archive: Archive) -> Iterator[str]:
    """Say how well children were ranked before they were trained, by a screen or a strategy that predicts.

    Only those that were chosen count, and only children of one age and fidelity are compared.
    """
    chosen = [
        child
        for child in archive.of_kind("child")
        if child.preference is not None and math.isfinite(archive.score(child))
    ]
    if not chosen:
        return
    alike: dict[tuple[object, ...], list[Candidate]] = defaultdict(list)
    for child in chosen:
        alike[_comparable(child)].append(child)
    from spnas_search.statistics import rank_correlation_within  # scipy takes as long to import as torch

    found = rank_correlation_within(
        [
            ([child.preference or 0.0 for child in group], [archive.score(child) for child in group])
            for group in alike.values()
        ]
    )
    if found is None or found.codes < _FEWEST:
        yield f"How well children were ranked before their training cannot be told from {len(chosen)} of them."
        return
    groups = sum(len(group) > 1 for group in alike.values())
    where = f", compared within {groups} ages" if groups > 1 else ""
    yield (
        f"What was said of {found.codes} children before their training, when they were chosen, and their scores have "
        f"a rank correlation of {number(found.value, signed=True)}{where} (p {found.p_value:.2g} for none)."
    )


def sharing_sentences(archive: Archive) -> Iterator[str]:
    """Say how well weights that all parts share rank them, by the trainings of single ones from fresh weights."""
    if archive.inherit != "supernet":
        return
    pairs = []
    for one in (archive.start, *archive.of_kind("child")):
        alone = [score for score in map(archive.score, scratches(archive, one)) if math.isfinite(score)]
        if alone and math.isfinite(archive.score(one)):
            pairs.append((archive.score(one), fmean(alone)))
    shared, single = ([pair[side] for pair in pairs] for side in (0, 1))
    if len(pairs) < _FEWEST:
        yield (
            f"How well the shared weights rank cannot be told from {len(pairs)} codes that were trained alone, too: "
            "final.alone asks for more."
        )
        return
    from spnas_search.statistics import rank_correlation  # scipy takes as long to import as torch

    found = rank_correlation([(shared, single)], "kendall")
    if not math.isfinite(found.value):
        yield f"How well the shared weights rank cannot be told: in one way all {len(pairs)} codes score alike."
        return
    interval = ""
    if math.isfinite(found.low):
        interval = f" (95 % interval {number(found.low, signed=True)} … {number(found.high, signed=True)})"
    yield (
        f"Scores with shared weights and those of {len(pairs)} codes that were trained alone, on "
        f"{archive.test_images}, have a Kendall's tau of {number(found.value, signed=True)}{interval}."
    )


def _comparable(child: Candidate) -> tuple[object, ...]:
    return child.age, child.fidelity.image_size, child.fidelity.share


def finalist_sentences(archive: Archive) -> Iterator[str]:
    """Say what scoring the finalists again has changed."""
    finalists, winner = archive.finalists, archive.winner
    if not finalists or winner is None:
        return
    trainings = [one for finalist in finalists for one in archive.rescores(finalist)]
    if any(one.status == "proposed" for one in trainings):
        yield f"{len(finalists)} finalists are being scored again: which of them wins is not known yet."
        return
    scored = sum(math.isfinite(archive.score(one)) for one in trainings)
    ties = [str(one.id) for one in finalists if one.id != winner.id and _are_alike(archive, one, winner)]
    tied = f"; as good as it, as far as can be told: {', '.join(ties)}" if ties else ""
    yield (
        f"{len(finalists)} finalists were scored again by {scored} trainings: "
        f"the winner is {winner.kind} {winner.id}, {winner.architecture}{tied}."
    )


def _are_alike(archive: Archive, one: Candidate, other: Candidate) -> bool:
    """Whether two are as good, as far as can be told: their leads differ by less than the error of that."""
    leads = archive.lead(one), archive.lead(other)
    if leads[0] is None or leads[1] is None:
        return False
    return abs(leads[0] - leads[1]) < archive.difference_error(one, other)


def unranked(archive: Archive) -> str:
    """Say how many children were evaluated and have no merit all the same, and why; empty where there are none."""
    reasons = Counter(
        _why_unranked(archive, child)
        for child in archive.of_kind("child")
        if child.status == "done" and archive.merit(child) is None
    )
    if not reasons:
        return ""
    parts = [f"{count} {reason}" for reason, count in reasons.items()]
    return f"Children without a merit, which rank nowhere: {', '.join(parts)}."


def _why_unranked(archive: Archive, child: Candidate) -> str:
    if not math.isfinite(archive.score(child)):
        return f"whose {archive.objective.name} is undefined"
    if archive.rule.needs_controls and archive.gain(child) is None:
        return "whose control has no score"
    return "whose parent has no merit"


def sentence(column: Column, objective: str) -> str:
    """Say what the trainings of a column show, and no more than that."""
    gain = column.gain
    size = f"{number(gain.mean, signed=True)} {objective}"
    if not column.higher_is_better:
        size = f"a gain of {size}, of which less is better"
    how = "from scratch" if not column.paired else "from fresh warm starts"
    if not gain.is_known:
        counts = len(column.start), len(column.winner)
        found, advice = "in a single comparison", "an interval needs two or more"
        if max(counts) > 1:
            found = f"by {counts[0]} trainings of the start and {counts[1]} of the winner"
            advice = "an interval needs two of each"
        return (
            f"Trained {how}, the winner differs from the start by {size} {found}: whether that is more than chance "
            f"cannot be said ({advice})."
        )
    if gain.is_point:
        return (
            f"Trained {how}, the winner differs from the start by {size}, and so in all of {gain.count} seeds alike: "
            "what never varies says nothing of chance, so whether that is more cannot be said."
        )
    interval = f"95 % interval {number(gain.low, signed=True)} … {number(gain.high, signed=True)}, {gain.count} seeds"
    if gain.excludes_zero:
        relation = "better" if gain.mean > 0 else "worse"
        return f"Trained {how}, the winner is {relation} than the start: {size} ({interval})."
    return f"Trained {how}, winner and start cannot be told apart: {size} ({interval})."
