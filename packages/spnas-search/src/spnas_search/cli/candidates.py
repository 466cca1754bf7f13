"""``spnas candidates``: the archive as a table."""

from pathlib import Path

import click

from spnas_core.commands.console import make_console, write_lines
from spnas_core.commands.json_text import to_json
from spnas_core.commands.parameters import PATH
from spnas_search.reports import candidate_json, candidate_lines, split_lines
from spnas_search.run import read_archive

MOST_LETTERS = 32
"""Of a candidate's morphisms on a terminal, where longer lines would be broken."""


@click.command()
@click.argument("run", type=PATH)
@click.option("--pareto", is_flag=True, help="Only what no other beats in merit and in what the run weighs against it.")
@click.option("--json", "as_json", is_flag=True, help="Everything that the archive knows, one JSON object per line.")
def candidates(run: Path, *, pareto: bool, as_json: bool) -> None:
    """List the candidates of a RUN folder; a search may be going on in it.

    On a terminal long accounts of morphisms are shortened; a pipe, a file and --json get all of them.

    \b
    Example: spnas candidates runs/serial --pareto
    """
    with read_archive(run) as archive:
        chosen = archive.pareto() if pareto else tuple(archive)
        if as_json:
            write_lines(to_json(candidate_json(archive, candidate)) for candidate in chosen)
        else:
            most = MOST_LETTERS if make_console().can_redraw else None
            write_lines((*candidate_lines(archive, chosen, most), *split_lines(archive, chosen)))
