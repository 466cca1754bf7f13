"""How well weights that all parts of a network share rank these parts, against a table of trainings alone.

    python benchmarks/supernet.py [--data small] [--epochs 24] [--every 1] [--batches 50] [--images 1024] [--seeds 1]

The network is the largest that has all codes of the replay table as parts (`benchmarks/replay_table.py` trained each of
them alone, and named data and detector). It is trained on paths drawn among parts of 8 and 9 blocks, then each code is
scored with its weights, norm statistics gathered anew; Kendall's tau compares these scores with the codes' mean ones.
Per core an epoch takes about ten seconds, and a score three.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from replay_table import DATA, DETECTOR, EPOCHS, IMAGES, METRICS, TABLE
from spnas_core.encoding import Architecture
from spnas_core.morphisms import identity
from spnas_core.space import SearchSpace
from spnas_core.supernets import part_of
from spnas_core.tasks import EvaluationRequest, Fidelity, SharedTraining
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_search.replay.table import ReplayTable, read_table
from spnas_search.statistics import rank_correlation

TITLE = "Scores with shared weights against trainings alone"
LARGEST = "b@8_111-211-211-211"
"""Between its doublings it has as many blocks as any code of the table: swap and one expand of `b@8_11-21-21-21`."""
SPACE = SearchSpace(min_blocks=8, max_blocks=9, min_stages=4, max_stages=4)
METRIC = METRICS[0]


def alone(table: ReplayTable) -> dict[str, float]:
    """Return the mean score of each code, over its trainings to the end."""
    return {
        code: fmean(found[METRIC] for found in by_age[EPOCHS].values())
        for code, by_age in sorted(table.trained.items())
        if EPOCHS in by_age
    }


def shared(
    codes: Sequence[str], data: str, *, epochs: int, batches: int, images: int, seed: int, folder: Path
) -> dict[str, float]:
    """Train the network, and return the score of each code with its weights."""
    task = DetectionTask(
        DetectionSettings.model_validate(
            {
                "data_options": {**IMAGES, **DATA[data], "train": images},
                "detector": DETECTOR,
                "recalibration_batches": batches,
            }
        )
    )
    task.prepare(folder, lambda *_: None)
    start, weights = Architecture.parse(LARGEST), folder / "supernet.safetensors"
    training = EvaluationRequest(
        0, identity(start), None, weights, Fidelity(epochs), seed, sharing=SharedTraining(SPACE)
    )
    told = task.evaluate(training, lambda _: None)
    parts = told.receipt["parts_trained"]
    print(f"seed {seed}: {parts} parts trained in {told.seconds:.0f} s", file=sys.stderr, flush=True)
    found = {}
    for number, code in enumerate(codes, 1):
        part = part_of(start, Architecture.parse(code))
        request = EvaluationRequest(number, part, weights, None, Fidelity(0), seed)
        found[code] = task.evaluate(request, lambda _: None).metrics[METRIC]
    return found


def lines(given: argparse.Namespace) -> Iterator[str]:
    """Yield a line of the table for each seed, and one for all."""
    single = alone(read_table(given.table, given.data))
    codes = list(single)[:: given.every]
    yield f"{len(codes)} codes, {METRIC}, supernet {LARGEST} of {given.epochs} epochs, data {given.data}"
    yield ""
    yield "| seed | Kendall's tau | 95 % interval |"
    yield "| --- | --- | --- |"
    pairs = []
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as name:
            scores = shared(
                codes,
                given.data,
                epochs=given.epochs,
                batches=given.batches,
                images=given.images,
                seed=seed,
                folder=Path(name),
            )
        pairs.append(([scores[code] for code in codes], [single[code] for code in codes]))
        yield row(str(seed), pairs[-1:])
    if len(pairs) > 1:
        yield row("all", pairs)


def row(name: str, pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> str:
    """Write a line."""
    tau = rank_correlation(list(pairs), "kendall")
    return f"| {name} | {tau.value:+.2f} | {tau.low:+.2f} … {tau.high:+.2f} |"


def run(arguments: argparse.Namespace) -> str:
    """Compare every fourth code on small objects, with three supernets."""
    del arguments
    return main(["--every", "4", "--seeds", "3"])


def main(arguments: Sequence[str] | None = None) -> str:
    """Train, score, compare; return the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=DATA, default="small", help="kind of data")
    parser.add_argument("--epochs", type=int, default=24, help="of the supernet")
    parser.add_argument("--every", type=int, default=1, help="take each N-th code alone")
    parser.add_argument("--batches", type=int, default=50, help="over which a part's norms gather their statistics")
    parser.add_argument("--images", type=int, default=IMAGES["train"], help="training images, for trying it out")
    parser.add_argument("--seeds", type=int, default=1, help="independent supernets")
    parser.add_argument("--table", type=Path, default=TABLE, help="of trainings alone")
    return "\n".join(lines(parser.parse_args(arguments)))


if __name__ == "__main__":
    print(main())
