"""``spnas extend``: a larger budget for a search that is not over."""

from pathlib import Path

import click

from spnas_core.commands.console import make_console
from spnas_core.commands.log_json import JsonLog, log_json_option
from spnas_core.commands.parameters import PATH, cache_option
from spnas_core.commands.wording import quoted
from spnas_search.cli.reading import Reading
from spnas_search.cli.searching import search_shown
from spnas_search.run import resume_run
from spnas_search.run.reopening import extend_budget


@click.command()
@click.argument("run", type=PATH)
@click.option("--candidates", type=click.IntRange(1), help="Children in all.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of training in all.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="Hours of evaluation in all.")
@cache_option
@log_json_option
@click.option("--later", is_flag=True, help="Raise the budget alone; 'spnas run --resume' goes on.")
def extend(run: Path, *, cache: Path | None, log_json: JsonLog | None, later: bool, **given: float | None) -> None:
    """Raise the budget of the search in RUN, and go on with it.

    A search whose finalists were scored again, or whose winner was tested, is over: start another one from it, with
    --from.

    \b
    Example: spnas extend runs/serial --candidates 60
    """
    extend_budget(run, {name: bound for name, bound in given.items() if bound is not None})
    console = make_console(stderr=log_json is not None and log_json.is_standard_output)
    if later:
        console.show(f"Go on with: spnas run --out {quoted(run)} --resume")
    else:
        search_shown(resume_run(run, Reading(console), cache=cache), console, log=log_json)
