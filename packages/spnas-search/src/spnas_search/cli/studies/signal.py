"""``spnas study signal``: what a score is worth."""

from functools import partial
from typing import Any

import click

from spnas_core.errors import ConfigError
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
from spnas_search.studies import (
    SignalResults,
    SignalStudy,
    read_signal_results,
    resume_signal_study,
    start_signal_study,
    write_signal_report,
)
from spnas_search.studies.signal import PARTS
from spnas_search.studies.signal_report import signal_parts

NOTHING = "nothing"
"""Leaves out nothing any more, where a study goes on that has left something out."""


@click.command()
@setting_options
@click.option("--codes", type=int, help="Architectures, the start among them; 3 or more.  [default: 12]")
@click.option("--trainings", type=int, help="Independent trainings of each; 2 or more.  [default: 3]")
@click.option("--epochs", type=int, metavar="T", help="Epochs of the truth.  [default: twice warm_start_epochs]")
@click.option("--child-epochs", metavar="LIST", help="Epochs that a search sees.  [default: 1,2,4]")
@click.option(
    "--split",
    type=click.Choice(["validation", "test", "both"]),
    help="Images to score on; both scores the truth on test images, the rest on validation.  [default: validation]",
)
@click.option(
    "--leave-out", type=click.Choice((*PARTS, NOTHING)), multiple=True, help="Do not train that; may be repeated."
)
@study_command("more codes or trainings")
def signal(asked: Asked, **given: Any) -> None:
    """Tell whether a score at these settings says anything of an architecture.

    Codes that are spread over the search space are trained from scratch, several times each: the truth. Its
    heritability is the share of architectures in the variance of a score. Each way to inherit is compared with it after
    few epochs.

    \b
    Example: spnas study signal --out studies/shapes
    Example: spnas study signal --out studies/shapes --resume --trainings 5
    """
    out, told, chosen = asked.out, reading(asked), _chosen(given)
    if asked.report:
        _show(read_signal_results(out), asked)
        return
    if asked.resume:
        opened = resume_signal_study(out, told, chosen=chosen, **asked.going_on)
    else:
        opened = start_signal_study(out, asked.changes, told, chosen=chosen, cache=asked.cache)
    _run(opened, asked)


def _show(results: SignalResults, asked: Asked) -> None:
    show_found(asked, results, signal_parts(results), partial(write_signal_report, results))


def _chosen(given: dict[str, Any]) -> dict[str, Any]:
    """Return the study's own settings that were given."""
    chosen = given_values(given)
    if "leave_out" in chosen:
        chosen["leave_out"] = [part for part in chosen["leave_out"] if part != NOTHING]
    if "child_epochs" in chosen:
        try:
            chosen["child_epochs"] = [int(part) for part in chosen["child_epochs"].split(",")]
        except ValueError:
            raise ConfigError(
                f"--child-epochs {chosen['child_epochs']!r} must be whole numbers with commas in between, such as 1,2,4"
            ) from None
    return chosen


def _run(opened: SignalStudy, asked: Asked) -> None:
    """Train what is missing, and show what came out."""
    with opened:
        study = opened.study
        start, objective = study.settings.run.start, study.description.objective.name
        asked.console.show(f"Signal study of {start} and other codes, objective {objective}, in {study.folder}")
        asked.begun(study, opened.compute)
        with stopping("signal", asked):
            opened.fill(TrainingLines(opened, asked.console, asked.log), retry_failed=asked.retry_failed)
        _show(opened.results, asked)
