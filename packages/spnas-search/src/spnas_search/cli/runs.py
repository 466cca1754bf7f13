"""``spnas runs``: all runs below a folder."""

from dataclasses import asdict
from pathlib import Path

import click

from spnas_core.commands.columns import Column, format_columns, numbers
from spnas_core.commands.console import make_console, write_lines
from spnas_core.commands.json_text import to_json
from spnas_core.commands.parameters import PATH
from spnas_core.commands.wording import duration, number
from spnas_search.run.overview import Overview, find_runs


@click.command()
@click.argument("folder", type=PATH, default=Path("runs"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object per run.")
def runs(folder: Path, *, as_json: bool) -> None:
    """List all runs in and below FOLDER (runs where none is named): their state, and the best of each.

    \b
    Example: spnas runs
    Example: spnas runs /scratch/searches --json
    """
    found = find_runs(folder)
    if as_json:
        for one in found:
            click.echo(to_json(asdict(one) | {"folder": str(one.folder)}))
        return
    rows = [_cells(one) for one in found]
    if not rows:
        make_console().show(f"there is no run in {folder}")
        return
    counted = (*numbers("children", "time"), Column("best"), *numbers("merit"), Column("note"))
    columns = (Column("run"), Column("state"), Column("strategy"), Column("data"), *counted)
    write_lines(format_columns(columns, rows))


def _cells(one: Overview) -> tuple[str, ...]:
    bound = "" if one.budget is None else f" of {one.budget}"
    return (
        str(one.folder),
        one.state,
        one.strategy,
        one.data,
        f"{one.children}{bound}",
        duration(3600 * one.hours),
        "" if one.best is None else f"{one.best} {one.architecture}",
        number(one.merit),
        one.note,
    )
