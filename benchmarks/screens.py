"""How well screens rank architectures that a search has not trained yet, against trainings that it never saw.

    python benchmarks/screens.py [--searches 100] [--trainings 12,25,50] [--data small] [--data large] [--data tiny]

Of a table of trainings from fresh weights an archive gets some: the start's, up to four replicates of it, and single
trainings of codes that are drawn at random. Each screen then ranks all other codes of the table. Kendall's tau compares
its order with that of the codes' mean scores; it is shown as the mean over draws, with a 95 % interval. ``small`` and
``large`` are the replay table's (`benchmarks/replay_table.py` made it); ``tiny`` is what ten searches on tiny objects
have scored (`benchmarks/collect.py` collected it), mostly once for each code.
"""

import argparse
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from replay import METRIC, SPACE, TABLE
from replay_table import EPOCHS, START
from spnas_core.encoding import Architecture
from spnas_core.morphisms import align, identity
from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
from spnas_search.archive import Archive, Proposal
from spnas_search.replay import read_table
from spnas_search.screens import screen_plugin
from spnas_search.settings.models import SpaceSettings
from spnas_search.statistics import mean_interval
from spnas_search.statistics.correlation import kendall

TITLE = "How well screens rank what is not trained yet"


@dataclass(frozen=True)
class Trainings:
    """Trainings to rank.

    Attributes:
        table: file.
        epochs: of each.
        space: settings of the space that the codes are of.
    """

    table: Path
    epochs: int
    space: Mapping[str, Any]


REPLAY = Trainings(TABLE, EPOCHS, SPACE)
TINY = Trainings(TABLE.with_name("tiny-scores.csv.gz"), 4, {"sampling": "any", "max_blocks": 12, "max_stages": 5})
DATA = {"small": REPLAY, "large": REPLAY, "tiny": TINY}
IMAGE_SIZE = (128, 128)
REPLICATES = 4
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
    """Return the tau of each screen after one draw; not a number where a screen says the same of all codes."""
    kind, rng = DATA[data], np.random.default_rng(seed)
    table, fidelity, start = read_table(kind.table, data), Fidelity(kind.epochs), Architecture.parse(START)
    space = SpaceSettings(**kind.space).build(start, IMAGE_SIZE)
    by_code = {code: [*by_age[kind.epochs].values()] for code, by_age in table.trained.items() if kind.epochs in by_age}
    alike = rng.permutation(len(by_code[START]))[: REPLICATES + 1]
    drawn = rng.permutation(sorted(by_code.keys() - {START})).tolist()
    seen, others = drawn[: max(0, trainings - len(alike))], drawn[max(0, trainings - len(alike)) :]

    def child(code: str) -> Proposal:
        return Proposal("child", 0, align(start, Architecture.parse(code)), fidelity)

    with tempfile.TemporaryDirectory() as folder, new_archive(Path(folder), seed) as archive:

        def enter(proposal: Proposal, code: str, repetition: int) -> None:
            (entered,) = archive.commit_round([proposal], threads=1)
            archive.finish(entered.id, Evaluation(by_code[code][repetition], table.costs[code]), None)

        enter(Proposal("start", None, identity(start), fidelity), START, int(alike[0]))
        for repetition in alike[1:]:
            enter(Proposal("control", 0, identity(start), fidelity), START, int(repetition))
        for code in seen:
            enter(child(code), code, int(rng.integers(len(by_code[code]))))
        truth = [fmean(one[METRIC] for one in by_code[code]) for code in others]
        proposals, found = [child(code) for code in others], []
        for own in SCREENS:
            plugin = screen_plugin(str(own["name"]))
            screen = plugin.build(plugin.settings(**own), space)
            found.append(tau(screen.preferences(archive, proposals), truth))
        return found


def new_archive(folder: Path, seed: int) -> Archive:
    """Return an empty archive of a search whose children begin with fresh weights."""
    objective = MetricSpec(METRIC)
    return Archive.create(folder / "archive.db", objective=objective, run_seed=seed, ranking="traits", inherit="none")


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
    """Rank codes for small and for tiny objects."""
    del arguments
    return main([])


def main(arguments: Sequence[str] | None = None) -> str:
    """Draw, rank, compare; return the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=100, help="independent draws, after which each screen ranks")
    parser.add_argument("--trainings", default="12,25,50", help="that are seen before the screens rank the rest")
    parser.add_argument(
        "--data", action="append", choices=DATA, help="kind of data; small and tiny where none is named"
    )
    given = parser.parse_args(arguments)
    numbers = [int(part) for part in given.trainings.split(",")]
    return "\n\n".join("\n".join(lines(data, numbers, given.searches)) for data in given.data or ["small", "tiny"])


if __name__ == "__main__":
    print(main())
