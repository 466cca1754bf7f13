"""``spnas study searches``: what searches are worth."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from spnas_core.commands.console import PlainConsole
from spnas_core.commands.wording import duration
from spnas_search.cli.studies.shared import (
    Asked,
    TrainingLines,
    given_values,
    reading,
    setting_options,
    show_found,
    stopping,
    study_command,
)
from spnas_search.monitors import Monitor, Silent
from spnas_search.run import Run
from spnas_search.studies.searches.found import Found
from spnas_search.studies.searches.report import searches_parts
from spnas_search.studies.searches.results import SearchesResults
from spnas_search.studies.searches.study import (
    SearchesStudy,
    read_searches_results,
    resume_searches_study,
    start_searches_study,
    write_searches_report,
)


@click.command()
@click.argument("strategies", nargs=-1, metavar="[STRATEGY]...")
@setting_options
@click.option("--searches", type=int, help="Of each kind, with independent seeds; 2 or more.  [default: 10]")
@click.option("--trainings", type=int, help="From scratch, of a winner and of the start.  [default: 1]")
@click.option("--sampled", type=int, help="Trainings of each sampled code; 0 for none.  [default: --trainings]")
@click.option("--epochs", type=int, metavar="T", help="Of these trainings.  [default: twice warm_start_epochs]")
@click.option("--ranked", type=int, help="Codes of each search's ranking to train; 0 leaves that out.  [default: 5]")
@click.option("--split", type=click.Choice(["validation", "test"]), help="Images to score on.  [default: test]")
@study_command("more searches or strategies")
def searches(asked: Asked, *, strategies: Sequence[str], **given: Any) -> None:
    """Tell whether strategies find better architectures than random sampling, at equal budgets.

    A STRATEGY is a registered one, or a TOML file with settings of its own over the study's, such as [strategy] or
    ranking. Random search is always among them. Winners are trained from scratch, beside the start, and beside codes
    of the same cost that are drawn at random.

    \b
    Example: spnas study searches serial regularized-evolution --set budget.epochs=100 --out studies/searches
    Example: spnas study searches hill-climb --out studies/searches --resume
    """
    out, told, chosen = asked.out, reading(asked.console), given_values(given)
    if asked.report:
        _show(read_searches_results(out), out, asked.console)
        return
    if asked.resume:
        opened = resume_searches_study(out, strategies, told, chosen=chosen, **asked.going_on)
    else:
        names = strategies or ("serial",)
        opened = start_searches_study(out, asked.changes, names, told, chosen=chosen, cache=asked.cache)
    _run(opened, asked.console, retry_failed=asked.retry_failed)


def _show(results: SearchesResults, folder: Path, console: PlainConsole) -> None:
    show_found(searches_parts(results), partial(write_searches_report, results), folder, console)


def _run(opened: SearchesStudy, console: PlainConsole, *, retry_failed: bool) -> None:
    """Search and train what is missing, and show what came out."""
    with opened:
        study, settings = opened.study, opened.settings
        names = ", ".join(arm.name for arm in opened.arms)
        start, objective = study.settings.run.start, study.description.objective.name
        console.show(f"Study of searches from {start} by {names}, objective {objective}, in {study.folder}")
        total = settings.searches * len(opened.arms)
        each = settings.trainings + settings.sampled_trainings + max(0, settings.ranked - 1)
        most = total * each + settings.searches * settings.trainings
        console.show(
            f"{total} searches, {len(opened.missing())} of them to be done; behind them at most {most} trainings from "
            f"scratch with {settings.epochs} epochs each"
        )
        for line in (*study.remarks, *(f"data: {note}" for note in study.notes)):
            console.show(line)
        with stopping("searches", study.folder, console):
            opened.search(lambda *_: None, _Lines(opened, console))
            console.show(f"Trainings from scratch that judge what was found: {len(opened.plan.jobs)}")
            opened.fill(_Lines(opened, console), retry_failed=retry_failed)
        _show(opened.results, study.folder, console)


class _Lines(TrainingLines):
    """Prints one line per search and training.

    Args:
        opened: the study.
        console: to print on.
    """

    def __init__(self, opened: SearchesStudy, console: PlainConsole) -> None:
        super().__init__(opened, console)
        self._show = console.show
        self._ended = 0
        self._missing = len(opened.missing())
        self._remarks: set[str] = set()
        self._began = time.monotonic()

    def search_started(self, arm: str, number: int, run: Run) -> Monitor:
        """Print what a user should know, once."""
        for remark in run.remarks:
            if remark not in self._remarks:
                self._remarks.add(remark)
                self._show(f"{arm}: {remark}")
        return Silent()

    def search_ended(self, found: Found | None, arm: str, number: int) -> None:
        """Print what a search has found, and how long the others will take."""
        self._ended += 1
        left = (time.monotonic() - self._began) / self._ended * (self._missing - self._ended)
        ended = (
            "nothing was scored"
            if found is None
            else f"{found.winner} after {found.evaluations} evaluations with {found.epochs} epochs"
        )
        self._show(f"{self._ended}/{self._missing}  {arm} {number}: {ended}, {duration(left)} left")
