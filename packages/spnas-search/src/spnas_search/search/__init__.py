"""The search loop: what happens to a candidate between proposal and archive."""

from spnas_search.search.comparison import Comparison, compare
from spnas_search.search.loop import SearchStoppedError, run_search
from spnas_search.search.rounds import Round, next_round

__all__ = ["Comparison", "Round", "SearchStoppedError", "compare", "next_round", "run_search"]
