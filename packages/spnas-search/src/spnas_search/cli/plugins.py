"""``spnas plugins``: what is registered, and by which distribution."""

import click

from spnas_core.commands.columns import Column
from spnas_core.commands.console import make_console
from spnas_core.commands.tables import make_table
from spnas_core.errors import SpnasError
from spnas_core.plugins import plugin_origins, registry
from spnas_core.plugins.registries import nouns


@click.command()
def plugins() -> None:
    """List everything that plugins have registered.

    \b
    Example: spnas plugins
    """
    table = make_table(map(Column, ("kind", "name", "distribution", "what it is")), framed=False)
    origins = plugin_origins()
    for noun in nouns():
        found = registry(noun)
        for name, item in found.items.items():
            table.add_row(noun, name, origins[found.plugins[name]], _summary(item))
    make_console().show(table)


def _summary(item: object) -> str:
    try:
        summary = getattr(item, "summary", None)
    except SpnasError as error:  # a preset is read when it is asked
        return f"broken: {error}"
    if isinstance(summary, str):
        return summary
    lines = (getattr(item, "__doc__", None) or "").strip().splitlines()
    return lines[0] if lines else ""
