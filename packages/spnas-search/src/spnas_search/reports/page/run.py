"""The report of a run, put together."""

from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from spnas_core.commands.wording import amount, duration, number
from spnas_core.errors import ArchiveError, ConfigError
from spnas_core.lock import is_held
from spnas_core.pages import Report, Section
from spnas_search.archive import Candidate
from spnas_search.driver.verdict import Verdict, outcome
from spnas_search.reports.page import candidates, descent, outlook, scores
from spnas_search.reports.page.view import RunView, is_run, read_view
from spnas_search.run import ENDED, RunFolder
from spnas_search.starting_points import split_reference
from spnas_search.wording import merit_of, origin, with_error

FILTERS = {"Pareto front": "front", "children": "child", "failed": "failed"}


def report_run(reference: str) -> Report | None:
    """Report on ``RUN`` or ``RUN:ID``; None where it names no run.

    Raises:
        ArchiveError: the archive is missing or damaged, or has no such candidate.
        ConfigError: it is a series of runs.
    """
    folder, number_ = (Path(reference), None) if is_run(Path(reference)) else split_reference(reference)
    if RunFolder(folder).series.is_file():
        first = next((str(one) for one in sorted(folder.glob("seed-*"))), f"{folder}/seed-0")
        raise ConfigError(f"{folder} is a series of searches: report on each of its runs, such as {first}")
    if not is_run(folder):
        return None
    if (begins := _beginning(folder)) is not None:
        return begins
    view = read_view(folder, number_)
    return Report(
        folder,
        "search",
        str(folder),
        " ".join(_status(view)),
        tuple(_sections(view)),
        tuple(_facts(view)),
        {str(one.id): tuple(_point(view, one)) for one in view.nodes},
        FILTERS if view.failed else {name: words for name, words in FILTERS.items() if name != "failed"},
        view.state == "running",
    )


def _beginning(folder: Path) -> Report | None:
    """Report on a run whose data is being read; None where it has its archive.

    Raises:
        ArchiveError: it has none, and nobody is at work.
    """
    files = RunFolder(folder)
    archive = files.archive
    if archive.is_file():
        return None
    is_going = is_held(folder)
    if archive.is_file():  # made meanwhile
        return None
    if not is_going:
        otherwise = "start another run with --out elsewhere" if files.has_weights else "begin with spnas run --resume"
        raise ArchiveError(f"{archive} is missing, and with it all results: restore a copy, or {otherwise}")
    words = "Nothing is in the archive yet: the data is being read."
    return Report(folder, "search", str(folder), words, (), is_going=True)


def _sections(view: RunView) -> Iterator[Section]:
    builders = (
        ("verdict", "Verdict", outlook.verdict),
        ("front", "Pareto front", candidates.front),
        ("networks", "Best architectures", descent.networks),
        ("descent", "Descent", descent.descent),
        ("curves", "Training curves", scores.curves),
        ("merit", "Predicted merit", scores.merits),
        ("inheritance", "Inheritance", scores.inheritance),
        ("candidates", "Candidates", candidates.listing),
        ("failures", "Failures", outlook.failures),
        ("time", "Time", outlook.time),
        ("verified", "Verified", outlook.verified),
        ("again", "Run it again", outlook.again),
    )
    for anchor, title, build in builders:
        body = Markup("").join(build(view)) if len(view.archive) or build is outlook.again else Markup("")
        if body:
            yield Section(anchor, title, body)


def _status(view: RunView) -> Iterator[str]:
    archive = view.archive
    ended = sum(child.status != "proposed" for child in archive.of_kind("child"))
    far = f"{ended} {'child' if ended == 1 else 'children'} and {duration(archive.elapsed)} of evaluation"
    if view.state == "running":
        waiting = len(archive.pending())
        yield f"The search is going on: {far} so far, {waiting} evaluation{'' if waiting == 1 else 's'} under way."
    elif view.state == "ended":
        yield f"The search is over after {far}: {archive.recall(ENDED)}."
    elif not len(archive):
        yield "Nothing was evaluated yet, and no process is at work: go on with spnas run --resume."
    else:
        yield f"The search was stopped after {far}: no process is at work, spnas run --resume goes on."
    yield from view.notes


def _facts(view: RunView) -> Iterator[tuple[str, str]]:
    archive, winner = view.archive, view.archive.winner
    if winner is not None:
        start, name = archive.start, archive.objective.name
        place = archive.place(winner)
        yield "best" if view.state == "running" else "winner", f"{winner.kind} {winner.id}"
        yield f"merit, {name}", number(merit_of(archive, winner))
        if place is not None and winner is not start:
            yield "lead over the start", with_error(place.lead, place.error)
        cost, before = winner.cost.get("multiply_adds"), start.cost.get("multiply_adds")
        times = f" ({cost / before:.2f}×)" if cost and before and winner is not start else ""
        yield "multiply-adds", f"{amount(cost)}{times}"
    if view.run_settings is not None and winner is not None:
        found = outcome(archive, view.run_settings)
        if isinstance(found, Verdict):
            yield f"gain on {found.tested_on}", number(found.gain.mean, signed=True)
    yield "children", str(len(archive.of_kind("child")))
    yield "time", duration(archive.elapsed)


def _point(view: RunView, one: Candidate) -> Iterator[str]:
    """What is shown of a candidate, and searched by the filter."""
    archive = view.archive
    yield f"{one.id} {one.architecture}"
    place = archive.place(one)
    whence = origin(one) if one.parent is None else f"{one.kind} of {one.parent}, {origin(one)}"
    yield whence
    if place is not None:
        tied = ", as good as the best" if place.is_tied and one is not view.archive.winner else ""
        yield f"merit {number(merit_of(archive, one))}, lead {with_error(place.lead, place.error)}{tied}"
    if one.status == "done":
        score = number(one.metrics.get(archive.objective.name))
        cost = amount(one.cost.get("multiply_adds"))
        yield f"{archive.objective.name} {score} at age {one.age}, {cost} multiply-adds"
    else:
        yield f"{one.status}: {one.reason}" if one.reason else one.status
    if one.id in view.front:
        yield "on the Pareto front"
