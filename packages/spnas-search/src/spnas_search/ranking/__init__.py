"""Ranking rules: which candidate is better, from all scores, and how sure that is.

Rules are pure functions of plain arrays: ``rank(scores)`` returns each candidate's lead over the start, and its
standard error.
"""

from typing import Literal

from spnas_core.errors import ConfigError, suggestion
from spnas_search.ranking._base import Merits, RankingRule, Scores
from spnas_search.ranking.equal_age import EqualAgeLead
from spnas_search.ranking.gains import SumOfGains
from spnas_search.ranking.posterior import DescentFit
from spnas_search.ranking.prediction import PredictedMerit, TraitPrediction
from spnas_search.ranking.unrelated import lacking_start, like_start, without_descent

RuleName = Literal["prediction", "traits", "lead", "gains"]
"""By which settings choose a rule."""
RULES: dict[str, type[RankingRule]] = {
    rule.name: rule for rule in (PredictedMerit, TraitPrediction, EqualAgeLead, SumOfGains)
}
"""By name."""


def ranking_rule(name: str) -> RankingRule:
    """Return the rule of a name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in RULES:
        raise ConfigError(f"no ranking rule is called {name!r}{suggestion(name, RULES)}")
    return RULES[name]()


__all__ = [
    "RULES",
    "DescentFit",
    "EqualAgeLead",
    "Merits",
    "PredictedMerit",
    "RankingRule",
    "RuleName",
    "Scores",
    "SumOfGains",
    "TraitPrediction",
    "lacking_start",
    "like_start",
    "ranking_rule",
    "without_descent",
]
