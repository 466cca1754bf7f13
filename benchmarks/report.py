"""What the report of a large run takes: seconds of one core, and the size of the page."""

import argparse
import tempfile
import time
from pathlib import Path

from ranking import filled
from spnas_core.pages import render_page, report_on

TITLE = "The report of a large run"
SIZES = (1_000, 12_000)
TURNS = 2


def run(_: argparse.Namespace) -> str:
    """Fill archives, report on them, and return the table."""
    rows = ["| candidates | read and rank | write | page |", "|---|---|---|---|"]
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            filled(Path(folder), size, "traits").close()
            read, written, page = min(measured(folder) for _ in range(TURNS))
            rows.append(f"| {size} | **{read:.1f} s** | {written:.1f} s | {page / 1e6:.1f} MB |")
    return "\n".join([f"Best of {TURNS}, seconds of one core; scores are made up.", "", *rows])


def measured(folder: str) -> tuple[float, float, int]:
    """Return seconds until the report is put together, until it is a page, and the page's bytes."""
    began = time.process_time()
    report = report_on(folder)
    between = time.process_time()
    page = render_page(report, written="now")
    return between - began, time.process_time() - between, len(page.encode())
