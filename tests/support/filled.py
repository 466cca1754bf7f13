"""Archives that are filled by hand, for strategies."""

import numpy as np

from spnas_core import Architecture, SearchSpace, backbone_cost
from spnas_core.morphisms import AddStage, Expand, Rewrite, Swap, identity
from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
from spnas_search.archive import Archive, Proposal

START = Architecture.parse("b@8_11-21-21")
WIDE = SearchSpace(min_blocks=1, max_blocks=40, min_stages=1, max_stages=9)
TIGHT = SearchSpace(min_blocks=5, max_blocks=8, min_stages=3, max_stages=4, image_size=(64, 64), max_parameters=60_000)


class Filled:
    """An archive with made-up scores; every evaluation costs what the network costs."""

    def __init__(self, folder, start=START, score=0.5, ranking="gains", higher_is_better=True, inherit="parent"):
        objective = MetricSpec("score", higher_is_better=higher_is_better)
        self.archive = Archive.create(
            folder / "archive.db", objective=objective, run_seed=0, ranking=ranking, inherit=inherit
        )
        self.archive._connection.execute("PRAGMA synchronous = OFF")  # what is tested here is not the disk
        self.add("start", None, identity(start), score)

    def add(self, kind, parent, rewrite, score, epochs=1):
        """Enter a result as a round of its own; a score of None is a failure."""
        return self.enter([Proposal(kind, parent, rewrite, Fidelity(epochs))], [score])[0]

    def enter(self, proposals, scores):
        """Enter a round with its results."""
        entered = self.archive.commit_round(proposals, threads=1)
        for candidate, score in zip(entered, scores, strict=True):
            cost = backbone_cost(candidate.architecture, 64, 64).as_dict()
            if score is None:
                self.archive.fail(candidate.id, "told to")
            else:
                self.archive.finish(candidate.id, Evaluation({"score": score}, cost), None)
        return [candidate.id for candidate in entered]

    def control(self, parent, score, epochs=1):
        return self.add("control", parent, identity(self.archive[parent].architecture), score, epochs)

    def child(self, score, parent=0, epochs=1):
        """The first new neighbour of the parent."""
        return self.round([score], parent, epochs)[0]

    def round(self, scores, parent=0, epochs=1):
        """A round of the first new neighbours of the parent: expansions, then swaps, then a new stage."""
        architecture = self.archive[parent].architecture
        options = [option for kind in (Expand(), Swap(), AddStage()) for option in kind.options(architecture)]
        found: dict[Architecture, Rewrite] = {}
        for option in options:
            if not self.archive.contains(option.child) and len(found) < len(scores):
                found.setdefault(option.child, option)
        proposals = [Proposal("child", parent, rewrite, Fidelity(epochs)) for rewrite in found.values()]
        return self.enter(proposals, scores)


def populated(folder) -> Archive:
    """A start and children of merits 0.6, 0.1, 0.7 and 0.9, one failed and one without merit."""
    filled = Filled(folder)
    filled.control(0, 0.5)
    for score in (0.6, None, 0.1):
        filled.child(score)
    filled.child(0.95, epochs=2)  # without a control
    for score in (0.7, 0.9):
        filled.child(score)
    return filled.archive


def proposals(strategy, archive, seeds):
    """What a strategy proposes with each of several seeds, in one list."""
    return [p for seed in seeds for p in strategy.propose(archive, np.random.default_rng(seed))]
