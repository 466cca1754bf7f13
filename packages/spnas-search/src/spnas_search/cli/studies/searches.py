"""``spnas study searches``: what searches are worth."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import click

from spnas_core.commands.console import PlainConsole
from spnas_core.commands.log_json import JsonLog
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
from spnas_search.reports.json_lines import JsonLines
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
    out, told, chosen = asked.out, reading(asked), given_values(given)
    if asked.report:
        _show(read_searches_results(out), asked)
        return
    if asked.resume:
        opened = resume_searches_study(out, strategies, told, chosen=chosen, **asked.going_on)
    else:
        names = strategies or ("serial",)
        opened = start_searches_study(out, asked.changes, names, told, chosen=chosen, cache=asked.cache)
    _run(opened, asked)


def _show(results: SearchesResults, asked: Asked) -> None:
    show_found(asked, results, searches_parts(results), partial(write_searches_report, results))


def _run(opened: SearchesStudy, asked: Asked) -> None:
    """Search and train what is missing, and show what came out.

    Raises:
        StudyStoppedError: searches are lost, once the others are judged.
    """
    with opened:
        study, settings = opened.study, opened.settings
        names = ", ".join(arm.name for arm in opened.arms)
        start, objective = study.settings.run.start, study.description.objective.name
        asked.console.show(f"Study of searches from {start} by {names}, objective {objective}, in {study.folder}")
        total = settings.searches * len(opened.arms)
        each = settings.trainings + settings.sampled_trainings + max(0, settings.ranked - 1)
        most = total * each + settings.searches * settings.trainings
        asked.console.show(
            f"{total} searches, {len(opened.missing())} of them to be done; behind them at most {most} trainings from "
            f"scratch with {settings.epochs} epochs each"
        )
        asked.begun(study)
        with stopping("searches", asked):
            lost = opened.search(lambda *_: None, _Lines(opened, asked.console, asked.log))
            if lost is not None and not opened.plan.jobs:
                raise lost
            asked.console.show(f"Trainings from scratch that judge what was found: {len(opened.plan.jobs)}")
            opened.fill(_Lines(opened, asked.console, asked.log), retry_failed=asked.retry_failed)
        _show(opened.results, asked)
        if lost is not None:
            raise lost


class _Lines(TrainingLines):
    """Prints one line per search and training.

    Args:
        opened: the study.
        console: to print on.
        log: takes the same, and every event of the searches, for machines.
    """

    def __init__(self, opened: SearchesStudy, console: PlainConsole, log: JsonLog | None = None) -> None:
        super().__init__(opened, console, log)
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
        if self._log is None:
            return Silent()
        self._log.event("search_started", arm=arm, number=number, folder=run.folder, remarks=run.remarks)
        return JsonLines(self._log, run.archive)

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
        self._event("search_ended", arm=arm, number=number, found=None if found is None else asdict(found))
