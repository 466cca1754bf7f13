"""Rows of older schemas, mended and completed: what a later version asks of them."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
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


def phased_rows(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield rows of the second schema as the third has them, without their digests.

    There the phase of a round followed from the kinds in it, every evaluation inherited its parent's weights, and all
    of them saw whole images and all of the training images.

    Args:
        rows: of the second schema, with digests, in order of their numbers.
    """
    kinds: dict[int, set[str]] = defaultdict(set)
    for row in rows:
        kinds[row[1]].add(row[2])
    last_search = max((number for number, found in kinds.items() if "child" in found), default=-1)
    subjects: dict[int, int] = {}
    for row in rows:
        number, round_number, kind, parent, *codes, epochs, split, age, seed, threads = row[:13]
        phase = _phase(kinds[round_number], is_late=-1 < last_search < round_number)
        subjects[number] = number if kind in {"start", "child"} else subjects.get(parent, number)
        place = (number, round_number, phase, kind, subjects[number], parent, parent)
        yield *place, *codes, epochs, None, None, 1.0, 0, split, None, age, seed, threads, *row[13:-1]


def single_strategy_rows(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield rows of the third schema as the fourth has them, without their digests: one strategy, no pretraining."""
    for row in rows:
        *proposal, age, seed, threads, status, reason, metrics, cost, receipt, seconds, checksum, _ = row
        yield *proposal, 0, None, None, age, seed, threads, status, reason, metrics, cost, receipt, seconds, checksum


def unchanged_rows(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Turn the rows of schema 4 into those of schema 5, which allows more kinds and has the same columns."""
    return (row[:-1] for row in rows)


def _phase(kinds: set[str], *, is_late: bool) -> str:
    if "start" in kinds:
        return "start"
    if "child" in kinds:
        return "search"
    return "verdict" if "final" in kinds or is_late else "noise"
