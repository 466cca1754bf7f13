"""The example of docs/method.md, computed."""

from pathlib import Path

import numpy as np
import pytest

from spnas_search.ranking import PredictedMerit, Scores

PAGE = Path(__file__).resolve().parents[2] / "docs" / "method.md"


def test_the_example_by_hand_is_what_the_rule_computes(monkeypatch):
    monkeypatch.setattr("spnas_search.ranking.descent.RATIOS", np.array([1.0]))
    scores = Scores(
        parents=np.array([-1, 0]),
        steps=((), ("expand",)),
        nodes=np.array([0, 0, 0, 1]),
        ages=np.array([4.0, 4.0, 4.0, 4.0]),
        groups=np.array([0, 0, 0, 0]),
        values=np.array([0.500, 0.520, 0.510, 0.560]),
        own=np.array([True, False, False, True]),
        epochs=np.array([4, 4, 4, 4]),
    )
    fit = PredictedMerit().fit(scores)
    prior, seen = 1 + 1 / 4 + 4, 1 + 1 / 3
    lead, error = 0.050 * prior / (prior + seen), (prior * seen / (prior + seen)) ** 0.5
    assert fit.merits.leads[1] == pytest.approx(lead)
    assert fit.merits.errors[1] == pytest.approx(error * fit.noise)
    text = PAGE.read_text(encoding="utf-8")
    assert f"lead = y · r / (r + 1 + 1/3) = 0.050 · {prior:.2f} / {prior + seen:.3f} = {lead:.4f}" in text
    assert f"= {error:.3f} σ" in text
