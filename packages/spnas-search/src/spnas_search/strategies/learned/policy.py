"""Searches by a learned policy: a recurrent network that writes codes, or a model that chooses rewrites.

Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", CVPR 2018, writes networks token by
token; Cai et al., "Efficient Architecture Search by Network Transformation", AAAI 2018, edits them; Tan et al.,
"MnasNet", CVPR 2019, and Cai et al., "ProxylessNAS", ICLR 2019, weigh what they cost.

Their spaces of cells and layers are replaced by the serial space, EAS's network over layers by a log-linear model, and
ProxylessNAS's shared weights by networks of their own.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from spnas_core.configuration import Count, Few, Seed
from spnas_core.encoding import Architecture
from spnas_core.morphisms import Rewrite
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Candidate, Inherit, Proposal
from spnas_search.strategies.learned.controllers import FIRST_WEIGHTS, LogLinear, WritingNetwork, one_thread
from spnas_search.strategies.learned.edits import EditChoice, EditGrammar
from spnas_search.strategies.learned.generation import (
    Choice,
    Grammar,
    continued,
    draw_written,
    parents_of,
    reaches_written,
)
from spnas_search.strategies.learned.lessons import Batch, Relearning, RewardSettings, lessons
from spnas_search.strategies.learned.policy_gradient import PolicyGradient, PolicyGradientSettings
from spnas_search.strategies.mutation import MutationSettings, Mutator, draw_round, weighted_morphisms

BESIDE = 16
"""Codes that are written beside one another, at least: many cost little more than one."""
FEWEST = 100
"""Children below which no policy has learnt anything."""


class PolicySettings(RewardSettings, PolicyGradientSettings, MutationSettings):
    """The ``[strategy]`` table of a policy.

    See ``RewardSettings``, ``PolicyGradientSettings`` and ``MutationSettings`` for the rest of it.
    ``min_mutations``, ``max_mutations``, ``max_step`` and ``odds`` are of edits alone: an untrained policy edits as
    ``draw_rewrite`` does.

    Attributes:
        name: the strategy's name.
        grammar: ``generate`` writes whole codes; ``edit`` rewrites earlier candidates by morphisms.
        round: children per round.
        parents: the best so many are what is edited, with equal odds; a written code inherits from the one of them, the
            start included, that it shares most blocks with.
        units: of the recurrent network that writes.
        seed: of its first weights.
        max_redraws: tries to find a new architecture inside the space before the strategy says that it is exhausted.
    """

    name: Literal["policy"] = "policy"
    grammar: Literal["generate", "edit"] = "generate"
    round: Few = Field(10, ge=1)
    parents: Count = Field(8, ge=1)
    units: Few = Field(100, ge=1)
    seed: Seed = 0
    max_redraws: Count = Field(2000, ge=1)


class Policy:
    """Draws children from a policy that learns from the rewards of all earlier ones.

    The policy is stored nowhere: it is trained again from the archive, one update per batch of ``per_update`` children
    that has ended, from first weights that follow from ``seed``. Where scores that came later have changed earlier
    rewards, it learns those as they are now. Children that it could not have drawn, such as those of another strategy
    with other morphisms, teach it nothing; others are learnt from as if they were its own.

    Codes that were proposed before are drawn again, so a policy that is sure of one code looks around it, and is
    exhausted where it finds nothing new in ``max_redraws`` tries.

    Args:
        settings: the ``[strategy]`` table.
        space: bounds of the search.

    Raises:
        PluginError: the odds name an unknown morphism.
        ConfigError: all odds are zero.
    """

    def __init__(self, settings: PolicySettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space
        odds = weighted_morphisms(settings.odds, settings.max_step)
        self._batch = settings.per_update or settings.round
        self._edits = EditGrammar.of(odds, settings.max_mutations, space, settings.min_mutations)
        self._writer = Relearning(self._new_writer, self._teach_writer)
        self._editor = Relearning(self._new_editor, self._teach_editor)

    @property
    def meaningful_from(self) -> int:
        """Children after whose updates the first weights may have been left behind; a hundred at least."""
        settings = self.settings
        steps = settings.passes if settings.algorithm == "ppo" else 1
        updates = min(1e12, FIRST_WEIGHTS / settings.learning_rate / steps)
        return max(FEWEST, self._batch * math.ceil(updates))

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Learn from all batches that have ended, and draw the next round."""
        parents = self._parents(archive)
        if not parents:
            return []
        with one_thread():
            draw = self._edited if self.settings.grammar == "edit" else self._written
            drawn = draw(archive, parents, rng)
        return [Proposal("child", parent.id, rewrite, Fidelity(self.settings.epochs)) for parent, rewrite in drawn]

    def reaches(self, start: Architecture, inherit: Inherit) -> bool:
        """Whether some draws find a child of the start inside the space; see ``Strategy``."""
        del inherit
        if self.settings.grammar == "edit":  # as an untrained policy does
            return Mutator(self.settings, self.space).reaches(start)
        return reaches_written(start, self.space, self.settings.max_redraws)

    def stuck(self, archive: Archive) -> str | None:
        """Never: what is left is for the policy to find."""
        return None

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The best candidates, and the start where codes are written."""
        return frozenset(parent.id for parent in self._parents(archive))

    def _parents(self, archive: Archive) -> tuple[Candidate, ...]:
        if self.settings.grammar == "edit":
            return archive.best(self.settings.parents)
        return parents_of(archive, self.settings.parents)

    def _written(
        self, archive: Archive, parents: Sequence[Candidate], rng: np.random.Generator
    ) -> list[tuple[Candidate, Rewrite]]:
        settings, grammar = self.settings, Grammar(archive.start.architecture, self.space)
        network = self._writer.after(grammar, lessons(archive, settings, self._batch))[0]

        def codes() -> Iterator[Architecture | None]:
            while True:
                yield from grammar.write(max(settings.round, BESIDE), network.chooser(rng))

        written = codes()
        found = draw_written(settings.round, lambda _: next(written), archive, self.space, settings.max_redraws)
        return [continued(child, parents) for child in found]

    def _edited(
        self, archive: Archive, parents: Sequence[Candidate], rng: np.random.Generator
    ) -> list[tuple[Candidate, Rewrite]]:
        settings = self.settings
        model = self._editor.after(self._edits, lessons(archive, settings, self._batch))[0]

        def draw_parent() -> Candidate:
            return parents[int(rng.integers(len(parents)))]

        def edit(architecture: Architecture) -> Rewrite:
            return self._edits.draw(architecture, lambda options: model.choose(options, rng), rng)

        return draw_round(settings.round, draw_parent, edit, archive, self.space, settings.max_redraws)

    def _new_writer(self, grammar: Grammar) -> "_Writer":
        network = WritingNetwork(self.settings.units, self.settings.seed)
        return network, PolicyGradient(network, self.settings), grammar

    def _teach_writer(self, learner: "_Writer", history: Sequence[Batch]) -> None:
        _, gradient, grammar = learner
        pairs = [(grammar.choices(one.rewrite.child), one.reward) for one in history[-1]]
        known = [(choices, reward) for choices, reward in pairs if choices is not None]
        if known:
            gradient.learn([choices for choices, _ in known], [reward for _, reward in known])

    def _new_editor(self, grammar: EditGrammar) -> "_Editor":
        model = LogLinear(grammar.feature_count)
        return model, PolicyGradient(model, self.settings), grammar

    def _teach_editor(self, learner: "_Editor", history: Sequence[Batch]) -> None:
        _, gradient, grammar = learner
        pairs = [(grammar.replay(one.rewrite.parent, one.rewrite.steps), one.reward) for one in history[-1]]
        known = [(choices, reward) for choices, reward in pairs if choices]
        if known:
            gradient.learn([choices for choices, _ in known], [reward for _, reward in known])


_Writer = tuple[WritingNetwork, PolicyGradient[tuple[Choice, ...]], Grammar]
_Editor = tuple[LogLinear, PolicyGradient[tuple[EditChoice, ...]], EditGrammar]
