"""``spnas study``: what a score, a search, or a space is worth."""

import click

from spnas_search.cli.studies.searches import searches
from spnas_search.cli.studies.signal import signal
from spnas_search.cli.studies.spaces import spaces


@click.group()
def study() -> None:
    """Find out what a score is worth before searching by it."""


for _command in (signal, searches, spaces):
    study.add_command(_command)
