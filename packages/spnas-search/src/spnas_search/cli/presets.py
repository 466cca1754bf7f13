"""``spnas presets``: what settings there are by name, and what each sets."""

from collections.abc import Iterable, Iterator

import click

from spnas_core.commands.columns import Column
from spnas_core.commands.console import make_console, write_lines
from spnas_core.commands.json_text import to_json
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import printable
from spnas_core.errors import SpnasError
from spnas_core.plugins import plugin_origins, registry
from spnas_core.presets import Preset, find_preset


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per preset; with a NAME, one of its settings.")
def presets(name: str | None, *, as_json: bool) -> None:
    """List presets: what each is for, and on which machine. With a NAME, print all that it sets, as TOML.

    A preset is given to 'spnas run' and 'spnas train' by --preset NAME; the TOML, changed, by --preset FILE.toml.

    \b
    Example: spnas presets
    Example: spnas presets r50-1x
    """
    if name is not None:
        write_lines(_settings_lines(find_preset(name), as_json=as_json))
        return
    rows = list(_rows())
    if as_json:
        keys = ("name", "summary", "machine", "distribution")
        write_lines(to_json(dict(zip(keys, row, strict=True))) for row in rows)
        return
    table = make_table(map(Column, ("preset", "what it is for", "machine", "distribution")))
    for row in rows:
        table.add_row(*row)
    make_console().show(table)


def _settings_lines(preset: Preset, *, as_json: bool) -> Iterable[str]:
    if as_json:
        return [to_json(preset.values())]
    return map(printable, preset.text().removesuffix("\n").split("\n"))


def _rows() -> Iterator[tuple[str, ...]]:
    found, origins = registry("presets"), plugin_origins()
    for known, preset in found.items.items():
        try:
            says = preset.summary, preset.machine
        except SpnasError as error:
            says = f"broken: {error}", ""
        yield known, *says, origins[found.plugins[known]]
