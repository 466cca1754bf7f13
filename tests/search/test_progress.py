"""A search is stuck by a stated error rate: seldom while there is progress, nearly always when there is none."""

import math
import random

import numpy as np
import pytest
from driving import SCORE, START
from scipy import stats

from spnas_core.morphisms import Rewrite, Step, identity
from spnas_core.tasks import Evaluation, Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.statistics import pooled_spread, progress_threshold
from spnas_search.strategies.mutation import draw_rewrite, weighted_morphisms
from spnas_search.strategies.progress import is_progress, why_stuck

EPOCHS = Fidelity(1)
ODDS = weighted_morphisms({"swap": 1.0, "expand": 0.4, "add-stage": 0.1}, 2)


class Searched:
    """An archive of children of the start, or of one another, with made-up scores.

    All are of one architecture, but where the rule looks at what architectures have in common.
    """

    def __init__(self, folder, ranking: str) -> None:
        self.archive = Archive.create(folder / f"{ranking}.db", objective=SCORE, run_seed=0, ranking=ranking)
        self.archive._connection.execute("PRAGMA synchronous = OFF")  # what is tested here is not the disk
        self._rng = np.random.default_rng(0)

    def add(self, kind: str, parent: int | None, score: float) -> int:
        known = START if parent is None else self.archive[parent].architecture
        rewrite = identity(known)
        if kind == "child" and self.archive.rule.name == "traits":
            rewrite = draw_rewrite(known, ODDS, 3, self._rng)
        elif kind == "child":
            rewrite = Rewrite(known, known, rewrite.block_map, (Step("expand", "nothing", None),))
        (entered,) = self.archive.commit_round([Proposal(kind, parent, rewrite, EPOCHS)], threads=1)
        self.archive.finish(entered.id, Evaluation({"score": score}, {}), None)
        return entered.id


@pytest.fixture
def searched(tmp_path):
    opened = []

    def make(ranking: str) -> Searched:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(Searched(folder, ranking))
        return opened[-1]

    yield make
    for made in opened:
        made.archive.close()


def search(made: Searched, rng: random.Random, children: int, gain: float, window: int = 30) -> int | None:
    """Rounds of two children of one of the best four, each better than its parent by ``gain`` noise deviations.

    Returns:
        Children after which it was stuck; None where it never was.
    """
    archive = made.archive
    truth = {made.add("start", None, rng.gauss(0, 1)): 0.0}
    # A rule with controls knows the noise from replicates alone: four of them are off by a factor of two now and then.
    for _ in range(16 if archive.rule.needs_controls else 4):
        made.add("control", 0, rng.gauss(0, 1))
    controlled, oldest = {0}, 1
    for done in range(0, children, 2):
        if why_stuck(archive, window, 0.1):
            return done
        pool = archive.best(4)
        for parent in [rng.choice(pool).id for _ in range(2)]:
            if archive.rule.needs_controls and parent not in controlled:
                made.add("control", parent, truth[parent] + rng.gauss(0, 1))
                controlled.add(parent)
            quality = truth[parent] + gain
            child = made.add("child", parent, quality + rng.gauss(0, 1))
            truth[child] = quality
            if archive.rule.needs_ages and archive[child].age > archive[oldest].age:
                oldest = made.add("control", oldest, rng.gauss(0, 1))
    return children if why_stuck(archive, window, 0.1) else None


@pytest.mark.parametrize("ranking", ["prediction", "traits", "gains"])
def test_without_any_effect_nearly_all_searches_end_as_stuck(searched, ranking):
    ended = [search(searched(ranking), random.Random(seed), 60, gain=0.0) for seed in range(20)]
    assert sum(after is not None for after in ended) >= 18, ended


@pytest.mark.parametrize("ranking", ["prediction", "traits"])
def test_with_gains_of_two_noise_deviations_few_searches_end_early(searched, ranking):
    # Gains over controls are twice as noisy and know only a child and its parent: there it is one in four.
    ended = [search(searched(ranking), random.Random(seed), 60, gain=2.0) for seed in range(20)]
    assert sum(after is not None for after in ended) <= 2, ended


@pytest.mark.parametrize("ranking", ["prediction", "traits"])
def test_without_any_effect_the_winner_leads_by_no_more_than_its_error(searched, ranking):
    ratios = []
    for seed in range(20):
        made = searched(ranking)
        search(made, random.Random(seed), 60, gain=0.0, window=1000)
        winner = made.archive.best(1)[0]
        error = made.archive.lead_error(winner)
        ratios.append(0.0 if not error else made.archive.lead(winner) / error)
    assert abs(sum(ratios) / len(ratios)) <= 2, ratios


def test_progress_is_decided_by_the_error_of_a_gain(searched):
    made = searched("gains")
    made.add("start", None, 0.5)
    for score in (0.4, 0.5, 0.6):
        made.add("control", 0, score)
    archive = made.archive
    threshold = stats.norm.isf(0.1 / 2) * 0.1 * math.sqrt(1 + 1 / 3)
    just, barely = (archive[made.add("child", 0, 0.5 + threshold * factor)] for factor in (1.001, 0.999))
    assert is_progress(archive, just, 2, 0.1)
    assert not is_progress(archive, barely, 2, 0.1)
    assert why_stuck(archive, 2, 0.1) is None
    made.add("child", 0, 0.5)
    assert "none of the last 2 children was better than its parent by more than chance" in why_stuck(archive, 2, 0.1)
    assert why_stuck(archive, 4, 0.1) is None, "there are not so many children yet"


def test_without_a_control_or_a_noise_there_is_no_progress(searched):
    made = searched("gains")
    made.add("start", None, 0.5)
    made.add("child", 0, 0.99)
    assert why_stuck(made.archive, 1, 0.1) is not None
    made.add("control", 0, 0.5)
    assert why_stuck(made.archive, 1, 0.1) is not None, "one control measures no noise"


def test_the_threshold_keeps_its_error_rate_over_all_children_together():
    z = progress_threshold(0.1, 30)
    assert 1 - stats.norm.cdf(z) == pytest.approx(0.1 / 30)
    assert progress_threshold(0.1, 60) > z > progress_threshold(0.2, 30)


def test_spreads_are_pooled_by_their_degrees_of_freedom():
    assert pooled_spread([[1.0], []]) is None
    assert all(pooled_spread([[score] * 5]).deviation == 0 for score in np.random.default_rng(0).random(200))
    spread = pooled_spread([[1.0, 3.0], [5.0, 6.0, 7.0], [9.0]])
    assert spread.freedom == 3
    assert spread.deviation == pytest.approx(math.sqrt((2 + 2) / 3))
