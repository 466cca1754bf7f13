"""The search loop: what happens to a candidate between proposal and archive."""

from spnas_search.search.loop import SearchStoppedError, run_search
from spnas_search.search.rounds import Round, next_round
from spnas_search.search.verdict import NoVerdict, Verdict, outcome

__all__ = ["NoVerdict", "Round", "SearchStoppedError", "Verdict", "next_round", "outcome", "run_search"]
