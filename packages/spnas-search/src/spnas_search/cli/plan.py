"""``spnas plan``: what a search will take."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import RenderableType

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.console import make_console
from spnas_core.commands.json_text import to_json
from spnas_core.commands.log_json import JsonLog, log_json_option
from spnas_core.commands.parameters import WRITTEN, cache_option
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import amount, duration
from spnas_core.errors import EvaluationError, SpnasError
from spnas_search.cli.assembling import assembled, search_options
from spnas_search.cli.reading import Reading
from spnas_search.planning import Plan, plan_search
from spnas_search.planning_file import write_plan


@click.command()
@click.argument("strategy", required=False)
@search_options
@cache_option
@click.option("--out", type=WRITTEN, help="Folder of the run to be: its report compares the plan.")
@click.option("--json", "as_json", is_flag=True, help="Exact numbers, as JSON.")
@log_json_option
def plan(
    strategy: str | None,
    *,
    cache: Path | None,
    out: Path | None,
    as_json: bool,
    log_json: JsonLog | None,
    **given: Any,
) -> None:
    """Say what a search will take: time, disk and memory, measured on a short probe.

    It takes the options of 'spnas run'. What the search will evaluate is counted with made-up scores. With the folder
    of the run that is planned, the plan is left there, and 'spnas report' says how far off it was.

    \b
    Example: spnas plan serial
    Example: spnas plan serial --preset small --data voc:VOCdevkit/VOC2007
    """
    console = make_console(stderr=as_json or (log_json is not None and log_json.is_standard_output))
    values = assembled(strategy, **given)
    try:
        found = plan_search(values, Reading(console, log_json), cache=cache)
    except EvaluationError as error:
        raise SpnasError(str(error)) from error
    if out is not None:
        write_plan(found, out)
    if log_json is not None:
        log_json.event("planned", **asdict(found))
    if as_json:
        click.echo(to_json(asdict(found), indent=2))
        return
    for part in _shown(found):
        console.show(part)


def _shown(found: Plan) -> Iterator[RenderableType]:
    table = make_table((Column("phase"), *numbers("evaluations", "epochs", "time of one worker")), framed=False)
    for phase in found.phases:
        table.add_row(phase.name, str(phase.evaluations), str(phase.epochs), duration(phase.seconds))
    yield table
    plural = "s" if found.workers > 1 else ""
    reading = duration(found.preparation)
    yield f"time: {duration(found.seconds)} with {found.workers} worker{plural}, and {reading} to read the data"
    if found.remark:
        yield f"workers: {found.remark}"
    yield f"disk: {amount(found.cache)}B of cached data, {amount(found.weights)}B of weights"
    device = f", {amount(found.device_memory)}B on the GPU of each evaluation" if found.device_memory else ""
    yield f"memory: {amount(found.memory)}B for all workers{device}"
    if found.ends_by:
        yield found.ends_by
