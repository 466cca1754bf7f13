"""Cells of merges as texts, the other way round, and drawn at random."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from spnas_core.errors import ConfigError, suggestion
from spnas_detect.necks.merging import EDGE_OPERATIONS, NONE, Merge

INTERMEDIATES = 2
"""Merges of the published space that are no level's output."""

_MERGE = re.compile(r"(?P<name>[a-z][a-z0-9]*)@(?P<level>[0-9]{1,2})=(?P<terms>[a-z0-9(),+]+)")
_ATTENTION = re.compile(r"gp\((?P<guide>[a-z0-9]+),(?P<other>[a-z0-9]+)\)")
_OPERATION = re.compile(r"(?P<operation>[a-z0-9]+)\((?P<source>[a-z0-9]+)\)")
_OUTPUT = re.compile(r"o(?:ut)?([0-9]+)")


def parse_cell(text: str) -> tuple[Merge, ...]:
    """Read the text of a cell.

    Merges in order, with ``;`` between them, each ``name@level=terms``. Levels count from 0, the finest. A name is
    ``out0``, ``out1``, … (or ``o0``, …) for the levels' outputs, and anything else for a merge between; features are
    earlier merges and the inputs ``in0``, ``in1``, …. Terms are features with ``+`` between them; or ``gp(a,b)``, a +
    b · sigmoid(max of a), and features of the same level that are added to it; or each feature in one of Auto-FPN's
    operations: ``sep3(in0)+skip(in1)``. ``none(in2)`` is an edge that is not there and may come back.

    Example: ``m@1=gp(in3,in1);o0@0=in0+m`` attends from the fourth level to the second one, and adds that to the first.

    Raises:
        ConfigError: what is wrong with which merge.
    """
    merges: list[Merge] = []
    for number, part in enumerate("".join(text.split()).split(";"), 1):
        where = f"merge {number} of the cell, {part!r},"
        found = _MERGE.fullmatch(part)
        if found is None:
            raise ConfigError(f"{where} does not read name@level=features, such as m1@1=in1+in2 or out0@0=gp(in2,in0)")
        name = _renamed(found["name"])
        merge = _read(name, int(found["level"]), found["terms"], where)
        _check(merge, merges, where)
        merges.append(merge)
    levels = level_count(merges)
    for merge in merges:
        for source in (*merge.sources, *merge.added):
            if (level := _input(source)) is not None and level >= levels:
                raise ConfigError(f"the cell makes {levels} levels, and {merge.name} reads {source}: inputs end before")
    return tuple(merges)


def format_cell(merges: Sequence[Merge]) -> str:
    """Return the text of a cell; ``parse_cell`` reads it back. Outputs are ``o0``, ``o1``, …: texts stand in codes."""
    return ";".join(f"{_short(merge.name)}@{merge.level}={'+'.join(_terms(merge))}" for merge in merges)


def level_count(merges: Sequence[Merge]) -> int:
    """Return how many levels a cell makes.

    Raises:
        ConfigError: a level between the finest and the coarsest lacks an output.
    """
    made = {merge.level for merge in merges if merge.is_output}
    levels = max((merge.level for merge in merges), default=0) + 1
    for level in range(levels):
        if level not in made:
            raise ConfigError(f"the cell has no out{level}: every level needs one output")
    return levels


def draw_cell(levels: int, rng: np.random.Generator, intermediates: int = INTERMEDIATES) -> tuple[Merge, ...]:
    """Draw a cell from the space of NAS-FPN.

    Each merge takes two different features of those before it, and adds them or attends from the coarser one, all with
    equal odds; merges between also draw their level. Outputs come in random order. Inputs and merges that nothing reads
    are added to the output of their level.

    Args:
        levels: 2 or more.
        rng: the source of chance.
        intermediates: merges that are no level's output.

    Raises:
        ConfigError: fewer than two levels.
    """
    if levels < 2:
        raise ConfigError(f"a cell of {levels} level has nothing to merge: two levels are the fewest")
    at = {f"in{level}": level for level in range(levels)}
    names = [f"m{number}" for number in range(1, intermediates + 1)]
    drawn: list[Merge] = []
    for name in (*names, *(f"out{level}" for level in rng.permutation(levels))):
        level = int(name.removeprefix("out")) if name.startswith("out") else int(rng.integers(levels))
        features = list(at)
        one, other = (features[place] for place in rng.choice(len(features), 2, replace=False))
        guide, guided = (one, other) if at[one] >= at[other] else (other, one)
        attends = bool(rng.random() < 1 / 2)
        drawn.append(Merge(name, level, (guide, guided) if attends else (one, other), attends))
        at[name] = level
    return completed(drawn)


def drawn_parts(cell: Sequence[Merge]) -> list[Merge]:
    """Return merges as they are drawn, without what was added since nothing else reads it; see ``completed``.

    That are features of an output's own level, behind the first two, which no other merge reads. One with operations
    on its edges is drawn as a whole.
    """
    times = Counter(source for merge in cell for source in (*merge.read, *merge.added))
    at = {merge.name: merge.level for merge in cell}

    def was_added(source: str, merge: Merge) -> bool:
        level = _input(source)
        return merge.is_output and times[source] == 1 and (at[source] if level is None else level) == merge.level

    return [
        merge
        if merge.operations
        else replace(
            merge,
            sources=(*merge.sources[:2], *(one for one in merge.sources[2:] if not was_added(one, merge))),
            added=tuple(one for one in merge.added if not was_added(one, merge)),
        )
        for merge in cell
    ]


def completed(drawn: Sequence[Merge]) -> tuple[Merge, ...]:
    """Add inputs and merges between that nothing reads to the output of their level, where that comes later.

    Outputs with operations on their edges are left as they are.

    Args:
        drawn: see ``drawn_parts``.
    """
    read = {source for merge in drawn for source in (*merge.read, *merge.added)}
    unread = {f"in{level}": level for level in range(level_count(drawn)) if f"in{level}" not in read}
    found = []
    for merge in drawn:
        extra = tuple(name for name, level in unread.items() if level == merge.level)
        found.append(_with(merge, extra))
        if merge.name not in read and not merge.is_output:
            unread[merge.name] = merge.level
    return tuple(found)


def _with(merge: Merge, extra: tuple[str, ...]) -> Merge:
    """Add what nothing reads to a level's output."""
    if not merge.is_output or merge.operations or not extra:
        return merge
    if merge.attends:
        return replace(merge, added=(*merge.added, *extra))
    return replace(merge, sources=(*merge.sources, *extra))


def _read(name: str, level: int, terms: str, where: str) -> Merge:
    """Read what stands behind the sign of equality."""
    parts = re.split(r"\+(?![^(]*\))", terms)
    attention = _ATTENTION.fullmatch(parts[0])
    if attention is not None:
        sources = _renamed(attention["guide"]), _renamed(attention["other"])
        return Merge(name, level, sources, attends=True, added=tuple(map(_renamed, parts[1:])))
    found = [_OPERATION.fullmatch(part) for part in parts]
    for operation in found:
        if operation is not None and operation["operation"] not in EDGE_OPERATIONS:
            near = suggestion(operation["operation"], EDGE_OPERATIONS)
            raise ConfigError(f"{where} has the operation {operation['operation']!r}{near}")
    known = [operation for operation in found if operation is not None]
    if known and len(known) < len(parts):
        raise ConfigError(f"{where} has operations on some features: give each one of {', '.join(EDGE_OPERATIONS)}")
    if known:
        sources_, operations = zip(*((_renamed(one["source"]), one["operation"]) for one in known), strict=True)
        if set(operations) == {NONE}:
            raise ConfigError(f"{where} has no operation but {NONE}: one edge of each merge must be there")
        return Merge(name, level, sources_, operations=operations)
    for part in parts:
        if not part.isalnum():
            raise ConfigError(f"{where} has the term {part!r}: it is neither a feature nor gp(a,b)")
    return Merge(name, level, tuple(map(_renamed, parts)))


def _check(merge: Merge, before: Sequence[Merge], where: str) -> None:
    """Refuse a name that is taken or does not suit, and sources that are not there."""
    known = {one.name: one.level for one in before}
    if merge.name in known or _input(merge.name) is not None or merge.name == "gp":
        raise ConfigError(f"{where} takes the name {merge.name!r}, which is taken")
    if merge.is_output and merge.name != f"out{merge.level}":
        raise ConfigError(f"{where} is at level {merge.level}: only out{merge.level} is that level's output")
    read = (*merge.sources, *merge.added)
    for source in read:
        if _input(source) is None and source not in known:
            raise ConfigError(f"{where} reads {source!r}, which no earlier merge and no input is called")
    if len(set(read)) < len(read):
        raise ConfigError(f"{where} reads one feature twice")
    for name in merge.added:
        if (level := known.get(name, _input(name))) != merge.level:
            raise ConfigError(f"{where} adds {name} of level {level} to gp: only features of its own level are added")


def _terms(merge: Merge) -> Iterator[str]:
    sources = [_short(name) for name in merge.sources]
    if merge.attends:
        yield f"gp({','.join(sources)})"
        yield from map(_short, merge.added)
    elif merge.operations:
        yield from (f"{operation}({source})" for operation, source in zip(merge.operations, sources, strict=True))
    else:
        yield from sources


def _short(name: str) -> str:
    return _OUTPUT.sub(r"o\1", name) if _OUTPUT.fullmatch(name) else name


def _renamed(name: str) -> str:
    return _OUTPUT.sub(r"out\1", name) if _OUTPUT.fullmatch(name) else name


def _input(name: str) -> int | None:
    """Return the level of an input; None where it is none."""
    digits = name.removeprefix("in")
    return int(digits) if name.startswith("in") and digits.isdigit() and f"in{int(digits)}" == name else None
