"""Reports of trainings and comparisons: what their folders hold, as sections of a page."""

from spnas_detect.reporting.comparison import report_comparison
from spnas_detect.reporting.training import report_training

__all__ = ["report_comparison", "report_training"]
