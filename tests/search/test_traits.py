"""Architectures as numbers, and a ranking that learns from those that are alike."""

import numpy as np
import pytest
from filled import START, Filled

from spnas_core import Architecture
from spnas_core.morphisms import Expand, Swap
from spnas_core.tasks import Fidelity
from spnas_search.archive import Proposal
from spnas_search.archive.traits import traits_of


def test_traits_are_blocks_doublings_and_cost():
    codes = ["b@8_11-21-21", "b@8_1-1-2-121", "b@8_11121-2"]
    found = traits_of([Architecture.parse(code) for code in codes], [1.0, 2.0, 8.0])
    np.testing.assert_array_equal(
        found,
        [
            # blocks of four stages, doublings by the end of the first three, binary logarithm of the cost
            [2, 2, 2, 0, 0, 1, 2, 0],
            [1, 1, 1, 3, 0, 0, 1, 1],
            [5, 1, 0, 0, 1, 2, 2, 3],
        ],
    )


@pytest.mark.parametrize("ranking", ["traits", "prediction"])
def test_what_unrelated_children_share_counts_with_traits_alone(tmp_path, ranking):
    filled = Filled(tmp_path, ranking=ranking)
    with filled.archive as archive:
        for score in (0.5, 0.51, 0.49):
            filled.control(0, score)
        swaps, grown = list(Swap(max_step=1).options(START)), list(Expand().options(START))
        to_the_right = [option for option in swaps if len(option.child.stages[0]) > 2]
        to_the_left = [option for option in swaps if len(option.child.stages[0]) < 2]
        filled.enter([Proposal("child", 0, option, Fidelity(1)) for option in to_the_right], [0.7] * len(to_the_right))
        filled.enter([Proposal("child", 0, option, Fidelity(1)) for option in to_the_left], [0.3] * len(to_the_left))
        first, last = grown[1], grown[-1]  # one more block in the first stage, which was good, or in the last
        assert len(first.child.stages[0]) == 3
        assert len(last.child.stages[-1]) == 3
        leads, errors = archive.predict([Proposal("child", 0, option, Fidelity(1)) for option in (first, last)])
        assert leads[0] > leads[1] + 0.02
        assert np.isfinite(errors).all()
        numbers = filled.enter([Proposal("child", 0, option, Fidelity(1)) for option in (first, last)], [0.5, 0.5])
        one, other = (archive.lead(archive[number]) for number in numbers)
        assert (one > other + 1e-6) == (ranking == "traits"), "equal scores of equal kinds differ by traits alone"
