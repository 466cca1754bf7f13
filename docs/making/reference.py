"""What the reference is made of: the docstrings of public names, and what every command says of itself."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.nodes import nested_parse_with_titles

WIDTH = 88
"""Of the commands' help, in columns."""


class Public(Directive):
    """``.. public:: MODULE``: an entry for each name of its ``__all__`` that its package does not have, too."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Hand each name to autodoc."""
        module = self.arguments[0]
        package = module.partition(".")[0]
        above = import_module(package).__all__ if package != module else ()
        names = [name for name in import_module(module).__all__ if name not in above]
        lines = [line for name in names for line in self._entry(module, name)]
        found = nodes.container()
        nested_parse_with_titles(self.state, StringList(lines, source=module), found)
        return found.children

    @staticmethod
    def _entry(module: str, name: str) -> list[str]:
        item = getattr(import_module(module), name)
        if name.startswith("__") or isinstance(item, dict):  # whose docstring is that of all dicts
            return []
        if inspect.isclass(item):
            kind = "autoexception" if issubclass(item, BaseException) else "autoclass"
            return [f".. {kind}:: {module}.{name}", "   :members:", ""]
        return [f".. {'autofunction' if inspect.isroutine(item) else 'autodata'}:: {module}.{name}", ""]


class Commands(Directive):
    """``.. commands::``: a section for each command, with its ``--help``."""

    def run(self) -> list[nodes.Node]:
        """Ask the commands themselves."""
        from spnas_search.cli.main import commands

        return [self._section(name, text) for name, text in help_texts(commands, "spnas")]

    @staticmethod
    def _section(name: str, text: str) -> nodes.section:
        identity = nodes.make_id(name)
        block = nodes.literal_block(text, text, language="text")
        return nodes.section("", nodes.title("", name), block, ids=[identity], names=[identity])


def help_texts(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Yield name and help of a command and of all below it, in the order of lists."""
    command = getattr(command, "load", lambda: command)()
    context = click.Context(command, info_name=name, terminal_width=WIDTH, help_option_names=["-h", "--help"])
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for one in command.list_commands(context):
            below = command.get_command(context, one)
            if below is not None:
                yield from help_texts(below, f"{name} {one}")


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of the two directives."""
    app.add_directive("public", Public)
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
