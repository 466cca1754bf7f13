"""Leads do not depend on the order in which scores came in, whatever they are scores of."""

import numpy as np
import pytest

from spnas_core.encoding import Architecture
from spnas_core.morphisms import identity
from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
from spnas_search.archive import Archive, Proposal

SAME = identity(Architecture.parse("b@8_1-1"))
SCORE = MetricSpec("score")


@pytest.mark.parametrize("rule", ["prediction", "traits"])
def test_no_bit_of_a_lead_depends_on_the_order_in_which_settings_were_met(tmp_path, rule):
    fidelities = [Fidelity(2, share=0.5), Fidelity(2, image_size=(64, 64)), Fidelity(2), Fidelity(2, share=0.25)]
    rng = np.random.default_rng(0)
    values = rng.normal(0.5, 0.1, 1 + 4 * len(fidelities))
    found = []
    for name, order in (("one", range(len(values))), ("other", [0, *range(len(values) - 1, 0, -1)])):
        with Archive.create(tmp_path / f"{name}.db", objective=SCORE, run_seed=0, ranking=rule) as archive:
            archive.commit_round([Proposal("start", None, SAME, Fidelity(2))], threads=1)
            for fidelity in fidelities:
                for kind in ("control", "control", "child", "child"):
                    archive.commit_round([Proposal(kind, 0, SAME, fidelity)], threads=1)
            for number in order:
                archive.finish(number, Evaluation({"score": values[number]}, {"multiply_adds": 1 + number}), None)
            found.append([archive.place(candidate) for candidate in archive])
    assert found[0] == found[1]
    assert sum(place is not None for place in found[0]) == 1 + 2 * len(fidelities)
