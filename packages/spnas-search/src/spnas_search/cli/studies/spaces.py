"""``spnas study spaces``: what spaces are worth."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import click

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
@study_command("more codes or trainings")
def spaces(asked: Asked, *, names: Sequence[str], **given: Any) -> None:
    """Compare the scores of codes that are drawn from search spaces, as they are and at equal complexity.

    A SPACE is the code of a start, whose blocks stay while others are inserted and borders move inside the bounds; or
    a TOML file with start and [space]. Others are compared with the first one.

    \b
    Example: spnas study spaces b@8_1-2-2-2 x32x4d@8_1-2-2-2 --codes 50 --out studies/spaces
    Example: spnas study spaces --out studies/spaces --resume --codes 100
    """
    out, told, chosen = asked.out, reading(asked), given_values(given)
    if asked.report:
        _show(read_spaces_results(out), asked)
        return
    if asked.resume:
        if names:
            raise click.UsageError("a study that is there has its spaces: leave them out, or start another with --out")
        opened = resume_spaces_study(out, told, chosen=chosen, **asked.going_on)
    else:
        opened = start_spaces_study(out, asked.changes, names, told, chosen=chosen, cache=asked.cache)
    _run(opened, asked)


def _show(results: SpacesResults, asked: Asked) -> None:
    show_found(asked, results, spaces_parts(results), partial(write_spaces_report, results))


def _run(opened: SpacesStudy, asked: Asked) -> None:
    """Train what is missing, and show what came out."""
    with opened:
        study, plan = opened.study, opened.plan
        names = ", ".join(space.name for space in plan.spaces)
        asked.console.show(
            f"Study of the spaces {names}, objective {study.description.objective.name}, in {study.folder}"
        )
        asked.console.show(
            f"{plan.settings.codes} codes of each: {len(plan.jobs):,} trainings with {plan.settings.epochs} epochs "
            f"each, {len(opened.missing_jobs):,} of them to be done"
        )
        asked.begun(study)
        with stopping("spaces", asked):
            opened.fill(TrainingLines(opened, asked.console, asked.log), retry_failed=asked.retry_failed)
        _show(opened.results, asked)
