"""Does a row pay? A parallel child against its serial network, and against that one deepened or widened to its cost."""

import argparse
import itertools
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from spnas_core.commands.wording import amount
from spnas_core.configuration import read_toml
from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.morphisms import Expand, Widen, identity
from spnas_core.tasks import Fidelity, Progress
from spnas_search.run import CONFIG, read_archive
from spnas_search.settings import resolve
from spnas_search.statistics import Interval, difference_interval
from spnas_search.studies import Job, Training, TrainingKey, build_task, fill, resume_study, start_study

TITLE = "Does a row pay?"
MOST_EXPANDS = 6


@dataclass(frozen=True)
class Sides:
    """What is compared.

    Attributes:
        serial: the network without rows.
        parallel: with the rows that the search has found.
        deeper: the serial one with more blocks, of nearly the multiply-adds of the parallel one.
        wider: the serial one with channels doubled earlier or once more, likewise.
    """

    serial: Architecture
    parallel: Architecture
    deeper: Architecture
    wider: Architecture

    def named(self) -> dict[str, Architecture]:
        """By their names in the table."""
        return {"serial": self.serial, "with rows": self.parallel, "deeper": self.deeper, "wider": self.wider}


def run(arguments: argparse.Namespace) -> str:
    """Train what each run has found, and return a table for each."""
    if not arguments.run:
        raise SystemExit("rows needs --run FOLDER, of a search with parallel rows; it may be repeated")
    return "\n\n".join(_compared(Path(folder), arguments) for folder in arguments.run)


def sides_of(run_folder: Path, image_size: tuple[int, int]) -> Sides:
    """Take the best child with rows of a run, and make what it is compared with."""
    with read_archive(run_folder) as archive:
        found = [one.architecture for one in archive.best(len(archive)) if one.architecture.rows]
    if not found:
        raise SystemExit(f"{run_folder} has no child with rows")
    parallel = found[0]
    serial = replace(parallel, rows=(), shares_rows=False)
    wanted = backbone_cost(parallel, *image_size).multiply_adds

    def distance(code: Architecture) -> tuple[float, str]:
        return abs(math.log(backbone_cost(code, *image_size).multiply_adds / wanted)), str(code)

    return Sides(serial, parallel, min(_deepened(serial), key=distance), min(_widened(serial), key=distance))


def _deepened(serial: Architecture) -> Iterator[Architecture]:
    known = {serial}
    for _ in range(MOST_EXPANDS):
        known = {rewrite.child for code in known for rewrite in Expand().options(code)}
        yield from known


def _widened(serial: Architecture) -> Iterator[Architecture]:
    once = {rewrite.child for rewrite in Widen(max_step=len(serial.digits)).options(serial)}
    twice = {rewrite.child for code in once for rewrite in Widen().options(code)}
    yield from once | twice


class _Listener:
    def message(self, text: str) -> None:
        print(text, flush=True)

    def progress(self, progress: Progress) -> None:
        pass

    def finished(self, training: Training) -> None:
        print(f"{training.key} {training.reason or dict(training.metrics)}", flush=True)


def _compared(folder: Path, arguments: argparse.Namespace) -> str:
    own = read_toml(folder / CONFIG)
    settings = resolve({"seed": 0, "start": own["start"], "task": own["task"], "executor": {"workers": "auto"}})
    task = build_task(settings)
    sides = sides_of(folder, task.image_size)
    jobs = {
        (name, repetition): Job(
            TrainingKey(str(code), "scratch", arguments.epochs, repetition),
            identity(code),
            Fidelity(arguments.epochs),
            split="test",
        )
        for repetition, (name, code) in itertools.product(range(arguments.repetitions), sides.named().items())
    }
    work = Path(arguments.work or tempfile.mkdtemp()) / folder.name
    if (work / "study.toml").exists():
        study = resume_study(work, "rows", lambda *_: None)
    else:
        study = start_study(work, "rows", settings, task, lambda *_: None, own={})
    with study:
        fill(study, list(jobs.values()), _Listener())
        metric = settings.run.objective or task.metrics[0].name
        scores = {
            name: [
                study.results.trainings[jobs[name, number].key].metrics[metric]
                for number in range(arguments.repetitions)
            ]
            for name in sides.named()
        }
    return _table(folder, sides, scores, task.image_size, metric, arguments.epochs)


def _table(
    folder: Path, sides: Sides, scores: dict[str, list[float]], size: tuple[int, int], metric: str, epochs: int
) -> str:
    data = read_toml(folder / CONFIG)["task"]["data"].partition(":")[0]
    rows = []
    for name, code in sides.named().items():
        cost, own = backbone_cost(code, *size), scores[name]
        cells = (
            name,
            f"`{code}`",
            amount(cost.parameters),
            amount(cost.multiply_adds),
            " ".join(f"{score:.3f}" for score in own),
            f"{sum(own) / len(own):.3f}",
            "" if name == "serial" else _shown(difference_interval(own, scores["serial"])),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            f"`{data}`, {size[0]}×{size[1]}, {epochs} epochs from scratch, test {metric}, differences to `serial`.",
            "",
            "| | architecture | parameters | multiply-adds | trainings | mean | difference |",
            "|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def _shown(interval: Interval) -> str:
    return f"{interval.mean:+.3f} ({interval.low:+.3f} … {interval.high:+.3f})"
