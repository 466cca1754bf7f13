"""Scores as a table, in all and per class."""

from collections.abc import Iterator, Mapping

from rich.table import Table

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import number

ALL = "all classes"
MOST_METRICS = 6
"""Metrics up to which those that no class has stand in the same table."""
Scores = tuple[tuple[Column, ...], list[tuple[str, ...]]]
"""Columns and rows of a table."""


def score_tables(scores: Mapping[str, float]) -> Iterator[Table]:
    """Yield a table of all classes together and of each class, and one of the metrics that no class has.

    Args:
        scores: by name; ``AP50/dog`` is the AP50 of the class ``dog``. NaN is shown as a dash.
    """
    for columns, rows in score_rows(scores):
        table = make_table(columns, turns=True)
        for place, row in enumerate(rows):
            table.add_row(*row, end_section=place == 0 and len(rows) > 1)
        yield table


def score_rows(scores: Mapping[str, float]) -> Iterator[Scores]:
    """Yield the columns and rows of ``score_tables``, wherever they are shown."""
    metrics = list(dict.fromkeys(name.partition("/")[0] for name in scores))
    classes = list(dict.fromkeys(name.partition("/")[2] for name in scores if "/" in name))
    divided = [metric for metric in metrics if any(f"{metric}/{name}" in scores for name in classes)]
    if not divided or len(metrics) <= MOST_METRICS:
        divided = metrics
    rows = [(ALL, *(number(scores.get(metric)) for metric in divided))]
    for name in classes:
        keys = (f"{metric}/{name}" for metric in divided)
        rows.append((name, *(number(scores[key]) if key in scores else "" for key in keys)))
    yield (Column("class"), *numbers(*divided)), rows
    if rest := [metric for metric in metrics if metric not in divided]:
        yield (Column(""), *numbers(*rest)), [(ALL, *(number(scores.get(metric)) for metric in rest))]
