"""The search loop: what happens to a candidate between proposal and archive."""

from spnas_search.driver.loop import SearchStoppedError, run_search
from spnas_search.driver.rounds import Round, next_beside, next_round
from spnas_search.driver.verdict import NoVerdict, Verdict, outcome

__all__ = ["NoVerdict", "Round", "SearchStoppedError", "Verdict", "next_beside", "next_round", "outcome", "run_search"]
