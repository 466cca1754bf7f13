"""Scores as a table, in all and per class."""

from collections.abc import Mapping

from rich.table import Table

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import number

ALL = "all classes"


def score_table(scores: Mapping[str, float]) -> Table:
    """Return a row of the scores of all classes, and one per class of those that have one per class.

    Args:
        scores: by name; ``AP50/dog`` is the AP50 of the class ``dog``. NaN is shown as a dash.
    """
    columns, rows = score_rows(scores)
    table = make_table(columns)
    for place, row in enumerate(rows):
        table.add_row(*row, end_section=place == 0 and len(rows) > 1)
    return table


def score_rows(scores: Mapping[str, float]) -> tuple[tuple[Column, ...], list[tuple[str, ...]]]:
    """Return the columns and rows of ``score_table``, wherever they are shown."""
    metrics = list(dict.fromkeys(name.partition("/")[0] for name in scores))
    classes = list(dict.fromkeys(name.partition("/")[2] for name in scores if "/" in name))
    rows = [(ALL, *(number(scores.get(metric)) for metric in metrics))]
    for name in classes:
        keys = (f"{metric}/{name}" for metric in metrics)
        rows.append((name, *(number(scores[key]) if key in scores else "" for key in keys)))
    return (Column("class"), *numbers(*metrics)), rows
