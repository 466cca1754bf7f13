"""Progressive search: from simple codes to complex ones, by a predictor that learns on the way.

Liu et al., "Progressive Neural Architecture Search", ECCV 2018: cells of one block, all of them; then of one block more
each time, K = 256 of them, as a predictor chooses among all expansions of the last 256. Its cells are replaced by the
serial space, and its ensemble of networks by a ridge regression.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal

import numpy as np
from pydantic import Field

from spnas_core.configuration import Count, Few, Table
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import Morphism, Rewrite
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Candidate, Inherit, Proposal
from spnas_search.strategies.mutation import weighted_morphisms
from spnas_search.surrogate import predicted_leads

EXAMPLE = "b_111-211-211"
"""A code to which every built-in morphism applies: what one does to it, it does to all."""


class ProgressiveSettings(Table):
    """The ``[strategy]`` table of a progressive search.

    Attributes:
        name: the strategy's name.
        beam: K, codes of each complexity that are trained, and whose expansions are the next complexity.
        round: children per round; a complexity may take several.
        epochs: that a child is trained after inheriting.
        grow: morphisms by which a code grows; only what adds exactly one block counts.
        then: morphisms of which one may follow in the same child, and keeps the number of blocks; none lets borders and
            doublings stay where they are.
        max_step: most blocks by which a swap moves a border, and widen and narrow a doubling.
    """

    name: Literal["progressive"] = "progressive"
    beam: Count = Field(8, ge=1)
    round: Few = Field(8, ge=1)
    epochs: Count = Field(4, ge=1)
    grow: tuple[str, ...] = Field(("expand",), min_length=1)
    then: tuple[str, ...] = ("swap",)
    max_step: Count = Field(2, ge=1)


class Progressive:
    """Trains the most promising codes of one complexity, then of the next.

    Complexity is the number of blocks. The beam is the best ``beam`` codes of one complexity by lead, the older first
    among equals; the start is the first one. Its expansions are all codes of one block more: a block is inserted at
    every site, and one morphism of ``then`` may follow. Of all that are new and inside the space the surrogate
    (``spnas_search.surrogate``) predicts the leads, and the best are trained, ``beam`` of them, failed ones included;
    within a complexity that takes several rounds it predicts anew before each. Then the next complexity begins; but
    where all of them have failed, ``beam`` others of that complexity come first.

    Where the search stands follows from the archive: the newest complexity is that of its largest code with a lead,
    whoever proposed it. Nothing is drawn. As long as the surrogate cannot tell codes apart they are taken in order: by
    parents, best first, insertions alone before those that something follows.

    Two things differ from the paper: the first complexity is one code, the start; and the complexity after it is not
    trained in full where it has more than ``beam`` codes.

    Args:
        settings: the ``[strategy]`` table.
        space: bounds of the search.

    Raises:
        PluginError: an unknown morphism.
        ConfigError: one in ``grow`` that never adds a block, or one in ``then`` that always changes their number.
    """

    by_rounds = True

    def __init__(self, settings: ProgressiveSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space
        self._grow, self._then = (
            tuple(weighted_morphisms(dict.fromkeys(names, 1.0), settings.max_step)) if names else ()
            for names in (settings.grow, settings.then)
        )
        _check(self._grow, 1, "grow", "never adds just one block: name morphisms that do, such as 'expand'")
        _check(
            self._then, 0, "then", "always changes the number of blocks: name morphisms that keep it, such as 'swap'"
        )

    @property
    def meaningful_from(self) -> int:
        """One complexity that the predictor has chosen, behind the one that it has learned from."""
        return 2 * self.settings.beam

    def beam(self, archive: Archive, complexity: int) -> list[Candidate]:
        """The best codes of a complexity, best first."""
        ranked = [one for one in archive.best(len(archive)) if len(one.architecture.digits) == complexity]
        return ranked[: self.settings.beam]

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Propose the most promising expansions of the beam; chance has no part in it."""
        del rng
        count, left = self._next(archive)
        expansions = list(left)
        predicted = predicted_leads(archive, [rewrite.child for _, rewrite in expansions], self.space.image_size)
        chosen = np.argsort(-predicted, kind="stable")[: min(count, self.settings.round)].tolist()
        fidelity = Fidelity(self.settings.epochs)
        return [
            Proposal("child", parent.id, rewrite, fidelity, preference=float(predicted[place]))
            for place in chosen
            for parent, rewrite in [expansions[place]]
        ]

    def reaches(self, start: Architecture, inherit: Inherit) -> bool:
        """Whether some draws find a child of the start inside the space; see ``Strategy``."""
        del inherit
        quick = self.space.quick
        return any(rewrite.child in quick for rewrite in self._ways(start))

    def stuck(self, archive: Archive) -> str | None:
        """Say that no complexity is left in the space."""
        if next(self._next(archive)[1], None) is not None:
            return None
        following = _newest(archive) + 1
        if any(len(child.architecture.digits) == following for child in archive.of_kind("child")):
            return f"no code of {following} blocks has a score"
        return f"no code of {following} blocks is new and inside the search space"

    def may_use(self, archive: Archive) -> frozenset[int]:
        """All of the newest complexity and of the one before: leads may yet change who is in the beam."""
        newest = _newest(archive)
        usable = (one for one in archive if one.is_node and one.status == "done")
        return frozenset(one.id for one in usable if len(one.architecture.digits) >= newest - 1)

    def _next(self, archive: Archive) -> tuple[int, Iterator[tuple[Candidate, Rewrite]]]:
        """How many children the present complexity lacks, and what they may be; of the next one where it is full."""
        newest = _newest(archive)
        known = sum(len(child.architecture.digits) == newest for child in archive.of_kind("child"))
        if 0 < known < self.settings.beam:
            left = self._expansions(archive, self.beam(archive, newest - 1))
            if (first := next(left, None)) is not None:
                return self.settings.beam - known, chain([first], left)
        return self.settings.beam, self._expansions(archive, self.beam(archive, newest))

    def _expansions(self, archive: Archive, beam: Sequence[Candidate]) -> Iterator[tuple[Candidate, Rewrite]]:
        """Expansions of a beam that are new and inside the space; of several ways to a code the first."""
        found: set[Architecture] = set()
        for parent in beam:
            for rewrite in self._ways(parent.architecture):
                child = rewrite.child
                if child not in found and not archive.contains(child) and child in self.space:
                    found.add(child)
                    yield parent, rewrite

    def _ways(self, architecture: Architecture) -> Iterator[Rewrite]:
        """Every way to a code of one block more: insertions alone, then those that another morphism follows."""
        grown: dict[Architecture, Rewrite] = {}
        for morphism in self._grow:
            for rewrite in filter(_has_grown, morphism.options(architecture)):
                grown.setdefault(rewrite.child, rewrite)
        yield from grown.values()
        for rewrite in grown.values():
            for morphism in self._then:
                yield from filter(_has_grown, (rewrite.then(option) for option in morphism.options(rewrite.child)))


def _check(morphisms: Sequence[Morphism], added: int, key: str, wrong: str) -> None:
    """Refuse a morphism that never adds so many blocks, as far as an example tells: it may apply elsewhere alone."""
    example = Architecture.parse(EXAMPLE)
    for morphism in morphisms:
        changes = {len(option.child.digits) - len(option.parent.digits) for option in morphism.options(example)}
        if changes and added not in changes:
            raise ConfigError(f"strategy.{key} names {morphism.name!r}, which {wrong}")


def _newest(archive: Archive) -> int:
    """The largest complexity of which a code has a lead; the start's where none has."""
    known = archive.best(len(archive)) or (archive.start,)
    return max(len(one.architecture.digits) for one in known)


def _has_grown(rewrite: Rewrite) -> bool:
    return len(rewrite.child.digits) == len(rewrite.parent.digits) + 1
