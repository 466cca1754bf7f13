"""Predicted merit: the posterior mean of every candidate's lead, given all scores at once."""

from dataclasses import replace

from spnas_search.ranking._base import Merits, Scores
from spnas_search.ranking.descent import fit_descent
from spnas_search.ranking.posterior import DescentFit


class PredictedMerit:
    """Best linear unbiased prediction; the model is that of ``descent``, without traits.

    A lead is pulled towards what is to be expected of the candidate's lineage and its morphisms, the more so the less
    was measured of it, and its descendants' scores count too. Candidates without a score have a lead as well.

    With one child, scored once, and the start scored k times at the same age, the lead is ``r / (r + 1 + 1/k)`` times
    the difference of their scores, where ``r = ρ² (1 + 1/4 + 4)`` is the variance of a step and its kind's effect over
    the noise's: for ρ = 1 and k = 4, 0.81 of it.
    """

    name = "prediction"
    summary = "best linear unbiased prediction from all scores; needs no controls"
    needs_controls = False
    needs_ages = True

    def fit(self, scores: Scores) -> DescentFit:
        """Return leads together with the estimates behind them; it also predicts children that do not exist yet."""
        return fit_descent(replace(scores, traits=None))

    def rank(self, scores: Scores) -> Merits:
        """Return leads and their errors; where there are not more scores than groups, leads of 0 and errors of NaN."""
        return self.fit(scores).merits


class TraitPrediction(PredictedMerit):
    """Predicted merit that also knows what the architectures have in common, whether or not they are related.

    Blocks, per stage and in all, where channels double, and the cost have effects of their own, so that a score says
    something of every architecture that is alike.
    """

    name = "traits"
    summary = "prediction from descent and from traits: blocks, doublings, cost"

    def fit(self, scores: Scores) -> DescentFit:
        """Return leads together with the estimates behind them; it also predicts children that do not exist yet."""
        return fit_descent(scores)
