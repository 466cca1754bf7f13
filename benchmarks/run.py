"""Runs the benchmarks, prints their tables, and keeps docs/benchmarks.md and docs/scaling.md up to date.

    python benchmarks/run.py [NAME…] [--children N] [--data SPEC]

Every number is a ratio against a peer, or a rate, measured in this process and in one run; medians with their spread.
"""

import argparse
import importlib
import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import torch

NAMES = (
    "materialise",
    "proposals",
    "loop",
    "kernels",
    "detect",
    "metrics",
    "inheritance",
    "passthrough",
    "recovery",
    "warmup",
    "luck",
    "ranking",
    "report",
    "latency",
    "sectors",
    "loader",
    "startup",
    "scaling",
    "cluster",
    "many_workers",
)
WHERE_NAMED = ("photographs", "rows", "gpu", "screens", "surrogate", "replay", "supernet")
"""They need --data, --run or a GPU, or belong to the replay table and take long."""
DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = "benchmarks.md"
HEAD = """# Benchmarks

Mostly written by `nox -s bench`; each table says by which command, when and on what it was measured. Speeds are ratios
against a peer in the same process, since machines differ and are noisy; what a ratio is taken over stands in its row.
"""


def machine() -> str:
    """Describe processor, threads and versions in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        model = found[1] if found else model
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, Python {platform.python_version()}, torch {torch.__version__}"


def write_section(name: str, title: str, table: str, command: str, page_name: str = PAGE) -> None:
    """Replace what a benchmark has written of its page, down to its command; the prose after that stays.

    A section that ends in no such command was written by hand, and stays as it is.
    """
    date = datetime.now(UTC).date().isoformat()
    written = f"<!-- {name} -->\n## {title}\n\n{table}\n\n`{command}`, {date}: {machine()}.\n"
    file = DOCS / page_name
    page = file.read_text() if file.exists() else HEAD
    if f"<!-- {name} -->\n" not in page:
        file.write_text(f"{page}\n{written}<!-- /{name} -->\n")
        return
    page, count = re.subn(
        rf"<!-- {name} -->\n(?:(?!<!-- /{name} -->).)*?\n`nox -s bench -- {name}\b[^\n]*\n",
        lambda _: written,
        page,
        count=1,
        flags=re.DOTALL,
    )
    if count:
        file.write_text(page)
    else:
        print(f"The section {name} of {file} is written by hand: take from above what is new.")


def main() -> None:
    """Run what is named, or everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join((*NAMES, *WHERE_NAMED))}; by default all but the last {len(WHERE_NAMED)}",
    )
    parser.add_argument("--children", type=int, default=10, help="children of the inheritance benchmark")
    parser.add_argument("--data", action="append", help="data set of the benchmark of photographs, voc:PATH")
    parser.add_argument("--run", action="append", help="folder of a search with rows, for the benchmark of rows")
    parser.add_argument("--epochs", type=int, default=8, help="of the benchmark of rows")
    parser.add_argument("--repetitions", type=int, default=3, help="trainings of each network there and of photographs")
    parser.add_argument("--work", help="folder of such trainings, of which none is repeated")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {*NAMES, *WHERE_NAMED}
    if unknown:
        parser.error(
            f"no benchmark is called {', '.join(sorted(unknown))}: choose from {', '.join((*NAMES, *WHERE_NAMED))}"
        )
    for name in arguments.names or NAMES:
        module = importlib.import_module(name)
        print(f"== {module.TITLE}", flush=True)
        table = module.run(arguments)
        print(table, flush=True)
        options = {"photographs": " --data voc:PATH", "rows": f" --run RUN --epochs {arguments.epochs}"}.get(name, "")
        page = getattr(module, "PAGE", PAGE)
        write_section(name, module.TITLE, table, f"nox -s bench -- {name}{options}", page)


if __name__ == "__main__":
    main()
