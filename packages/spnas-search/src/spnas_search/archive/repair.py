"""Mending rows that were written before the archive checked what enters it (schema version 1)."""

import json
import math
from typing import Any

_WHOLE = {"id": 0, "round": 1, "parent": 3, "epochs": 8, "age": 10, "seed": 11, "threads": 12}
_STATUS, _REASON, _METRICS, _COST = 13, 14, 15, 16


def repaired_row(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row of the first schema with values of the right kinds.

    NumPy integers were stored as the bytes of their memory; undefined scores as null. A score that is no number
    makes its candidate a failed one, with that reason.
    """
    values = list(row)
    for place in _WHOLE.values():
        if isinstance(values[place], bytes):
            values[place] = int.from_bytes(values[place], "little", signed=True)
    wrong = []
    for place in (_METRICS, _COST):
        numbers = json.loads(values[place])
        found = {name: math.nan if number is None else number for name, number in numbers.items()}
        wrong += [name for name, number in found.items() if not isinstance(number, (int, float))]
        values[place] = json.dumps({name: number for name, number in found.items() if name not in wrong})
    if wrong:
        values[_STATUS] = "failed"
        values[_REASON] = f"the task returned {', '.join(wrong)} as something that is no number"
        values[_METRICS] = values[_COST] = "{}"
    return tuple(values)
