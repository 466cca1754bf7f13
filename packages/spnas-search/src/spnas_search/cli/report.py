"""``spnas report``: a folder as a page."""

import time
from datetime import datetime
from pathlib import Path

import click

from spnas_core.commands.console import make_console
from spnas_core.commands.parameters import REFERENCE, WRITTEN, FiniteRange
from spnas_core.commands.stopping import ending_with
from spnas_core.commands.writing import write_result
from spnas_core.pages import render_page, report_on

FILE = "report.html"


@click.command()
@click.argument("reference", metavar="RUN[:ID]|TRAINING|COMPARISON", type=REFERENCE)
@click.option("--out", type=WRITTEN, help="File to write.  [default: report.html in the folder]")
@click.option("--watch", is_flag=True, help="Write it anew until the run ends; the page reloads itself.")
@click.option(
    "--every", type=FiniteRange(0.1, 86_400), default=10.0, show_default=True, help="Seconds between, with --watch."
)
def report(reference: str, *, out: Path | None, watch: bool, every: float) -> None:
    """Write a page about a run, a training or a comparison: one file, which works offline.

    A process may be at work in the folder: nothing else is written into it. RUN:ID tells the descent of that candidate
    in place of the winner's.

    \b
    Example: spnas report runs/serial
    Example: spnas report runs/serial --watch
    Example: spnas report trainings/voc --out voc.html
    """
    console, was_quiet = make_console(), True
    with ending_with(lambda: None):
        while True:
            found = report_on(reference)
            # Between two trainings of a comparison nobody is at work for a moment.
            goes_on = watch and (found.is_going or not was_quiet)
            was_quiet = not found.is_going
            file = out or found.folder / FILE
            written = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"
            page = render_page(found, written=written, reload_seconds=every if goes_on else None)
            write_result(file, page, "--out")
            console.show(f"{file}: {found.status}")
            if not goes_on:
                return
            time.sleep(every)  # --every: how often somebody who watches wants to see it anew
