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
    metrics = list(dict.fromkeys(name.partition("/")[0] for name in scores))
    classes = list(dict.fromkeys(name.partition("/")[2] for name in scores if "/" in name))
    table = make_table((Column("class"), *numbers(*metrics)))
    table.add_row(ALL, *(number(scores.get(metric)) for metric in metrics), end_section=bool(classes))
    for name in classes:
        cells = (scores.get(f"{metric}/{name}") if f"{metric}/{name}" in scores else "" for metric in metrics)
        table.add_row(name, *(cell if isinstance(cell, str) else number(cell) for cell in cells))
    return table
