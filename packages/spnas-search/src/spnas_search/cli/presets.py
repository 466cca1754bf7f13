"""``spnas presets``: what settings there are by name, and what each sets."""

import click

from spnas_core.commands.columns import Column
from spnas_core.commands.console import make_console, write_lines
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import printable
from spnas_core.errors import SpnasError
from spnas_core.plugins import plugin_origins, registry
from spnas_core.presets import find_preset


@click.command()
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """List presets: what each is for, and on which machine. With a NAME, print everything that it sets, as TOML.

    A preset is given to 'spnas run' and 'spnas train' by --preset NAME; the TOML, changed, by --preset FILE.toml.

    \b
    Example: spnas presets
    Example: spnas presets r50-1x
    """
    if name is not None:
        write_lines(map(printable, find_preset(name).text().removesuffix("\n").split("\n")))
        return
    found, origins = registry("presets"), plugin_origins()
    table = make_table(map(Column, ("preset", "what it is for", "machine", "distribution")))
    for known, preset in found.items.items():
        try:
            says = preset.summary, preset.machine
        except SpnasError as error:
            says = f"broken: {error}", ""
        table.add_row(known, *says, origins[found.plugins[known]])
    make_console().show(table)
