"""Rewriting step by step: the options of each step, and which of them were taken."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from spnas_core.encoding import Architecture
from spnas_core.morphisms import DescribingMorphism, Morphism, Rewrite, Step, identity
from spnas_core.space import SearchSpace


@dataclass(frozen=True, eq=False)
class Options:
    """All single steps that lead on from an architecture.

    Attributes:
        rewrites: of all morphisms that apply, one morphism after the other.
        log_odds: [n] logarithms of the probabilities with which ``draw_rewrite`` takes each.
        features: [n, m] what is known of each; see ``EditGrammar``.
    """

    rewrites: tuple[Rewrite, ...]
    log_odds: NDArray[np.float64]
    features: NDArray[np.float64] = field(repr=False)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.rewrites)


@dataclass(frozen=True)
class EditChoice:
    """One step of a rewrite.

    Attributes:
        architecture: that it was applied to.
        options: all that might have been.
        index: which of them was.
    """

    architecture: Architecture
    options: Options
    index: int


OptionChooser = Callable[[Options], int]
"""Chooses one of the options."""


@dataclass(frozen=True)
class EditGrammar:
    """Rewrites as sequences of single morphisms.

    An option is described, per morphism, by 1, the stage that it touches (one of ``max_stages``), where the first block
    that it changes stands (0 in front, below 1) and how deep the network is then (a share of ``max_blocks``); or by
    what a ``DescribingMorphism`` says itself, behind a 1. The features of other morphisms are 0.

    Attributes:
        odds: relative weight of each morphism; zero never takes it.
        max_edits: most steps of a rewrite.
        space: whose bounds features are shares of; a rewrite may leave it.
        min_edits: fewest steps of a rewrite.
    """

    odds: tuple[tuple[Morphism, float], ...]
    max_edits: int
    space: SearchSpace
    min_edits: int = 1

    @classmethod
    def of(
        cls, odds: Mapping[Morphism, float], max_edits: int, space: SearchSpace, min_edits: int = 1
    ) -> "EditGrammar":
        """Make one from weighted morphisms."""
        named = tuple((morphism, weight) for morphism, weight in odds.items() if weight > 0)
        return cls(named, max_edits, space, min_edits)

    @property
    def feature_count(self) -> int:
        """Numbers that describe an option."""
        return sum(self._counts())

    def described(self, number: int, rewrite: Rewrite) -> NDArray[np.float64]:
        """Return the features of an option of the morphism at a place of ``odds``."""
        morphism, counts = self.odds[number][0], self._counts()
        found = np.zeros(self.feature_count)
        begin = sum(counts[:number])
        if isinstance(morphism, DescribingMorphism):
            found[begin : begin + counts[number]] = 1.0, *morphism.features(rewrite)
            return found
        stages = self.space.max_stages
        stage, position = _touched(rewrite)
        found[begin] = 1.0
        found[begin + 1 + min(stage, stages - 1)] = 1.0
        found[begin + 1 + stages : begin + 3 + stages] = position, len(rewrite.child.digits) / self.space.max_blocks
        return found

    def _counts(self) -> list[int]:
        """Numbers that describe the options of each morphism."""
        return [
            1 + one.feature_count if isinstance(one, DescribingMorphism) else 3 + self.space.max_stages
            for one, _ in self.odds
        ]

    def options(self, architecture: Architecture) -> Options:
        """List the single steps from an architecture; there may be none."""
        return _options(self, architecture)

    def draw(self, architecture: Architecture, choose: OptionChooser, rng: np.random.Generator) -> Rewrite:
        """Compose ``min_edits`` … ``max_edits`` steps, their number uniform.

        Returns:
            The rewrite; the identity where nothing applies before there are ``min_edits``.
        """
        rewrite = identity(architecture)
        for _ in range(int(rng.integers(self.min_edits, self.max_edits + 1))):
            options = self.options(rewrite.child)
            if not options:
                break
            rewrite = rewrite.then(options.rewrites[choose(options)])
        return rewrite if len(rewrite.steps) >= self.min_edits else identity(architecture)

    def replay(self, parent: Architecture, steps: Sequence[Step]) -> tuple[EditChoice, ...] | None:
        """Find out which options were taken: the inverse of drawing.

        Args:
            parent: that the rewrite began with.
            steps: of the rewrite, in order.

        Returns:
            The choices in order; None where some step is none of the options, such as a step of another morphism.
        """
        found: list[EditChoice] = []
        architecture = parent
        for step in steps:
            options = self.options(architecture)
            index = next((place for place, one in enumerate(options.rewrites) if one.steps == (step,)), None)
            if index is None:
                return None
            found.append(EditChoice(architecture, options, index))
            architecture = options.rewrites[index].child
        return tuple(found)


@lru_cache(maxsize=1024)
def _options(grammar: EditGrammar, architecture: Architecture) -> Options:
    applicable = [
        (number, weight, options)
        for number, (morphism, weight) in enumerate(grammar.odds)
        if len(options := morphism.options(architecture))
    ]
    total = math.fsum(weight for _, weight, _ in applicable)
    rewrites, odds, features = [], [], []
    for number, weight, options in applicable:
        for rewrite in options:
            rewrites.append(rewrite)
            odds.append(math.log(weight / total / len(options)))
            features.append(grammar.described(number, rewrite))
    shape = (len(rewrites), grammar.feature_count)
    return Options(tuple(rewrites), np.array(odds, np.float64), np.array(features, np.float64).reshape(shape))


def _touched(rewrite: Rewrite) -> tuple[int, float]:
    """Return stage, from 0, and relative position of the first block that changes; of a row the stage beside it."""
    old, new = (_placed(one) for one in (rewrite.parent, rewrite.child))
    for at, (source, block) in enumerate(zip(rewrite.block_map, new, strict=True)):
        if source != at or old[at] != block:
            return block[1], at / len(new)
    rows = itertools.zip_longest(rewrite.parent.rows, rewrite.child.rows, fillvalue=0)
    return next((stage for stage, (before, after) in enumerate(rows) if before != after), 0), 0.0


def _placed(architecture: Architecture) -> list[tuple[str, int]]:
    return [(digit, number) for number, stage in enumerate(architecture.stages) for digit in stage]
