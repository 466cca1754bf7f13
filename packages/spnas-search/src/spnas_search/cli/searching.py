"""A search on a terminal, whichever command has begun it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spnas_core.commands.console import PlainConsole
from spnas_search.cli.reading import Reading
from spnas_search.cli.stopping import INTERRUPTED, stopping_like_ctrl_c
from spnas_search.driver import NoVerdict, Verdict, outcome, run_search
from spnas_search.monitors.lines import Lines
from spnas_search.monitors.live import LiveView
from spnas_search.monitors.state import SearchState
from spnas_search.reports import summary
from spnas_search.reports.seeds import SeedsSummary
from spnas_search.run import Run
from spnas_search.series import Series


def search_all(series: Series, resuming: Mapping[str, Any], cache: Path | None, console: PlainConsole) -> None:
    """Run every search of a series to its end, and compare them."""
    found: list[Verdict | NoVerdict] = []
    opened = series.open(Reading(console), cache=cache, **resuming)
    for seed in series.seeds:
        console.rule(f"seed {seed}")
        found.append(search_shown(next(opened)[1], console, go_on=f"--out {series.folder}"))
    console.rule(f"{series.count} searches")
    for part in SeedsSummary(found).parts():
        console.show(part)


def search_shown(run: Run, console: PlainConsole, go_on: str | None = None) -> Verdict | NoVerdict:
    """Run a search to its end, show it, and return the verdict, or why there is none.

    Args:
        run: that was opened; it is closed in the end.
        console: to show it on.
        go_on: options by which a search that was stopped goes on; by default those of the run.
    """
    with run:
        strategy = run.settings.strategy.model_dump()["name"]
        start, objective = run.settings.run.start, run.objective.name
        console.show(f"{strategy} search from {start}, objective {objective}, in {run.folder}")
        for remark in run.remarks:
            console.show(remark)
        for note in run.notes:
            console.show(f"data: {note}")
        state = SearchState(run.settings.run, run.archive)
        try:
            with stopping_like_ctrl_c():
                if console.is_terminal:
                    with LiveView(state, console) as view:
                        run_search(run, view)
                else:
                    run_search(run, Lines(state, console.show))
        except KeyboardInterrupt as stop:
            where = go_on or f"--out {run.folder}"
            console.show(f"Stopped. Nothing finished is lost; go on with: spnas run {where} --resume")
            sys.exit(stop.args[0] if stop.args else INTERRUPTED)
        for part in summary(run):
            console.show(part)
        return outcome(run.archive, run.settings.run)
