"""What it takes until a command has done its work, beside importing torch."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

import spnas_search

TITLE = "Starting up"
TURNS = 7
LIMITS = {"--help": 0.3, "show": 1.3, "candidates": 1.3}
SPNAS = "from spnas_search.cli import main; main()"


def run(_: argparse.Namespace) -> str:
    """Start everything in turns, and return the ratios to the import of torch."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        spnas_search.search(task="null", executor={"name": "inline"}, budget=2, out=out).close()
        commands = {"--help": [], "show": ["b@8_11-21-21-21"], "candidates": [str(out)]}
        ratios: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(TURNS):
            for name, arguments in commands.items():
                before = seconds("import torch")
                own = seconds(SPNAS, name, *arguments)
                ratios[name].append(2 * own / (before + seconds("import torch")))
    rows = ["| command | ratio to `import torch` | spread (10–90 %) | aim |", "|---|---|---|---|"]
    for name, found in ratios.items():
        low, high = np.quantile(found, (0.1, 0.9))
        rows.append(f"| `spnas {name}` | **{median(found):.2f}×** | {low:.2f}–{high:.2f}× | {LIMITS[name]}× |")
    return "\n".join(rows)


def seconds(code: str, *arguments: str) -> float:
    """Time a fresh process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began
