"""``spnas study spaces``: what spaces are worth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from spnas_core.commands.console import PlainConsole, make_console
from spnas_search.cli.studies.shared import (
    TrainingLines,
    check_options,
    given_values,
    going_on_options,
    reading,
    setting_options,
    settings_from,
    stopping,
)
from spnas_search.studies.spaces.report import spaces_parts
from spnas_search.studies.spaces.results import SpacesResults
from spnas_search.studies.spaces.study import (
    SpacesStudy,
    read_spaces_results,
    resume_spaces_study,
    start_spaces_study,
    write_spaces_report,
)


@click.command()
@click.argument("names", nargs=-1, metavar="SPACE...")
@setting_options
@click.option("--codes", type=int, help="Drawn from each space; 5 or more.  [default: 100]")
@click.option("--trainings", type=int, help="From scratch, of each code.  [default: 1]")
@click.option("--epochs", type=int, metavar="T", help="Of each training.  [default: twice warm_start_epochs]")
@click.option("--split", type=click.Choice(["validation", "test"]), help="Images to score on.  [default: validation]")
@click.option("--resume", is_flag=True, help="Go on with the study in --out; more codes or trainings extend it.")
@going_on_options
def spaces(
    names: Sequence[str],
    *,
    out: Path,
    resume: bool,
    retry_failed: bool,
    accept_versions: bool,
    report: bool,
    data: str | None,
    preset: str | None,
    config: Path | None,
    assignments: Sequence[str],
    cache: Path | None,
    **given: Any,
) -> None:
    """Compare the scores of codes that are drawn from search spaces, as they are and at equal complexity.

    A SPACE is the code of a start, whose blocks stay while others are inserted and borders move inside the bounds; or
    a TOML file with start and [space]. Others are compared with the first one.

    \b
    Example: spnas study spaces b@8_1-2-2-2 x32x4d@8_1-2-2-2 --codes 50 --out studies/spaces
    Example: spnas study spaces --out studies/spaces --resume --codes 100
    """
    console = make_console()
    changes = settings_from(data, preset, config, assignments, is_new=not (resume or report))
    chosen = given_values(given)
    check_options(
        (changes, names) if changes or names else (),
        chosen,
        resume=resume,
        report=report,
        retry_failed=retry_failed,
        accept_versions=accept_versions,
    )
    if report:
        _show(read_spaces_results(out), out, console)
        return
    if resume:
        if names:
            raise click.UsageError("a study that is there has its spaces: leave them out, or start another with --out")
        opened = resume_spaces_study(
            out, reading(console), chosen=chosen, changes=changes, accept_versions=accept_versions, cache=cache
        )
    else:
        opened = start_spaces_study(out, changes, names, reading(console), chosen=chosen, cache=cache)
    _run(opened, console, retry_failed=retry_failed)


def _run(opened: SpacesStudy, console: PlainConsole, *, retry_failed: bool) -> None:
    """Train what is missing, and show what came out."""
    with opened:
        study, plan = opened.study, opened.plan
        names = ", ".join(space.name for space in plan.spaces)
        console.show(f"Study of the spaces {names}, objective {study.description.objective.name}, in {study.folder}")
        console.show(
            f"{plan.settings.codes} codes of each: {len(plan.jobs):,} trainings with {plan.settings.epochs} epochs "
            f"each, {len(opened.missing_jobs):,} of them to be done"
        )
        for line in (*study.remarks, *(f"data: {note}" for note in study.notes)):
            console.show(line)
        with stopping("spaces", study.folder, console):
            opened.fill(TrainingLines(opened, console), retry_failed=retry_failed)
        _show(opened.results, study.folder, console)


def _show(results: SpacesResults, folder: Path, console: PlainConsole) -> None:
    for part in spaces_parts(results):
        console.show(part)
    page, plot = write_spaces_report(results, folder)
    console.show(f"The same as a page, and as a plot: {page}, {plot}")
