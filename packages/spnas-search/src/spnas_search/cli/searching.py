"""A search on a terminal, whichever command has begun it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spnas_core.commands.console import PlainConsole
from spnas_core.commands.log_json import JsonLog
from spnas_core.commands.stopping import ending_with
from spnas_core.commands.wording import quoted
from spnas_core.errors import ArchiveError, SpnasError
from spnas_search.cli.reading import Reading
from spnas_search.driver import NoVerdict, SearchStoppedError, Verdict, outcome, run_search
from spnas_search.monitors import Monitor
from spnas_search.monitors.lines import Lines
from spnas_search.monitors.live import LiveView
from spnas_search.monitors.state import SearchState
from spnas_search.reports import summary
from spnas_search.reports.json_lines import Both, JsonLines, verdict_json
from spnas_search.reports.seeds import SeedsSummary
from spnas_search.run import Run
from spnas_search.series import Series


def search_all(
    series: Series,
    resuming: Mapping[str, Any],
    cache: Path | None,
    console: PlainConsole,
    log: JsonLog | None = None,
) -> None:
    """Run every search of a series to its end, and compare them.

    A search that cannot go on is told and passed over, so that the others have their results.

    Raises:
        SpnasError: which searches have no result, once all others have theirs.
    """
    found: list[Verdict | NoVerdict] = []
    lost: dict[int, SpnasError] = {}
    for seed, run in series.open(Reading(console), cache=cache, **resuming):
        console.rule(f"seed {seed}")
        try:
            if isinstance(run, ArchiveError):
                raise run
            found.append(search_shown(run, console, f"--out {quoted(series.folder)}", log))
        except (ArchiveError, SearchStoppedError) as error:
            console.show(f"This search has no result: {error}")
            for line in getattr(error, "trace", "").splitlines():
                console.show(line)
            if log is not None:
                log.event("run_lost", folder=series.folder / f"seed-{seed}", reason=str(error))
            found.append(NoVerdict(str(error)))
            lost[seed] = error
    if len(lost) == series.count:
        raise SpnasError(str(next(iter(lost.values()))))  # its trace has been shown
    console.rule(f"{series.count} searches")
    for part in SeedsSummary(found, series.seeds[0]).parts():
        console.show(part)
    if lost:
        which = ", ".join(f"seed-{seed}" for seed in lost)
        raise SpnasError(
            f"{which}: no result ({len(lost)} of {series.count} searches); mend what is said above, and go on with "
            f"spnas run --out {quoted(series.folder)} --resume"
        )


def search_shown(
    run: Run, console: PlainConsole, go_on: str | None = None, log: JsonLog | None = None
) -> Verdict | NoVerdict:
    """Run a search to its end, show it, and return the verdict, or why there is none.

    Args:
        run: that was opened; it is closed in the end.
        console: to show it on.
        go_on: options by which a search that was stopped goes on; by default those of the run.
        log: takes every event for machines.
    """
    with run:
        strategy = run.settings.strategy.model_dump()["name"]
        start, objective = run.settings.run.start, run.objective.name
        console.show(f"{strategy} search from {start}, objective {objective}, in {run.folder}")
        for remark in run.remarks:
            console.show(remark)
        for note in run.notes:
            console.show(f"data: {note}")
        if log is not None:
            settings = {"strategy": strategy, "start": start, "objective": objective, "seed": run.settings.run.seed}
            log.event("run_started", folder=run.folder, **settings, remarks=run.remarks, notes=run.notes)
        state = SearchState(run.settings.run, run.archive)

        def say_stopped() -> None:
            where = go_on or f"--out {quoted(run.folder)}"
            console.show(f"Stopped. Nothing finished is lost; go on with: spnas run {where} --resume")
            if log is not None:
                log.event("run_stopped", folder=run.folder)

        with ending_with(say_stopped):
            if console.can_redraw:
                with LiveView(state, console) as view:
                    run_search(run, _logged(view, run, log))
            else:
                run_search(run, _logged(Lines(state, console.show), run, log))
        for part in summary(run):
            console.show(part)
        found = outcome(run.archive, run.settings.run)
        if log is not None:
            log.event("run_finished", folder=run.folder, **verdict_json(found))
        return found


def _logged(monitor: Monitor, run: Run, log: JsonLog | None) -> Monitor:
    return monitor if log is None else Both(JsonLines(log, run.archive), monitor)
