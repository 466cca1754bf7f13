"""What people read when a search is over, and while it runs."""

from spnas_search.reports.summary import summary
from spnas_search.reports.tables import candidate_json, candidate_lines, pareto_table, split_lines, verdict_tables

__all__ = ["candidate_json", "candidate_lines", "pareto_table", "split_lines", "summary", "verdict_tables"]
