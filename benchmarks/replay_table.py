"""Trains every architecture of a small space several times, and keeps the table that the task `replay` answers from.

    python benchmarks/replay_table.py [--data small] [--data large] [--repetitions 3] [--every N] [--minutes N]

The space is what swap and one expand make of `b@8_11-21-21-21`: 259 codes of 8 and 9 blocks in 4 stages. Trainings
that are in the table already are left out, so the command goes on where it was stopped, on another machine too. It
trains one repetition of everything before the next (of every N-th code with --every), then some more of the start, and
says in the end how much of the scores' variance the codes explain. Per core a training takes about 40 seconds.
"""

import argparse
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, mode

from spnas_core.encoding import Architecture
from spnas_core.morphisms import identity
from spnas_core.tasks import Fidelity, Progress
from spnas_search.replay.table import COSTS, Row, read_rows, write_table
from spnas_search.settings import resolve
from spnas_search.statistics import heritability
from spnas_search.studies import Job, Study, Training, TrainingKey, build_task, fill, resume_study, start_study

TABLE = Path(__file__).resolve().parent / "data" / "shapes-replay.csv.gz"
START = "b@8_11-21-21-21"
EPOCHS = 6
BETWEEN = [2, 4]
"""Epochs in the middle of a training whose scores are kept, too."""
METRICS = ("AP", "AP50", "AP75")
IMAGES = {"train": 1024, "validation": 300, "test": 1, "merged": True}
DATA = {
    "small": {"min_size": 8, "max_size": 32},
    "large": {"min_size": 16, "max_size": 56, "objects": [3, 6]},
}
"""Options of the generated images by the name of the data."""
DETECTOR = {"neck_channels": 16, "head_channels": 64}
"""A neck and heads that leave the work to the backbone.

Classes are merged, since what they need is an outline that some trainings learn to tell late and others early; where
objects are and how large is learned steadily. The heritability that this gives is what the command prints in the end.
"""
SAVED_EVERY = 10
OF_START = 8
"""Repetitions of the start at least. A search measures the noise by replicates of it, and of two trainings, drawn with
replacement, these would differ by half of the variance."""

Rows = list[Row]


def codes(start: str = START) -> list[str]:
    """Return the codes that swap, and at most one expand, reach from the start, sorted."""
    digits = "".join(Architecture.parse(start).stages)
    longer = {f"{digits[:place]}1{digits[place:]}" for place in range(1, len(digits) + 1)}
    stages = len(Architecture.parse(start).stages)
    found = set()
    for sequence in {digits, *longer}:
        for borders in itertools.combinations(range(1, len(sequence)), stages - 1):
            ends = zip((0, *borders), (*borders, len(sequence)), strict=True)
            found.add("-".join(sequence[low:high] for low, high in ends))
    prefix = start.partition("_")[0]
    return sorted(str(Architecture.parse(f"{prefix}_{code}")) for code in found)


def settings_of(data: str) -> dict[str, object]:
    """Return the configuration of the trainings on one kind of data."""
    task = {
        "name": "detection",
        "data": "shapes",
        "data_options": {**IMAGES, **DATA[data]},
        "detector": DETECTOR,
        "score_after": BETWEEN,
    }
    return {"seed": 0, "start": START, "task": task, "executor": {"workers": "auto"}}


def key(code: str, repetition: int) -> TrainingKey:
    """Name a training."""
    return TrainingKey(code, "scratch", EPOCHS, repetition)


def job(code: str, repetition: int) -> Job:
    """Describe a training from fresh weights."""
    return Job(key(code, repetition), identity(Architecture.parse(code)), Fidelity(EPOCHS))


class OutOfTimeError(Exception):
    """The minutes are over."""


class Collector:
    """Takes finished trainings into the table.

    Args:
        rows: of the table so far; grows.
        path: of the table.
        data: name of the data.
        until: moment, on the monotonic clock, after which no further training is waited for.
    """

    def __init__(self, rows: Rows, path: Path, data: str, until: float) -> None:
        self._rows, self._path, self._data, self._until = rows, path, data, until
        self._unsaved = 0

    def message(self, text: str) -> None:
        """Print it."""
        print(text, flush=True)

    def progress(self, progress: Progress) -> None:
        """Ignore it."""

    def finished(self, training: Training) -> None:
        """Enter a training, and save the table now and then.

        Raises:
            OutOfTimeError: the minutes are over.
        """
        if training.has_failed:
            print(f"{training.key} failed: {training.reason}", flush=True)
            return
        self._rows += rows_of(self._data, training)
        self._unsaved += 1
        if self._unsaved >= SAVED_EVERY:
            self.save()
        if time.monotonic() > self._until:
            raise OutOfTimeError

    def save(self) -> None:
        """Write the table."""
        write_table(self._path, self._rows, METRICS)
        self._unsaved = 0
        print(f"{time.strftime('%H:%M:%S')} {len(trained(self._rows))} trainings in {self._path.name}", flush=True)


def rows_of(data: str, training: Training) -> Rows:
    """Make the lines of the table of a training: one per age at which it was scored."""
    own = training.key
    costs = {name: int(training.cost[name]) for name in COSTS}
    return [
        {
            "data": data,
            "code": own.code,
            "repetition": own.repetition,
            "epochs": epochs,
            **costs,
            **{name: metrics.get(name, math.nan) for name in METRICS},
        }
        for epochs, metrics in {**training.partial, own.epochs: training.metrics}.items()
    ]


def open_study(folder: Path, data: str) -> Study:
    """Open the folder of the trainings on one kind of data."""
    kind = "replay"
    if (folder / "study.toml").exists():
        return resume_study(folder, kind, lambda *_: None)
    settings = resolve(settings_of(data))
    return start_study(folder, kind, settings, build_task(settings), lambda *_: None, own={"data": data})


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", action="append", choices=DATA, help="kind of data; all where none is named")
    parser.add_argument("--repetitions", type=int, default=3, help="independent trainings of each code")
    parser.add_argument("--every", type=int, default=1, help="take each N-th code alone")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no more is waited for")
    parser.add_argument("--work", type=Path, default=Path("runs/replay-table"), help="folder for caches and results")
    parser.add_argument("--out", type=Path, default=TABLE, help="the table")
    given = parser.parse_args(arguments)
    until = time.monotonic() + 60 * given.minutes
    wanted, names = codes()[:: given.every], given.data or list(DATA)
    rows: Rows = list(read_rows(given.out)) if given.out.exists() else []
    done = trained(rows)
    print(f"{len(wanted)} codes x {given.repetitions} repetitions x {len(names)} kinds of data; {len(done)} are done")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for repetition, data in itertools.product(range(max(given.repetitions, OF_START)), names):
        codes_now = wanted if repetition < given.repetitions else [START]
        jobs = [job(code, repetition) for code in codes_now if (data, code, repetition) not in done]
        if not jobs:
            continue
        collector = Collector(rows, given.out, data, until)
        try:
            with open_study(given.work / data, data) as study:
                for known in [study.results.trainings.get(one.key) for one in jobs]:
                    if known is not None and not known.has_failed:
                        rows += rows_of(data, known)
                fill(study, jobs, collector)
        except OutOfTimeError:
            print("out of time")
            return
        finally:
            collector.save()
    for line in (*explained(rows), *above_start(rows)):
        print(line)


def trained(rows: Rows) -> set[tuple[object, ...]]:
    """Return which trainings are in the table, that has a line for each age of each."""
    return {(one["data"], one["code"], one["repetition"]) for one in rows}


def explained(rows: Rows) -> Iterator[str]:
    """Say of each kind of data and age how much of the variance of a score is the codes'."""
    groups: dict[tuple[str, int], dict[str, list[float]]] = {}
    for one in rows:
        found = groups.setdefault((str(one["data"]), int(one["epochs"])), {})
        found.setdefault(str(one["code"]), []).append(float(one[METRICS[0]]))
    for (data, epochs), by_code in sorted(groups.items()):
        repeated = [scores for scores in by_code.values() if len(scores) > 1]
        if len(repeated) > 1:
            found = heritability(repeated)
            yield (
                f"{data}, {epochs} epochs, {found.codes} codes: heritability {found.share:.2f} "
                f"({found.low:.2f} ... {found.high:.2f}); standard deviation of codes "
                f"{math.sqrt(found.between_clipped):.4f}, of luck {math.sqrt(found.within):.4f}"
            )


def above_start(rows: Rows) -> Iterator[str]:
    """Say of each kind of data what there is to be found: by how much the best code is above the start, by cost.

    Only codes that were trained as often as most are count. The best of many means of few trainings is lucky, too.
    """
    last = max(int(one["epochs"]) for one in rows)
    for data in DATA:
        scores: dict[str, list[float]] = {}
        cost = {}
        for one in rows:
            if one["data"] == data and int(one["epochs"]) == last:
                scores.setdefault(str(one["code"]), []).append(float(one[METRICS[0]]))
                cost[str(one["code"])] = float(one["multiply_adds"])
        if START not in scores:
            continue
        count = mode(len(known) for code, known in scores.items() if code != START)
        means = {code: fmean(known) for code, known in scores.items() if len(known) >= count}
        for most in (1.5, math.inf):
            inside = [code for code in means if cost[code] <= most * cost[START]]
            best = max(inside, key=lambda code: means[code])
            bound = "of whatever cost" if most == math.inf else f"of at most {most:g} times the start's multiply-adds"
            yield (
                f"{data}, {last} epochs, trainings of each: {count}, {len(inside)} codes {bound}: the best, {best} "
                f"({cost[best] / cost[START]:.2f}x), is {means[best] - means[START]:+.3f} above the start"
            )


if __name__ == "__main__":
    main()
