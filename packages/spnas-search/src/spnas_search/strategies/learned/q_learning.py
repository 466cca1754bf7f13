"""Searches by a table of what each next token is worth.

Baker et al., "Designing Neural Network Architectures using Reinforcement Learning", ICLR 2017 (MetaQNN); Zhong et al.,
"Practical Block-wise Neural Network Architecture Generation", CVPR 2018 (BlockQNN). Their spaces of layers and of
blocks are replaced by the serial space.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from spnas_core.configuration import Count, Few, Seed
from spnas_core.encoding import Architecture
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Candidate, Inherit, Proposal
from spnas_search.strategies.learned.generation import (
    Choice,
    Grammar,
    Masks,
    Stages,
    continued,
    draw_written,
    parents_of,
    reaches_written,
)
from spnas_search.strategies.learned.lessons import Batch, Lesson, Relearning, RewardSettings, lessons, reward_of
from spnas_search.strategies.learned.q_table import Moves, QTable, Step, chance, rewards_of

METAQNN = (
    (1.0, 1500),
    *((epsilon, 100) for epsilon in (0.9, 0.8, 0.7)),
    *((tenth / 10, 150) for tenth in range(6, 0, -1)),
)
"""MetaQNN's schedule: ε, and for how many networks; 2,700 in all."""
FEWEST = 300
"""Children below which most of the table is first values."""
Epsilon = Annotated[float, Field(ge=0, le=1)]
Length = Annotated[Count, Field(ge=1)]


class QLearningSettings(RewardSettings):
    """The ``[strategy]`` table of Q-learning; see ``RewardSettings`` for the rest of it.

    Attributes:
        name: the strategy's name.
        round: children per round.
        epochs: that a child is trained after inheriting.
        children: to which the schedule is stretched: as many as the search has (``budget.candidates``).
        schedule: (ε, for how long), in order: the share of tokens that are drawn by chance, and not by the table.
        learning_rate: α, how far an update moves a value.
        discount: γ, of what comes later.
        first_value: of the table; None for what the start is rewarded.
        shares_reward: whether each token of a code gets an equal share of its reward, as in BlockQNN; else the last one
            gets all.
        replays: earlier children that the table learns once more, drawn with replacement, for each new one.
        most_depth: blocks of a stage that states tell apart; deeper ones count as these.
        parents: a code inherits from the one of the best so many, the start included, that it shares most blocks with.
        seed: of the draws of what is replayed.
        max_redraws: tries to find a new architecture inside the space before the strategy says that it is exhausted.
    """

    name: Literal["q-learning"] = "q-learning"
    round: Few = Field(4, ge=1)
    epochs: Count = Field(4, ge=1)
    reward: Literal["lead", "gain", "merit", "score"] = "merit"
    children: Count = Field(FEWEST, ge=1)
    schedule: tuple[tuple[Epsilon, Length], ...] = Field(METAQNN, min_length=1)
    learning_rate: float = Field(0.01, gt=0, le=1)
    discount: float = Field(1.0, ge=0, le=1)
    first_value: float | None = None
    shares_reward: bool = False
    replays: Count = Field(128, ge=1)
    most_depth: Count = Field(12, ge=1)
    parents: Count = Field(8, ge=1)
    seed: Seed = 0
    max_redraws: Count = Field(2000, ge=1)


class _Setting(NamedTuple):
    """What a table depends on beside the batches."""

    grammar: Grammar
    first_value: float


class _Learner(NamedTuple):
    """A table, and the children that it has learnt, each as its moves there with their rewards."""

    grammar: Grammar
    table: QTable
    memory: list[tuple[Moves, list[float]]]


class QLearning:
    """Writes codes by a table of values, with a share of chance that falls as the search goes on.

    A state is the stage, how many blocks it has so far and how often the channels have doubled; the actions are the
    tokens that the space allows there. Each token is drawn by chance with probability ε, and else one of the largest
    value, ties at random.

    The table is stored nowhere: it is learnt again from the archive. After each batch of ``per_update`` children it
    learns ``replays`` of those so far per new one, drawn with replacement from ``seed`` and their number, each from its
    last token backwards. A code that was proposed before is drawn again: its reward is in the memory already.

    Args:
        settings: the ``[strategy]`` table.
        space: bounds of the search.
    """

    def __init__(self, settings: QLearningSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space
        self._learnt = Relearning(self._new, self._teach)

    @property
    def meaningful_from(self) -> int:
        """The children of the schedule, and some hundred at least: half of them are drawn by chance."""
        return max(FEWEST, self.settings.children)

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Learn from all batches that have ended, and write the next round."""
        settings, parents = self.settings, parents_of(archive, self.settings.parents)
        if not parents:
            return []
        learner = self._learnt.after(
            self._setting(archive), lessons(archive, settings, settings.per_update or settings.round)
        )

        def draw(place: int) -> Architecture | None:
            epsilon = chance(settings.schedule, settings.children, archive.children + place)
            return write(learner.grammar, learner.table, epsilon, settings.most_depth, rng)

        found = draw_written(settings.round, draw, archive, self.space, settings.max_redraws)
        drawn = [continued(child, parents) for child in found]
        return [Proposal("child", parent.id, rewrite, Fidelity(settings.epochs)) for parent, rewrite in drawn]

    def reaches(self, start: Architecture, inherit: Inherit) -> bool:
        """Whether some draws find a child of the start inside the space; see ``Strategy``."""
        del inherit
        return reaches_written(start, self.space, self.settings.max_redraws)

    def stuck(self, archive: Archive) -> str | None:
        """Never: a share of chance is left."""
        return None

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The best candidates and the start."""
        return frozenset(parent.id for parent in parents_of(archive, self.settings.parents))

    def _setting(self, archive: Archive) -> _Setting:
        first = self.settings.first_value
        of_start = _rewarded(archive, archive.start, self.settings) if first is None else first
        return _Setting(Grammar(archive.start.architecture, self.space), of_start)

    def _new(self, setting: _Setting) -> _Learner:
        settings = self.settings
        table = QTable(setting.first_value, settings.learning_rate, settings.discount)
        return _Learner(setting.grammar, table, [])

    def _teach(self, learner: _Learner, history: Sequence[Batch]) -> None:
        new = [episode for lesson in history[-1] if (episode := self._episode(learner, lesson)) is not None]
        if not new:
            return
        learner.memory.extend(new)
        rng = np.random.default_rng([self.settings.seed, len(learner.memory)])
        for number in rng.integers(len(learner.memory), size=self.settings.replays * len(new)).tolist():
            learner.table.learn(*learner.memory[number])

    def _episode(self, learner: _Learner, lesson: Lesson) -> tuple[Moves, list[float]] | None:
        steps = _steps(learner.grammar, lesson.rewrite.child, self.settings.most_depth)
        if steps is None:
            return None
        rewards = rewards_of(len(steps), lesson.reward, is_shared=self.settings.shares_reward)
        return learner.table.moves(steps), rewards


def state_of(stages: Stages, most_depth: int) -> tuple[int, int, int]:
    """Return (stages, blocks of the last one up to ``most_depth``, doublings so far) of an unfinished code."""
    return len(stages), min(len(stages[-1]), most_depth), sum(stage.count("2") for stage in stages)


def steps_of(choices: Sequence[Choice], most_depth: int) -> tuple[Step, ...]:
    """Return what a table learns of a code."""
    return tuple(Step(state_of(choice.before, most_depth), choice.legal, choice.token) for choice in choices)


@lru_cache(maxsize=1 << 14)
def _steps(grammar: Grammar, architecture: Architecture, most_depth: int) -> tuple[Step, ...] | None:
    """Return what a table learns of a code, kept for later rounds; None where the grammar does not write it."""
    choices = grammar.choices(architecture)
    return None if choices is None else steps_of(choices, most_depth)


def write(
    grammar: Grammar, table: QTable, epsilon: float, most_depth: int, rng: np.random.Generator
) -> Architecture | None:
    """Write a code, each token by chance with probability ``epsilon``, and else by the table, ties at random.

    Returns:
        The network; None where the code could not be finished.
    """

    def choose(codes: Sequence[Stages], masks: Masks) -> list[int]:
        is_chance = rng.random() < epsilon
        legal: list[bool] = masks[0].tolist()
        best = table.best(state_of(codes[0], most_depth), legal)
        among = [token for token, may in enumerate(legal) if may] if is_chance else best
        return [among[int(rng.integers(len(among)))]]

    return grammar.write(1, choose)[0]


def _rewarded(archive: Archive, start: Candidate, settings: RewardSettings) -> float:
    """What the start is rewarded; 0 where nothing is known of it, or where it has no gain."""
    reward = reward_of(archive, start, settings)
    return 0.0 if reward is None else reward
