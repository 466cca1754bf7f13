"""``spnas doctor``: is this machine set up?"""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from spnas_core.commands.console import make_console
from spnas_core.commands.json_text import to_json
from spnas_core.commands.parameters import WRITTEN
from spnas_search.diagnosis import examine


@click.command()
@click.option("--out", type=WRITTEN, default=Path("runs"), help="Where runs are to lie.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def doctor(out: Path, *, as_json: bool) -> None:
    """Look at versions, devices, kernels, plugins and space, and say what to do.

    Ends with exit code 1 where a search would fail.

    \b
    Example: spnas doctor
    """
    console, fails = make_console(), False
    for symptom in examine(out):
        fails |= symptom.state == "error"
        if as_json:
            click.echo(to_json(asdict(symptom)))
        else:
            remedy = f"; {symptom.remedy}" if symptom.remedy else ""
            console.show(f"{symptom.state:<8} {symptom.part}: {symptom.found}{remedy}")
    if fails:
        sys.exit(1)
