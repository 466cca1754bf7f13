"""Commands that are imported when they are used: lists and completion need a name and a line."""

from importlib import import_module
from typing import Any

import click

from spnas_core.plugins import asked, is_built_in, owner, registry


class LazyCommand(click.Command):
    """Stands in for a command, or a group, until it is used.

    Register one where importing the command takes long, such as all that imports torch:

        register("train", LazyCommand("train", "my_package.commands:train", "Train a detector."))

    Args:
        name: of the command.
        target: ``module:attribute`` that is the command.
        summary: what lists say of it; a sentence.
    """

    def __init__(self, name: str, target: str, summary: str) -> None:
        super().__init__(name, short_help=summary, help=summary)
        self.target = target

    def load(self) -> click.Command:
        """Import the command itself.

        Raises:
            TypeError: there is something else.
        """
        module, _, attribute = self.target.partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.target} is no click command but a {type(command).__name__}")
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Hand over to the command itself.

        Raises:
            PluginError: it is a plugin's, and cannot be imported.
        """
        return self._loaded().make_context(info_name, args, parent, **extra)

    def _loaded(self) -> click.Command:
        name = str(self.name)
        if is_built_in("commands", name) or registry("commands").items[name] is not self:
            return self.load()
        command: click.Command = asked(owner("commands", name), f"importing {self.target}", self.load)
        return command
