"""Rewire: a morphism of the neck, so that every strategy that mutates searches in the spaces of cells.

Ghiasi, Lin, Pang, Le, "NAS-FPN: Learning Scalable Feature Pyramid Architecture for Object Detection", CVPR 2019; Xu et
al., "Auto-FPN: Automatic Network Architecture Adaptation for Object Detection Beyond Classification", ICCV 2019.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from spnas_core.encoding import Architecture
from spnas_core.morphisms import Applications, Rewrite, Step
from spnas_detect.necks.cell_text import completed, drawn_parts, format_cell, level_count, parse_cell
from spnas_detect.necks.merging import EDGE_OPERATIONS, NONE, Merge

FAMILY = "merge:"
EXAMPLES = (
    "m@1=in1+in0;o0@0=gp(in1,in0);o1@1=o0+m",
    "o0@0=sep3(in0)+skip(in1);o1@1=dil5(in1)+sep5(o0)",
)
Cell = tuple[Merge, ...]
PLACES = 16
"""Features of a cell that ``Rewire.features`` tells apart; later ones count as the last."""


class Change(NamedTuple):
    """One change of a cell.

    Attributes:
        detail: for people.
        cell: what comes of it.
    """

    detail: str
    cell: Cell


@dataclass(frozen=True)
class Rewire:
    """Changes one merge of the cell that a code names: ``CODE~merge:CELL``.

    One of its two features becomes another earlier one; sum becomes attention, or the reverse; a merge between moves to
    another level; an operation on an edge becomes another, of which ``none`` drops it where another stays, or a feature
    that the merge does not read gets an edge; or two outputs in a row change places, where the later one does not read
    the earlier. What nothing reads then is added to the output of its level, as NAS-FPN does, where that comes later.

    Merges inherit by name what they have trained, edges by their place in a merge: an edge that is new, or that comes
    back, starts as its operation does. Outputs change, so nothing is promised.
    """

    name: str = "rewire"
    summary: str = "change one merge of the neck's cell, of a code that names one: CODE~merge:CELL"

    @property
    def examples(self) -> Sequence[Architecture]:
        """Codes to try it with: one of merges, one of operations on edges."""
        return tuple(Architecture.parse(f"b@8_1-2~{FAMILY}{cell}") for cell in EXAMPLES)

    def options(self, architecture: Architecture) -> Sequence[Rewrite]:
        """All changes of the cell; none where the code names no neck, or one of another kind.

        Raises:
            ConfigError: the neck's text is no cell.
        """
        if not architecture.neck.startswith(FAMILY):
            return ()
        kept = tuple(range(len(architecture.digits)))

        def apply(change: Change) -> Rewrite:
            child = replace(architecture, neck=FAMILY + format_cell(change.cell))
            return Rewrite(architecture, child, kept, (Step(self.name, change.detail, None),))

        return Applications(changes(parse_cell(architecture.neck.removeprefix(FAMILY))), apply)

    @property
    def feature_count(self) -> int:
        """Numbers that describe an option."""
        return 3 * PLACES + 1

    def features(self, rewrite: Rewrite) -> Sequence[float]:
        """Describe an option for a learned policy.

        Which merge was changed; what it reads now, first and, by edges all others, second; whether it attends. Merges
        and features are told apart by their place in the child's cell, inputs first.
        """
        before, after = (parse_cell(one.neck.removeprefix(FAMILY)) for one in (rewrite.parent, rewrite.child))
        names = [f"in{level}" for level in range(level_count(after))] + [merge.name for merge in after]
        place_of = {name: min(place, PLACES - 1) for place, name in enumerate(names)}
        known, now = drawn_parts(before), drawn_parts(after)
        changed = next((merge for merge in now if merge not in known), None)
        if changed is None:  # two have changed places
            changed = next(new for old, new in zip(known, now, strict=True) if old != new)
        found = [0.0] * self.feature_count
        found[place_of[changed.name]] = 1.0
        for number, source in enumerate(changed.read, 1):
            found[min(number, 2) * PLACES + place_of[source]] = 1.0
        found[-1] = float(changed.attends)
        return found


@lru_cache(maxsize=1024)
def changes(cell: Cell) -> tuple[Change, ...]:
    """Return all single changes of a cell, in a fixed order, each to a different cell."""
    found: dict[Cell, Change] = {cell: Change("", cell)}
    bare = drawn_parts(cell)
    levels = level_count(cell)
    for place, merge in enumerate(bare):
        before, after = bare[:place], bare[place + 1 :]
        at = _levels(before, levels)
        for detail, other in _changed(merge, at, levels):
            child = completed([*before, _guided(other, at), *_reguided(other, after, at)])
            found.setdefault(child, Change(detail, child))
        if after and merge.is_output and after[0].is_output and merge.name not in after[0].sources:
            child = completed([*before, after[0], merge, *after[1:]])
            found.setdefault(child, Change(f"{after[0].name} comes before {merge.name}", child))
    del found[cell]
    return tuple(found.values())


def _levels(merges: Sequence[Merge], levels: int) -> dict[str, int]:
    """Levels of the inputs and of some merges, by name."""
    return {f"in{level}": level for level in range(levels)} | {merge.name: merge.level for merge in merges}


def _changed(merge: Merge, earlier: Mapping[str, int], levels: int) -> Iterator[tuple[str, Merge]]:
    """Yield what one merge can become, each with what is said of it."""
    yield from _moved(merge, levels)
    beside = merge.sources[2:]
    if len(merge.sources) >= 2 and not merge.operations and all(earlier[one] == merge.level for one in beside):
        if merge.attends:  # what it adds beside stays among its terms
            yield (
                f"{merge.name} adds",
                replace(merge, attends=False, sources=(*merge.sources, *merge.added), added=()),
            )
        else:
            yield f"{merge.name} attends", replace(merge, attends=True, sources=merge.sources[:2], added=beside)
    unread = [feature for feature in earlier if feature not in (*merge.sources, *merge.added)]
    for position, source in enumerate(merge.sources):
        for feature in unread if source in merge.read else ():
            sources = (*merge.sources[:position], feature, *merge.sources[position + 1 :])
            yield f"{merge.name} reads {feature}, not {source}", replace(merge, sources=sources)
    if merge.operations:
        yield from _with_other_edges(merge, unread)


def _with_other_edges(merge: Merge, unread: Sequence[str]) -> Iterator[tuple[str, Merge]]:
    """Yield what comes of one other operation on an edge, and of one more edge."""
    for position, (source, operation) in enumerate(zip(merge.sources, merge.operations, strict=True)):
        for other in EDGE_OPERATIONS:
            operations = (*merge.operations[:position], other, *merge.operations[position + 1 :])
            if other != operation and set(operations) != {NONE}:
                yield (
                    f"{merge.name} applies {other} to {source}, not {operation}",
                    replace(merge, operations=operations),
                )
    for feature in unread:
        for operation in EDGE_OPERATIONS:
            if operation != NONE:
                more = replace(merge, sources=(*merge.sources, feature), operations=(*merge.operations, operation))
                yield f"{merge.name} applies {operation} to {feature}, too", more


def _moved(merge: Merge, levels: int) -> Iterator[tuple[str, Merge]]:
    for level in range(levels):
        if level != merge.level and not merge.is_output:
            yield f"{merge.name} moves to level {level}", replace(merge, level=level)


def _reguided(changed: Merge, after: Sequence[Merge], at: Mapping[str, int]) -> list[Merge]:
    """Return the merges behind a changed one; those that attend and read it get the coarser feature as their guide."""
    known = {**at, changed.name: changed.level}
    found = []
    for merge in after:
        found.append(_guided(merge, known) if changed.name in (*merge.sources, *merge.added) else merge)
        known[merge.name] = merge.level
    return found


def _guided(merge: Merge, levels: Mapping[str, int]) -> Merge:
    """Let the coarser feature guide where a merge attends; what it adds beside is of its own level."""
    if not merge.attends:
        return merge
    one, other = merge.sources
    added = tuple(feature for feature in merge.added if levels[feature] == merge.level)
    return replace(merge, sources=(one, other) if levels[one] >= levels[other] else (other, one), added=added)
