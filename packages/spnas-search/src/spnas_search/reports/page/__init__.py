"""The report of a run: what its archive holds, as sections of a page."""

from spnas_search.reports.page.run import report_run

__all__ = ["report_run"]
