"""Reports as pages: one HTML file each, complete in itself, escaped by construction. Needs ``spnas-core[commands]``.

A plugin reports on folders of its own by ``spnas_report``, and adds sections to others' by ``spnas_report_sections``.
"""

from spnas_core.pages._base import Report, Section
from spnas_core.pages.charts import Dots, Line, Note, Segments, draw_chart
from spnas_core.pages.parts import Row, bar, command, details, drawing, facts, interval, paragraph, side_by_side, table
from spnas_core.pages.rendering import render_page
from spnas_core.pages.reporting import report_on

__all__ = [
    "Dots",
    "Line",
    "Note",
    "Report",
    "Row",
    "Section",
    "Segments",
    "bar",
    "command",
    "details",
    "draw_chart",
    "drawing",
    "facts",
    "interval",
    "paragraph",
    "render_page",
    "report_on",
    "side_by_side",
    "table",
]
