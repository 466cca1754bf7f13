"""``spnas retry``: failed candidates once more."""

from pathlib import Path

import click

from spnas_core.commands.console import make_console
from spnas_core.commands.log_json import JsonLog, log_json_option
from spnas_core.commands.parameters import PATH, cache_option
from spnas_core.commands.wording import quoted
from spnas_search.cli.reading import Reading
from spnas_search.cli.searching import search_shown
from spnas_search.run import resume_run
from spnas_search.run.reopening import retry_failed


@click.command()
@click.argument("run", type=PATH)
@click.argument("numbers", metavar="[ID]...", type=click.IntRange(0), nargs=-1)
@cache_option
@log_json_option
@click.option("--later", is_flag=True, help="Mark them alone; 'spnas run --resume' tries them.")
def retry(run: Path, numbers: tuple[int, ...], *, cache: Path | None, log_json: JsonLog | None, later: bool) -> None:
    """Evaluate failed candidates of RUN again, all or those of the IDs named, and go on with the search.

    A search whose finalists were scored again, or whose winner was tested, is over.

    \b
    Example: spnas retry runs/serial
    Example: spnas retry runs/serial 7 12
    """
    console = make_console(stderr=log_json is not None and log_json.is_standard_output)
    chosen = retry_failed(run, numbers)
    console.show(f"to be tried again: {', '.join(map(str, chosen))}")
    if later:
        console.show(f"Go on with: spnas run --out {quoted(run)} --resume")
    else:
        search_shown(resume_run(run, Reading(console), cache=cache), console, log=log_json)
