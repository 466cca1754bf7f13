"""How well screens rank architectures that a search has not trained yet, against trainings that it never saw.

    python benchmarks/screens.py [--searches 100] [--trainings 12,25,50] [--data small] [--data large]

After so many trainings of codes drawn at random from a replay table (`benchmarks/replay_table.py` made it), each screen
ranks all other codes of the table. Kendall's tau compares its order with that of the codes' mean scores; it is shown as
the mean over searches, with a 95 % interval.
"""

import argparse
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

import spnas_search
from replay import METRIC, SPACE, TABLE
from replay_table import DATA, EPOCHS, START
from spnas_core.encoding import Architecture
from spnas_core.morphisms import align, chain
from spnas_core.tasks import Fidelity
from spnas_search.archive import Proposal
from spnas_search.replay import read_table
from spnas_search.screens import screen_plugin
from spnas_search.statistics import mean_interval
from spnas_search.statistics.correlation import kendall

TITLE = "How well screens rank what is not trained yet"
SCREENS: Sequence[Mapping[str, Any]] = [
    {"name": "prediction"},
    {"name": "prediction", "optimism": 1.0},
    {"name": "surrogate"},
    {"name": "partial-order"},
    {"name": "entropy"},
]
FEWEST = 2
"""Searches without which a mean has no interval."""


def agreements(data: str, trainings: int, seed: int) -> list[float]:
    """Return the tau of each screen after one search; not a number where a screen says the same of all codes."""
    table = read_table(TABLE, data)
    start = Architecture.parse(START)
    with tempfile.TemporaryDirectory() as folder:
        run = spnas_search.search(
            seed=seed,
            start=START,
            task={"name": "replay", "table": str(TABLE), "data": data, "view": seed},
            strategy={"name": "random", "epochs": EPOCHS},
            inherit="none",
            space=SPACE,
            executor={"name": "inline"},
            budget={"epochs": trainings * EPOCHS},
            final={"finalists": 0, "seeds": 0},
            out=Path(folder) / "run",
        )
        with run:
            archive = run.archive
            others = [code for code in sorted(table.trained) if not archive.contains(Architecture.parse(code))]
            truth = [fmean(one[METRIC] for one in table.trained[code][EPOCHS]) for code in others]
            proposals = [
                Proposal("child", archive.start.id, chain(align(start, Architecture.parse(code))), Fidelity(EPOCHS))
                for code in others
            ]
            found = []
            for own in SCREENS:
                plugin = screen_plugin(str(own["name"]))
                screen = plugin.build(plugin.settings(**own), run.strategy.space)
                found.append(tau(screen.preferences(archive, proposals), truth))
            return found


def tau(ones: Sequence[float], others: Sequence[float]) -> float:
    """Return Kendall's tau_b."""
    return float(kendall(np.ones((1, len(ones))), np.asarray(ones, float), np.asarray(others, float))[0])


def lines(data: str, numbers: Sequence[int], searches: int) -> Iterator[str]:
    """Yield a line of the table for each screen."""
    found = {number: [agreements(data, number, seed) for seed in range(searches)] for number in numbers}
    yield f"| {data} | " + " | ".join(f"after {number} trainings" for number in numbers) + " |"
    yield "|---|" + "---|" * len(numbers)
    for place, own in enumerate(SCREENS):
        cells = []
        for number in numbers:
            taus = [one[place] for one in found[number] if math.isfinite(one[place])]
            cells.append(cell(taus, searches))
        optimism = f", optimism {own['optimism']:g}" if "optimism" in own else ""
        yield f"| {own['name']}{optimism} | " + " | ".join(cells) + " |"


def cell(taus: Sequence[float], searches: int) -> str:
    """Write a mean with its interval, and in how many of the searches there was an order at all."""
    if len(taus) < FEWEST:
        return "no order"
    interval = mean_interval(taus)
    some = f" ({len(taus)} of {searches})" if len(taus) < searches else ""
    return f"{interval.mean:+.2f} ({interval.low:+.2f} … {interval.high:+.2f}){some}"


def run(arguments: argparse.Namespace) -> str:
    """Rank codes for small objects."""
    del arguments
    return main([])


def main(arguments: Sequence[str] | None = None) -> str:
    """Search, rank, compare; return the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=100, help="independent ones, of which each screen ranks")
    parser.add_argument("--trainings", default="12,25,50", help="of a search, before the screens rank the rest")
    parser.add_argument("--data", action="append", choices=DATA, help="kind of data; small where none is named")
    given = parser.parse_args(arguments)
    numbers = [int(part) for part in given.trainings.split(",")]
    return "\n\n".join("\n".join(lines(data, numbers, given.searches)) for data in given.data or ["small"])


if __name__ == "__main__":
    print(main())
