"""Which evaluations tell by how much scores differ that are alike but for their seed, and what they say."""

import math

import pytest
from filled import Filled

from spnas_core.morphisms import identity
from spnas_search.archive import Proposal


def test_noise_pools_variances_by_degrees_of_freedom(tmp_path):
    filled = Filled(tmp_path)
    with filled.archive as archive:
        for epochs, scores in ((1, (1.0, 3.0)), (2, (5.0, 6.0, 7.0)), (3, (9.0,))):
            for score in scores:
                filled.control(0, score, epochs)
        assert archive.noise(1) == pytest.approx(math.sqrt(2))
        assert archive.noise(2) == pytest.approx(1.0)
        assert archive.noise(3) is None
        assert archive.noise() == pytest.approx(math.sqrt((2 * 1 + 1 * 2) / 3))


def test_what_was_scored_again_for_its_own_high_score_does_not_count_that_one(tmp_path):
    filled = Filled(tmp_path)
    with filled.archive as archive:
        child = archive[filled.child(9.0)]
        again = Proposal("replicate", child.parent, child.rewrite, child.fidelity, subject=child.id)
        filled.enter([again, again], [1.0, 3.0])
        assert archive.noise() == pytest.approx(math.sqrt(2))


def test_warm_starts_of_the_verdict_are_no_noise_of_the_search(tmp_path):
    """They are trained from scratch, and what the search compares are branches of one file."""
    filled = Filled(tmp_path)
    with filled.archive as archive:
        for score in (0.50, 0.51):
            filled.control(0, score)
        before = archive.noise()
        warm = Proposal("warm", None, identity(archive.start.architecture), archive.start.fidelity, subject=0)
        filled.enter([warm, warm], [0.2, 0.8])
        assert archive.noise() == before
