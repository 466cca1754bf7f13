"""Searches that are driven by hand: made-up scores, scripted children."""

from collections.abc import Callable

from spnas_core import Architecture, SearchSpace
from spnas_core.morphisms import Expand, Swap
from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
from spnas_search.archive import Archive, Candidate, Proposal
from spnas_search.driver import next_round
from spnas_search.settings import RunSettings

START = Architecture.parse("b@8_11-21-21")
SCORE, LOSS = MetricSpec("score"), MetricSpec("loss", higher_is_better=False)
SPACE = SearchSpace(min_blocks=1, max_blocks=40, min_stages=1, max_stages=9)
NEVER = 10**6


def run_settings(**values) -> RunSettings:
    """Start 4 epochs, 2 noise controls, no finalists, a verdict of 2 seeds, four children, gains."""
    given = {"candidates": 4, "seeds": 2, "rescores": 0, "ranking": "gains", "inherit": "parent", "noise": 2, "seed": 0}
    given |= values
    of_final = ("seeds", "rescores", "finalists", "epochs", "from_scratch", "train_epochs")
    final = {name: given[name] for name in of_final if name in given}
    limits = {"candidates": given["candidates"], "hours": given.get("hours"), "epochs": given.get("budget_epochs")}
    return RunSettings(
        seed=given["seed"],
        start=str(START),
        warm_start_epochs=4,
        noise_seeds=given["noise"],
        inherit=given["inherit"],
        ranking=given["ranking"],
        budget=limits,
        rungs=given.get("rungs", {}),
        final=final,
    )


class Scripted:
    """Proposes given children, ``(parent, epochs)`` each, as many rounds as there are; follows from the archive.

    Args:
        rounds: what to propose; the round is found by counting the children so far.
        stuck_after: children after which it says that it is stuck.
    """

    control_epochs = 2
    trains_winner = False

    @property
    def control_fidelity(self) -> Fidelity:
        return Fidelity(self.control_epochs)

    def next_epochs(self, archive: Archive) -> int:
        del archive
        return self.control_epochs

    def __init__(self, *rounds: list[tuple[int, int]], stuck_after: int = NEVER) -> None:
        self.rounds = rounds
        self.stuck_after = stuck_after

    def propose(self, archive: Archive, rng) -> list[Proposal]:
        done = 0
        for children in self.rounds:
            if done == archive.children:
                return self.made(archive, children)
            done += len(children)
        return []

    def made(self, archive: Archive, children: list[tuple[int, int]]) -> list[Proposal]:
        taken: set[Architecture] = set()
        found = []
        for parent, epochs in children:
            architecture = archive[parent].architecture
            options = [*Expand().options(architecture), *Swap().options(architecture)]
            rewrite = next(o for o in options if o.child not in taken and not archive.contains(o.child))
            taken.add(rewrite.child)
            found.append(Proposal("child", parent, rewrite, Fidelity(epochs)))
        return found

    def stuck(self, archive: Archive) -> str | None:
        return "told to" if archive.children >= self.stuck_after else None

    def may_use(self, archive: Archive) -> frozenset[int]:
        return frozenset(candidate.id for candidate in archive)


class Drive:
    """Goes from round to round as the search loop does.

    Args:
        archive: to fill.
        settings: of the run.
        strategy: proposes.
        evaluate: gives metrics, or None for a failure.
    """

    def __init__(self, archive, settings, strategy, evaluate: Callable[[Candidate], dict | None]) -> None:
        self.archive, self.settings, self.strategy, self.evaluate = archive, settings, strategy, evaluate
        archive._connection.execute("PRAGMA synchronous = OFF")  # what is tested here is not the disk
        self.phases: list[str] = []

    def round(self, **options) -> list[Candidate] | None:
        decided = next_round(self.archive, self.settings, self.strategy, **options)
        again = next_round(self.archive, self.settings, self.strategy, **options)
        assert decided == again, "deciding must change nothing"
        if decided is None:
            return None
        assert decided.proposals
        self.phases.append(decided.phase)
        entered = self.archive.commit_round(decided.proposals, threads=1, phase=decided.phase)
        for candidate in entered:
            metrics = self.evaluate(candidate)
            if metrics is None:
                self.archive.fail(candidate.id, "told to")
            else:
                cost = {"multiply_adds": float(len(candidate.architecture.digits))}
                self.archive.finish(candidate.id, Evaluation(metrics, cost), None)
        return [self.archive[candidate.id] for candidate in entered]

    def to_the_end(self, **options) -> list[list[tuple]]:
        rounds = []
        while (entered := self.round(**options)) is not None:
            rounds.append([(c.kind, c.parent, c.epochs) for c in entered])
            assert len(rounds) < 60
        return rounds


def scores(**by_kind) -> Callable[[Candidate], dict | None]:
    """Made-up scores by kind; a number for all, or a dict by candidate with ``None`` for a failure."""

    def evaluate(candidate: Candidate) -> dict | None:
        value = by_kind.get(candidate.kind, 0.5)
        if isinstance(value, dict):
            value = value.get(candidate.id, 0.5)
        return None if value is None else {"score": value, "loss": -value}

    return evaluate
