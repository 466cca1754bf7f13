"""Proposals per second of the serial strategy, with few and with many candidates in the archive."""

import argparse
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

from spnas_core import Architecture, SearchSpace, backbone_cost
from spnas_core.morphisms import identity
from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
from spnas_search.archive import Archive, Proposal
from spnas_search.strategies import Serial, SerialSettings

TITLE = "Proposals per second"
START = "r_111-2111-211111-211"
START_BLOCKS = 16
SIZES = (100, 1000, 10000)
ROUNDS = 60
SETTINGS = SerialSettings(round=4, pool=64, max_mutations=3, explore=0.0)


def evaluation(architecture: Architecture, rng: np.random.Generator) -> Evaluation:
    """A made-up score and the true cost.

    The score falls with the distance from the start's depth: deeper networks take longer to rewrite, and the rows are
    to differ in the size of the archive alone.
    """
    score = 1 - 0.1 * abs(len(architecture.digits) - START_BLOCKS) + rng.normal(0, 0.02)
    return Evaluation({"AP": float(score)}, backbone_cost(architecture, 224, 224).as_dict())


def fill(archive: Archive, strategy: Serial, count: int) -> None:
    """Let the strategy grow the archive, as a search would."""
    rng = np.random.default_rng(0)
    while len(archive) < count:
        proposals = []
        for child in strategy.propose(archive, rng):
            assert child.parent is not None
            if not archive.controls(child.parent, child.epochs):
                parent = archive[child.parent].architecture
                proposals.append(Proposal("control", child.parent, identity(parent), child.fidelity))
            proposals.append(child)
        unique = {(p.kind, p.parent, str(p.rewrite.child), p.epochs): p for p in proposals}
        for candidate in archive.commit_round(tuple(unique.values()), threads=1):
            archive.finish(candidate.id, evaluation(candidate.architecture, rng), None)


def draws_per_child(archive: Archive, strategy: Serial) -> float:
    """Count how many codes are drawn for each that is proposed."""
    drawn = proposed = 0
    known = archive.contains

    def counted(architecture: Architecture) -> bool:
        nonlocal drawn
        drawn += 1
        return known(architecture)

    with patch.object(archive, "contains", counted):
        for number in range(ROUNDS):
            proposed += len(strategy.propose(archive, np.random.default_rng([1, number])))
    return drawn / proposed


def run(_: argparse.Namespace) -> str:
    """Measure at each size and return the table."""
    space = SearchSpace(min_stages=4, max_stages=7, min_blocks=8, max_blocks=60)
    strategy = Serial(SETTINGS, space)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive.create(Path(folder) / "archive.db", objective=MetricSpec("AP"), run_seed=0)
        start = Architecture.parse(START)
        (candidate,) = archive.commit_round([Proposal("start", None, identity(start), Fidelity(1))], threads=1)
        archive.finish(candidate.id, evaluation(start, np.random.default_rng(1)), None)
        for size in SIZES:
            fill(archive, strategy, size)
            rates = []
            for number in range(ROUNDS):
                begin = time.perf_counter()
                proposals = strategy.propose(archive, np.random.default_rng([1, number]))
                rates.append(len(proposals) / (time.perf_counter() - begin))
            rows.append((len(archive), rates, draws_per_child(archive, strategy)))
        archive.close()
    first = np.median(rows[0][1])
    lines = [
        f"| {size} | **{np.median(rates):.0f} /s** | {np.quantile(rates, 0.1):.0f}–{np.quantile(rates, 0.9):.0f} /s "
        f"| {np.median(rates) / first:.2f}× | {draws:.1f} |"
        for size, rates, draws in rows
    ]
    head = (
        f"Serial search from `{START}`, rounds of {SETTINGS.round}, up to {SETTINGS.max_mutations} morphisms per child."
        " A draw that is known already, or outside the space, is made again.\n\n"
        "| candidates | median | spread (10–90 %) | of first row | draws per child |"
    )
    return "\n".join([head, "|---|---|---|---|---|", *lines])
