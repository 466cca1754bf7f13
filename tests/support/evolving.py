"""Evolutions over archives that are filled by hand."""

import numpy as np
from filled import WIDE

from spnas_core import Architecture
from spnas_search.strategies import Evolution, EvolutionSettings

START = Architecture.parse("b@8_1111-2111-2111")


def evolution(**values):
    return Evolution(EvolutionSettings(**{"initial": 0, "round": 1} | values), WIDE)


def go_on(filled, strategy, rounds, scores=None):
    """Let a strategy propose; children score as drawn, so that who wins has nothing to do with age."""
    rng = np.random.default_rng(7)
    for number in range(rounds):
        proposals = strategy.propose(filled.archive, np.random.default_rng([number, len(filled.archive)]))
        assert proposals
        filled.enter(proposals, [rng.random() if scores is None else scores(one) for one in proposals])
