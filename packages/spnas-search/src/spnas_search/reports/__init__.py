"""What people read when a search is over, and while it runs."""

from typing import TYPE_CHECKING

from spnas_core.lazily import lazy_attributes

if TYPE_CHECKING:
    from spnas_search.reports.closing import summary
    from spnas_search.reports.tables import candidate_json, candidate_lines, pareto_table, split_lines
    from spnas_search.reports.verdicts import verdict_tables

__all__ = ["candidate_json", "candidate_lines", "pareto_table", "split_lines", "summary", "verdict_tables"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "candidate_json": "spnas_search.reports.tables",
        "candidate_lines": "spnas_search.reports.tables",
        "pareto_table": "spnas_search.reports.tables",
        "split_lines": "spnas_search.reports.tables",
        "summary": "spnas_search.reports.closing",
        "verdict_tables": "spnas_search.reports.verdicts",
    },
)
