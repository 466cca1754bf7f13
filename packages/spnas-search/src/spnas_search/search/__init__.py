"""The search loop: what happens to a candidate between proposal and archive."""

from spnas_search.search.comparison import Comparison, NoComparison, compare, outcome
from spnas_search.search.loop import SearchStoppedError, run_search
from spnas_search.search.rounds import Round, next_round

__all__ = [
    "Comparison",
    "NoComparison",
    "Round",
    "SearchStoppedError",
    "compare",
    "next_round",
    "outcome",
    "run_search",
]
