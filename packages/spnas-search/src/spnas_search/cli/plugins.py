"""``spnas plugins``: what is registered, whether it keeps the contracts, and how one's own begins."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spnas_core.commands.columns import Column
from spnas_core.commands.console import PlainConsole, make_console
from spnas_core.commands.json_text import to_json
from spnas_core.commands.parameters import WRITTEN
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import quoted
from spnas_core.errors import SpnasError
from spnas_core.plugins import plugin_origins, registry
from spnas_core.plugins.registries import nouns

if TYPE_CHECKING:
    from spnas_core.testing.checking import Checked


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per item.")
@click.pass_context
def plugins(context: click.Context, *, as_json: bool) -> None:
    """List everything that plugins have registered.

    \b
    Example: spnas plugins
    Example: spnas plugins check search
    Example: spnas plugins new annealing
    """
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    table = make_table(map(Column, ("kind", "name", "plugin", "distribution", "what it is")), framed=False)
    origins = plugin_origins()
    for noun in nouns():
        found = registry(noun)
        for name, item in found.items.items():
            plugin = found.plugins[name]
            row = (noun, name, plugin, origins[plugin], _summary(item))
            if as_json:
                click.echo(to_json(dict(zip(("kind", "name", "plugin", "distribution", "summary"), row, strict=True))))
            else:
                table.add_row(*row)
    if not as_json:
        make_console().show(table)


@plugins.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per item.")
def check(name: str, *, as_json: bool) -> None:
    """Run the contract suites over all that the plugin NAME has registered.

    Ends with exit code 1 where something does not keep its contract.

    \b
    Example: spnas plugins check annealing
    """
    from spnas_core.testing import check_plugin

    console, is_broken, count = make_console(stderr=as_json), False, 0
    for item in check_plugin(name):
        count += 1
        is_broken |= bool(item.broken)
        if as_json:
            values = asdict(item)
            click.echo(to_json({"kind": values.pop("noun"), **values}))
        else:
            _show_checked(item, console)
    if not count:
        console.show(f"{name} registers nothing")
    if is_broken:
        sys.exit(1)


def _show_checked(item: "Checked", console: PlainConsole) -> None:
    if item.untested:
        console.show(f"{item.noun} {item.name}: not tested: {item.untested}")
        return
    console.show(f"{item.noun} {item.name}: {item.kept} of {item.kept + len(item.broken)} tests passed")
    for broken in item.broken:
        console.show(f"  {broken.test}: {broken.reason} (what is expected: {broken.expected})")


@plugins.command()
@click.argument("name")
@click.option("--out", type=WRITTEN, help="Folder of the plugin.  [default: spnas-NAME]")
def new(name: str, out: Path | None) -> None:
    """Write the skeleton of a plugin with the strategy NAME: a package that can be installed, and its tests.

    \b
    Example: spnas plugins new annealing
    """
    from spnas_search.skeleton import write_plugin

    console, folder = make_console(), out or Path(f"spnas-{name}")
    for file in write_plugin(name, folder):
        console.show(str(file))
    console.show(
        f"Next: python3 -m pip install -e {quoted(folder)}, then spnas plugins check {name}, and spnas run {name}"
    )


def _summary(item: object) -> str:
    try:
        summary = getattr(item, "summary", None)
    except SpnasError as error:  # a preset is read when it is asked
        return f"broken: {error}"
    if isinstance(summary, str):
        return summary
    if isinstance(item, click.Command):
        return item.get_short_help_str(limit=200)
    lines = (getattr(item, "__doc__", None) or "").strip().splitlines()
    return lines[0] if lines else ""
