"""Collects what finished searches have scored into a table of trainings, for benchmarks that train nothing.

    python benchmarks/collect.py RUN... --data tiny --epochs 4 --out benchmarks/data/tiny-scores.csv.gz

Only what began with fresh weights (`inherit = "none"`) counts: start, controls, children and replicates, those of one
code as repetitions of it, in the order of the runs.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from spnas_core.errors import ConfigError
from spnas_search.archive import Archive
from spnas_search.replay.table import COSTS, Row, write_table
from spnas_search.run import read_archive

METRICS = ("AP", "AP50", "AP75")


def rows_of(archive: Archive, data: str, epochs: int, repetitions: Counter[str]) -> Iterator[Row]:
    """Yield the trainings of a search.

    Args:
        archive: of the search.
        data: name of the data in the table.
        epochs: of the trainings that count.
        repetitions: how many there are of each code so far; goes on.
    """
    for candidate in archive:
        is_alike = candidate.split == "validation" and candidate.epochs == candidate.age == epochs
        if candidate.status == "done" and is_alike:
            code = str(candidate.architecture)
            if missing := [name for name in METRICS if name not in candidate.metrics]:
                raise ConfigError(f"candidate {candidate.id}, {code}, has no score {missing[0]}, which the table has")
            costs = {name: int(candidate.cost[name]) for name in COSTS}
            metrics = {name: candidate.metrics[name] for name in METRICS}
            yield {"data": data, "code": code, "repetition": repetitions[code], "epochs": epochs, **costs, **metrics}
            repetitions[code] += 1


def main(arguments: Sequence[str] | None = None) -> str:
    """Collect, and say how many trainings of how many codes there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of searches")
    parser.add_argument("--data", required=True, help="name of the data in the table")
    parser.add_argument("--epochs", type=int, required=True, help="of the trainings that count")
    parser.add_argument("--out", type=Path, required=True, help="the table")
    given = parser.parse_args(arguments)
    repetitions: Counter[str] = Counter()
    rows = []
    for run in given.runs:
        with read_archive(run) as archive:
            if archive.inherit != "none":
                raise ConfigError(f"children of {run} inherit, so that their scores are no trainings of their own")
            rows += rows_of(archive, given.data, given.epochs, repetitions)
    write_table(given.out, rows, METRICS)
    return f"{len(rows)} trainings of {len(repetitions)} codes in {given.out}"


if __name__ == "__main__":
    print(main())
