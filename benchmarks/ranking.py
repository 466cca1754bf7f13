"""What a large archive costs: ranking it, proposing a round, asking whether the search is stuck, listing everything."""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from spnas_core import Architecture, SearchSpace
from spnas_core.morphisms import Expand, Rewrite, Swap, identity
from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
from spnas_search.archive import Archive, Proposal
from spnas_search.ranking import RuleName
from spnas_search.reports import candidate_lines
from spnas_search.screens import ScreenedStrategy
from spnas_search.screens.prediction import PredictionScreen, PredictionScreenSettings
from spnas_search.strategies import Serial, SerialSettings

TITLE = "A large archive, ranked"
START = Architecture.parse("b@8_11-21-21-21")
SPACE = SearchSpace(max_stages=7, image_size=(64, 64))
SIZES = (1_000, 12_000, 100_000)
ROUND, YOUNGEST, MOST_BLOCKS = 500, 200, 40
FIDELITY = Fidelity(4)
TURNS = 5
RULES: tuple[RuleName, ...] = ("prediction", "traits")
STRATEGY = Serial(SerialSettings(), SPACE)
SCREEN = PredictionScreen(PredictionScreenSettings(optimism=1.0), SPACE)
SCREENED = ScreenedStrategy("serial", STRATEGY, SPACE, SCREEN, "prediction", draws=32)
QUESTIONS: dict[str, Callable[[Archive], object]] = {
    "rank": lambda archive: archive.best(4),
    "and propose 2": lambda archive: STRATEGY.propose(archive, np.random.default_rng(0)),
    "and choose 2 of 64": lambda archive: SCREENED.propose(archive, np.random.default_rng(0)),
    "and ask whether stuck": STRATEGY.stuck,
    "and list all": lambda archive: list(candidate_lines(archive, archive)),
}


def run(_: argparse.Namespace) -> str:
    """Fill archives, time the questions, and return the table."""
    rows = [f"| candidates | rule | {' | '.join(QUESTIONS)} |", "|---" * (2 + len(QUESTIONS)) + "|"]
    for size in SIZES:
        for rule in RULES:
            with tempfile.TemporaryDirectory() as folder, filled(Path(folder), size, rule) as archive:
                cells = " | ".join(f"{1e3 * seconds(archive, question):.1f} ms" for question in QUESTIONS.values())
                rows.append(f"| {size} | `{rule}` | {cells} |")
    return "\n".join([f"Best of {TURNS}; scores are made up, and the archive is asked anew each time.", "", *rows])


def filled(folder: Path, size: int, rule: RuleName) -> Archive:
    """Return an archive whose children descend from one of the youngest, with made-up scores."""
    archive = Archive.create(folder / "archive.db", objective=MetricSpec("score"), run_seed=0, ranking=rule)
    rng = np.random.default_rng(0)

    def enter(proposals: list[Proposal]) -> None:
        for candidate in archive.commit_round(proposals, threads=1):
            cost = {"multiply_adds": 1e6 * (1 + rng.random())}
            archive.finish(candidate.id, Evaluation({"score": 0.5 + 0.03 * rng.normal()}, cost), None)

    enter([Proposal("start", None, identity(START), FIDELITY)])
    enter([Proposal("control", 0, identity(START), FIDELITY)] * 4)
    nodes = [0]
    while len(nodes) < size:
        parents = rng.integers(max(0, len(nodes) - YOUNGEST), len(nodes), min(ROUND, size - len(nodes)))
        before = len(archive)
        numbers = [nodes[place] for place in parents.tolist()]
        enter([Proposal("child", number, child_of(archive[number].architecture, rng), FIDELITY) for number in numbers])
        nodes += range(before, len(archive))
    return archive


def child_of(parent: Architecture, rng: np.random.Generator) -> Rewrite:
    """Draw a neighbour; deep networks are not made deeper."""
    swaps = Swap().options(parent)
    grows = not swaps or (len(parent.digits) < MOST_BLOCKS and rng.random() < 0.5)
    options = Expand().options(parent) if grows else swaps
    return options[int(rng.integers(len(options)))]


def seconds(archive: Archive, question: Callable[[Archive], object]) -> float:
    """Time a question to an archive that has just learnt something."""
    best = float("inf")
    for _ in range(TURNS):
        archive._standing._forget()  # noqa: SLF001 - as a new score would make it
        began = time.perf_counter()
        question(archive)
        best = min(best, time.perf_counter() - began)
    return best
