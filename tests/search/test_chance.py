"""Draws by weights, beside numpy's."""

import numpy as np
import pytest
from scipy import stats

from spnas_search.strategies.chance import draw_index


def test_draws_are_those_of_numpy():
    weights = np.random.default_rng(0).exponential(size=(200, 7)) * (np.random.default_rng(1).random((200, 7)) > 0.3)
    weights[:, 3] += 0.1
    ours, numpys = np.random.default_rng(2), np.random.default_rng(2)
    for row in weights:
        for _ in range(20):
            assert draw_index(row.tolist(), ours) == numpys.choice(len(row), p=row / row.sum())


def test_what_has_no_weight_is_never_drawn():
    rng = np.random.default_rng(0)
    assert {draw_index([0.0, 2.0, 0.0, 1.0, 0.0], rng) for _ in range(500)} == {1, 3}


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.4, 0.1), (3.0, 0.0, 5.0, 8.0)])
def test_draws_are_as_frequent_as_their_weights(weights):
    rng = np.random.default_rng(3)
    counts = np.bincount([draw_index(weights, rng) for _ in range(4000)], minlength=len(weights))
    possible = [place for place, weight in enumerate(weights) if weight]
    expected = [4000 * weights[place] / sum(weights) for place in possible]
    assert counts.sum() == 4000
    assert len(possible) == 1 or stats.chisquare(counts[possible], expected).pvalue > 1e-3
