"""``spnas verify``: does the winner still score what it scored?"""

import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from spnas_core.commands.console import make_console
from spnas_core.commands.json_text import to_json
from spnas_core.commands.log_json import JsonLog, log_json_option
from spnas_core.commands.parameters import REFERENCE, CacheFolder
from spnas_search.cli.reading import Reading
from spnas_search.run.verification import verify_run
from spnas_search.run.verified import Verified, words, write_verified
from spnas_search.starting_points import split_reference


@click.command()
@click.argument("run", metavar="RUN[:ID]", type=REFERENCE)
@click.option("--data", help="Where the data lies now.  [default: the run's]")
@click.option(
    "--cache",
    type=CacheFolder(),
    help="Take the data as it is cached there, known by its files' names, sizes and times.  [default: read anew]",
)
@click.option("--keep", is_flag=True, help="Leave what was found in the run's folder: its report shows it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per part.")
@log_json_option
def verify(
    run: str, *, data: str | None, cache: Path | None, keep: bool, as_json: bool, log_json: JsonLog | None
) -> None:
    """Score the winner of a RUN again, and compare packages, code, weights and data with what it was scored with.

    The data is read anew. The score may differ by twice the run's noise. Ends with exit code 1 where something differs.

    \b
    Example: spnas verify runs/serial
    """
    folder, candidate = split_reference(run)
    console, findings = make_console(stderr=log_json is not None and log_json.is_standard_output), []
    reading = Reading(make_console(stderr=True), log_json)
    for finding in verify_run(folder, candidate, reading, data=data, cache=cache):
        findings.append(finding)
        if log_json is not None:
            log_json.event("finding", **asdict(finding))
        if as_json:
            click.echo(to_json(asdict(finding)))
        else:
            console.show(f"{finding.part}: {words(finding)}: {finding.found}")
    if keep:
        write_verified(Verified(f"{datetime.now().astimezone():%Y-%m-%d %H:%M}", tuple(findings)), folder)
    if any(finding.holds is False for finding in findings):
        sys.exit(1)
